# SPDX-License-Identifier: Apache-2.0
"""Where the host reads a device tensor's values, on a machine without the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

import torch

from mmparity.encoders import npu_emulation

HOST = "cpu"
SCALARS = ("item", "__int__", "__index__", "__bool__", "__float__")
FACTORIES = ("tensor", "as_tensor", "from_numpy")
"""Functions of torch that make a tensor of the host's values, on the host."""
Function = Callable[..., Any]


class HostReads:
    """Counts reads of device tensors, where host and device are the same CPU.

    A tensor is the host's if it was brought there, by ``.cpu()`` or ``.to("cpu")``, or
    made of the host's values without another device; all others are the device's.
    What goes from one to the other is copied, as it would be, so that a view of either
    stays what it is. A device that is named by an object and not by a word is the
    device, as ``x.device`` is of a device tensor.

    It takes the place of methods of ``torch.Tensor``, so that it sees a custom operator
    read, which a ``TorchFunctionMode`` does not. What an emulated operator reads is its
    own.

    Attributes:
        copies: reads that are no operator where the device is the host.
        spared: reads of the host's own scalars, which are operators all the same.
    """

    def __init__(self) -> None:
        self.copies = self.spared = 0
        self._on_host: WeakSet[torch.UntypedStorage] = WeakSet()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts until the end of the ``with``."""
        methods: dict[str, Function] = dict.fromkeys(SCALARS, self._scalar)
        methods |= {"tolist": self._values, "cpu": self._cpu, "to": self._to}
        with ExitStack() as stack:
            for name, method in methods.items():
                stack.enter_context(_replaced(torch.Tensor, name, method))
            for name in FACTORIES:
                stack.enter_context(_replaced(torch, name, self._made))
            yield

    def _scalar(self, own: Function, tensor: torch.Tensor) -> Any:
        self.spared += self._is_host(tensor) and not npu_emulation.running
        return own(tensor)

    def _values(self, own: Function, tensor: torch.Tensor) -> Any:
        self.copies += not (self._is_host(tensor) or npu_emulation.running)
        return own(tensor)

    def _cpu(
        self, own: Function, tensor: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        return self._moved(tensor, own(tensor, *args, **kwargs), to_host=True)

    def _to(
        self, own: Function, tensor: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        done = own(tensor, *args, **kwargs)
        device = kwargs.get("device", args[0] if args else None)
        if isinstance(device, str | torch.device):
            return self._moved(tensor, done, to_host=device == HOST)
        return done

    def _made(self, own: Function, *args: Any, **kwargs: Any) -> Any:
        made = own(*args, **kwargs)
        if kwargs.get("device", HOST) in (HOST, None):
            self._on_host.add(made.untyped_storage())
        return made

    def _moved(
        self, tensor: torch.Tensor, done: torch.Tensor, *, to_host: bool
    ) -> torch.Tensor:
        """What a move gives: a copy where it changes sides."""
        was_host = self._is_host(tensor)
        if npu_emulation.running or was_host == to_host:
            return done
        if done.untyped_storage() is tensor.untyped_storage():
            done = done.clone()
        if to_host:
            self.copies += 1
            self._on_host.add(done.untyped_storage())
        return done

    def _is_host(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage() in self._on_host


@contextmanager
def _replaced(owner: Any, name: str, function: Function) -> Iterator[None]:
    """An attribute that calls ``function`` with what it was, and then its arguments."""
    inherited = name not in vars(owner)
    own = getattr(owner, name)

    def replacement(*args: Any, **kwargs: Any) -> Any:
        return function(own, *args, **kwargs)

    setattr(owner, name, replacement)
    try:
        yield
    finally:
        if inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
