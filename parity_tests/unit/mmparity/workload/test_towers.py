# SPDX-License-Identifier: Apache-2.0
"""Towers beside Qwen-VL's, as their files describe them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmparity.encoders import hook_map
from mmparity.errors import MmparityError
from mmparity.run.plan import Options
from mmparity.run.planning import make_plans
from mmparity.trace import hook_points
from mmparity.workload import towers
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.models import FAMILIES
from mmparity.workload.pairs import TOWER_PAIRS, has_encoder
from mmparity.workload.towers import TOWERS, read_towers

MOST_LINES = 40
FOLDER = Path(towers.__file__).parent
PLAIN = """
title = "a tower"
module = "one:Tower"
inputs = "images"
grids = [[1, 2, 2]]
shape = { depth = 2, heads = 1, head_size = 8 }
blocks = "layers"
config = { width = 8 }

[points]
embeddings = "embed"
"*.attn" = "*.attention"
"*.mlp.fc{1,2}" = "*.{up,down}"
"*" = "*"
last_hidden_state = ""
"""


def written(folder: Path, **files: str) -> dict[str, towers.Tower]:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return read_towers(folder)


@pytest.mark.parametrize("name", TOWERS)
def test_a_tower_costs_few_lines(name: str) -> None:
    lines = (FOLDER / f"{name}.toml").read_text().splitlines()
    assert len(lines) <= MOST_LINES


def test_points_are_named_in_order_of_execution(tmp_path: Path) -> None:
    found = written(tmp_path, plain=PLAIN)["plain"]
    assert found.hook_points == (
        "embeddings",
        *(f"blocks.{{i}}.attn.{part}" for part in ("q", "k", "v", "context")),
        "blocks.{i}.mlp.fc1",
        "blocks.{i}.mlp.fc2",
        "blocks.{i}",
        "last_hidden_state",
    )
    assert found.points["*.mlp.fc2"] == "*.down"


def test_packed_sequences_have_lengths(tmp_path: Path) -> None:
    packed = PLAIN.replace("[points]", "packed = true\n\n[points]")
    found = written(tmp_path, packed=packed)["packed"]
    assert "blocks.{i}.seqlens" in found.hook_points


def test_a_tower_like_another_says_what_differs(tmp_path: Path) -> None:
    own = 'like = "plain"\nblocks = "b"\n[points]\nembeddings = "e"\nnew = "n"\n'
    found = written(tmp_path, plain=PLAIN, other=own)["other"]
    assert found.title == "a tower"
    assert (found.blocks, found.points["embeddings"]) == ("b", "e")
    assert list(found.points)[-2:] == ["new", "last_hidden_state"]


def test_choices_in_a_name_of_the_oracle_are_parts_side_by_side(
    tmp_path: Path,
) -> None:
    own = PLAIN + '\n[oracle_names]\n"\\\\.{q,v}_proj" = ".qv"\n"^old" = "new"\n'
    found = written(tmp_path, plain=own)["plain"]
    assert found.stored_names("old.v_proj.weight") == ("new.qv.weight", 1, 2)
    assert found.stored_names("old.up.weight") == ("new.up.weight", 0, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = ", "no description of a tower"),
        (PLAIN.replace("module", "place"), "Its keys: like, title"),
        (PLAIN.replace("shape", "form"), "'shape'"),
        (PLAIN.replace('blocks = "layers"', 'like = "nobody"'), "'nobody'"),
        (PLAIN.replace("{up,down}", "{up,down,left}"), "argument 2 is longer"),
    ],
)
def test_a_file_that_describes_nothing_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(MmparityError, match=said) as error:
        written(tmp_path, wrong=text)
    assert "wrong.toml" in str(error.value)


@pytest.mark.parametrize("name", TOWERS)
def test_every_implementation_says_where_each_hook_point_is(name: str) -> None:
    sides = [side for pair in TOWER_PAIRS for side in pair]
    sides += ["hf"] * has_encoder(IMPLEMENTATIONS["hf"], name)
    expected = {point.name for point in hook_points.ARCHITECTURES[name].all}
    for side in dict.fromkeys(sides):
        found = hook_map(IMPLEMENTATIONS[side], FAMILIES[name])
        taps = [
            tap
            for rule in found.modules.values()
            if isinstance(rule, tuple)
            for tap in rule
        ]
        taps += [tap for operator in found.operators for tap in operator.taps]
        assert {tap.hook_point for tap in taps} | found.absent.keys() == expected


def test_a_tower_without_oracle_is_compared_without(tmp_path: Path) -> None:
    names = {name: bool(tower.oracle) for name, tower in TOWERS.items()}
    assert set(names.values()) == {True, False}
    for name, has_oracle in names.items():
        (plan,) = make_plans(Options(tmp_path, models=(name,)), IMPLEMENTATIONS)
        assert plan.pairs == TOWER_PAIRS
        assert plan.oracle == (("hf",) if has_oracle else ())


def test_ranks_of_a_tower_are_refused(tmp_path: Path) -> None:
    options = Options(tmp_path, models=("siglip",), tp=2)
    with pytest.raises(MmparityError, match="siglip is run on one rank only"):
        make_plans(options, IMPLEMENTATIONS)


def test_all_models_of_one_case_leave_out_those_that_lack_it(tmp_path: Path) -> None:
    plans = make_plans(
        Options(tmp_path, models=("all",), cases=("image",)), IMPLEMENTATIONS
    )
    assert plans
    assert not {plan.model for plan in plans} & set(TOWERS)
