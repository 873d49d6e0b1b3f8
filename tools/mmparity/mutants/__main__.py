# SPDX-License-Identifier: Apache-2.0
"""``python -m mmparity.mutants``."""

import sys

from mmparity.errors import MmparityError
from mmparity.mutants.command import mutants

if __name__ == "__main__":
    try:
        mutants()
    except MmparityError as error:
        print(f"mmparity: {error}", file=sys.stderr)
        sys.exit(2)
