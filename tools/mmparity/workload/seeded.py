# SPDX-License-Identifier: Apache-2.0
"""Seeded checkpoints at real size, as Hugging Face lays them out.

The same bits on every machine, and written once: a run reads them as it would
read a released model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mmparity.errors import MmparityError
from mmparity.files import make_folder
from mmparity.workload import models
from mmparity.workload.checkpoint import expected_shapes
from mmparity.workload.models import DEFAULT_MODEL, FAMILIES, ConfigValues
from mmparity.workload.quantized import (
    DESCRIPTION,
    FLOAT,
    INPUT_OFFSET,
    INPUT_SCALE,
    INPUT_SCALES,
    W8A8,
    is_quantized,
    quantize,
)
from mmparity.workload.spectra import Tower, values
from mmparity.workload.tower_config import with_depth
from mmparity.workload.towers import TOWERS, TowerConfig

VLLM_PREFIX = "visual."
RECIPE = 2
"""Raised when the same seed would give other values."""
PLAIN_RECIPE = 1
MARKER = "seeded.json"


def write_seeded_checkpoint(
    directory: Path,
    model: str = DEFAULT_MODEL,
    depth: int | None = None,
    seed: int = 0,
    quantized: bool = False,
    prefix: str | None = None,
) -> None:
    """Writes a vision tower with seeded values as a Hugging Face checkpoint.

    Each tensor's values depend on the seed and its name only, so an encoder cut
    in depth has the same first blocks. Does nothing where the same recipe was
    written already; a folder that this function wrote and that is damaged is
    written again. Names begin with ``prefix``, by default the released model's, or
    vLLM's where layers are quantised.
    """
    config = model_config(model, depth)
    vision = _vision_part(config, model)
    usual = _prefix(model, quantized)
    prefix = prefix or usual
    recipe = {"model": model, "depth": vision.depth, "seed": seed, "recipe": RECIPE}
    if quantized:
        recipe["quantized"] = [INPUT_SCALE, INPUT_OFFSET, INPUT_SCALES]
    if quantized or prefix != usual:
        recipe["prefix"] = prefix

    def write(partial: Path) -> None:
        _write_files(partial, config, vision, seed, prefix)
        if quantized:
            _quantize_files(partial, prefix)

    write_once(directory, recipe, write)


def write_once(
    directory: Path, recipe: Mapping[str, object], write: Callable[[Path], None]
) -> None:
    """Has a checkpoint written by ``write``, unless it is there by the same recipe.

    Raises MmparityError where the folder holds something else.
    """
    if _is_written(directory, recipe):
        return
    _refuse_another(directory, recipe)

    def write_marked(partial: Path) -> None:
        write(partial)
        sizes = {file.name: file.stat().st_size for file in partial.iterdir()}
        marker = json.dumps({**recipe, "sizes": sizes}, indent=2) + "\n"
        (partial / MARKER).write_text(marker)

    make_folder(directory, lambda: _is_written(directory, recipe), write_marked)


def _refuse_another(directory: Path, recipe: Mapping[str, object]) -> None:
    ours = (directory / MARKER).is_file()
    if directory.exists() and any(directory.iterdir()) and not ours:
        raise MmparityError(
            f"{directory} holds something else than the seeded checkpoint {recipe}. "
            "Give an empty folder, or delete it."
        )


def seeded_checkpoint(
    cache: Path,
    model: str = DEFAULT_MODEL,
    depth: int | None = None,
    seed: int = 0,
    quantized: bool = False,
    prefix: str | None = None,
) -> Path:
    """The seeded checkpoint inside ``cache``, written at the first call."""
    given = models.get(model)
    recipe = [given.family, given.vision_config, given.text_config]
    digest = hashlib.sha256(
        json.dumps([RECIPE, recipe, depth, seed], sort_keys=True).encode()
    )
    if given.family in TOWERS:
        depth = None
    blocks = depth or given.vision_config["depth"]
    kind = f"-{W8A8.lower()}" if quantized else ""
    if prefix and prefix != _prefix(model, quantized):
        kind += f"-{prefix.rstrip('.')}"
    directory = Path(cache) / f"{model}-{blocks}{kind}-{digest.hexdigest()[:12]}"
    write_seeded_checkpoint(directory, model, depth, seed, quantized, prefix)
    return directory


def _prefix(model: str, quantized: bool) -> str:
    """Released vllm-ascend finds quantised layers by vLLM's names alone."""
    return VLLM_PREFIX if quantized else FAMILIES[models.get(model).family].prefixes[0]


def vision_config(model: str) -> Any:
    """The vision configuration of a model, at its full depth."""
    return _vision_part(model_config(model, None), model)


