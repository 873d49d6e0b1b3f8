# SPDX-License-Identifier: Apache-2.0
"""The code of docs/library.md runs, and its table has every name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mmparity

PAGE = Path(__file__).resolve().parents[4] / "docs/library.md"


def test_the_code_of_the_page_runs_and_says_what_the_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    exec("\n".join(blocks), {})
    shown = capsys.readouterr().out
    assert shown.startswith("2 is not close to old.\n")
    assert "Its own parameters differ: weight: other values." in shown
    assert re.search(r"^0 pass True Linear, .*linear\.py:\d+$", shown, re.MULTILINE)


def test_the_page_names_all_that_the_library_has() -> None:
    text = PAGE.read_text()
    shown = {"ModuleRow", "Options"}  # what the functions give and take
    assert [name for name in set(mmparity.__all__) - shown if name not in text] == []
