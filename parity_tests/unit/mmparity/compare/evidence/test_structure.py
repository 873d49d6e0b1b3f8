# SPDX-License-Identifier: Apache-2.0
"""Structural differences, and the file that declares them."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from mmparity.compare.evidence.structure import (
    NOT_JOINED,
    differences,
    read_declarations,
)
from mmparity.errors import MmparityError
from mmparity.types.trace import TraceMeta
from mmparity.workload.implementations import get
from mmparity.workload.pairs import DEFAULT_PAIRS, MODEL_PAIRS, TODAY_PAIRS

ROOT = Path(__file__).resolve().parents[5]
PATCHES = {
    slug.removesuffix(".patch")
    for series in (ROOT / "patches").glob("*/series")
    for slug in series.read_text().split()
}
OLD = TraceMeta(
    implementation="old",
    case="image",
    dtype="float32",
    device="cpu",
    weights_digest="w",
    pixels_digest="p",
    grid_thw=(),
    depth=3,
    modules={"(encoder)": "Tower", **{f"blocks.{i}": "Block" for i in range(3)}},
    parameters={f"blocks.{i}.qkv.weight": [[6, 4], "float32"] for i in range(3)},
    signatures={"(encoder)": "(x)"},
    hyper_parameters={"scale": 0.5, "full_attention_blocks": [7, 15]},
)
NEW = replace(OLD, implementation="new")


JOINED = 'joined = ["old:*"]\n'


def declared(folder: Path, text: str, joined: str = JOINED) -> Path:
    file = folder / "intended.toml"
    file.write_text(joined + textwrap.dedent(text))
    return file


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    return declared(tmp_path, "difference = []")


def test_equal_structures_have_no_difference(nothing: Path) -> None:
    assert differences(OLD, NEW, nothing) == ()


def test_trace_that_records_no_structure_is_said_and_fails_nothing(
    nothing: Path,
) -> None:
    (found,) = differences(replace(OLD, modules={}), NEW, nothing)
    assert (found.old, found.new) == ("not recorded", "4 modules")
    assert found.verdict == "not recorded"


def test_what_is_so_in_every_block_is_said_once(nothing: Path) -> None:
    new = replace(
        NEW,
        parameters={
            f"blocks.{i}.qkv.weight": [[6 + (i == 2), 8], "float32"] for i in range(3)
        },
    )
    found = differences(OLD, new, nothing)
    assert [(item.path, item.blocks, item.old, item.new) for item in found] == [
        ("blocks.{i}.qkv.weight", (0, 1), "6 x 4 float32", "6 x 8 float32"),
        ("blocks.{i}.qkv.weight", (2,), "6 x 4 float32", "7 x 8 float32"),
    ]
    assert {item.verdict for item in found} == {"undeclared"}


@pytest.mark.parametrize(
    ("part", "value", "kind"),
    [
        ("modules", {**OLD.modules, "norm": "RMSNorm"}, "only in new"),
        ("parameters", {}, "only in old"),
        ("buffers", {"inv_freq": [[20], "float32"]}, "only in new"),
        ("signatures", {"(encoder)": "(x, grid_thw)"}, "changed"),
        ("hyper_parameters", {**OLD.hyper_parameters, "scale": 0.25}, "changed"),
        ("state_dict", {"blocks.0.qkv.weight": "not saved"}, "only in new"),
    ],
)
def test_every_part_is_compared(
    part: str, value: dict[str, object], kind: str, nothing: Path
) -> None:
    found = differences(OLD, replace(NEW, **{part: value}), nothing)
    assert [(item.part, item.kind, item.verdict) for item in found] == [
        (part, kind, "undeclared")
    ]


def test_declared_difference_names_its_patch(tmp_path: Path) -> None:
    file = declared(
        tmp_path,
        """
        [[difference]]
        patch = "one-attention"
        why = "Both have one class."
        parts = ["modules"]
        paths = ["blocks.{i}"]
        old = "Block"
        new = "Other*"
        pairs = ["old:new"]
        """,
    )
    modules = {**OLD.modules, **{f"blocks.{i}": "OtherBlock" for i in range(3)}}
    new = replace(NEW, modules=modules)
    (found,) = differences(OLD, new, file)
    assert (found.verdict, found.patch) == ("intended", "one-attention")
    assert found.why == "Both have one class."
    for other in (
        replace(new, implementation="another"),
        replace(new, modules={**modules, "blocks.1": "Wrong"}),
        replace(new, modules={**modules, "(encoder)": "OtherTower"}),
    ):
        verdicts = [item.verdict for item in differences(OLD, other, file)]
        assert "undeclared" in verdicts


def test_what_no_series_joins_is_shown_and_not_judged(tmp_path: Path) -> None:
    file = declared(tmp_path, "difference = []", 'joined = ["old:other"]\n')
    new = replace(NEW, hyper_parameters={**OLD.hyper_parameters, "scale": 0.25})
    (found,) = differences(OLD, new, file)
    assert (found.path, found.old, found.new) == ("scale", "0.5", "0.25")
    assert (found.verdict, found.why) == ("not judged", NOT_JOINED)


def test_two_trees_of_one_implementation_have_nothing_to_differ_in(
    tmp_path: Path,
) -> None:
    file = declared(tmp_path, "difference = []", "joined = []\n")
    (found,) = differences(OLD, replace(OLD, modules={**OLD.modules, "x": "X"}), file)
    assert found.verdict == "undeclared"


@pytest.mark.parametrize("joined", ["", "joined = 1\n", 'joined = ["old"]\n'])
def test_declarations_say_which_pairs_are_joined(joined: str, tmp_path: Path) -> None:
    with pytest.raises(MmparityError, match="is no list of intended differences"):
        read_declarations(declared(tmp_path, "difference = []", joined))


def test_a_declaration_for_every_block_is_none_for_some(tmp_path: Path) -> None:
    """One block that alone is made otherwise is a fault, whoever declared the rest."""
    file = declared(
        tmp_path,
        """
        [[difference]]
        patch = "p"
        why = "w"
        parts = ["modules"]
        paths = ["blocks.{i}"]
        """,
    )
    new = replace(NEW, modules={**OLD.modules, "blocks.1": "OtherBlock"})
    (found,) = differences(OLD, new, file)
    assert (found.verdict, found.blocks) == ("undeclared", (1,))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "difference = 1",
        "difference = []\njoined = []",
        '[[difference]]\npatch = "p"\nwhy = "w"\nparts = ["colour"]\npaths = ["x"]',
        '[[difference]]\npatch = "p"\nwhy = ""\nparts = ["modules"]\npaths = ["x"]',
        '[[difference]]\npatch = "p"\nwhy = "w"\nparts = ["modules"]\npath = ["x"]',
    ],
)
def test_bad_declarations_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(MmparityError, match="is no list of intended differences"):
        read_declarations(declared(tmp_path, text))


def test_what_runs_a_series_is_judged_against_what_the_series_is_for() -> None:
    """A pair that is compared by default is judged, or of two releases."""
    read = read_declarations()
    for old, new in {*DEFAULT_PAIRS, *MODEL_PAIRS, *TODAY_PAIRS}:
        patched = [
            any(tree.startswith("patched/") for tree in get(side).trees.values())
            for side in (old, new)
        ]
        assert read.judges(old, new) == (patched == [False, True]), (old, new)


def test_every_declared_patch_is_in_a_series() -> None:
    assert {item.patch for item in read_declarations().intentions} - {
        "upstream"
    } <= PATCHES
