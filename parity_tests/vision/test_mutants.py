# SPDX-License-Identifier: Apache-2.0
"""A dozen bugs of the catalogue and some rewrites, in the real patched trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmparity.implementations import IMPLEMENTATIONS
from mmparity.mutants.catalogue import read_catalogue
from mmparity.mutants.run import OLD_OF, run_mutants
from mmparity.mutants.score import score
from mmparity.plan import find_trees


def test_every_edit_of_the_catalogue_fits_the_trees() -> None:
    trees = find_trees(sorted(OLD_OF), (), IMPLEMENTATIONS)
    for mutant in read_catalogue():
        before, after = mutant.edited(trees[mutant.on])
        assert before != after
        compile(after, mutant.file, "exec")


@pytest.mark.timeout(600)
def test_planted_bugs_are_found_and_rewrites_are_not(tmp_path: Path) -> None:
    chosen = [mutant for mutant in read_catalogue() if mutant.quick]
    result = score(chosen, run_mutants(chosen, tmp_path, lambda text: None))
    assert len(result.bugs) >= 12
    assert [(row.mutant.name, row.problem) for row in result.problems] == []
    assert result.passes
