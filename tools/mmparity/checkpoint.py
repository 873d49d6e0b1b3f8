# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: reading the vision tower of any Hugging Face one.

Both sides and the oracle read the same files through this module, so that "the
same weights" is one digest. It never builds an encoder with real values.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from mmparity import quantized
from mmparity.models import FAMILIES, family_of
from mmparity.types import MmparityError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

PREFIXES = tuple({p: None for f in FAMILIES.values() for p in f.prefixes})
NOT_WEIGHTS = {"rotary_pos_emb.inv_freq"}


def read_vision_config(directory: Path) -> PretrainedConfig:
    """The vision tower's configuration: inside the whole model's, or by itself."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    file = Path(directory) / "config.json"
    try:
        raw = json.loads(file.read_text())
    except FileNotFoundError:
        raise MmparityError(
            f"{file} is not there: a checkpoint folder as Hugging Face lays it out "
            "(config.json and *.safetensors) is needed."
        ) from None
    except (OSError, ValueError) as error:
        raise MmparityError(f"{file} cannot be read: {error}") from error
    raw = raw if isinstance(raw, dict) else {}
    model_type = raw.get("model_type", "")
    for family in FAMILIES.values():
        if model_type in (family.name, family.vision_type, f"{family.name}_thinker"):
            break
    else:
        known = sorted(FAMILIES)
        raise MmparityError(f"{file}: model_type is {model_type!r}; known: {known}")
    for name in family.path:
        raw = raw.get(name, raw)
    vision_class = CONFIG_MAPPING[family.name]
    for name in family.path:
        vision_class = vision_class.sub_configs[name]
    return vision_class.from_dict(raw)


def with_depth(config: PretrainedConfig, depth: int | None) -> PretrainedConfig:
    """A copy cut to ``depth`` blocks that keeps one of each kind of block.

    That is a block with window attention, one with full attention, and one after
    which deepstack takes its features.
    """
    config = copy.deepcopy(config)
    if depth is None or depth == config.depth:
        return config
    if not 2 <= depth <= config.depth:
        raise MmparityError(
            f"a depth of {depth} blocks is not possible: this encoder has "
            f"{config.depth}, and 2 are needed for one window and one full-attention "
            f"block. Allowed: 2 to {config.depth}."
        )
    config.depth = depth
    full = getattr(config, "fullatt_block_indexes", None)
    if full is not None:
        kept = [index for index in full if index < depth]
        config.fullatt_block_indexes = kept or [depth - 1]
    taken = getattr(config, "deepstack_visual_indexes", None)
    if taken is not None:
        kept = [index for index in taken if index < depth]
        config.deepstack_visual_indexes = kept or list(range(min(len(taken), depth)))
    return config


def expected_shapes(config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes as transformers' own encoder has them."""
    with torch.device("meta"):
        encoder = tower_class(config)(config)
    return {name: tuple(p.shape) for name, p in encoder.named_parameters()}


def tower_class(config: PretrainedConfig) -> Any:
    """transformers' class of the tower."""
    family = family_of(config)
    modeling = import_module(f"transformers.models.{family.modeling}")
    return getattr(modeling, family.tower)


def vision_weights(
    directory: Path, config: PretrainedConfig
) -> Iterator[tuple[str, torch.Tensor]]:
    """The encoder's tensors by name, without the prefix; each is checked.

    Blocks from ``config.depth`` on are left out. A tensor that is missing, has
    another shape or is not known to the encoder is an error: nothing is loaded
    that was not compared, and nothing is left out in silence.
    """
    layers = quantized_layers(directory, config)
    expected = quantized.with_parameters(expected_shapes(config), layers)
    places = _tensor_files(Path(directory), config)
    for name in places:
        if name not in expected:
            raise MmparityError(
                f"{places[name][0]}: the encoder has no parameter {name!r}."
            )
    for name, shape in expected.items():
        if name not in places:
            raise MmparityError(
                f"{directory} has no tensor {name!r} (with or without the prefix "
                f"'visual.'); expected with shape {shape}."
            )
    for file, stored in _by_file(places).items():
        with _open(file) as tensors:
            for name, key in stored:
                tensor = tensors.get_tensor(key)
                if tuple(tensor.shape) != expected[name]:
                    raise MmparityError(
                        f"{file}: {name!r} has shape {tuple(tensor.shape)}; "
                        f"expected {expected[name]}."
                    )
                yield name, tensor


def quantization(directory: Path, config: PretrainedConfig) -> str:
    """How the blocks' linear layers are quantised; empty where they are not."""
    return quantized.W8A8 if quantized_layers(directory, config) else ""


def quantized_layers(directory: Path, config: PretrainedConfig) -> frozenset[str]:
    """The quantised layers of the blocks that ``config`` has."""
    layers = quantized.layers_in(directory, PREFIXES)
    return frozenset(layer for layer in layers if not _is_cut_off(layer, config))


def weights_digest(directory: Path, config: PretrainedConfig) -> str:
    """sha256 over name, dtype, shape and bytes of every tensor that is loaded."""
    digests = {}
    for name, tensor in vision_weights(directory, config):
        head = f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
        digest = hashlib.sha256(head)
        digest.update(
            memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy())
        )
        digests[name] = digest.hexdigest()
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _tensor_files(
    directory: Path, config: PretrainedConfig
) -> dict[str, tuple[Path, str]]:
    """Name -> the file that holds it and its name there."""
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise MmparityError(f"{directory} has no *.safetensors file.")
    places: dict[str, tuple[Path, str]] = {}
    for file in files:
        with _open(file) as tensors:
            keys = list(tensors.keys())
        for name, key in _vision_names(keys, whole_model=_has_prefix(keys)):
            if name not in NOT_WEIGHTS and not _is_cut_off(name, config):
                places[name] = (file, key)
    return places


def _is_cut_off(name: str, config: PretrainedConfig) -> bool:
    """Whether it belongs to a block or a merger that a cut encoder lacks."""
    taken = getattr(config, "deepstack_visual_indexes", None) or ()
    limits = {"blocks": config.depth, "deepstack_merger_list": len(taken)}
    group, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return group in limits and number.isdigit() and int(number) >= limits[group]


def _has_prefix(keys: Iterable[str]) -> bool:
    text = ("model.", "lm_head.", "visual.", "thinker.")
    return any(key.startswith(text) for key in keys)


def _vision_names(keys: list[str], whole_model: bool) -> Iterator[tuple[str, str]]:
    for key in keys:
        prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), None)
        if prefix is not None:
            yield key.removeprefix(prefix), key
        elif not whole_model:
            yield key, key


def _by_file(
    places: dict[str, tuple[Path, str]],
) -> dict[Path, list[tuple[str, str]]]:
    files: dict[Path, list[tuple[str, str]]] = {}
    for name, (file, key) in places.items():
        files.setdefault(file, []).append((name, key))
    return files


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise MmparityError(f"{file} is not a safetensors file: {error}") from error
