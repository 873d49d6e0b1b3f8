# SPDX-License-Identifier: Apache-2.0
"""torchvision of an index, which is built for CUDA, beside a torch that is not."""

from __future__ import annotations

import sys

import torch

_OPERATORS = ("nms", "qnms")
"""What it registers shapes for as it is imported; its library defines them."""
_libraries: list[torch.library.Library] = []


def import_torchvision() -> None:
    """Imports it, also where its library cannot be loaded; none of it is called."""
    try:
        import torchvision
    except ImportError:
        return
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in _OPERATORS:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou) -> Tensor")
        _libraries.append(library)
        import torchvision  # noqa: F401
