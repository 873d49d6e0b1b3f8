# SPDX-License-Identifier: Apache-2.0
"""vllm-ascend's own compiled operators, as far as encoders call them, on a CPU."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import torch

from mmparity.encoders import npu_emulation
from mmparity.encoders.npu_emulation import operators

NAMESPACE, MODULE = "_C_ascend", "vllm_ascend.vllm_ascend_C"
NAME = "npu_add_rms_norm_bias"
SCHEMA = (
    f"{NAME}(Tensor x1, Tensor x2, Tensor gamma, Tensor? beta=None, "
    "float epsilon=1e-6) -> (Tensor y, Tensor rstd, Tensor x)"
)
BINDING = Path("csrc/torch_binding.cpp")
"""Where a source tree says what its library would register."""
META = Path("vllm_ascend/meta_registration.py")
"""Where it gives some of those operators their shapes; they must be declared for it."""
_DECLARED = re.compile(r'ops\.def\(\s*((?:"[^"]*"\s*)+)')
_GIVEN_SHAPES = re.compile(r'register_meta_if_necessary\(\s*"_C_ascend",\s*"(\w+)"')
_libraries: list[torch.library.Library] = []


def npu_add_rms_norm_bias(
    x1: torch.Tensor,
    x2: torch.Tensor,
    gamma: torch.Tensor,
    beta: torch.Tensor | None = None,
    epsilon: float = 1e-6,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """RMS norm of a sum: (normed, reciprocal rms, sum), as ``npu_add_rms_norm``."""
    if beta is not None:
        raise ValueError(f"{NAME}: beta is not emulated")
    return operators.npu_add_rms_norm(x1, x2, gamma, epsilon)


def install(tree: Path) -> None:
    """Stands in for the library that the build of ``tree`` makes, where it has one.

    A tree that is the package alone says nothing of a library.
    """
    binding = tree / BINDING
    if MODULE in sys.modules or not binding.is_file():
        return
    if NAME not in binding.read_text(errors="replace"):
        return
    library = torch.library.Library(NAMESPACE, "FRAGMENT")
    library.define(SCHEMA)
    kernel = npu_emulation.noted(NAME, npu_add_rms_norm_bias)
    library.impl(NAME, kernel, "CompositeExplicitAutograd")
    for schema in declared(tree):
        library.define(schema)
    _libraries.append(library)
    sys.modules[MODULE] = types.ModuleType(MODULE)


def declared(tree: Path) -> list[str]:
    """Schemas of the operators that ``META`` of a tree gives shapes, from ``BINDING``.

    They have no kernel here: an encoder that called one would be told so.
    """
    meta = tree / META
    names = _GIVEN_SHAPES.findall(meta.read_text()) if meta.is_file() else []
    found = []
    for strings in _DECLARED.findall((tree / BINDING).read_text(errors="replace")):
        schema = "".join(re.findall(r'"([^"]*)"', strings))
        name = schema.partition("(")[0].strip()
        if name in names and name != NAME:
            found.append(schema.strip())
    return found
