# SPDX-License-Identifier: Apache-2.0
"""A dozen bugs of the catalogue and some rewrites, in the real patched trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness_checks.mutants.catalogue import read_catalogue
from harness_checks.mutants.peers.places import is_right
from harness_checks.mutants.peers.run import runnable
from harness_checks.mutants.run import OLDS, run_mutants
from harness_checks.mutants.score import score
from mmparity.errors import MmparityError
from mmparity.fork_server import ForkServer
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.trees import find_trees


def test_every_edit_of_the_catalogue_fits_the_trees() -> None:
    trees = find_trees(sorted(OLDS), (), IMPLEMENTATIONS)
    for mutant in read_catalogue():
        before, after = mutant.edited(trees[mutant.on])
        assert before != after
        compile(after, mutant.file, "exec")


@pytest.mark.timeout(600)
def test_planted_bugs_are_found_and_rewrites_are_not(
    tmp_path: Path, forks: ForkServer
) -> None:
    chosen = [mutant for mutant in read_catalogue() if mutant.quick]
    outcomes, judged = run_mutants(chosen, tmp_path, lambda text: None, forks)
    result = score(chosen, outcomes)
    assert judged == {}
    assert len(result.bugs) >= 12
    assert [(row.mutant.name, row.problem) for row in result.problems] == []
    assert result.passes


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_other_tools_judge_planted_bugs(tmp_path: Path, forks: ForkServer) -> None:
    try:
        tools = runnable()
    except MmparityError as error:
        pytest.skip(str(error))
    names = ("scale-squared", "sdpa-math-kernel")
    chosen = [mutant for mutant in read_catalogue() if mutant.name in names]
    outcomes, judged = run_mutants(chosen, tmp_path, lambda text: None, forks, tools)
    assert score(chosen, outcomes).passes
    for tool in tools:
        bug, calm = (judged[name][tool] for name in names)
        assert bug.flagged
        assert is_right(bug.places, ["blocks.0.attn.context"])
        assert not calm.flagged and not calm.reason and calm.rows > 100
        unchanged = judged["unchanged unified float float32"][tool]
        assert not unchanged.flagged and unchanged.rows > 100
    assert not (tmp_path / "unified-peers").exists()
