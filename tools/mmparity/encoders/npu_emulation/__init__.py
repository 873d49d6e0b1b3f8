# SPDX-License-Identifier: Apache-2.0
"""torch_npu for machines without an NPU: its operators, on a CPU.

``install()`` puts a ``torch_npu`` module into ``sys.modules`` whose operators
are registered under the real schemas. Only the operators of the encoders are
there; the use of any other one is an error that names it. It is never installed
where the real torch_npu can be imported, and stays for the whole process.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import sys
import time
import types
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from mmparity.encoders.devices import INSTALLED, has_torch_npu
from mmparity.encoders.npu_emulation import fused_attention, operators
from mmparity.encoders.npu_emulation.schemas import RELEASES
from mmparity.errors import MmparityError
from mmparity.workload.implementation import FLOAT32_NOTE

EMULATED = tuple(
    sorted({name.split("::")[1] for found in RELEASES.values() for name in found})
)
"""Names of the emulated operators, of all releases."""

called: set[str] = set()
"""Names of those that were called; whoever begins something clears it."""

running: list[str] = []
"""Those that are running now, the innermost last."""

seconds: defaultdict[str, float] = defaultdict(float)
"""How long those ran that no other one called."""

_MODULES = (
    "torch_npu._C",
    "torch_npu.npu",
    "torch_npu.npu.memory",
    "torch_npu.npu.streams",
    "torch_npu.npu.npu_config",
    "torch_npu.op_plugin",
    "torch_npu.op_plugin.atb",
    "torch_npu.op_plugin.atb._atb_ops",
    "torch_npu.profiler",
    "acl",  # of CANN
    "acl.rt",
    "fla_npu",  # linear attention of language models
    "fla_npu.ops",
    "fla_npu.ops.ascendc",
    "torchair",  # torch_npu brings it along
    "torchair.scope",
)
_NPU_KEY = "PrivateUse1"
_libraries: list[torch.library.Library] = []


class NotEmulatedError(RuntimeError):
    """Something of torch_npu was used that only an NPU has."""


class _Module(types.ModuleType):
    """Any public attribute is a class, so that annotations and defaults work.

    To make or call one is an error: nothing may pass because it did nothing.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _unusable(f"{self.__name__}.{name}")


def install(release: str = "2.9.0") -> types.ModuleType:
    """Registers the operators of a release and makes ``import torch_npu`` find them."""
    if isinstance(sys.modules.get("torch_npu"), _Module):
        return sys.modules["torch_npu"]
    if has_torch_npu():
        raise MmparityError(INSTALLED)
    torch_npu = _module("torch_npu")
    _register(torch_npu, RELEASES[release])
    for name in _MODULES:
        _module(name)
    _serve_npu_key_on_cpu()
    npu = sys.modules["torch_npu.npu"]
    npu.is_available = lambda: False  # type: ignore[attr-defined]
    npu.device_count = lambda: 0  # type: ignore[attr-defined]
    torch.npu = npu  # type: ignore[attr-defined]
    return torch_npu


def called_names() -> tuple[str, ...]:
    """Those of ``called``, with a note where native attention stood in for one."""
    attention = (operators.ATTENTION, fused_attention.NAME)
    noted = operators.float32_attention
    return tuple(
        f"{name} ({FLOAT32_NOTE})" if noted and name in attention else name
        for name in sorted(called)
    )


def _module(name: str) -> types.ModuleType:
    module = _Module(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def _register(torch_npu: types.ModuleType, schemas: dict[str, str]) -> None:
    for qualified, schema in schemas.items():
        namespace, name = qualified.split("::")
        library = torch.library.Library(namespace, "FRAGMENT")
        library.define(schema)
        place = fused_attention if name == fused_attention.NAME else operators
        kernel = noted(name, getattr(place, name))
        if name == "npu_format_cast":
            # It may return its argument, which a kernel with autograd may not.
            library.impl(name, kernel, "CompositeImplicitAutograd")
        else:
            library.impl(name, kernel, "CompositeExplicitAutograd")
        _libraries.append(library)
        setattr(torch_npu, name, getattr(getattr(torch.ops, namespace), name))


def noted(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, whose calls and seconds are kept."""

    @functools.wraps(kernel)
    def call(*args: Any, **kwargs: Any) -> Any:
        called.add(name)
        running.append(name)
        started = time.perf_counter()
        try:
            return kernel(*args, **kwargs)
        finally:
            running.pop()
            if not running:
                seconds[name] += time.perf_counter() - started

    return call


def _serve_npu_key_on_cpu() -> None:
    """What a framework registers for NPU tensors is found for CPU tensors too."""
    register = torch.library.Library.impl

    @functools.wraps(register)
    def impl(
        self: torch.library.Library, op: Any, fn: Any, dispatch_key: str = "", **kw: Any
    ) -> None:
        register(self, op, fn, dispatch_key, **kw)
        if dispatch_key == _NPU_KEY:
            register(self, op, fn, "CPU", **kw)

    torch.library.Library.impl = impl  # type: ignore[assignment, method-assign]


def _unusable(name: str) -> type:
    def refuse(cls: type, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotEmulatedError(f"{name} is not emulated; only an NPU has it.")

    return type(name.rpartition(".")[2], (), {"__new__": refuse, "__module__": name})
