# SPDX-License-Identifier: Apache-2.0
"""Values as a reader sees them: numbers, sizes, and names that may be hostile."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

VERDICTS = {"pass": "PASS", "fail": "FAIL", "error": "ERROR"}
SYMBOLS = {"pass": "✓", "fail": "✗", "error": "!"}
NAME_LIMIT = 200

METRIC_NAMES = {
    "numel": "elements",
    "bit_equal": "bit-equal",
    "max_abs_diff": "largest absolute difference",
    "mean_abs_diff": "mean absolute difference",
    "normalized_l2_error": "normalized L2 error",
    "cosine_similarity": "1 - cosine",
    "min_token_cosine": "1 - lowest token cosine",
    "min_token_cosine_index": "at token",
    "max_token_error": "largest token error",
    "max_token_error_index": "at token",
    "worst_index": "largest difference at",
    "old_at_worst": "old there",
    "new_at_worst": "new there",
    "max_element_error": "largest element error",
    "old_max_abs": "largest magnitude of old",
    "old_oracle_error": "normalized L2 error of old",
    "new_oracle_error": "normalized L2 error of new",
    "old_oracle_max_token_error": "largest token error of old",
    "new_oracle_max_token_error": "largest token error of new",
    "old_oracle_max_abs_diff": "largest difference of old",
    "new_oracle_max_abs_diff": "largest difference of new",
    "torch_close": "torch.testing's defaults pass (never the verdict)",
}


def clean(text: object, limit: int = NAME_LIMIT) -> str:
    """Returns `text` on one line, without control characters, at most `limit` long.

    Escape sequences, bidirectional overrides and lone surrogates would change what
    a terminal, an XML parser or a reader makes of the rest of the report.
    """
    raw = " ".join(str(text).split("\n"))
    cut = raw[:limit]
    shown = cut
    if not cut.isprintable():
        shown = "".join(c if c.isprintable() else _escaped(c) for c in cut)
    return shown if len(raw) <= limit else f"{shown}… (+{len(raw) - limit} characters)"


def paragraph(text: object, limit: int) -> str:
    """Returns `text` with its line breaks and otherwise clean, for an error's log."""
    raw = str(text)
    kept = "\n".join(clean(line, limit) for line in raw[:limit].split("\n"))
    return kept if len(raw) <= limit else f"{kept}… (+{len(raw) - limit} characters)"


def _escaped(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def scientific(value: float | None) -> str:
    """Returns an error as ``1.23e-4``, so that magnitudes line up in a column."""
    if value is None:
        return "n/a"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def exact(value: float | None) -> str:
    """Returns a tensor element with the digits that float32 can hold."""
    if value is None or not math.isfinite(value):
        return scientific(value)
    return f"{value:.9g}"


def bound(value: float | bool | None) -> str:
    """Returns a tolerance or factor, as short as it was written."""
    if value is None or isinstance(value, bool) or not math.isfinite(value):
        return scientific(None if value is None else float(value))
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def index(position: Iterable[int] | None) -> str:
    """Returns a tensor index as ``[3, 17, 0]``."""
    return "n/a" if position is None else f"[{', '.join(str(i) for i in position)}]"


def shape(dims: Iterable[int]) -> str:
    """Returns a shape as ``784 x 16 x 80``."""
    return " x ".join(str(d) for d in dims) or "scalar"


def grids(grid_thw: Iterable[tuple[int, int, int]]) -> str:
    """Returns patch grids as ``1x28x28``, with a count in front of repeated ones."""
    runs: list[tuple[str, int]] = []
    for grid in grid_thw:
        text = "x".join(str(n) for n in grid)
        same = runs and runs[-1][0] == text
        runs[-1:] = [(text, runs[-1][1] + 1)] if same else [*runs[-1:], (text, 1)]
    return ", ".join(f"{n} of {text}" if n > 1 else text for text, n in runs)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Returns ``1 row``, ``10,200 rows``."""
    word = noun if number == 1 else plural or f"{noun}s"
    return f"{number:,} {word}"


def tally(failed: int, rows: int) -> str:
    """Returns how many rows failed, or how many there are where none did."""
    return f"{failed:,} of {rows:,} failed" if failed else count(rows, "row")


def bytes_(size: float) -> str:
    """Returns a size in the binary unit that keeps it readable."""
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


def seconds(value: float | None) -> str:
    """Returns a duration with two significant digits below a minute."""
    if value is None or not math.isfinite(value):
        return "n/a"
    if value >= 60:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"


def metric(name: str | None) -> str:
    """Returns a metric's name in words; an unknown one is shown as it is."""
    if name is None:
        return ""
    words = METRIC_NAMES.get(name, clean(name).replace("_", " "))
    return f"{words} vs oracle" if "_oracle_" in name else words


def plain(value: Any, limit: int = NAME_LIMIT) -> str:
    """Returns a value of provenance or structure as one clean line."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        value = ", ".join(f"{k}: {plain(v, limit)}" for k, v in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        value = ", ".join(plain(item, limit) for item in items)
    return clean(value, limit) or "none"


def share(part: float) -> str:
    """Returns a fraction as a percentage that is 0 or 100 only when it is exact."""
    percent = part * 100
    if 0 < percent < 1:
        return "<1%"
    if 99 < percent < 100:
        return ">99%"
    return f"{percent:.0f}%"
