# SPDX-License-Identifier: Apache-2.0
"""What is told of an encoder, and what its state dict must not lose."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from mmparity.encoders.anatomy import anatomy, round_trip


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.register_buffer("scale", torch.ones(2, dtype=torch.int32))

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, *, gelu: Any = len
    ) -> torch.Tensor:
        return x


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Attention(), Attention()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_modules_tensors_and_signatures() -> None:
    found = anatomy(Tower())
    assert found.modules["(encoder)"] == "Tower"
    assert found.modules["blocks.1"] == "Attention"
    assert found.parameters["blocks.1.qkv.weight"] == [[12, 4], "float32"]
    assert found.buffers["blocks.0.scale"] == [[2], "int32"]
    assert found.signatures["blocks.0"] == (
        "(x, mask=None, *, gelu='builtin_function_or_method')"
    )


def test_round_trip_loses_nothing_and_changes_nothing() -> None:
    tower = Tower()
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    assert round_trip(tower) == {}
    for name, tensor in tower.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_parameter_that_is_not_saved_is_named() -> None:
    tower = Tower()

    def forget(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        state.pop(f"{prefix}qkv.bias")

    tower.blocks[1]._register_state_dict_hook(forget)
    assert round_trip(tower) == {"blocks.1.qkv.bias": "not saved"}


def test_tensor_saved_under_another_name_is_named() -> None:
    tower = Tower()

    def rename(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        state[f"{prefix}fused"] = state.pop(f"{prefix}qkv.weight")

    tower.blocks[0]._register_state_dict_hook(rename)
    assert round_trip(tower) == {
        "blocks.0.qkv.weight": "not saved",
        "blocks.0.fused": "not loaded",
    }


def test_values_that_loading_changes_are_named_and_put_back() -> None:
    tower = Tower()

    def double(state: dict[str, Any], prefix: str, *_: Any) -> None:
        if f"{prefix}qkv.bias" in state:
            state[f"{prefix}qkv.bias"] = state[f"{prefix}qkv.bias"] * 2

    tower.blocks[0]._register_load_state_dict_pre_hook(double)
    before = tower.state_dict()["blocks.0.qkv.bias"].clone()
    assert round_trip(tower) == {"blocks.0.qkv.bias": "other values"}
    assert torch.equal(tower.state_dict()["blocks.0.qkv.bias"], before)


def test_the_place_of_a_forward_is_that_of_the_one_which_runs() -> None:
    """A custom operator of vLLM's chooses one of several when it is built."""

    class Chosen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._forward_method = self.forward_native

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._forward_method(x)

        def forward_native(self, x: torch.Tensor) -> torch.Tensor:
            return x

    code = anatomy(nn.Sequential(Attention(), Chosen())).code
    for path, function in (("0", Attention.forward), ("1", Chosen.forward_native)):
        file, _, lines = code[path].partition(":")
        assert file.endswith("test_anatomy.py")
        assert lines.split("-")[0] == str(function.__code__.co_firstlineno)
    assert code["0.qkv"].startswith("torch/nn/modules/linear.py:")


class Inherits(Attention):
    """Its forward is that of its base."""


def test_a_class_that_inherits_its_forward_is_placed_itself() -> None:
    _, first = inspect.getsourcelines(Inherits)
    code = anatomy(Inherits()).code["(encoder)"]
    assert code.partition(":")[2].split("-")[0] == str(first)
