# SPDX-License-Identifier: Apache-2.0
"""Small whole models that an engine serves: weights, tokenizer, processor, template.

Real classes at a small size, with the head sizes of the released towers (80, and 72
for Qwen3-VL), so that what pads heads pads them here too. Seeded: the same weights on
every machine. Nothing here imports vLLM.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmparity.engine.offline.scenarios import EngineArguments
from mmparity.files import make_folder
from mmparity.project import known
from mmparity.workload.models import FAMILIES, ConfigValues

if TYPE_CHECKING:
    from transformers import PretrainedConfig, Qwen2TokenizerFast

RECIPE = 2
"""Raised when the same name would give another checkpoint."""
MARKER = "served.json"
VOCABULARY = 640
_TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
_MROPE = {"type": "mrope", "mrope_section": [8, 12, 12]}


@dataclass(frozen=True)
class Served:
    """One small model.

    Attributes:
        family: of ``mmparity.workload.models.FAMILIES``.
        model: transformers' class.
        processor: and that of its processor.
        patch_size: of its images.
        vision: of its configuration; ``text`` likewise, over the common values.
        options: of the engine that serves it, on every side.
    """

    name: str
    family: str
    model: str
    processor: str
    patch_size: int
    vision: ConfigValues
    text: ConfigValues
    options: EngineArguments = field(default_factory=dict)


SERVED = {
    item.name: item
    for item in (
        Served(
            "qwen2-vl",
            "qwen2_vl",
            "Qwen2VLForConditionalGeneration",
            "Qwen2VLProcessor",
            14,
            {"depth": 4, "embed_dim": 320, "num_heads": 4, "hidden_size": 256},
            {"rope_scaling": _MROPE},
        ),
        Served(
            "qwen2.5-vl",
            "qwen2_5_vl",
            "Qwen2_5_VLForConditionalGeneration",
            "Qwen2_5_VLProcessor",
            14,
            {
                "depth": 4,
                "hidden_size": 320,
                "num_heads": 4,
                "intermediate_size": 640,
                "out_hidden_size": 256,
                "fullatt_block_indexes": [1, 3],
            },
            {"rope_scaling": _MROPE},
        ),
        Served(
            "qwen3-vl",
            "qwen3_vl",
            "Qwen3VLForConditionalGeneration",
            "Qwen3VLProcessor",
            16,
            {
                "depth": 4,
                "hidden_size": 288,
                "num_heads": 4,
                "intermediate_size": 576,
                "out_hidden_size": 256,
                "num_position_embeddings": 576,
                "deepstack_visual_indexes": [0, 2],
            },
            {
                "head_dim": 64,
                "rope_scaling": {
                    "rope_type": "default",
                    "mrope_section": [12, 10, 10],
                    "mrope_interleaved": True,
                },
            },
            # 0.12.0's compiled RMS norm for CPUs reads the strided q and k of this
            # language model as if they were contiguous: PyTorch's instead.
            {"compilation_config": {"custom_ops": ["all", "-rms_norm"]}},
        ),
    )
}

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_SENTENCES = (
    "Describe the image in detail, please.",
    "What differs between the first and the second image?",
    "Is there a flower, a temple or a person in the picture?",
    "What happens in the video, and in which order?",
    "Name three colours that you see and count the objects.",
    "Answer in one short sentence: what is two and two?",
)
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}"
    "{% if c['type'] in ('image', 'image_url') %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif c['type'] in ('video', 'video_url') %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in c %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def get(name: str) -> Served:
    """The model of that name."""
    return known("served model", name, SERVED)


def served_checkpoint(cache: Path, name: str, seed: int = 0) -> Path:
    """The checkpoint inside ``cache``, written at the first call."""
    served = get(name)
    recipe = [RECIPE, seed, served.vision, served.text, _TEXT, _SENTENCES, _TEMPLATE]
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    folder = Path(cache) / f"served-{name}-{digest[:12]}"

    def write(partial: Path) -> None:
        _write(partial, served, seed)
        (partial / MARKER).write_text(json.dumps({"model": name, "seed": seed}) + "\n")

    make_folder(folder, (folder / MARKER).is_file, write)
    return folder


def _write(folder: Path, served: Served, seed: int) -> None:
    import torch
    import transformers

    from mmparity.workload.seeded import seeded_values

    tokenizer = _tokenizer()
    _processor(served, tokenizer).save_pretrained(folder)
    with torch.device("meta"):
        model = getattr(transformers, served.model)(_config(served, tokenizer))
    model.to(torch.bfloat16)
    state = {
        name: seeded_values(name, tuple(tensor.shape), seed)
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(state, assign=True)
    model.save_pretrained(folder)


def _config(served: Served, tokenizer: Qwen2TokenizerFast) -> PretrainedConfig:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    vocabulary = tokenizer.get_vocab()
    ids = {name: vocabulary[name] for name in SPECIAL}
    config = CONFIG_MAPPING[FAMILIES[served.family].name](
        text_config={
            **_TEXT,
            **served.text,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={**served.vision, "patch_size": served.patch_size},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    config.architectures = [served.model]
    return config


def _tokenizer() -> Qwen2TokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 40,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_SENTENCES, trainer)
    tokenizer = Qwen2TokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def _processor(served: Served, tokenizer: Qwen2TokenizerFast) -> Any:
    import transformers
    from transformers import Qwen2VLImageProcessorFast

    family = FAMILIES[served.family]
    pixels = 4 * served.patch_size**2
    size = {"shortest_edge": 4 * pixels, "longest_edge": 400 * pixels}
    mean = {}
    if family.image_mean:
        mean = {"image_mean": family.image_mean, "image_std": family.image_mean}
    common = {"patch_size": served.patch_size, "size": size, **mean}
    images = Qwen2VLImageProcessorFast(
        min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"], **common
    )
    module, _, name = family.video_processor.partition(":")
    videos = getattr(import_module(f"transformers.models.{module}"), name)(**common)
    processor = getattr(transformers, served.processor)
    return processor(images, tokenizer, videos, chat_template=_TEMPLATE)
