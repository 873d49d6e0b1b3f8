# SPDX-License-Identifier: Apache-2.0
"""Which tool made a dump; a reader of another one is added here."""

from __future__ import annotations

from pathlib import Path

from mmparity.capture.dumps.dump import Dump
from mmparity.capture.dumps.msprobe import MsprobeDump
from mmparity.capture.dumps.sglang import SglangDump
from mmparity.capture.dumps.transformers_debugger import DebuggerDump
from mmparity.errors import MmparityError

READERS: tuple[type[Dump], ...] = (MsprobeDump, SglangDump, DebuggerDump)
TOOLS = ", ".join(reader.tool for reader in READERS)


def tool_of(folder: Path) -> str | None:
    """The tool that made the dumps in a folder; None where there are none."""
    found = [reader.tool for reader in READERS if reader.find(folder)]
    if len(found) > 1:
        raise MmparityError(
            f"{folder} has dumps of {' and of '.join(found)}. Name the folder of one."
        )
    return found[0] if found else None


def open_dump(folder: Path) -> Dump:
    """The only dump in a folder."""
    tool = tool_of(folder)
    reader = next(reader for reader in READERS if reader.tool == tool)
    dump = reader(folder)
    if not dump.calls:
        raise MmparityError(f"{dump.file} has no call of a module. {dump.again}")
    return dump
