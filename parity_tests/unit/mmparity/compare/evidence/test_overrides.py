# SPDX-License-Identifier: Apache-2.0
"""Every override of an encoder in vllm-ascend has a row, a patch and a parity case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmparity.compare.evidence.overrides import (
    PAGE,
    RELEASES,
    Override,
    case_problem,
    find_overrides,
    problems,
    read_map,
    table,
)
from mmparity.errors import MmparityError

ROOT = Path(__file__).resolve().parents[5]
PATCHES = {
    slug.removesuffix(".patch")
    for series in (ROOT / "patches").glob("*/series")
    for slug in series.read_text().split()
}
OLD_CLASS = "vllm-ascend-0.11.0/models/qwen2_5_vl.py"
FORWARD = Override(OLD_CLASS, "AscendQwen2_5_VisionAttention", "forward")


def test_every_override_of_the_releases_has_its_place() -> None:
    assert problems(read_map(), find_overrides(), PATCHES) == []


def test_the_overrides_of_both_releases_are_found() -> None:
    found = find_overrides()
    assert FORWARD in found
    patched = "vllm-ascend-0.12.0rc1/patch/worker/patch_qwen3_vl.py"
    assert Override(patched, "Qwen3_VisionTransformer", "forward") in found
    assert {item.file.partition("/")[0] for item in found} == set(RELEASES)
    assert len(found) == len(set(found)) > 70


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == table(read_map()), "run: make docs"


def test_an_override_without_a_row_is_named() -> None:
    known = read_map()
    del known.overrides[FORWARD]
    (problem,) = problems(known, find_overrides(), PATCHES)
    assert problem == f"{OLD_CLASS}: AscendQwen2_5_VisionAttention.forward has no row"


def test_a_row_of_nothing_an_unknown_patch_and_a_lost_override_are_named() -> None:
    known = read_map()
    known.rows["A4"] = replace(known.rows["A4"], patches=("no-such",), cases=())
    gone = Override(OLD_CLASS, "Gone", "forward")
    known.overrides[gone] = ("A99",)
    assert problems(known, find_overrides(), PATCHES) == [
        f"{OLD_CLASS}: Gone.forward is in no release",
        f"{OLD_CLASS}: Gone.forward: no row A99",
        "A4: there is no patch no-such",
        "A4 has no patch or no case",
    ]


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
        ("qwen3-vl-8b ascend-0.11.0:unified-ascend rotary.cos", "no encoder for"),
        ("qwen2-vl-7b unified:vllm-0.12.0 rotary.cos", "is no pair"),
        ("qwen2-vl-7b vllm-0.12.0:unified window_index", "no hook point"),
        ("qwen2.5-vl-7b ascend-0.11.0-nopad:unified-ascend rotary.cos", "in its place"),
        ("qwen9-vl vllm-0.12.0:unified rotary.cos", "no model"),
        ("qwen2-vl-7b vllm-0.12.0:unified rotary.cos --case vidoe", "invalid choice"),
    ],
)
def test_a_parity_case_that_no_run_has_is_named(case: str, why: str) -> None:
    assert why in case_problem(case)


def test_a_data_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[rows.A1]\ntitle = 'x'\n")
    with pytest.raises(MmparityError, match=r"x\.toml cannot be read"):
        read_map(tmp_path / "x.toml")
