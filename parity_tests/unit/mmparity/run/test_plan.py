# SPDX-License-Identifier: Apache-2.0
"""Options become a checked plan, or one message that says what is allowed."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmparity.errors import MmparityError
from mmparity.run.plan import Options, Plan, peak_trace_bytes
from mmparity.run.planning import (
    choose_models,
    make_capture_plan,
    make_plan,
    make_plans,
)
from mmparity.workload.cases import DEFAULT_CASES
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.models import MODELS
from mmparity.workload.pairs import (
    DEFAULT_PAIRS,
    QUANTIZED_PAIRS,
    TODAY_MODELS,
    TODAY_PAIRS,
)
from mmparity.workload.towers import TOWERS

PYTHONS = tuple(
    f"{name}={sys.executable}"
    for name in sorted({side for pair in TODAY_PAIRS for side in pair})
    if IMPLEMENTATIONS[name].environment == "today"
)
"""So that no environment is made."""
pytestmark = pytest.mark.usefixtures("source_trees")


def make(**given: Any) -> Plan:
    return make_plan(Options(out=Path("out"), **given), IMPLEMENTATIONS)


def test_default_plan_is_three_pairs_four_cases_two_dtypes() -> None:
    plan = make()
    assert plan.pairs == DEFAULT_PAIRS
    assert plan.cases == DEFAULT_CASES
    assert plan.dtypes == ("float32", "bfloat16")
    assert plan.depth is None
    assert set(plan.trees) == {"hf", *(side for pair in DEFAULT_PAIRS for side in pair)}


def test_a_case_of_no_model_is_one_message() -> None:
    options = Options(out=Path("out"), models=("all",), cases=("image", "nonsense"))
    with pytest.raises(MmparityError, match="no model has all of image, nonsense"):
        make_plans(options, IMPLEMENTATIONS)


def test_default_cases_are_about_1100_patches() -> None:
    assert 1_000 <= sum(case.patches for case in DEFAULT_CASES) <= 1_200


@pytest.mark.parametrize(
    ("given", "pairs"),
    [
        ({"old": "vllm-0.12.0"}, (("vllm-0.12.0", "unified"),)),
        ({"new": "unified-ascend"}, DEFAULT_PAIRS[:2]),
        ({"old": "unified", "new": "vllm-0.12.0"}, (("unified", "vllm-0.12.0"),)),
    ],
)
def test_one_given_side_selects_its_default_pairs(
    given: dict[str, str], pairs: object
) -> None:
    assert make(**given).pairs == pairs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"old": "ascend-0.11"}, "unknown implementation.*Closest: 'ascend-0.11.0'"),
        ({"cases": ("vidoe",)}, "unknown case 'vidoe'.*Closest: 'video'"),
        ({"new": "ascend-0.11.0"}, "in no default pair: give --old too"),
        ({"dtypes": ("int4",)}, "does not run in 'int4'. Allowed: float32, bfloat16"),
        ({"tp": 3}, "Allowed: 1, 2, 4;"),
        ({"grids": ("1,16",)}, "not T,H,W"),
        ({"grids": ("1,15,25",)}, "Nearest allowed: 1,16,24"),
        ({"grids": ("0,2,2",)}, "at least 1"),
        ({"trees": ("unified=x",)}, "not IMPL:SOURCE=DIR"),
        ({"trees": ("unifed:vllm=/",)}, "Closest: 'unified'"),
        ({"trees": ("unified:vllm-ascend=/",)}, "Allowed: vllm"),
        ({"trees": ("unified:vllm=/no/such",)}, "is not a folder"),
    ],
)
def test_wrong_options_are_explained(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MmparityError, match=message):
        make(**given)


def test_missing_tree_names_the_command_that_makes_it(source_trees: Path) -> None:
    (source_trees / "patched" / "vllm-0.12.0").rename(source_trees / "elsewhere")
    with pytest.raises(MmparityError, match="Run `make apply`"):
        make(old="vllm-0.12.0", new="unified")
    shutil.rmtree(source_trees / "vllm-0.12.0")
    with pytest.raises(MmparityError, match="Run `make sources`"):
        make(old="vllm-0.12.0", new="vllm-0.12.0")


def test_missing_optional_tree_is_fetched_by_its_name(source_trees: Path) -> None:
    for tree, command in (
        ("vllm-0.13.0", "Run `patchseries fetch vllm-0.13.0`"),
        ("patched/vllm-0.33.0", "`patchseries fetch vllm-0.33.0 && patchseries apply`"),
    ):
        new = "vllm-0.13.0" if tree == "vllm-0.13.0" else "unified-0.33.0"
        (source_trees / tree).rename(source_trees / "elsewhere")
        with pytest.raises(MmparityError, match=re.escape(command)):
            make(old="vllm-0.12.0", new=new)
        (source_trees / "elsewhere").rename(source_trees / tree)


def test_today_is_each_release_with_the_next_and_with_its_series() -> None:
    options = Options(out=Path("out"), environment="today", pythons=PYTHONS)
    plans = make_plans(options, IMPLEMENTATIONS)
    assert [plan.model for plan in plans] == list(TODAY_MODELS)
    oracles = ("hf", "hf-today")
    of_releases = tuple(pair for pair in TODAY_PAIRS if pair != oracles)
    assert plans[0].pairs == plans[1].pairs == (oracles, *of_releases)
    assert plans[2].pairs == plans[3].pairs == of_releases
    assert {plan.depth for plan in plans} == {2}
    sides = tuple(text for text in PYTHONS if "0.33.0=" in text)
    one = replace(options, models=("qwen3-vl-8b",), old="vllm-0.33.0", pythons=sides)
    (plan,) = make_plans(one, IMPLEMENTATIONS)
    assert (plan.model, plan.depth) == ("qwen3-vl-8b", None)
    assert plan.pairs == (("vllm-0.33.0", "unified-0.33.0"),)


def test_given_tree_replaces_the_default_of_its_implementation_only(
    source_trees: Path, tmp_path: Path
) -> None:
    fork = shutil.copytree(source_trees / "vllm-0.12.0", tmp_path / "fork")
    plan = make(trees=(f"unified:vllm={fork}",))
    assert plan.trees["unified"]["vllm"] == str(fork)
    assert plan.trees["unified-ascend"]["vllm"].endswith("patched/vllm-0.12.0")


def test_grids_alone_replace_the_default_cases() -> None:
    assert [case.name for case in make(grids=("1,4,6", "2,8,8")).cases] == [
        "grid-1x4x6+2x8x8"
    ]
    both = make(grids=("1,4,6",), cases=("image", "image"))
    assert [case.name for case in both.cases] == ["image", "grid-1x4x6"]


def test_repeat_command_names_what_differs_from_the_defaults() -> None:
    plan = make(grids=("1,4,6",), fast=True)
    plan = replace(plan, options=replace(plan.options, device="cuda"))
    assert plan.repeat("a", "b", plan.cases[0], "float32") == (
        "mmparity run --old a --new b --grid 1,4,6 --dtype float32 --depth 4 "
        "--device cuda"
    )


def test_a_named_case_is_repeated_without_the_grids_beside_it() -> None:
    plan = make(cases=("image",), grids=("1,4,6",))
    named, other = (plan.repeat("a", "b", case, "float32") for case in plan.cases)
    assert named == "mmparity run --old a --new b --case image --dtype float32"
    assert other == "mmparity run --old a --new b --grid 1,4,6 --dtype float32"


def test_disk_estimate_counts_what_is_there_at_once() -> None:
    plan = make(dtypes=("float32",))
    one = peak_trace_bytes(
        make_capture_plan(plan.options, "unified", IMPLEMENTATIONS), 32
    )
    assert peak_trace_bytes(plan, 32) == pytest.approx(3 * one, rel=1e-6)
    keeping = replace(plan, options=replace(plan.options, keep_traces=True))
    assert peak_trace_bytes(keeping, 32) == pytest.approx(6 * one, rel=1e-6)


@pytest.mark.parametrize("old", ["ascend-0.11.0", "ascend-0.12.0rc1"])
def test_released_encoders_have_no_float32_on_an_npu(old: str) -> None:
    npu = {"device": "npu", "ray": "of a cluster with NPUs"}
    assert make(old=old, new="unified-ascend", **npu).dtypes == ("bfloat16",)
    message = f"{old} calls the NPU's attention operator, which has no float32. Give"
    given = {"old": old, "new": "unified-ascend", "dtypes": ("bfloat16", "float32")}
    with pytest.raises(MmparityError, match=message):
        make(**npu, **given)
    options = Options(out=Path("out"), dtypes=("float32",), **npu)
    with pytest.raises(MmparityError, match=message):
        make_capture_plan(options, old, IMPLEMENTATIONS)
    assert make(**given).dtypes == given["dtypes"]
    new = make(old="unified-ascend", new="unified-ascend-weights", **npu)
    assert new.dtypes == ("float32", "bfloat16")


def test_capture_plan_of_the_oracle_is_float64() -> None:
    plan = make_capture_plan(Options(out=Path("out")), "hf", IMPLEMENTATIONS)
    assert plan.dtypes_of("hf") == ("float64",)
    assert plan.pairs == ()
    assert set(plan.trees) == {"hf"}


def test_all_models_are_cut_and_named_in_their_cases() -> None:
    plans = make_plans(Options(out=Path("out"), models=("all",)), IMPLEMENTATIONS)
    quantized = [plan for plan in plans if plan.quantized]
    assert [plan.model for plan in quantized] == ["qwen2.5-vl-7b"]
    seeded = [name for name, model in MODELS.items() if not model.trained]
    plans = tuple(p for p in plans if not p.quantized and p.model in seeded)
    assert {plan.depth for plan in plans} == {2}
    assert [plan.model for plan in plans] == seeded
    names = [plan.case_name(case) for plan in plans for case in plan.cases]
    family = len(seeded) - len(TOWERS)
    of_all = len(DEFAULT_CASES) * family + len(TOWERS)
    assert len(names) == len(set(names)) == of_all
    assert "siglip/tower" in names
    assert "qwen3-vl-8b/ragged" in names
    full = Options(out=Path("out"), models=("all",), full_depth=True)
    assert {plan.depth for plan in make_plans(full, IMPLEMENTATIONS)} == {None}


@pytest.mark.parametrize(
    ("model", "old"),
    [
        ("qwen2-vl-7b", "ascend-0.11.0"),
        ("qwen2.5-omni-7b", "ascend-0.11.0"),
        ("qwen3-vl-30b-a3b", "ascend-0.11.0-nopad"),
    ],
)
def test_each_model_has_the_pairs_whose_sides_exist(model: str, old: str) -> None:
    (plan,) = make_plans(Options(out=Path("out"), models=(model,)), IMPLEMENTATIONS)
    assert plan.pairs == (
        (old, "unified-ascend"),
        ("ascend-0.12.0rc1", "unified-ascend"),
        (old, "unified-ascend-weights"),
        ("vllm-0.12.0", "unified"),
    )
    assert plan.repeat(*plan.pairs[0], plan.cases[0], "float32") == (
        f"mmparity run --old {old} --new unified-ascend --model {model} "
        "--case image --dtype float32"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"models": ("qwen3-vl-9b",)},
            "unknown model 'qwen3-vl-9b'.*Closest: 'qwen3-vl-8b'",
        ),
        (
            {"models": ("qwen3-vl-8b",), "old": "ascend-0.11.0"},
            "no encoder for qwen3-vl-8b. With one: ascend-0.11.0-nopad",
        ),
        ({"models": ("all",), "checkpoint": Path()}, "--checkpoint is one model's"),
    ],
)
def test_wrong_models_are_explained(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MmparityError, match=message):
        make_plans(Options(out=Path("out"), **given), IMPLEMENTATIONS)


def test_models_may_be_given_with_commas() -> None:
    given = ("qwen2-vl-2b,qwen3-vl-2b", "qwen2-vl-2b")
    assert choose_models(given) == ("qwen2-vl-2b", "qwen3-vl-2b")
    assert choose_models(()) == (None,)


def test_a_quantised_case_has_a_plan_pairs_and_a_dtype_of_its_own() -> None:
    options = Options(out=Path("out"), cases=("w8a8", "ragged"))
    plain, quantized = make_plans(options, IMPLEMENTATIONS)
    assert [case.name for case in plain.cases] == ["ragged"]
    assert [case.name for case in quantized.cases] == ["w8a8"]
    assert quantized.pairs == QUANTIZED_PAIRS
    assert quantized.dtypes == ("bfloat16",)
    with pytest.raises(MmparityError, match="runs in bfloat16 only"):
        make_plans(replace(options, dtypes=("float32",)), IMPLEMENTATIONS)


def test_sides_that_load_no_w8a8_run_all_models_without_it() -> None:
    options = Options(
        out=Path("out"), old="vllm-0.12.0", new="unified", models=("all",)
    )
    assert not any(plan.quantized for plan in make_plans(options, IMPLEMENTATIONS))
