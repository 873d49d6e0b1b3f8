# SPDX-License-Identifier: Apache-2.0
"""Capture, on a small encoder whose every tensor is known."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from transformers.utils import ModelOutput

from mmparity.capture.recorder import Observed, capturing
from mmparity.encoders import Encoder
from mmparity.encoders.rules import Declared, HookMap, OperatorTap, Tap

HEADS, SIZE = 2, 4
kernels = ModuleType("kernels")
TABLE: dict[str, Callable[..., Any]] = {}


def attend(query: torch.Tensor, scale: float) -> torch.Tensor:
    return query * scale


class Sink:
    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.paths: dict[str, str] = {}
        self.transforms: dict[str, tuple[str, ...]] = {}
        self.errors: dict[str, str] = {}
        self.notes: dict[str, tuple[str, bool]] = {}

    def add(
        self,
        hook_point: str,
        tensor: torch.Tensor,
        path: str,
        transforms: tuple[str, ...] = (),
        error: str | None = None,
    ) -> None:
        self.tensors[hook_point] = tensor.clone()
        self.paths[hook_point] = path
        self.transforms[hook_point] = transforms
        if error:
            self.errors[hook_point] = error

    def unmatched(self, path: str, reason: str, explained: bool) -> None:
        self.notes[path] = (reason, explained)


class InPlaceNorm(nn.Module):
    """Changes its input, as fused norms do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(2)


