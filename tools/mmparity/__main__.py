# SPDX-License-Identifier: Apache-2.0
"""``python -m mmparity``."""

from mmparity.cli import main

if __name__ == "__main__":
    main()
