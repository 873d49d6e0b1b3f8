# SPDX-License-Identifier: Apache-2.0
"""Mutants without an encoder: edits of running code, the catalogue, the score."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import click
import pytest

from harness_checks.mutants import groups, history, tries
from harness_checks.mutants.catalogue import (
    SETS,
    Mutant,
    edited_files,
    read_catalogue,
)
from harness_checks.mutants.command import mutants
from harness_checks.mutants.run import OLDS
from harness_checks.mutants.score import BEGIN, END, Score, score, write_docs
from harness_checks.mutants.swap import SwapError, swap
from harness_checks.mutants.trial import ServerJob, Trial, TrialOutcome
from harness_checks.mutants.workload import WORKLOADS
from mmparity.compare.rows import Standard
from mmparity.errors import MmparityError
from mmparity.locks import held
from mmparity.types.comparison import Expected

SOURCE = """
import functools

LIMIT = 3

def wrap(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args)
    return call

class Thing:
    factor = 2

    @wrap
    def wrapped(self, x):
        return x * 2

    @staticmethod
    def static(x):
        return [y + 1 for y in (x,)][0]

    @property
    def lazy(self):
        return (lambda: 5)()

def plain(x, by=1):
    return x + by
"""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    file = tmp_path / "swapped.py"
    file.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("swapped", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["swapped"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["swapped"]


def edit(module: ModuleType, old: str, new: str) -> tuple[str, ...]:
    assert SOURCE.count(old) == 1
    return swap(str(module.__file__), SOURCE, SOURCE.replace(old, new))


def test_who_holds_a_function_runs_the_edited_code(module: ModuleType) -> None:
    thing, held = module.Thing(), (module.plain, module.Thing.static)
    bound = thing.wrapped
    assert edit(module, "return x * 2", "return x * 3") == ("wrapped",)
    assert edit(module, "return x + by", "return x - by") == ("plain",)
    assert edit(module, "y + 1 for y", "y + 7 for y") == ("static",)
    assert (bound(1), held[0](1), held[1](1)) == (3, 0, 8)


def test_a_nested_function_is_exchanged_with_its_outer_one(module: ModuleType) -> None:
    assert edit(module, "lambda: 5", "lambda: 6") == ("lazy",)
    assert module.Thing().lazy == 6


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("factor = 2", "factor = 3"),
        ("by=1", "by=2"),
        ("    @property\n", ""),
        ("def plain", "def renamed"),
        ("LIMIT = 3", "LIMIT = 3  # a comment"),
    ],
)
def test_an_edit_without_effect_on_running_code_is_refused(
    module: ModuleType, old: str, new: str
) -> None:
    with pytest.raises(SwapError):
        edit(module, old, new)


def test_the_catalogue_is_as_large_as_promised() -> None:
    mutants = read_catalogue()
    bugs = [m for m in mutants if m.kind == "bug" and not m.equivalent]
    assert len(bugs) >= 60
    assert sum(m.kind == "rewrite" for m in mutants) >= 20
    assert sum(m.quick for m in mutants) >= 12
    assert {m.on for m in mutants} == set(OLDS)
    used = [WORKLOADS[m.workload] for m in bugs]
    assert {n for load in used for n in (load.name, load.data)} == set(WORKLOADS)
    assert sum(m.of == "history" for m in bugs) >= 20


def test_the_command_knows_the_sets() -> None:
    (option,) = (item for item in mutants.params if item.name == "of")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == list(SETS)
    assert {mutant.of for mutant in read_catalogue()} == set(SETS)


def test_a_public_bug_without_its_reference_is_refused(tmp_path: Path) -> None:
    entry = 'name = "x"\nold = "a"\nnew = "b"\nat = "blocks.0"\nwas = "wrong"\n'
    head = '[[file]]\npath = "vllm/a.py"\non = "unified"\n'
    (tmp_path / "history.toml").write_text(f"{head}[[file.mutant]]\n{entry}")
    with pytest.raises(MmparityError, match="`reference` and `was` are needed"):
        read_catalogue(tmp_path)


def test_the_table_of_public_bugs_says_what_no_cpu_shows() -> None:
    bug = replace(BUG, of="history", reference=("vllm#1",), was="lost")
    absent = history.NotHere(("vllm#2",), "too large", "it takes a day")
    text = history.table(score([bug], {"bug": FOUND}), (absent,))
    assert "| vllm#1 | lost | b (unified) | `blocks.0` | yes |" in text
    assert "| vllm#2 | too large | it takes a day |" in text
    assert all(item.reason for item in history.read_not_here())


def test_rates_are_given_by_family_and_by_path() -> None:
    padded = replace(BUG, name="padded", on="unified-ascend-weights")
    spread = replace(BUG, name="spread", workload="qwen2-tp2")
    outcomes = {
        "bug": FOUND,
        "padded": TrialOutcome("padded", "float32", "pass"),
        "spread": replace(FOUND, name="spread", place="x"),
        "calm": PASSED,
    }
    result = score([BUG, padded, spread, CALM], outcomes)
    found = {name: part for _, name, part in groups.groups(result)}
    families, paths = {"qwen2_5_vl", "qwen2_vl"}, {"unified", "padded weights", "TP 2"}
    assert set(found) == families | paths | {"normal"}
    assert found["padded weights"].detection == 0
    assert (found["TP 2"].detection, found["TP 2"].localisation) == (1, 0)
    assert len(found["unified"].rewrites) == 1
    assert "| path | TP 2 | 1 | 1 | 0 | 0 | 0 |" in groups.table(result)


def test_a_workload_that_is_not_known_is_refused(tmp_path: Path) -> None:
    entry = 'name = "x"\nold = "a"\nnew = "b"\nat = "blocks.0"\nworkload = "tp3"\n'
    head = '[[file]]\npath = "vllm/a.py"\non = "unified"\n'
    (tmp_path / "bugs.toml").write_text(f"{head}[[file.mutant]]\n{entry}")
    with pytest.raises(
        MmparityError,
        match=r"unknown workload 'tp3'.*Known: float, w8a8",
    ):
        read_catalogue(tmp_path)


def test_ranks_of_a_trial_end_with_the_one_that_died() -> None:
    pids = {}
    for rank, body in enumerate(("time.sleep(60)", "os._exit(7)")):
        command = [sys.executable, "-c", f"import os, time; {body}"]
        pids[os.posix_spawn(command[0], command, os.environ)] = rank
    started = time.monotonic()
    assert tries.wait_for(pids) == [1, 0]
    assert time.monotonic() - started < 30


def test_edits_of_one_function_are_planted_together(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("def f(x):\n    y = x + 1\n    return y * 2\n")
    one = Mutant("one", "bug", "unified", "vllm/a.py", "x + 1", "x - 1", ("f",))
    two = Mutant("two", "bug", "unified", "vllm/a.py", "y * 2", "y * 3", ("f",))
    trees = {"vllm": str(tmp_path)}
    ((path, before, after),) = edited_files((one, two), trees)
    assert (path, before) == (file, file.read_text())
    assert "x - 1" in after
    assert "y * 3" in after
    with pytest.raises(MmparityError, match="'one' does not go with those before it"):
        edited_files((one, one), trees)


BUG = Mutant("bug", "bug", "unified", "vllm/a/b.py", "x", "y", ("blocks.0",), "ragged")
SAME = Mutant("same", "bug", "unified", "vllm/a.py", "x", "y", equivalent="no effect")
CALM = Mutant("calm", "rewrite", "unified", "vllm/a.py", "x", "y")
FOUND = TrialOutcome("bug", "float32", "fail", ("f",), case="ragged", place="blocks.0")
QUIET = TrialOutcome("same", "float32", "pass", ("f",), identical=True)
PASSED = TrialOutcome("calm", "float32", "pass", ("f",))


def scored(*outcomes: TrialOutcome) -> Score:
    by_name = {outcome.name: outcome for outcome in (FOUND, QUIET, PASSED, *outcomes)}
    return score([BUG, SAME, CALM], by_name)


def test_what_does_as_the_catalogue_says_passes() -> None:
    result = scored()
    assert result.passes
    assert not result.problems
    assert (result.detection, result.localisation) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (TrialOutcome("bug", "float32", "pass"), "escapes"),
        (TrialOutcome("bug", "float32", "pass", identical=True), "escapes; it changes"),
        (TrialOutcome("bug", "float32", "fail", case="ragged", place="x"), "misplaced"),
        (
            TrialOutcome("bug", "float32", "fail", case="x", place="blocks.0"),
            "misplaced",
        ),
        (
            TrialOutcome("same", "float32", "pass", identical=False),
            "declared equivalent",
        ),
        (
            TrialOutcome("same", "float32", "fail", identical=True),
            "declared equivalent",
        ),
        (TrialOutcome("calm", "float32", "fail", place="x"), "false alarm"),
        (TrialOutcome("calm", "float32", "error", place="x"), "false alarm"),
    ],
)
def test_what_does_not_is_named_and_fails(outcome: TrialOutcome, problem: str) -> None:
    result = scored(outcome)
    assert not result.passes
    assert [row.problem.startswith(problem) for row in result.problems] == [True]


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("blocks.0, blocks.1", ""),
        ("blocks.0", "not told apart"),
        ("", "not told apart"),
    ],
)
def test_bugs_planted_together_must_all_be_named(place: str, problem: str) -> None:
    at = ("blocks.0", "blocks.1")
    both = replace(BUG, name="both", kind="several", at=at, parts=(BUG, BUG))
    found = TrialOutcome("both", "float32", "fail", place=place)
    (row,) = score([both], {"both": found}).rows
    assert row.problem == problem
    assert score([BUG, both], {"bug": FOUND, "both": found}).passes == (not problem)


def test_one_misplaced_of_twenty_is_allowed() -> None:
    bugs = [
        Mutant(str(n), "bug", "unified", "vllm/a.py", "x", "y", ("blocks.0",))
        for n in range(20)
    ]
    places = ["elsewhere"] + ["blocks.0"] * 19
    outcomes = {
        bug.name: TrialOutcome(bug.name, "float32", "fail", case="ragged", place=place)
        for bug, place in zip(bugs, places, strict=True)
    }
    assert score(bugs, outcomes).passes
    assert not score(bugs[:19], outcomes).passes


def test_no_mutants_are_no_pass() -> None:
    assert not score([], {}).passes


def test_a_mutant_without_an_answer_is_an_error() -> None:
    with pytest.raises(KeyError):
        score([BUG], {})


def test_the_table_stands_between_the_markers(tmp_path: Path) -> None:
    file = tmp_path / "mutants.md"
    file.write_text(f"head\n{BEGIN}\nold\n{END}\nfoot\n")
    write_docs(scored(), file)
    text = file.read_text()
    assert text.startswith("head\n")
    assert text.endswith(f"{END}\nfoot\n")
    assert "1 of 1 bugs detected (100.0%)" in text
    assert "old" not in text
    write_docs(scored(), file)
    assert file.read_text() == text
    for text in ("no markers", f"{END}\n{BEGIN}\nfoot\n"):
        file.write_text(text)
        with pytest.raises(MmparityError, match="once each"):
            write_docs(scored(), file)
        assert file.read_text() == text


@pytest.mark.parametrize("more", [[], ["--peers"]])
def test_a_table_of_some_of_the_mutants_is_refused(
    tmp_path: Path, more: list[str]
) -> None:
    given = ["--quick", "--docs", *more, "--out", str(tmp_path)]
    with pytest.raises(click.UsageError, match="needs the whole catalogue"):
        mutants.main(given, standalone_mode=False)


def test_the_table_of_other_tools_leaves_the_one_with_twins_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_mutants(*_: object) -> tuple[dict[str, TrialOutcome], dict[str, object]]:
        return {}, {}

    written: list[str] = []
    monkeypatch.setattr("harness_checks.mutants.run.run_mutants", run_mutants)
    monkeypatch.setattr("harness_checks.mutants.score.score", lambda *_: scored())
    monkeypatch.setattr("harness_checks.mutants.peers.run.runnable", lambda: ())
    for place in ("score.write_docs", "history.write_docs", "peers.table.write_peers"):
        monkeypatch.setattr(
            f"harness_checks.mutants.{place}",
            lambda *_, place=place: written.append(place),
        )
    monkeypatch.setattr("harness_checks.mutants.peers.table.summary", lambda *_: [])
    given = ["--docs", "--peers", "--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        mutants.main(given, standalone_mode=False)
    assert written == ["peers.table.write_peers"]


def test_a_second_run_in_one_folder_is_refused(tmp_path: Path) -> None:
    given = ["--quick", "--out", str(tmp_path)]
    with held(tmp_path), pytest.raises(MmparityError, match="is in use by process"):
        mutants.main(given, standalone_mode=False)


@pytest.mark.parametrize(
    ("load", "rewrites", "expected"),
    [("float", False, "identical"), ("tp2", True, "floor")],
)
def test_no_noise_is_needed_on_ranks_or_where_bits_are_the_same(
    tmp_path: Path, load: str, rewrites: bool, expected: Expected
) -> None:
    assert trial_in(tmp_path, load, rewrites).standard == Standard(expected)


def test_nothing_is_judged_by_bounds_without_the_noise_of_old(tmp_path: Path) -> None:
    with pytest.raises(MmparityError, match=r"vllm-0\.12\.0/float/clips-float32"):
        _ = trial_in(tmp_path, "float", rewrites=True).standard


def trial_in(folder: Path, load: str, rewrites: bool) -> Trial:
    """A trial without any trace."""
    olds = dict.fromkeys(WORKLOADS, "vllm-0.12.0")
    job = ServerJob("unified", olds, {}, {}, {}, str(folder), str(folder), ())
    return Trial("edit", "float32", WORKLOADS[load], job, rewrites)