class Attention(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pieces = [kernels.attend(piece, scale=0.5) for piece in x.split(3)]
        return torch.cat(pieces)


class Gate(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


class Block(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.norm = InPlaceNorm()
        self.attn = Attention()
        self.left, self.right, self.act = Gate(), Gate(), act

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Around ``nn.Module.__call__``, as vLLM's compilable blocks do."""
        return self.forward(*args, **kwargs)

    def forward(self, x: torch.Tensor, cos: torch.Tensor) -> torch.Tensor:
        x = self.attn(self.norm(x) * cos)
        return self.act(self.left(x) * self.right(x))


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        shared = nn.Tanh()
        self.blocks = nn.ModuleList([Block(shared), Block(shared)])

    def order(self, count: int) -> torch.Tensor:
        return torch.arange(count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[self.order(len(x))]
        for block in self.blocks:
            x = block(x, cos=torch.ones(()))
        return x


B = "blocks.{i}"
MODULES: dict[str, tuple[Tap, ...] | Declared] = {
    "": (Tap("last_hidden_state", "output"),),
    "blocks.0": (Tap("embeddings", "input.0"), Tap("rotary.cos", "input.cos")),
    B: (Tap(B, "output"),),
    f"{B}.norm": (Tap(f"{B}.norm1", "input.0"),),
    f"{B}.attn": Declared("container"),
    f"{B}.left": (Tap(f"{B}.mlp.gate_up_proj", "output", part=(0, 2)),),
    f"{B}.right": (Tap(f"{B}.mlp.gate_up_proj", "output", part=(1, 2)),),
    f"{B}.act": (Tap(f"{B}.mlp.act_fn", "output"),),
}
ORDER = OperatorTap("encoder:order", "", ("count",), (Tap("window_index", "output"),))
ATTEND = OperatorTap(
    f"{__name__}:TABLE[attend]",
    f"{B}.attn",
    ("query", "scale"),
    (
        Tap(f"{B}.attn.q", "input.query", segments=True),
        Tap(f"{B}.attn.context", "output", segments=True),
    ),
    scale="scale",
)


@pytest.fixture(autouse=True)
def _kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, "attend", attend)
    kernels.attend = lambda *args, **kwargs: TABLE["attend"](*args, **kwargs)
    # The map names this module by import path; pytest may know it by another.
    monkeypatch.setitem(__import__("sys").modules, __name__, _this_module())


def _this_module() -> ModuleType:
    module = ModuleType(__name__)
    module.TABLE = TABLE  # type: ignore[attr-defined]
    return module


def encoder(
    tower: Tower,
    modules: dict[str, tuple[Tap, ...] | Declared] | None = None,
    operators: tuple[OperatorTap, ...] = (ORDER, ATTEND),
) -> Encoder:
    return Encoder(
        model=tower,
        hook_map=HookMap(MODULES if modules is None else modules, operators),
        forward=lambda pixels, grid: tower(pixels),
        hyper_parameters={"num_heads": HEADS, "head_size": SIZE},
    )


def capture(given: Encoder, x: torch.Tensor) -> tuple[Sink, Observed]:
    sink = Sink()
    with capturing(given, 2, sink) as report:
        given.model(x)
    return sink, report


X = torch.arange(16.0).view(8, 2) / 10


def unexplained(sink: Sink) -> set[str]:
    return {path for path, (_, explained) in sink.notes.items() if not explained}


def test_inputs_are_taken_before_they_are_changed_in_place() -> None:
    sink, _ = capture(encoder(Tower()), X.clone())
    assert torch.equal(sink.tensors["embeddings"], X)
    assert torch.equal(sink.tensors["blocks.0.norm1"], X)
    assert sink.tensors["rotary.cos"] == 1


def test_segments_and_parts_are_joined_and_come_in_order() -> None:
    sink, report = capture(encoder(Tower()), X.clone())
    assert torch.equal(sink.tensors["blocks.0.attn.q"], 2 * X)
    assert torch.equal(sink.tensors["blocks.0.attn.context"], X)
    both = torch.cat((X + 1, X + 1), -1)
    assert torch.equal(sink.tensors["blocks.0.mlp.gate_up_proj"], both)
    assert sink.transforms["blocks.0.attn.q"] == ("sequences_joined",)
    names = list(sink.tensors)
    assert names.index("blocks.0.attn.q") < names.index("blocks.0.mlp.gate_up_proj")
    assert (report.scale, report.padded_head_size) == (0.5, 2)
    assert 0 < report.seconds < 5


class Uneven(nn.Module):
    """Runs its second piece in another dtype than the first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *rest = x.split(3)
        pieces = [first, *(piece.double() for piece in rest)]
        return torch.cat([kernels.attend(piece, scale=0.5) for piece in pieces]).float()


def test_pieces_that_do_not_fit_each_other_are_an_error() -> None:
    tower = Tower()
    tower.blocks[0].attn = Uneven()
    sink, _ = capture(encoder(tower), X.clone())
    assert "does not fit its neighbours" in sink.errors["blocks.0.attn.q"]
    assert "blocks.1.attn.q" not in sink.errors


def test_a_shared_module_is_named_by_the_block_that_runs_it() -> None:
    sink, _ = capture(encoder(Tower()), X.clone())
    assert sink.paths["blocks.1.mlp.act_fn"] == "blocks.1.act"
    assert torch.equal(sink.tensors["blocks.1.mlp.act_fn"], sink.tensors["blocks.1"])


def test_expected_hook_points_that_nothing_made_are_reported() -> None:
    sink, _ = capture(encoder(Tower()), X.clone())
    assert "blocks.1.attn.proj" in unexplained(sink)
    assert "blocks.1.attn.q" not in unexplained(sink)
    assert sink.notes["blocks.{i}.attn"] == ("container", True)


def test_an_executed_module_that_nobody_declared_is_reported() -> None:
    modules = {key: rule for key, rule in MODULES.items() if key != f"{B}.left"}
    sink, _ = capture(encoder(Tower(), modules), X.clone())
    assert {"blocks.0.left", "blocks.1.left"} <= unexplained(sink)


def test_an_operator_outside_its_place_is_reported() -> None:
    tap = OperatorTap(ORDER.target, f"{B}.attn", ("count",), ORDER.taps)
    sink, _ = capture(encoder(Tower(), operators=(tap,)), X.clone())
    assert ": encoder:order" in unexplained(sink)
    assert "window_index" not in sink.tensors


def test_a_value_that_is_not_there_is_reported() -> None:
    modules = {**MODULES, f"{B}.act": (Tap(f"{B}.mlp.act_fn", "output.1"),)}
    sink, _ = capture(encoder(Tower(), modules), X.clone())
    assert sink.notes["blocks.0.mlp.act_fn"][0].startswith("output.1 of blocks.0.act")


def test_a_value_of_a_result_with_names_is_taken_by_its_name() -> None:
    tower = Tower()
    forward = tower.forward
    tower.forward = lambda x: ModelOutput(pooled=forward(x))
    modules = {**MODULES, "": (Tap("last_hidden_state", "output.pooled"),)}
    sink, _ = capture(encoder(tower, modules), X.clone())
    assert torch.equal(sink.tensors["last_hidden_state"], forward(X.clone()))
    modules[""] = (Tap("last_hidden_state", "output.last"),)
    sink, _ = capture(encoder(tower, modules), X.clone())
    assert sink.notes["last_hidden_state"][0] == "output.last of  is NoneType"


def test_a_hook_point_made_twice_is_reported() -> None:
    modules = {**MODULES, f"{B}.right": (Tap("merger.ln_q", "output"),)}
    sink, _ = capture(encoder(Tower(), modules), X.clone())
    assert "merger.ln_q again" in unexplained(sink)


def test_a_layout_that_does_not_fit_is_an_error_of_the_tensor() -> None:
    modules = {**MODULES, "": (Tap("last_hidden_state", "output", ("squeeze.1",)),)}
    sink, _ = capture(encoder(Tower(), modules), X.clone())
    assert "dimension 1 of [8, 2] is not 1" in sink.errors["last_hidden_state"]


@pytest.mark.parametrize("fails", [False, True])
def test_everything_wrapped_is_restored(fails: bool) -> None:
    tower = Tower()
    before = {name: dict(vars(module)) for name, module in tower.named_modules()}
    if fails:
        with pytest.raises(RuntimeError), capturing(encoder(tower), 2, Sink()):
            tower(torch.zeros(2, 2, 2, 2, 2)[0, 0, 0, 0].reshape(3))
    else:
        capture(encoder(tower), X.clone())
    assert {name: dict(vars(m)) for name, m in tower.named_modules()} == before
    assert list(TABLE.items()) == [("attend", attend)]


def test_a_failed_capture_reports_nothing_as_missing() -> None:
    sink = Sink()
    with pytest.raises(ZeroDivisionError), capturing(encoder(Tower()), 2, sink):
        raise ZeroDivisionError
    assert sink.notes == {}


class Refusing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("no such grid")


def refuse(*_: Any, **__: Any) -> torch.Tensor:
    raise ValueError("no such grid")


def interrupted(given: Encoder) -> tuple[Sink, Observed]:
    sink = Sink()
    with capturing(given, 2, sink) as report:
        try:
            given.model(X.clone())
        except ValueError as error:
            report.raised = str(error)
    return sink, report


def test_the_innermost_module_that_raises_is_named() -> None:
    tower = Tower()
    tower.blocks[1].right = Refusing()
    sink, report = interrupted(encoder(tower))
    assert report.raised_in == "blocks.1.right"
    assert {"embeddings", "blocks.0", "blocks.1.norm1"} <= sink.tensors.keys()
    assert sink.tensors.keys().isdisjoint({"blocks.1", "blocks.1.mlp.gate_up_proj"})
    assert unexplained(sink) == set()


def test_the_operator_that_raises_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, "attend", refuse)
    _, report = interrupted(encoder(Tower()))
    assert report.raised_in == "blocks.0.attn/TABLE[attend]"


def test_the_module_that_raises_in_an_operator_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tower = Tower()
    tower.blocks[0].right = refusing = Refusing()
    monkeypatch.setitem(TABLE, "attend", lambda *_, **__: refusing(X))
    _, report = interrupted(encoder(tower))
    assert report.raised_in == "blocks.0.right"


def test_an_error_that_was_caught_is_not_named() -> None:
    class Unsure(Gate):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with suppress(ValueError):
                self.helper(x)
            return super().forward(x)

    tower = Tower()
    tower.blocks[0].right = Unsure()
    tower.blocks[0].right.helper = Refusing()
    tower.blocks[1].right = Refusing()
    _, report = interrupted(encoder(tower))
    assert report.raised_in == "blocks.1.right"


def test_capture_does_not_change_the_result() -> None:
    tower = Tower()
    plain = tower(X.clone())
    sink, _ = capture(encoder(tower), X.clone())
    assert torch.equal(sink.tensors["last_hidden_state"], plain)
