# SPDX-License-Identifier: Apache-2.0
"""`python -m patchseries`."""

from patchseries.cli import main

if __name__ == "__main__":
    main()
