# SPDX-License-Identifier: Apache-2.0
"""``mmparity doctor``: what this machine can run, and how to mend what is missing."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from mmparity.run.readiness import can_run, checks


def main(as_json: bool = False) -> int:
    """Print the answer; 0 when the default CPU run can run, else 1."""
    found = list(checks())
    devices = can_run(found)
    if as_json:
        answer = {"can_run": devices, "checks": [asdict(check) for check in found]}
        print(json.dumps(answer, indent=2))
        return 0 if devices else 1
    signs = {"ok": "ok", "missing": "MISSING", "differs": "differs", "absent": "-"}
    for check in found:
        print(f"{signs[check.state]:>7}  {check.name:<9} {check.detail}")
        if check.fix:
            print(f"{'':>18} fix: {check.fix}")
    wanting = [check.name for check in found if check.state == "missing"]
    if devices:
        print(f"\nThis machine can run: {', '.join(devices)}.")
    else:
        print(f"\nThe default run cannot run: {', '.join(wanting)}.")
    return 0 if devices else 1


@click.command(epilog="Exit codes: 0 the default run can run, 1 it cannot.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor(as_json: bool) -> None:
    """Say what this machine can run, and what is missing.

    \b
      mmparity doctor
      mmparity doctor --json
    """
    sys.exit(main(as_json))
