# SPDX-License-Identifier: Apache-2.0
"""Where the host reads a device tensor's values, on a machine without the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from mmparity.encoders import npu_emulation

HOST = "cpu"
SCALARS = ("item", "__int__", "__index__", "__bool__", "__float__")
_MOVES = ("cpu", "to")
_FACTORIES = ("tensor", "as_tensor", "from_numpy")
Function = Callable[..., Any]


class HostReads(TorchFunctionMode):
    """Counts reads of device tensors, where host and device are the same CPU.

    It keeps for each tensor on which of the two it is. A move or a device says so:
    ``.cpu()`` and the word ``"cpu"`` are the host, a device that is an object, as
    ``x.device``, is the device. What a function makes of tensors is the device's if one
    of them is. Otherwise integers are the host's and floats the device's: lengths and
    indices that a tree keeps by image size are kept on the host. What goes from one to
    the other is copied, as it would be.

    What a custom operator does is seen as well, through methods of ``torch.Tensor``
    that are replaced; what it makes of a device's integers is the device's. What an
    emulated operator reads is its own.

    Attributes:
        copies: reads that are no operator where the device is the host.
        spared: reads of the host's own scalars, which are operators all the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies = self.spared = 0
        self._on_device: WeakKeyDictionary[torch.UntypedStorage, bool]
        self._on_device = WeakKeyDictionary()
        self._inside = False

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts until the end of the ``with``."""
        methods: dict[str, Function] = dict.fromkeys(SCALARS, self._scalar)
        methods |= {"tolist": self._values, "cpu": self._cpu, "to": self._to}
        with ExitStack() as stack:
            for name, method in methods.items():
                stack.enter_context(_replaced(torch.Tensor, name, method))
            stack.enter_context(self)
            yield

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Calls, and keeps on which side the result is."""
        kwargs = kwargs or {}
        given = _tensors((args, kwargs))
        sides = [self._is_device(tensor) for tensor in given]
        if not isinstance(func, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
            made = func(*args, **kwargs)
        else:
            for tensor, side in zip(given, sides, strict=True):
                self._on_device[tensor.untyped_storage()] = side
            integers = (not tensor.is_floating_point() for tensor in given)
            self._inside = any(map(min, sides, integers))
            try:
                made = func(*args, **kwargs)
            finally:
                self._inside = False
        name, device = getattr(func, "__name__", ""), kwargs.get("device")
        if name not in _MOVES and (given or device is not None or name in _FACTORIES):
            side = any(sides) if device is None else device != HOST
            old = {tensor.untyped_storage() for tensor in given}
            for tensor in _tensors(made):
                if tensor.untyped_storage() not in old:
                    self._on_device[tensor.untyped_storage()] = side
        return made

    def _scalar(self, own: Function, tensor: torch.Tensor) -> Any:
        self.spared += not (self._is_device(tensor) or npu_emulation.running)
        return own(tensor)

    def _values(self, own: Function, tensor: torch.Tensor) -> Any:
        self.copies += self._is_device(tensor) and not npu_emulation.running
        return own(tensor)

    def _cpu(
        self, own: Function, tensor: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        return self._moved(tensor, own(tensor, *args, **kwargs), to_device=False)

    def _to(
        self, own: Function, tensor: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        done = own(tensor, *args, **kwargs)
        device = kwargs.get("device", args[0] if args else None)
        if isinstance(device, str | torch.device):
            return self._moved(tensor, done, to_device=device != HOST)
        if done is not tensor:
            self._on_device[done.untyped_storage()] = self._is_device(tensor)
        return done

    def _moved(
        self, tensor: torch.Tensor, done: torch.Tensor, *, to_device: bool
    ) -> torch.Tensor:
        """What a move gives: a copy where it changes sides."""
        if npu_emulation.running:
            return done
        was_device = self._is_device(tensor)
        if was_device != to_device and done is tensor:
            done = done.clone()
        self.copies += was_device and not to_device
        self._on_device[done.untyped_storage()] = to_device
        return done

    def _is_device(self, tensor: torch.Tensor) -> bool:
        default = self._inside or tensor.is_floating_point()
        return self._on_device.get(tensor.untyped_storage(), default)


def _tensors(found: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]


@contextmanager
def _replaced(owner: Any, name: str, function: Function) -> Iterator[None]:
    """An inherited method that calls ``function`` with it, and then its arguments."""
    inherited = getattr(owner, name)

    def own(*args: Any, **kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction():  # which would call the replacement
            return inherited(*args, **kwargs)

    def replacement(*args: Any, **kwargs: Any) -> Any:
        return function(own, *args, **kwargs)

    setattr(owner, name, replacement)
    try:
        yield
    finally:
        delattr(owner, name)
