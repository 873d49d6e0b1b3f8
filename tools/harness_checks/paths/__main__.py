# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.paths``."""

from harness_checks.command_line import run
from harness_checks.paths.command import paths

if __name__ == "__main__":
    run(paths)
