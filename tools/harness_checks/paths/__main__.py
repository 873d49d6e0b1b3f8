# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.paths``."""

import sys

from harness_checks.paths.command import paths
from mmparity.errors import MmparityError

if __name__ == "__main__":
    try:
        paths()
    except MmparityError as error:
        print(f"mmparity: {error}", file=sys.stderr)
        sys.exit(2)
