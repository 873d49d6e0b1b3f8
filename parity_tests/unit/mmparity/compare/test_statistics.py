# SPDX-License-Identifier: Apache-2.0
"""Traces of statistics: what passes by sketch, what is suspect, what comes next."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner, Result

from mmparity.capture.job import CaptureJob
from mmparity.capture.statistics_writer import StatisticsWriter
from mmparity.capture.writers import ChosenWriter, writer_of
from mmparity.cli import main
from mmparity.compare.statistics import StatisticsCase, compare_case
from mmparity.errors import MmparityError
from mmparity.trace.manifest import is_whole
from mmparity.trace.reader import TraceReader

if TYPE_CHECKING:
    from conftest import Sides, Tensors


def write(folder: Path, tensors: Tensors, sides: Sides, side: str) -> Path:
    meta = sides.old_meta if side == "old" else sides.new_meta
    with StatisticsWriter(folder / side, meta, f"mmparity capture {side}") as writer:
        for name, tensor in tensors.items():
            writer.add(name, tensor, f"visual.{name}")
    return folder / side


@pytest.fixture
def compared(sides: Sides, tmp_path: Path) -> Callable[[], StatisticsCase]:
    def compare() -> StatisticsCase:
        folders = (
            write(tmp_path, sides.old, sides, "old"),
            write(tmp_path, sides.new, sides, "new"),
        )
        old, new = (TraceReader(folder, statistics=True) for folder in folders)
        return compare_case(old, new, Path("out"))

    return compare


def words(case: StatisticsCase) -> dict[str, str]:
    return {row.hook_point: row.word for row in case.rows}


def test_rounding_passes_by_sketch_and_integers_exactly(
    compared: Callable[[], StatisticsCase],
) -> None:
    case = compared()
    found = words(case)
    assert found.pop("attn.seqlens") == "exact"
    assert set(found.values()) == {"by sketch"}
    assert not case.suspects and not case.next


def test_equal_tensors_have_the_same_statistics(
    sides: Sides, compared: Callable[[], StatisticsCase]
) -> None:
    sides.new = dict(sides.old)
    assert set(words(compared()).values()) == {"same statistics", "exact"}


def negate(name: str, token: int) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name][token] *= -1

    return change


def swap(tensors: Tensors) -> None:
    x = tensors["blocks.1"]
    x[3, 4], x[3, 9] = x[3, 9].clone(), x[3, 4].clone()


def one_nan(tensors: Tensors) -> None:
    tensors["blocks.1"][5, 6] = float("nan")


def one_length(tensors: Tensors) -> None:
    tensors["attn.seqlens"][1] += 1


def fewer_tokens(tensors: Tensors) -> None:
    tensors["blocks.1"] = tensors["blocks.1"][:-1]


def another_width(tensors: Tensors) -> None:
    tensors["blocks.1"] = tensors["blocks.1"][:, :-1]


@pytest.mark.parametrize(
    ("change", "place", "reason"),
    [
        (negate("blocks.1", 7), "blocks.1", "token 7"),
        (swap, "blocks.1", "token 3"),
        (one_nan, "blocks.1", "NaN or infinite"),
        (one_length, "attn.seqlens", "mismatched elements: 1 / 3"),
        (fewer_tokens, "blocks.1", "shape differs"),
        (another_width, "blocks.1", "shape differs: old (24, 32), new (24, 31)"),
        (lambda t: t.pop("blocks.1"), "blocks.1", "only old has this hook point"),
    ],
)
def test_what_differs_is_the_only_suspect(
    sides: Sides,
    compared: Callable[[], StatisticsCase],
    change: Callable[[Tensors], object],
    place: str,
    reason: str,
) -> None:
    change(sides.new)
    (suspect,) = compared().suspects
    assert suspect.hook_point == place
    assert reason in suspect.reason


def test_the_second_pass_takes_the_suspect_and_its_neighbours(
    sides: Sides, compared: Callable[[], StatisticsCase]
) -> None:
    negate("blocks.0", 2)(sides.new)
    first, second, last = compared().next
    names = "blocks.0.attn.context,blocks.0,blocks.1.attn.q"
    assert first == f"mmparity capture old --only {names} --out out/suspects-old"
    assert second == f"mmparity capture new --only {names} --out out/suspects-new"
    assert last == "mmparity compare out/suspects-old out/suspects-new --out out"


def test_what_nobody_declared_is_said(sides: Sides, tmp_path: Path) -> None:
    old = write(tmp_path, sides.old, sides, "old")
    with StatisticsWriter(tmp_path / "new", sides.new_meta, "") as writer:
        for name, tensor in sides.new.items():
            writer.add(name, tensor, f"visual.{name}")
        writer.unmatched("visual.secret", "executed, but not declared", False)
    done = CliRunner().invoke(main, ["compare", str(old), str(tmp_path / "new")])
    assert done.exit_code == 1
    assert "no partner and no declared reason: visual.secret" in done.output


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_exit_codes_and_words_of_the_command(sides: Sides, tmp_path: Path) -> None:
    old = write(tmp_path, sides.old, sides, "old")
    new = write(tmp_path, sides.new, sides, "new")
    good = run(old, new)
    assert good.exit_code == 0, good.output
    assert "0 suspects among 11 hook points" in good.output
    assert "tensors were not compared" in good.output
    assert json.loads(run(old, new, "--json").output)[0]["rows"]
    negate("blocks.0", 2)(sides.new)
    bad = run(old, write(tmp_path, sides.new, sides, "new"))
    assert bad.exit_code == 1
    assert "--only blocks.0.attn.context,blocks.0,blocks.1.attn.q" in bad.output


def test_an_error_without_bounds_is_json_and_a_folder_of_two_words_one_word(
    sides: Sides, tmp_path: Path
) -> None:
    sides.old["merger"] = torch.zeros_like(sides.old["merger"])
    old = write(tmp_path, sides.old, sides, "old")
    new = write(tmp_path, sides.new, sides, "new")
    done = run(old, new, "--json", "--out", tmp_path / "two words")
    assert done.exit_code == 1

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    (case,) = json.loads(done.stdout, parse_constant=refuse)
    (row,) = [row for row in case["rows"] if row["hook_point"] == "merger"]
    assert row["error"] == "Infinity"
    assert case["next"][-1].endswith(f"--out '{tmp_path}/two words'")


def test_statistics_are_never_taken_for_tensors(sides: Sides, tmp_path: Path) -> None:
    tensors = sides.write()[0]
    statistics = write(tmp_path / "s", sides.old, sides, "old")
    with pytest.raises(MmparityError, match="is a trace of statistics"):
        TraceReader(statistics)
    for pair in ((tensors, statistics), (statistics, tensors)):
        done = run(*pair)
        assert done.exit_code == 2
        assert "is a trace of tensors" in done.output
    done = run(statistics, statistics, "--oracle", tensors)
    assert done.exit_code == 2 and "--oracle needs tensors" in done.output


def test_only_some_hook_points(sides: Sides, tmp_path: Path) -> None:
    with ChosenWriter(tmp_path / "t", sides.old_meta, ["blocks.0", "merger"]) as writer:
        for name, tensor in sides.old.items():
            writer.add(name, tensor, f"visual.{name}")
    trace = TraceReader(tmp_path / "t")
    assert [record.hook_point for record in trace.records] == ["blocks.0", "merger"]
    assert torch.equal(trace.read("merger"), sides.old["merger"])
    (rest,) = trace.unmatched
    assert rest.path == "9 hook points" and rest.explained
    done = run(tmp_path / "t", tmp_path / "t", "--out", tmp_path / "out")
    assert "A part of the encoder only: 9 hook points were left out." in done.output
    assert not is_whole(other.reason for other in trace.unmatched)


def test_a_hook_point_that_is_not_there_leaves_no_trace(
    sides: Sides, tmp_path: Path
) -> None:
    item = CaptureJob(
        "image", "", "float32", str(tmp_path / "t"), only="blocks.0,block"
    )
    with (
        pytest.raises(MmparityError, match="--only block: nothing of that name"),
        writer_of(item, sides.old_meta) as writer,
    ):
        for name, tensor in sides.old.items():
            writer.add(name, tensor, f"visual.{name}")
    with pytest.raises(MmparityError, match=r"trace\.json is not there"):
        TraceReader(tmp_path / "t")


def test_finite_values_whose_squares_overflow_are_no_error(
    sides: Sides, tmp_path: Path
) -> None:
    large = torch.full((4, 32), 1e30, dtype=torch.bfloat16)
    with StatisticsWriter(tmp_path / "t", sides.old_meta, "") as writer:
        writer.add("x", large, "x")
    trace = TraceReader(tmp_path / "t", statistics=True)
    assert trace.record("x").error is None
    assert not trace.read("x")[:, 0].isfinite().any()
