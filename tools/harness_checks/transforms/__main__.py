# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.transforms``."""

from harness_checks.command_line import run
from harness_checks.transforms.command import transforms

if __name__ == "__main__":
    run(transforms)
