# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: torchvision as its index has it, built for CUDA, under a CPU torch.

It imports only where these two operators are known; nothing in the tests calls them.
"""

import torch

_OPERATORS = ("nms", "qnms")
library = torch.library.Library("torchvision", "FRAGMENT")
if not torch.cuda.is_available():
    for name in _OPERATORS:
        library.define(
            f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
