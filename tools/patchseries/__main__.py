# SPDX-License-Identifier: Apache-2.0
"""``python -m patchseries``, and the installed command."""

import sys
import traceback

from patchseries import cli


def main() -> None:
    """Runs the command line; our own mistakes exit with 2, never with 1."""
    try:
        cli.main()
    except Exception:
        traceback.print_exc()
        sys.exit(2)


if __name__ == "__main__":
    main()
