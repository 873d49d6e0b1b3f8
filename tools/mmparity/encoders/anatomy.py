# SPDX-License-Identifier: Apache-2.0
"""What a built encoder is made of: modules, tensors, signatures, its state dict."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

ROOT = "(encoder)"
_OTHER_BLOCKS = re.compile(r"(^|\.)blocks\.(?!0\.)\d+\.")
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Anatomy:
    """The fields of the same names of TraceMeta."""

    modules: dict[str, str]
    parameters: dict[str, list[Any]]
    buffers: dict[str, list[Any]]
    signatures: dict[str, str]
    state_dict: dict[str, str]
    code: dict[str, str]


def anatomy(model: nn.Module) -> Anatomy:
    """Looks at an encoder with its weights loaded, and leaves it as it is."""
    modules = dict(model.named_modules(remove_duplicate=False))
    return Anatomy(
        modules={path or ROOT: type(item).__name__ for path, item in modules.items()},
        parameters=_tensors(model.named_parameters()),
        buffers=_tensors(model.named_buffers()),
        signatures={path or ROOT: _signature(item) for path, item in modules.items()},
        state_dict=round_trip(model),
        code={path or ROOT: _place(item) for path, item in modules.items()},
    )


def _place(module: nn.Module) -> str:
    """``vllm/model_executor/models/qwen2_5_vl.py:321-350``: what its forward runs.

    vLLM's custom operators choose one of several forwards when they are built. Where
    that is a base's, as one that only calls another is, it is the class itself.
    """
    kind: Any = type(module)
    chosen = getattr(module, "_forward_method", None) or kind.forward
    function = inspect.unwrap(getattr(chosen, "__func__", chosen))
    shown = function if function.__name__ in vars(kind) else kind
    try:
        lines, first = inspect.getsourcelines(shown)
    except (OSError, TypeError):
        return ""
    file = shown.__module__.replace(".", "/")
    return f"{file}.py:{first}-{first + len(lines) - 1}"


def _tensors(named: Any) -> dict[str, list[Any]]:
    return {
        name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for name, tensor in named
    }


def _signature(module: nn.Module) -> str:
    """Names, kinds and defaults; annotations are spelt in many ways."""
    signature = inspect.signature(module.forward)
    found = [
        item.replace(annotation=inspect.Parameter.empty, default=_default(item))
        for item in signature.parameters.values()
    ]
    return str(inspect.Signature(found))


def _default(item: inspect.Parameter) -> Any:
    """A default that has the same text in every process."""
    known = item.default is inspect.Parameter.empty or isinstance(item.default, _PLAIN)
    return item.default if known else type(item.default).__name__


@torch.no_grad()
def round_trip(model: nn.Module) -> dict[str, str]:
    """What is lost when the state dict is saved, wiped and loaded again, by name.

    Names are checked in all blocks; values in the first, which stands for the
    others, and outside of blocks.
    """
    saved = model.state_dict()
    named = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    lost = {name: "not saved" for name in named if name not in saved}
    copies = {
        name: tensor.clone()
        for name, tensor in saved.items()
        if not _OTHER_BLOCKS.search(name)
    }
    for name in copies:
        saved[name].zero_()
    loaded = model.load_state_dict(copies, strict=False)
    rest = saved.keys() - copies.keys()
    lost |= {name: "not loaded" for name in loaded.unexpected_keys}
    lost |= {name: "not saved" for name in loaded.missing_keys if name not in rest}
    after = model.state_dict()
    for name, tensor in copies.items():
        if name not in lost and not torch.equal(after[name], tensor):
            lost[name] = "other values"
        saved[name].copy_(tensor)
    return lost
