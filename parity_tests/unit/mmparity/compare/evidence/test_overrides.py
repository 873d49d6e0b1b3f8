# SPDX-License-Identifier: Apache-2.0
"""Every override of an encoder in vllm-ascend has a row, a patch and a proof."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mmparity.compare.evidence.overrides import (
    PAGE,
    RELEASES,
    Compared,
    Override,
    Suite,
    case_problem,
    find_overrides,
    problems,
    read_map,
    table,
)
from mmparity.errors import MmparityError
from mmparity.run.plan import Options
from mmparity.run.planning import make_plans
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.models import DEFAULT_MODEL

ROOT = Path(__file__).resolve().parents[5]
PATCHES = {
    slug.removesuffix(".patch")
    for series in (ROOT / "patches").glob("*/series")
    for slug in series.read_text().split()
}
OLD_CLASS = "vllm-ascend-0.11.0/models/qwen2_5_vl.py"
FORWARD = Override(OLD_CLASS, "AscendQwen2_5_VisionAttention", "forward")


def compared(*models: str) -> frozenset[Compared]:
    """What `mmparity run --models ...` compares."""
    options = Options(out=Path("out"), models=models)
    return frozenset(
        (plan.model or DEFAULT_MODEL, *pair, case.name)
        for plan in make_plans(options, IMPLEMENTATIONS)
        for pair in plan.pairs
        for case in plan.cases
    )


def collected(ids: list[str]) -> frozenset[str]:
    """Those of these ids that pytest collects for `make test`, in one collection."""
    files = sorted({name.partition("::")[0] for name in ids})
    words = ["-m", "pytest", "--collect-only", "-q", "-m", "not gpu and not npu"]
    command = [sys.executable, *words, "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = {line.strip() for line in done.stdout.splitlines() if "::" in line}
    return frozenset(found | {name.partition("[")[0] for name in found})


@pytest.fixture(scope="module")
def suite() -> Suite:
    tests = [test for row in read_map().rows.values() for test in row.tests]
    return Suite(compared(), compared("all"), collected(tests))


def test_every_override_of_the_releases_has_its_place_and_a_proof_that_runs(
    suite: Suite,
) -> None:
    assert problems(read_map(), find_overrides(), PATCHES, suite) == []


def test_the_overrides_of_both_releases_are_found() -> None:
    found = find_overrides()
    assert FORWARD in found
    patched = "vllm-ascend-0.12.0rc1/patch/worker/patch_qwen3_vl.py"
    assert Override(patched, "Qwen3_VisionTransformer", "forward") in found
    assert {item.file.partition("/")[0] for item in found} == set(RELEASES)
    assert len(found) == len(set(found)) > 70


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == table(read_map()), "run: make docs"


def test_an_override_without_a_row_is_named(suite: Suite) -> None:
    known = read_map()
    del known.overrides[FORWARD]
    (problem,) = problems(known, find_overrides(), PATCHES, suite)
    assert problem == f"{OLD_CLASS}: AscendQwen2_5_VisionAttention.forward has no row"


def test_an_unknown_patch_and_a_lost_override_are_named(suite: Suite) -> None:
    known = read_map()
    known.rows["A4"] = replace(known.rows["A4"], patches=("no-such",))
    known.rows["A5"] = replace(known.rows["A5"], patches=())
    gone = Override(OLD_CLASS, "Gone", "forward")
    known.overrides[gone] = ("A99",)
    assert problems(known, find_overrides(), PATCHES, suite) == [
        f"{OLD_CLASS}: Gone.forward is in no release",
        f"{OLD_CLASS}: Gone.forward: no row A99",
        "A4: there is no patch no-such",
        "A5 has no patch",
    ]


def test_a_proof_that_nobody_runs_proves_nothing(suite: Suite) -> None:
    known, of_the_sweep = read_map(), "qwen2-vl-7b vllm-0.12.0:unified rotary.cos"
    for name, cases, tests in (
        ("A1", (), ()),
        ("A4", (of_the_sweep,), ("parity_tests/vision/test_gone.py::test_x",)),
        ("A5", (of_the_sweep,), (min(suite.tests),)),
    ):
        known.rows[name] = replace(known.rows[name], cases=cases, tests=tests)
    alone = "neither `make test` nor `make parity` runs a proof of it"
    assert problems(known, find_overrides(), PATCHES, suite) == [
        f"A1: {alone}",
        "A4: pytest collects no parity_tests/vision/test_gone.py::test_x for "
        "`make test`",
        f"A4: {alone}",
    ]


def test_a_test_that_needs_a_device_is_no_proof() -> None:
    file = "parity_tests/vision/test_encoders_agree.py"
    found = collected([f"{file}::test_heads_are_padded_as_each_implementation_says"])
    assert f"{file}::test_ascend_operators_really_ran" in found
    assert f"{file}::test_bfloat16_on_an_npu_is_off_by_roundings_only" not in found


def test_new_kinds_of_overrides_are_seen(tmp_path: Path) -> None:
    folder = tmp_path / "next" / "vllm_ascend" / "patch" / "worker"
    folder.mkdir(parents=True)
    (folder / "patch_new.py").write_text(
        "from vllm.model_executor.models.qwen4_vl import Tower as T, Other\n"
        "if True:\n"
        "    class Mine(T):\n"
        "        flag: bool = True\n"
        "        async def forward(self): ...\n"
        "T.load_weights = Other.embed = print\n"
        "Unrelated.forward = print\n"
    )
    found = find_overrides(tmp_path, ["next"])
    names = {f"{item.owner}.{item.name}" for item in found}
    assert names == {"Mine.flag", "Mine.forward", "T.load_weights", "Other.embed"}


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("qwen3-vl-8b ascend-0.11.0:unified-ascend rotary.cos", "on qwen3-vl-8b"),
        ("qwen2-vl-7b unified:vllm-0.12.0 rotary.cos", "unified:vllm-0.12.0 on qwen2"),
        ("qwen2-vl-7b vllm-0.12.0:unified window_index", "no hook point"),
        ("qwen2.5-vl-7b ascend-0.11.0-nopad:unified-ascend rotary.cos", "neither"),
        ("qwen9-vl vllm-0.12.0:unified rotary.cos", "unknown model"),
        ("qwen2-vl-7b vllm-0.12.0:unified rotary.cos --case vidoe", "invalid choice"),
        ("qwen2-vl-7b vllm-0.12.0:unified rotary.cos --case w8a8", "case w8a8 of"),
        ("qwen2.5-vl-7b vllm-0.12.0:unified rotary.cos --tp 2", "no option --tp"),
    ],
)
def test_a_parity_case_that_no_run_has_is_named(
    suite: Suite, case: str, why: str
) -> None:
    assert why in case_problem(case, suite)


@pytest.mark.parametrize("text", ["[rows.A1]\ntitle = 'x'\n", "rows.A1 = 'x'\n"])
def test_a_data_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(MmparityError, match=r"x\.toml cannot be read"):
        read_map(tmp_path / "x.toml")
