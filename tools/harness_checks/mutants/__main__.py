# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.mutants``."""

import sys

from harness_checks.mutants.command import mutants
from mmparity.errors import MmparityError

if __name__ == "__main__":
    try:
        mutants()
    except MmparityError as error:
        print(f"mmparity: {error}", file=sys.stderr)
        sys.exit(2)
