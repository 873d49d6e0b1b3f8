# SPDX-License-Identifier: Apache-2.0
"""``python -m harness_checks.mutants``."""

from harness_checks.command_line import run
from harness_checks.mutants.command import mutants

if __name__ == "__main__":
    run(mutants)
