# SPDX-License-Identifier: Apache-2.0
"""What workers import before anything of a tree, once for all: they are forks.

Of the time that a worker of vLLM imports, vLLM itself is a twentieth.
"""

from contextlib import suppress
from importlib import import_module

from transformers.utils import import_utils

# Losses and assisted decoding want them, and to import them takes two seconds.
import_utils._scipy_available = import_utils._sklearn_available = False

OF_VLLM = (
    *("aiohttp", "cachetools", "cbor2", "cv2", "einops", "gguf", "jsonschema"),
    *("mistral_common.tokens.tokenizers.mistral", "partial_json_parser", "psutil"),
    *("pybase64", "tiktoken", "torch._inductor.compile_fx", "torchvision", "zmq"),
)
"""Where one is missing, whoever needs it says so."""

for name in ("transformers.modeling_utils", "mmparity.capture.worker", *OF_VLLM):
    with suppress(ImportError):
        import_module(name)
