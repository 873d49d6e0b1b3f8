# SPDX-License-Identifier: Apache-2.0
"""msprobe (mindstudio-probe): its dump at level L0, and its comparison of two."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness_checks.mutants.peers.types import Peer, Row, Side
from mmparity.capture.dumps.msprobe import MsprobeDump
from mmparity.encoders import Encoder
from mmparity.errors import MmparityError
from mmparity.extras import import_extra

_NAME = re.compile(
    r"Module\.(?P<module>.+)\.[^.]+\.forward\.(?P<number>\d+)"
    r"\.(?P<side>input|kwargs|parameters|output)\.?(?P<value>.*)",
    re.ASCII,
)
_SIDES: dict[str, Side] = {
    "input": "input",
    "kwargs": "input",
    "parameters": "parameter",
    "output": "output",
}
PASS = "pass"


def prepare() -> None:
    """Imports what dumps and what compares."""
    import_extra("peers", "msprobe.pytorch")
    import_extra("peers", "msprobe.pytorch.compare.pt_compare")


@contextmanager
def dump(task: str, encoder: Encoder, folder: Path) -> Iterator[None]:
    """msprobe's PrecisionDebugger at level L0: modules' inputs, outputs, parameters."""
    debugger = import_extra("peers", "msprobe.pytorch").PrecisionDebugger(
        task=task, level="L0", dump_path=str(folder)
    )
    # There is one for each process, and it keeps the first folder that it was given.
    debugger.service.config.dump_path = str(folder)
    debugger.start(model=encoder.model)
    try:
        yield
    finally:
        debugger.stop()
        debugger.step()


def compare(old: Path, new: Path, out: Path) -> list[Row]:
    """The rows of the table that msprobe writes."""
    pt_compare = import_extra("peers", "msprobe.pytorch.compare.pt_compare")
    given = {
        "npu_path": str(MsprobeDump(new).file),
        "bench_path": str(MsprobeDump(old).file),
        "is_print_compare_log": False,
    }
    out.mkdir(parents=True, exist_ok=True)
    pt_compare.pt_compare(given, str(out))
    tables = sorted(out.glob("*.csv"))
    if len(tables) != 1:
        raise MmparityError(f"msprobe wrote {len(tables)} tables to {out}.")
    with tables[0].open(newline="") as file:
        return [row_of(entry) for entry in csv.DictReader(file)]


def row_of(entry: dict[str, str]) -> Row:
    """A line of its table; whatever its verdict is but a pass is flagged."""
    match = _NAME.fullmatch(entry["NPU Name"])
    if match is None:
        raise MmparityError(f"msprobe compared {entry['NPU Name']!r}.")
    return Row(
        match["module"],
        _SIDES[match["side"]],
        match["value"],
        entry["Result"] != PASS,
        int(match["number"]),
    )


PEER = Peer(prepare, partial(dump, "tensor"), compare)
