# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: reading the vision tower of any Hugging Face one.

Both sides and the oracle read the same files through this module, so that "the
same weights" is one digest. It never builds an encoder with real values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmparity.errors import MmparityError
from mmparity.workload import quantized, tower_weights
from mmparity.workload.checkpoint_files import open_file, stored_tensors
from mmparity.workload.models import family_of
from mmparity.workload.quantized import Quantized
from mmparity.workload.tower_config import read_vision_config as read_vision_config
from mmparity.workload.tower_config import with_depth as with_depth
from mmparity.workload.towers import tower_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig

NOT_WEIGHTS = {"rotary_pos_emb.inv_freq"}
_WHOLE_MODEL = ("model.", "lm_head.", "visual.", "thinker.")


def expected_shapes(config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes as transformers' own encoder has them."""
    tower = tower_of(config)
    if tower is not None:
        return tower_weights.expected_shapes(tower)
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
    another shape, a dtype that its numbers cannot be of, a second place, or is not
    known to the encoder is an error: nothing is loaded that was not compared, and
    nothing is left out in silence.
    """
    found = quantization_of(directory, config)
    shapes = expected_shapes(config)
    if found:
        quantized.check_layers(found, shapes, directory)
    layers = found.layers if found else frozenset()
    expected = quantized.with_parameters(shapes, layers)
    places = _places(Path(directory), config, shapes)
    for name, (file, _) in places.items():
        if name not in expected:
            raise MmparityError(f"{file}: the encoder has no parameter {name!r}.")
    for name, shape in expected.items():
        if name not in places:
            prefixes = " or ".join(map(repr, family_of(config).prefixes))
            raise MmparityError(
                f"{directory} has no tensor {name!r} (alone, or after {prefixes}); "
                f"expected with shape {shape}."
            )
    for file, stored in _by_file(places).items():
        with open_file(file) as tensors:
            for name, key in stored:
                tensor = tensors.get_tensor(key)
                if tuple(tensor.shape) != expected[name]:
                    raise MmparityError(
                        f"{file}: {name!r} has shape {tuple(tensor.shape)}; "
                        f"expected {expected[name]}."
                    )
                _check_dtype(file, name, tensor.dtype, layers)
                yield name, tensor


def quantization(directory: Path, config: PretrainedConfig) -> str:
    """How the blocks' linear layers are quantised; empty where they are not."""
    return quantized.W8A8 if quantization_of(directory, config) else ""


def quantization_of(directory: Path, config: PretrainedConfig) -> Quantized | None:
    """The quantised layers of the blocks that ``config`` has; None for none."""
    found = quantized.read(directory, family_of(config).prefixes)
    return found.without(lambda layer: _is_cut_off(layer, config)) if found else None


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


def _places(
    directory: Path, config: PretrainedConfig, shapes: dict[str, tuple[int, ...]]
) -> dict[str, tuple[Path, str]]:
    """Name of each of the tower's tensors -> its file and its name there."""
    stored = stored_tensors(directory)
    prefixes = family_of(config).prefixes
    whole_model = any(key.startswith(_WHOLE_MODEL) for key in stored)
    places: dict[str, tuple[Path, str]] = {}
    for key, file in stored.items():
        prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), "")
        name = key.removeprefix(prefix)
        if not prefix and whole_model and name not in shapes:
            continue  # of the language model
        if name in NOT_WEIGHTS or _is_cut_off(name, config):
            continue
        if name in places:
            raise MmparityError(
                f"{directory} has {name!r} twice, as {places[name][1]!r} in "
                f"{places[name][0].name} and as {key!r} in {file.name}: which of them "
                "is meant cannot be told. Remove one."
            )
        places[name] = (file, key)
    return places


def _check_dtype(
    file: Path, name: str, dtype: torch.dtype, layers: frozenset[str]
) -> None:
    layer, _, parameter = name.rpartition(".")
    allowed: tuple[torch.dtype, ...] = quantized.FLOATS
    if layer in layers:
        allowed = quantized.DTYPES.get(parameter, allowed)
    if dtype in allowed:
        return
    names = ", ".join(str(item).removeprefix("torch.") for item in allowed)
    text = f"{file}: {name!r} is {str(dtype).removeprefix('torch.')}; expected {names}."
    if layer not in layers:
        text += (
            f" Numbers of another kind need a scale, and {quantized.DESCRIPTION} does "
            f"not say that {layer} is quantised."
        )
    raise MmparityError(text)


def _is_cut_off(name: str, config: PretrainedConfig) -> bool:
    """Whether it belongs to a block or a merger that a cut encoder lacks."""
    taken = getattr(config, "deepstack_visual_indexes", None) or ()
    limits = {"blocks": config.depth, "deepstack_merger_list": len(taken)}
    group, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return group in limits and number.isdigit() and int(number) >= limits[group]


def _by_file(
    places: dict[str, tuple[Path, str]],
) -> dict[Path, list[tuple[str, str]]]:
    files: dict[Path, list[tuple[str, str]]] = {}
    for name, (file, key) in places.items():
        files.setdefault(file, []).append((name, key))
    return files
