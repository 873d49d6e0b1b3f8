# SPDX-License-Identifier: Apache-2.0
"""The three verdicts, which of several counts, and the exit code of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

Verdict = Literal["pass", "fail", "error"]
"""pass: the same; fail: different; error: could not be judged (never a pass)."""

EXIT_CODES = {"pass": 0, "fail": 1, "error": 2}
"""Of a command that ends with a verdict; a worse one has the greater code."""


def worst(verdicts: Iterable[str]) -> Verdict:
    """The verdict over several: the worse wins, and of none nothing was judged."""
    found = max(verdicts, key=EXIT_CODES.__getitem__, default="error")
    return cast(Verdict, found)
