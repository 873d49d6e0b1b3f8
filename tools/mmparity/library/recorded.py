# SPDX-License-Identifier: Apache-2.0
"""What every module of a torch model takes and gives in one forward."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mmparity.errors import MmparityError

ROOT = "(model)"
SEED = 0
"""Of both forwards, so that dropout, where there is any, is the same."""


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        module: what was called.
        taken: the tensors of its positional and keyword arguments.
        given: the tensors of its output.
    """

    module: torch.nn.Module
    taken: tuple[torch.Tensor, ...]
    given: tuple[torch.Tensor, ...]

    @property
    def source(self) -> str:
        """``MLP, at model.py:12``, or the class alone where it has no source."""
        kind = type(self.module)
        try:
            file = inspect.getsourcefile(kind)
            _, line = inspect.getsourcelines(kind.forward)
        except (OSError, TypeError):
            return kind.__name__
        return f"{kind.__name__}, {file}:{line}"


def record(model: torch.nn.Module, inputs: Any, side: str) -> dict[str, Call]:
    """Runs a model once: path of each module -> its call, in order of completion.

    A module that is called again has ``#2`` and so on after its path.

    Args:
        model: is left as it was.
        inputs: one tensor, a tuple of positional or a dict of keyword arguments.
        side: for messages.

    Raises:
        MmparityError: the model raised.
    """
    log = _Log({}, {}, {})
    handles = [
        handle
        for path, module in model.named_modules()
        for handle in _hooks(path or ROOT, module, log)
    ]
    args, kwargs = _arguments(copy.deepcopy(inputs))
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(SEED)
            model(*args, **kwargs)
    except Exception as error:
        raise MmparityError(
            f"{side}, a {type(model).__name__}, raised {type(error).__name__} on the "
            f"inputs: {error}. Give inputs as a tensor, a tuple of positional "
            "arguments, or a dict of keyword arguments."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return log.calls


@dataclass(frozen=True)
class _Log:
    """What hooks write into."""

    calls: dict[str, Call]
    counts: dict[str, int]
    taken: dict[str, list[tuple[torch.Tensor, ...]]]

    def enter(self, path: str, given: Any) -> None:
        self.taken.setdefault(path, []).append(_copies(given))

    def leave(self, path: str, module: torch.nn.Module, output: Any) -> None:
        self.counts[path] = self.counts.get(path, 0) + 1
        count = self.counts[path]
        name = path if count == 1 else f"{path}#{count}"
        self.calls[name] = Call(module, self.taken[path].pop(), _copies(output))


def _hooks(path: str, module: torch.nn.Module, log: _Log) -> Iterator[Any]:
    yield module.register_forward_pre_hook(
        lambda _, args, kwargs: log.enter(path, (args, kwargs)), with_kwargs=True
    )
    yield module.register_forward_hook(
        lambda found, _, output: log.leave(path, found, output)
    )


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def _copies(value: Any) -> tuple[torch.Tensor, ...]:
    """The tensors in it, as they are now: later code may write into them."""
    return tuple(tensor.detach().clone() for tensor in _tensors(value))


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