def model_config(model: str, depth: int | None) -> Any:
    """The whole model's configuration, its vision part cut to ``depth``."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    given = models.get(model)
    if given.family in TOWERS:
        return TowerConfig(TOWERS[given.family])
    parts: ConfigValues = {"vision_config": given.vision_config}
    if given.text_config:
        parts["text_config"] = given.text_config
    for name in reversed(FAMILIES[given.family].path[:-1]):
        parts = {name: parts}
    config = CONFIG_MAPPING[given.family](**parts)
    holder = config
    *way, last = FAMILIES[given.family].path
    for name in way:
        holder = getattr(holder, name)
    setattr(holder, last, with_depth(getattr(holder, last), depth))
    return config


def _vision_part(config: Any, model: str) -> Any:
    for name in FAMILIES[models.get(model).family].path:
        config = getattr(config, name)
    return config


def _is_written(directory: Path, recipe: Mapping[str, object]) -> bool:
    try:
        marker = json.loads((directory / MARKER).read_text())
        sizes = marker.pop("sizes")
        same_sizes = all(
            (directory / name).stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return bool(marker == recipe and same_sizes)


def _write_files(
    directory: Path,
    config: Any,
    vision: Any,
    seed: int,
    prefix: str,
) -> None:
    """config.json and shards of eight blocks, written as they are drawn."""
    shapes, draw = expected_shapes(vision), _values_of(vision, seed)
    shards: dict[int, list[str]] = {}
    for name in shapes:
        block = int(name.split(".")[1]) if name.startswith("blocks.") else -1
        shards.setdefault(block // 8, []).append(name)
    config.save_pretrained(directory)
    index: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=2) as pool:
        for number, names in enumerate(shards.values(), start=1):
            file = f"model-{number:05}-of-{len(shards):05}.safetensors"
            drawn = pool.map(lambda name: draw(name, shapes[name]), names)
            tensors = {prefix + n: t for n, t in zip(names, drawn, strict=True)}
            save_file(tensors, directory / file, metadata={"format": "pt"})
            index.update(dict.fromkeys(tensors, file))
    content = {"metadata": {}, "weight_map": index}
    (directory / "model.safetensors.index.json").write_text(
        json.dumps(content, indent=1)
    )


def _values_of(
    vision: Any, seed: int
) -> Callable[[str, tuple[int, ...]], torch.Tensor]:
    """What makes a tensor of its name and shape."""
    if isinstance(vision, TowerConfig):
        return lambda name, shape: seeded_values(name, shape, seed)
    tower = Tower.of(vision, seed)
    return lambda name, shape: values(name, shape, tower)


def _quantize_files(directory: Path, prefix: str) -> None:
    """Replaces the weights of layers by their W8A8 parameters, file by file."""
    index_file = directory / "model.safetensors.index.json"
    weight_map: dict[str, str] = {}
    description: dict[str, str] = {}
    for file in sorted(directory.glob("*.safetensors")):
        tensors = load_file(file)
        for key in [key for key in tensors if key.endswith(".weight")]:
            layer = key.removesuffix(".weight")
            chosen = is_quantized(layer.removeprefix(prefix))
            description[key] = W8A8 if chosen else FLOAT
            if chosen:
                tensors |= quantize(layer, tensors[key], tensors[f"{layer}.bias"])
        save_file(tensors, file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file.name)
    content = {"metadata": {}, "weight_map": weight_map}
    index_file.write_text(json.dumps(content, indent=1))
    (directory / DESCRIPTION).write_text(json.dumps(description, indent=1))


def seeded_values(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Nearly normal values from integers only: the same bits on every machine.

    For whole models that are to answer something; a tower's are ``spectra.values``.
    Biases and norm weights are away from 0 and 1, so that a side that loses or
    swaps them shows.
    """
    key = hashlib.sha256(f"{PLAIN_RECIPE}:{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
    numel = torch.Size(shape).numel()
    bits = torch.empty(numel, dtype=torch.int32)
    bits.random_(-(2**31), 2**31 - 1, generator=generator)
    dice = bits.view(torch.uint8).view(-1, 4)
    thrown = dice[:, 0].to(torch.int16)
    for column in range(1, 4):
        thrown += dice[:, column]
    plain = (thrown.float() - 510.0) / 147.8  # mean and deviation of four bytes
    if len(shape) > 1:
        plain *= torch.Size(shape[1:]).numel() ** -0.5
    else:
        plain *= 0.1
        if name.endswith("weight"):
            plain += 1.0
    return plain.to(torch.bfloat16).view(shape)
