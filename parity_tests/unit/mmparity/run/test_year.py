# SPDX-License-Identifier: Apache-2.0
"""Which implementations a year has, against what, and why others are left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmparity.errors import MmparityError
from mmparity.run.plan import Options
from mmparity.run.year import Year, make_year
from mmparity.workload.implementations import IMPLEMENTATIONS

pytestmark = pytest.mark.usefixtures("source_trees")
HERE = tuple(n for n, item in IMPLEMENTATIONS.items() if not item.optional)


def make(*only: str, **given: Any) -> Year:
    options = Options(out=Path("out"), cases=("image",), depth=2, **given)
    return make_year(options, IMPLEMENTATIONS, only)


def test_each_is_compared_with_the_first_and_the_one_before_it() -> None:
    found = make("vllm-0.12.0", "unified", "unified-ascend")
    assert found.first == "ascend-0.11.0"
    assert found.plan.pairs == (
        ("ascend-0.11.0", "vllm-0.12.0"),
        ("ascend-0.11.0", "unified"),
        ("vllm-0.12.0", "unified"),
        ("ascend-0.11.0", "unified-ascend"),
    )


def test_all_that_is_there_takes_part_or_has_a_reason() -> None:
    found = make()
    names = {side for pair in found.plan.pairs for side in pair}
    assert set(HERE) - {"hf"} <= names
    oracles = {name for name, item in IMPLEMENTATIONS.items() if item.oracle}
    assert names | set(found.left_out) == set(IMPLEMENTATIONS) - oracles
    assert "--python installed=PYTHON" in found.left_out["installed"]


def test_nothing_is_fetched_or_made(monkeypatch: pytest.MonkeyPatch) -> None:
    today = replace(IMPLEMENTATIONS["vllm-0.33.0"], environment="no-such")
    lost = replace(IMPLEMENTATIONS["vllm-0.13.0"], trees={"vllm": "vllm-0.0.1"})
    there = {name: IMPLEMENTATIONS[name] for name in HERE}
    options = Options(out=Path("out"), cases=("image",), depth=2)
    found = make_year(options, {**there, today.name: today, lost.name: lost})
    assert found.left_out == {
        "vllm-0.33.0": "`make setup ENV=no-such` makes its environment.",
        "vllm-0.13.0": "`patchseries fetch vllm-0.0.1` brings its trees.",
    }


def test_a_model_that_the_first_lacks_is_compared_with_what_stands_in_for_it() -> None:
    found = make("ascend-0.11.0", "vllm-0.12.0", models=("qwen3-vl-8b",))
    assert found.first == "ascend-0.11.0-nopad"
    assert "no encoder" in found.left_out["ascend-0.11.0"]


def test_an_installed_vllm_takes_part_where_its_python_is_named(
    tmp_path: Path,
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho '[]'\n")  # it lacks nothing
    python.chmod(0o755)
    found = make("installed", pythons=(f"installed={python}",))
    assert found.plan.pairs == (("ascend-0.11.0", "installed"),)


def test_two_models_and_unknown_names_are_refused() -> None:
    with pytest.raises(MmparityError, match="one --model"):
        make(models=("qwen2-vl-7b", "qwen3-vl-8b"))
    with pytest.raises(MmparityError, match="has no encoder for siglip"):
        make(models=("siglip",))
    with pytest.raises(MmparityError, match="unknown implementation"):
        make("vllm-0.12")
