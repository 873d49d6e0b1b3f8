# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: a seeded one at real size, and reading any Hugging Face one.

Both sides and the oracle read the same files through this module, so that "the
same weights" is one digest. It never builds an encoder with real values.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mmparity.types import MmparityError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

DEFAULT_MODEL = "qwen2.5-vl-7b"
MODELS: dict[str, dict[str, Any]] = {
    DEFAULT_MODEL: {
        "model_type": "qwen2_5_vl",
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "num_heads": 16,
            "intermediate_size": 3420,
            "out_hidden_size": 3584,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "window_size": 112,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        "text_config": {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_window_layers": 28,
        },
    }
}
PREFIXES = ("model.visual.", "visual.")
NOT_WEIGHTS = {"rotary_pos_emb.inv_freq"}
RECIPE = 1
"""Raised when the same seed would give other values."""
MARKER = "seeded.json"


def write_seeded_checkpoint(
    directory: Path,
    model: str = DEFAULT_MODEL,
    depth: int | None = None,
    seed: int = 0,
) -> None:
    """Writes a vision tower with seeded values as a Hugging Face checkpoint.

    Each tensor's values depend on the seed and its name only, so an encoder cut
    in depth has the same first blocks. Does nothing where the same recipe was
    written already; an interrupted write leaves nothing behind, and a folder that
    this function wrote and that is damaged is written again.
    """
    directory = Path(directory)
    config = _model_config(model, depth)
    recipe = {"model": model, "depth": config.vision_config.depth, "seed": seed}
    recipe["recipe"] = RECIPE
    if _is_written(directory, recipe):
        return
    ours = (directory / MARKER).is_file()
    if directory.exists() and any(directory.iterdir()) and not ours:
        raise MmparityError(
            f"{directory} holds something else than the seeded checkpoint {recipe}. "
            "Give an empty folder, or delete it."
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        _write_files(partial, config, seed)
        sizes = {file.name: file.stat().st_size for file in partial.iterdir()}
        marker = json.dumps({**recipe, "sizes": sizes}, indent=2) + "\n"
        (partial / MARKER).write_text(marker)
        partial.chmod(0o755)
        if _is_written(directory, recipe):  # by another process, meanwhile
            return
        if directory.exists():
            shutil.rmtree(directory)
        partial.rename(directory)
    except OSError as error:
        raise MmparityError(f"cannot write {directory}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def seeded_checkpoint(
    cache: Path, model: str = DEFAULT_MODEL, depth: int | None = None, seed: int = 0
) -> Path:
    """The seeded checkpoint inside ``cache``, written at the first call."""
    digest = hashlib.sha256(
        json.dumps([RECIPE, MODELS[model], depth, seed], sort_keys=True).encode()
    )
    blocks = depth or MODELS[model]["vision_config"]["depth"]
    directory = Path(cache) / f"{model}-{blocks}-{digest.hexdigest()[:12]}"
    write_seeded_checkpoint(directory, model, depth, seed)
    return directory


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
    model_type = raw.get("model_type", "") if isinstance(raw, dict) else ""
    known = sorted(model["model_type"] for model in MODELS.values())
    if model_type not in known:
        raise MmparityError(f"{file}: model_type is {model_type!r}; known: {known}")
    vision_class = CONFIG_MAPPING[model_type].sub_configs["vision_config"]
    return vision_class.from_dict(raw.get("vision_config", raw))


def with_depth(config: PretrainedConfig, depth: int | None) -> PretrainedConfig:
    """A copy cut to ``depth`` blocks that keeps a window and a full block."""
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
    return config


def expected_shapes(config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes as transformers' own encoder has them."""
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling

    with torch.device("meta"):
        encoder = modeling.Qwen2_5_VisionTransformerPretrainedModel(config)
    return {name: tuple(p.shape) for name, p in encoder.named_parameters()}


def vision_weights(
    directory: Path, config: PretrainedConfig
) -> Iterator[tuple[str, torch.Tensor]]:
    """The encoder's tensors by name, without the prefix; each is checked.

    Blocks from ``config.depth`` on are left out. A tensor that is missing, has
    another shape or is not known to the encoder is an error: nothing is loaded
    that was not compared, and nothing is left out in silence.
    """
    expected = expected_shapes(config)
    places = _tensor_files(Path(directory), config.depth)
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


def _model_config(model: str, depth: int | None) -> PretrainedConfig:
    from transformers import Qwen2_5_VLConfig

    if model not in MODELS:
        raise MmparityError(f"unknown model {model!r}; known: {sorted(MODELS)}")
    recipe = MODELS[model]
    config = Qwen2_5_VLConfig(
        vision_config=recipe["vision_config"], text_config=recipe["text_config"]
    )
    config.vision_config = with_depth(config.vision_config, depth)
    return config


def _is_written(directory: Path, recipe: dict[str, Any]) -> bool:
    try:
        marker = json.loads((directory / MARKER).read_text())
        sizes = marker.pop("sizes")
        same_sizes = all(
            (directory / name).stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return bool(marker == recipe and same_sizes)


def _write_files(directory: Path, config: PretrainedConfig, seed: int) -> None:
    """config.json and shards of eight blocks, written as they are drawn."""
    shapes = expected_shapes(config.vision_config)
    shards: dict[int, list[str]] = {}
    for name in shapes:
        block = int(name.split(".")[1]) if name.startswith("blocks.") else -1
        shards.setdefault(block // 8, []).append(name)
    config.save_pretrained(directory)
    index: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=2) as pool:
        for number, names in enumerate(shards.values(), start=1):
            file = f"model-{number:05}-of-{len(shards):05}.safetensors"
            drawn = pool.map(
                lambda name: _seeded_values(name, shapes[name], seed), names
            )
            tensors = {f"visual.{n}": t for n, t in zip(names, drawn, strict=True)}
            save_file(tensors, directory / file, metadata={"format": "pt"})
            index.update(dict.fromkeys(tensors, file))
    content = {"metadata": {}, "weight_map": index}
    (directory / "model.safetensors.index.json").write_text(
        json.dumps(content, indent=1)
    )


def _seeded_values(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Nearly normal values from integers only: the same bits on every machine.

    Biases and norm weights are away from 0 and 1, so that a side that loses or
    swaps them shows.
    """
    key = hashlib.sha256(f"{RECIPE}:{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))
    numel = torch.Size(shape).numel()
    bits = torch.empty(numel, dtype=torch.int32)
    bits.random_(-(2**31), 2**31 - 1, generator=generator)
    dice = bits.view(torch.uint8).view(-1, 4)
    thrown = dice[:, 0].to(torch.int16)
    for column in range(1, 4):
        thrown += dice[:, column]
    values = (thrown.float() - 510.0) / 147.8  # mean and deviation of four bytes
    if len(shape) > 1:
        values *= torch.Size(shape[1:]).numel() ** -0.5
    else:
        values *= 0.1
        if name.endswith("weight"):
            values += 1.0
    return values.to(torch.bfloat16).view(shape)


def _tensor_files(directory: Path, depth: int) -> dict[str, tuple[Path, str]]:
    """Name -> the file that holds it and its name there."""
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise MmparityError(f"{directory} has no *.safetensors file.")
    places: dict[str, tuple[Path, str]] = {}
    for file in files:
        with _open(file) as tensors:
            keys = list(tensors.keys())
        for name, key in _vision_names(keys, whole_model=_has_prefix(keys)):
            block = name.split(".")[1] if name.startswith("blocks.") else "0"
            beyond = block.isdigit() and int(block) >= depth
            if name not in NOT_WEIGHTS and not beyond:
                places[name] = (file, key)
    return places


def _has_prefix(keys: Iterable[str]) -> bool:
    text = ("model.", "lm_head.", "visual.")
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
