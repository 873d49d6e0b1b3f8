# SPDX-License-Identifier: Apache-2.0
"""``python -m mmparity.mutants``."""

import sys

from mmparity.mutants.command import mutants
from mmparity.types import MmparityError

if __name__ == "__main__":
    try:
        mutants()
    except MmparityError as error:
        print(f"mmparity: {error}", file=sys.stderr)
        sys.exit(2)
