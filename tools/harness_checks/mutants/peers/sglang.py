# SPDX-License-Identifier: Apache-2.0
"""SGLang's dumper and comparator, without the rest of SGLang.

The package imports its whole server, for which there is no torch here. Its dumper
and comparator need none of it but three modules, by which the dumper talks to a
server; empty ones stand in for them. What dumps, pairs and judges is SGLang's.
"""

from __future__ import annotations

import json
import re
import sys
import types
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from harness_checks.mutants.peers.types import Peer, Row, Side
from mmparity.encoders import Encoder
from mmparity.errors import MmparityError
from mmparity.extras import EXTRAS, import_extra

_SERVER: dict[str, tuple[str, ...]] = {
    "sglang.srt.managers.io_struct": ("sock_recv", "sock_send", "wrap_as_pickle"),
    "sglang.srt.runtime_context": ("get_parallel", "get_server_args", "get_serving"),
    "sglang.srt.utils": ("get_device",),
}
"""Module that a stand-in is for -> what the dumper imports from it."""
_TOOLS = "sglang.srt.debug_utils"
_NAME = re.compile(
    r"non_intrusive__(?:(?P<module>.+?)\.)?(?P<side>inputs|output)\.?(?P<value>.*)",
    re.ASCII,
)
_SIDES: dict[str, Side] = {"inputs": "input", "output": "output"}
NOT_JUDGED = ("config", "summary", "log")


def prepare() -> None:
    """Imports the dumper and the comparator."""
    for name in ("dumper", "comparator.entrypoint"):
        tool(name)


def tool(name: str) -> Any:
    """A module of its debugging tools, from where ``make setup EXTRA=peers`` put it."""
    _stand_in()
    return import_extra("peers", f"{_TOOLS}.{name}")


def _stand_in() -> None:
    if "sglang" in sys.modules:
        return
    folder = EXTRAS / "peers" / "sglang"
    if not folder.is_dir():
        raise MmparityError(
            f"sglang is not installed in {folder.parent} (it needs Python 3.11 or "
            "later). Run `make setup EXTRA=peers`."
        )
    package = types.ModuleType("sglang")
    package.__path__ = [str(folder)]
    sys.modules["sglang"] = package
    for name, wanted in _SERVER.items():
        module = types.ModuleType(name)
        vars(module).update(dict.fromkeys(wanted, _no_server))
        sys.modules[name] = module


def _no_server(*args: object, **named: object) -> Any:
    raise MmparityError("SGLang's dumper asked for a server; there is none.")


@contextmanager
def dump(encoder: Encoder, folder: Path) -> Iterator[None]:
    """All modules' inputs and outputs, by its hooks; the tower itself is one."""
    tools = tool("dumper")
    config = tools.DumperConfig(
        enable=True,
        dir=str(folder.parent),
        exp_name=folder.name,
        non_intrusive_mode="all",
        enable_output_console=False,
    )
    dumper = tools._Dumper(config=config)
    dumper.register_non_intrusive_dumper(encoder.model)
    try:
        yield
    finally:
        dumper.reset()


def compare(old: Path, new: Path, out: Path) -> list[Row]:
    """The records of the report that its comparator writes, with its defaults."""
    entrypoint = tool("comparator.entrypoint")
    out.mkdir(parents=True, exist_ok=True)
    report = out / "report.jsonl"
    words = ["--baseline-path", old, "--target-path", new, "--output-format", "json"]
    given = [str(word) for word in (*words, "--report-path", report)]
    with (out / "comparator.log").open("w") as log, redirect_stdout(log):
        entrypoint.run(entrypoint.parse_args(given))
    return rows_of([json.loads(line) for line in report.read_text().splitlines()])


def rows_of(records: list[dict[str, Any]]) -> list[Row]:
    """One for each tensor; a tensor of one side only is skipped, which is no flag."""
    calls: Counter[str] = Counter()
    rows = []
    for record in records:
        if "name" not in record or record["type"] in NOT_JUDGED:
            continue
        name = record["name"]
        match = _NAME.fullmatch(name)
        if match is None:
            raise MmparityError(f"SGLang compared {name!r}.")
        module, side = match["module"] or "", _SIDES[match["side"]]
        row = Row(module, side, match["value"], _flagged(record), calls[name])
        rows.append(row)
        calls[name] += 1
    return rows


def _flagged(record: dict[str, Any]) -> bool:
    """As its records class themselves: passed, failed, skipped or errored."""
    if record["type"] == "comparison_skip":
        return bool(record["errors"])
    if record["type"] == "comparison_non_tensor":
        return bool(record["errors"]) or not record["values_equal"]
    checks = record.get("replicated_checks", ())
    diff = record.get("diff") or {}
    wrong = record["errors"] or any(not check["passed"] for check in checks)
    return bool(wrong) or not diff.get("passed", False)


PEER = Peer(prepare, dump, compare)
