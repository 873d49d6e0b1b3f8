# SPDX-License-Identifier: Apache-2.0
"""What another tool says of a pair of forwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmparity.encoders import Encoder

Side = Literal["input", "parameter", "output"]


@dataclass(frozen=True)
class Row:
    """One row that a tool judged.

    Attributes:
        module: path of the module whose tensor it is.
        side: whether the module was given the tensor, holds it or returned it.
        value: the rest of its name: a number, or the name of an argument.
        flagged: the tool's verdict is not a pass.
        number: of the call, where a module is called several times.
    """

    module: str
    side: Side
    value: str
    flagged: bool
    number: int = 0

    @property
    def text(self) -> str:
        """Its name, as a reader would say it."""
        return " ".join(filter(None, (self.module or "(tower)", self.side, self.value)))


@dataclass(frozen=True)
class Found:
    """What a tool said of a mutant.

    Attributes:
        flagged: its verdict is not a pass, or the forward raised an error.
        row: the first row that it flagged, in its own order; '' where there is none.
        places: the hook points that this row shows.
        edited: this row is of what the edited class returns or holds.
        rows: how many rows it judged.
        reason: why the tool could not run; '' where it ran.
    """

    flagged: bool = False
    row: str = ""
    places: tuple[str, ...] = ()
    edited: bool = False
    rows: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Peer:
    """Another tool.

    Attributes:
        prepare: imports it; raises MmparityError where it is not installed.
        dump: dumps the forwards inside the ``with`` to a folder, in its own format.
        compare: its own comparison of two dumps: what was, what is, and a folder
            for its files; all rows in its order.
    """

    prepare: Callable[[], None]
    dump: Callable[[Encoder, Path], AbstractContextManager[None]]
    compare: Callable[[Path, Path, Path], list[Row]]
