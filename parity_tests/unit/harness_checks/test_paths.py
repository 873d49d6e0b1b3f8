# SPDX-License-Identifier: Apache-2.0
"""Lines that no case executes, and the reasons for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness_checks.paths.reasons import Finding, Reason, Watched, findings, read
from mmparity.errors import MmparityError

SOURCE = """
class Tower:
    def forward(self, x):
        if x.dtype == float:
            x = clamp(x)
        return x

    def load(self, weights):
        for name in weights:
            take(name)


def other(x):
    return x


# the end
"""
STATEMENTS = (2, 3, 4, 5, 6, 8, 9, 10, 13, 14)
FILE = "vllm/tower.py"


def found(
    *reasons: Reason, missing: tuple[int, ...] = (5,), only: str = "Tower"
) -> list[Finding]:
    watched = Watched(FILE, (only,) if only else (), reasons)
    return list(findings(watched, SOURCE, STATEMENTS, missing))


CLAMP = Reason("only float does", code="x = clamp(x)")


def test_a_line_without_a_reason_is_named() -> None:
    (finding,) = found()
    assert finding.file == FILE
    assert finding.lines == (5,)
    assert finding.text == "not executed, without a reason: x = clamp(x)"


def test_a_line_with_a_reason_is_fine() -> None:
    assert found(CLAMP) == []
    assert found(Reason("nobody loads", function="Tower.load"), missing=(9, 10)) == []


def test_a_reason_for_a_line_that_is_executed_is_an_error() -> None:
    (finding,) = found(CLAMP, missing=())
    assert finding.lines == (5,)
    assert "is executed, so it needs no reason" in finding.text
    whole = Reason("nobody loads", function="Tower.load")
    (finding,) = found(whole, missing=(10,))
    assert finding.lines == (9,)


def test_a_reason_for_several_lines_holds_where_all_were_not_executed() -> None:
    code = "        if x.dtype == float:\n            x = clamp(x)\n"
    (finding,) = found(Reason("never", code=code))
    assert finding.lines == (4,)
    assert found(Reason("never", code=code), missing=(4, 5)) == []


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason("gone", code="y = clamp(x)"), "is not in it"),
        (Reason("twice", code="return x"), "is executed"),
        (Reason("gone", function="Tower.run"), "is not in it"),
        (Reason("a part", code="load(self, weights):\n"), "is executed"),
        (Reason("a comment", code="# the end"), "is no statement"),
    ],
)
def test_a_reason_for_code_that_is_not_there_is_an_error(
    reason: Reason, text: str
) -> None:
    (finding,) = found(reason, missing=())
    assert text in finding.text


def test_what_is_not_watched_needs_no_reason() -> None:
    assert found(missing=(14,)) == []
    (finding,) = found(missing=(14,), only="")
    assert finding.lines == (14,)


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(MmparityError, match="has no 'Towers'"):
        found(only="Towers")


@pytest.mark.parametrize("entry", ['why = "x"', 'code = "x"', 'whom = "x"'])
def test_a_reason_that_is_not_whole_is_refused(tmp_path: Path, entry: str) -> None:
    file = tmp_path / "reasons.toml"
    file.write_text(f'[[file]]\npath = "vllm/a.py"\n[[file.not_executed]]\n{entry}\n')
    with pytest.raises(MmparityError, match=r"vllm/a\.py"):
        read(file)


def test_the_reasons_of_the_project_can_be_read() -> None:
    assert len(read()) > 5
