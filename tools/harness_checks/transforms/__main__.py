# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.transforms``."""

import sys

from harness_checks.transforms.command import transforms
from mmparity.errors import MmparityError

if __name__ == "__main__":
    try:
        transforms()
    except MmparityError as error:
        print(f"mmparity: {error}", file=sys.stderr)
        sys.exit(2)
