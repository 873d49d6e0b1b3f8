# SPDX-License-Identifier: Apache-2.0
"""Results that were damaged: one sentence and exit status 2, or read for what is left.

Each field of a comparison.json in turn is dropped, of another type, or huge.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmparity.cli import main
from mmparity.compare.result import FILE_NAME, to_json, write_result
from mmparity.types.comparison import ComparisonResult

if TYPE_CHECKING:
    from conftest import At, Damage


@pytest.fixture(scope="module")
def raw(complete: ComparisonResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(to_json(complete))
    return found


@pytest.fixture
def folder(tmp_path: Path, complete: ComparisonResult) -> Path:
    """Where the damaged result is, with the good one in ``good``."""
    write_result(complete, tmp_path / "good")
    return tmp_path


def run_all(folder: Path, content: Any, damage: Damage, rejudged: bool = True) -> bool:
    """Runs each command on the content; whether it could be read."""
    (folder / FILE_NAME).write_text(json.dumps(content))
    read = [
        damage.is_read(*words)
        for words in (
            ["report", folder, "--format", "text,html" if rejudged else "text"],
            *([["rejudge", folder, "--out", folder / "again"]] * rejudged),
            ["diff", folder, folder / "good"],
        )
    ]
    assert read[0] == read[-1], "rejudge alone may find nothing to judge by"
    return read[0]


def test_the_whole_result_is_read(
    folder: Path, raw: dict[str, Any], damage: Damage
) -> None:
    assert run_all(folder, raw, damage)


def test_each_field_with_another_value_is_refused_or_read(
    folder: Path, raw: dict[str, Any], damage: Damage
) -> None:
    damaged = list(damage.one_at_each_place(raw))
    read = sum(run_all(folder, made, damage, rejudged=False) for made in damaged)
    assert 0 < read < len(damaged) / 2, "most values cannot be what a field means"


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_value_at_any_place_is_refused_or_read(
    folder: Path, raw: dict[str, Any], damage: Damage, data: st.DataObject
) -> None:
    at = data.draw(st.sampled_from(damage.places(raw)))
    value = data.draw(st.sampled_from(damage.values))
    run_all(folder, damage.changed(raw, at, value), damage)


def _nested(text: str) -> str:
    return text.replace('"created"', '"x":' + "[" * 300 + "]" * 300 + ', "created"', 1)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda text: "",
        lambda text: "null",
        lambda text: "[" * 100_000,
        lambda text: text[:-100],
        lambda text: text.replace('"total": ', f'"total": {"1" * 5000}', 1),
        _nested,
        lambda text: text.replace("image", "\ud800"),
    ],
    ids=("empty", "null", "brackets", "cut", "digits", "nested", "surrogates"),
)
def test_what_is_no_result_is_refused(
    tmp_path: Path, complete: ComparisonResult, damaged: Callable[[str], str]
) -> None:
    content = damaged(to_json(complete))
    (tmp_path / FILE_NAME).write_bytes(content.encode("utf-8", "surrogatepass"))
    for words in (["report", tmp_path], ["diff", tmp_path, tmp_path]):
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
        assert "sys." not in done.stderr


NOTHING = {"passed": 0, "failed": 0, "unmatched": 0, "total": 0}


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (("verdict",), "pass", "its verdict is pass, and its rows make fail"),
        (("summary",), NOTHING, "its summary does not count its rows"),
        (("cases", 1, "verdict"), "pass", "is a pass, and not all of its rows are"),
        (("cases", 0, "layers"), [], "is a pass, and not all of its rows are"),
        (("cases", 0, "id"), ("cases", 1, "id"), "a case is there twice"),
        (
            ("cases", 0, "layers", 0, "hook_point"),
            ("cases", 0, "layers", 1, "hook_point"),
            "a hook point is there twice",
        ),
        (("engine", "verdict"), "pass", "engine: a false pass"),
    ],
)
def test_what_does_not_follow_from_the_rows_is_refused(
    tmp_path: Path, raw: dict[str, Any], damage: Damage, at: At, value: Any, said: str
) -> None:
    if isinstance(value, tuple):
        place, value = value, raw
        for step in place:
            value = value[step]
    (tmp_path / FILE_NAME).write_text(json.dumps(damage.changed(raw, at, value)))
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("bit_equal", True, "bit_equal, and differs"),
        ("max_token_error", -1.0, "negative size"),
        ("old_oracle_error", None, "half an oracle"),
    ],
)
def test_metrics_that_contradict_themselves_are_refused(
    tmp_path: Path,
    raw: dict[str, Any],
    damage: Damage,
    field: str,
    value: Any,
    said: str,
) -> None:
    at = ("cases", 1, "layers", 0, "metrics", field)
    content = damage.changed(raw, at, value)
    (tmp_path / FILE_NAME).write_text(json.dumps(content))
    done = CliRunner().invoke(main, ["rejudge", str(tmp_path), "--out", "x"])
    assert done.exit_code == 2
    assert f"cases.1.layers.0.metrics: {said}" in done.stderr
