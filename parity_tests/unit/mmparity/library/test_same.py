# SPDX-License-Identifier: Apache-2.0
"""Two torch modules: what differs is found, placed, and said as torch.testing does."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mmparity import MmparityError, assert_same, compare_modules


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.fc1, self.fc2 = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc2(torch.relu(self.fc1(self.norm(x))))


class OldModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        for block in self.blocks:
            x = block(x)
        return {"last": x}


class NewModel(nn.Module):
    """The same under other names, and with a module more."""

    def __init__(self, old: OldModel) -> None:
        super().__init__()
        self.layers = copy.deepcopy(old.blocks)
        self.cast = nn.Identity()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        for layer in self.layers:
            x = layer(x)
        return (self.cast(x),)


class WrongNorm(nn.LayerNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 1.01


NAMES = {
    "blocks.{i}": "layers.{i}",
    **{
        f"blocks.{{i}}.{name}": f"layers.{{i}}.{name}"
        for name in ("norm", "fc1", "fc2")
    },
}
X = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def old() -> OldModel:
    return OldModel()


def test_equal_models_of_other_names_are_the_same(old: OldModel) -> None:
    new = NewModel(old)
    assert_same(old, new, X, names=NAMES, absent=["cast"])
    rows = compare_modules(old, new, (X,), names=NAMES, absent=["cast"])
    assert [row.old for row in rows][:5] == [
        *("blocks.0.norm", "blocks.0.fc1", "blocks.0.fc2", "blocks.0", "blocks.1.norm")
    ]
    assert all(row.judgement.verdict == "pass" for row in rows)


def test_a_changed_weight_is_placed_at_its_module(old: OldModel) -> None:
    new = NewModel(old)
    with torch.no_grad():
        new.layers[1].fc1.weight[3, 2] += 0.5
    with pytest.raises(AssertionError) as caught:
        assert_same(old, new, X, names=NAMES, absent=["cast"])
    text = str(caught.value)
    assert text.startswith("blocks.1.fc1 (new: layers.1.fc1) is not close to old.")
    assert "Its own parameters differ: weight: other values." in text
    assert "Greatest absolute difference: " in text
    assert "First divergence; 3 of the 3 later rows also fail." in text
    assert "The last row before it, which passes: blocks.1.norm." in text


def test_changed_code_is_placed_with_its_file_and_line(old: OldModel) -> None:
    new = copy.deepcopy(old)
    wrong = WrongNorm(8)
    wrong.load_state_dict(old.blocks[0].norm.state_dict())
    new.blocks[0].norm = wrong
    with pytest.raises(AssertionError) as caught:
        assert_same(old, new, X)
    line = WrongNorm.forward.__code__.co_firstlineno
    assert f"new: WrongNorm, {__file__}:{line}" in str(caught.value)
    assert "its parameters too: its code differs" in str(caught.value)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_not_finite_on_both_sides_is_no_pass(
    old: OldModel, poison: float
) -> None:
    x = X.clone()
    x[0, 0] = poison
    with pytest.raises(AssertionError, match="not finite"):
        assert_same(old, copy.deepcopy(old), x)


@pytest.mark.parametrize(
    ("names", "absent", "said"),
    [
        ({}, (), "ran on one side alone"),
        (NAMES, (), "'cast' ran on one side alone"),
        (NAMES | {"stem": "stem"}, ("cast",), "'stem' is in names or absent"),
        (NAMES, ("cast", "tail"), "'tail' is in names or absent"),
    ],
)
def test_a_module_without_a_partner_is_declared_or_refused(
    old: OldModel, names: dict[str, str], absent: tuple[str, ...], said: str
) -> None:
    with pytest.raises(MmparityError, match=said):
        assert_same(old, NewModel(old), X, names=names, absent=absent)


def test_an_oracle_in_float64_finds_what_the_table_allows(old: OldModel) -> None:
    """A norm in bfloat16 is near enough for a table of bfloat16, not for the oracle."""
    half = copy.deepcopy(old).bfloat16()
    rough = copy.deepcopy(half)
    rough.blocks[0].fc2.register_forward_hook(lambda *given: given[2] * 1.012)
    x = X.bfloat16()
    assert_same(half, copy.deepcopy(half), x, oracle=copy.deepcopy(half).double())
    with pytest.raises(AssertionError, match="against the oracle"):
        assert_same(half, rough, x, oracle=copy.deepcopy(half).double())


def test_models_and_inputs_are_left_as_they_were(old: OldModel) -> None:
    class Greedy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.add_(1)

    x = X.clone()
    assert_same(Greedy(), Greedy(), x)
    assert torch.equal(x, X)
    assert_same(old, copy.deepcopy(old), x)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in old.modules())


def test_a_module_that_is_called_twice_has_two_rows() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.GELU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.act(x))

    rows = compare_modules(Twice(), Twice(), X)
    assert [row.old for row in rows] == ["act", "act#2", "(model)"]


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda x: x[:3], "shape differs: old \\(5, 8\\), new \\(3, 8\\)"),
        (lambda x: (x, x), "old gives 1 tensors, new 2"),
        (lambda x: x.long(), "dtype differs"),
        (lambda x: x[:0], "shape differs"),
    ],
)
def test_another_form_of_output_is_no_pass(
    give: Callable[[torch.Tensor], object], said: str
) -> None:
    class Other(nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            return give(x)

    with pytest.raises(AssertionError, match=said):
        assert_same(nn.Identity(), Other(), X)


def test_a_model_that_raises_is_named_with_what_inputs_may_be(old: OldModel) -> None:
    with pytest.raises(MmparityError, match="old, a OldModel, raised TypeError"):
        assert_same(old, old, (X, X))
