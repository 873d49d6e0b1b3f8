# SPDX-License-Identifier: Apache-2.0
"""The vision tower's configuration out of a checkpoint's config.json.

Whatever decides a shape or the arithmetic is checked before an encoder is built of
it: transformers takes any value, and what it makes of a wrong one shows far away.
"""

from __future__ import annotations

import copy
import inspect
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmparity.errors import MmparityError
from mmparity.stored_json import read_json
from mmparity.workload import models
from mmparity.workload.models import FAMILIES, Architecture, ConfigValues, Family
from mmparity.workload.towers import TOWERS, TowerConfig, tower_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG = "config.json"
MOST_BLOCKS, MOST = 1024, 1 << 20
"""Far above any tower's: only a mistake is larger, and it would be built for hours."""
_NOT_READ = ("initializer_range", "tokens_per_second")
"""Of training and of the language model."""
_QUANTIZATION = ("quantization_config", "compression_config")
"""vLLM reads either."""
_EXCLUDING = (
    "modules_to_not_convert",
    "ignore",
    "ignored_layers",
    "exclude",
    "exclude_modules",
    "llm_int8_skip_modules",
)
"""Where a quantization_config lists what stays as it is, by its method."""
ASCEND = "ascend"
ACTIVATIONS: dict[Architecture, tuple[str, ...]] = {
    "qwen2_vl": ("quick_gelu",),
    "qwen2_5_vl": ("silu", "gelu"),
    "qwen3_vl": (
        *("gelu_pytorch_tanh", "gelu", "gelu_fast", "gelu_new", "quick_gelu"),
        *("silu", "relu", "relu2", "tanh", "sigmoid"),
    ),
}
"""Those that transformers' tower and vLLM's have both."""


def read_vision_config(directory: Path) -> Any:
    """The vision tower's configuration: inside the whole model's, or by itself.

    Raises MmparityError where a field cannot be right, or where the tower is
    quantised in a way that is not known here.
    """
    file = Path(directory) / CONFIG
    if not file.is_file():
        raise MmparityError(
            f"{file.absolute()} is not there: a checkpoint folder as Hugging "
            "Face lays it out (config.json and *.safetensors) is needed."
        )
    raw = read_json(file)
    raw = raw if isinstance(raw, dict) else {}
    for tower in TOWERS.values():
        if raw.get("model_type") == tower.model_type:
            return TowerConfig(tower)
    family = _family(raw, file)
    part = _vision_part(raw, family, file)
    for name in _QUANTIZATION:
        for fields in (raw, part):
            _check_quantization(name, fields.get(name), file)
    return _checked(part, family, file)


def with_depth(config: Any, depth: int | None) -> Any:
    """A copy cut to ``depth`` blocks that keeps one of each kind of block.

    That is a block with window attention, one with full attention, and one after
    which deepstack takes its features. Described towers are short and stay as they are.
    """
    if tower_of(config) is not None:
        return config
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


def _family(raw: ConfigValues, file: Path) -> Family:
    model_type = raw.get("model_type", "")
    families = {name: one for name, one in FAMILIES.items() if name not in TOWERS}
    for family in families.values():
        named = (family.name, f"{family.name}_thinker", *family.vision_types)
        if model_type in named:
            return family
    raise MmparityError(
        f"{file}: model_type is {_shown(model_type)}; known: "
        f"{', '.join(sorted(families))}. Give a checkpoint of one of these, or add the "
        "family (docs/adding-an-encoder.md)."
    )


def _vision_part(raw: ConfigValues, family: Family, file: Path) -> ConfigValues:
    """The tower's fields; a tower that was saved alone has them at the top."""
    found, last = raw, ""
    for name in family.path:
        if name in found:
            found, last = found[name], name
        if not isinstance(found, dict):
            raise MmparityError(
                f"{file}: {name} is {_shown(found)}, and not an object with the fields "
                "of the vision tower."
            )
    whole = last or {"text_config", "vocab_size"} & raw.keys()
    if whole and last != family.path[-1]:
        place = ".".join(family.path)
        raise MmparityError(f"{file} is a whole model's and has no {place}.")
    return found


def _checked(raw: ConfigValues, family: Family, file: Path) -> PretrainedConfig:
    """The configuration, of fields that the tower's class knows and that can be."""
    from transformers import PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    vision_class = CONFIG_MAPPING[family.name]
    for name in family.path:
        vision_class = vision_class.sub_configs[name]
    said = raw.get("model_type") or family.vision_type
    if said not in (family.name, *family.vision_types):
        raise MmparityError(
            f"{file}: the vision tower's model_type is {_shown(said)}; expected "
            f"{family.vision_type!r}."
        )
    parameters = inspect.signature(vision_class.__init__).parameters
    # From transformers 5 on each configuration takes what every other one takes, too.
    every = inspect.signature(PretrainedConfig.__init__).parameters
    own = [name for name in parameters if name not in every]
    fields = {n: raw[n] for n in own if n in raw and n not in _NOT_READ}
    for name, value in fields.items():
        default = parameters[name].default
        problem = _problem(name, value, default, family)
        if problem:
            raise MmparityError(f"{file}: {name} is {_shown(value)}; {problem}.")
    config: PretrainedConfig = vision_class(**fields)
    problem = _misfit(config)
    if problem:
        raise MmparityError(f"{file}: {problem}.")
    return config


def _problem(name: str, value: Any, default: Any, family: Family) -> str:
    """Why a field alone cannot have a value, as what is allowed; '' where it can."""
    if name == "hidden_act":
        allowed = ACTIVATIONS[family.architecture]
        known = isinstance(value, str) and value in allowed
        return "" if known else f"this tower runs with {' or '.join(allowed)}"
    if isinstance(default, list | tuple):
        whole = isinstance(value, list) and all(_is_count(x, MOST, 0) for x in value)
        return "" if whole else "a list of numbers of blocks is needed"
    if name == "mlp_ratio":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number and 0 < value <= MOST else "a number above 0 is needed"
    most = MOST_BLOCKS if name == "depth" else MOST
    return (
        "" if _is_count(value, most) else f"a whole number from 1 to {most} is needed"
    )


def _misfit(config: PretrainedConfig) -> str:
    """Why fields that may be each for itself cannot be together."""
    width, heads = models.width(config), config.num_heads
    if width % heads or width // heads % 4:
        return (
            f"{width} channels in {heads} heads; each head needs the same number, a "
            "multiple of 4 (two axes, two halves)"
        )
    taken = getattr(config, "deepstack_visual_indexes", None) or ()
    beyond = [index for index in taken if index >= config.depth]
    if beyond:
        return (
            f"deepstack_visual_indexes names block {beyond[0]}, but depth is "
            f"{config.depth}"
        )
    window = getattr(config, "window_size", None)
    merged = config.patch_size * config.spatial_merge_size
    if window is not None and window < merged:
        return f"window_size is {window}, less than a merged patch of {merged} pixels"
    positions = getattr(config, "num_position_embeddings", 1)
    if math.isqrt(positions) ** 2 != positions:
        return f"num_position_embeddings is {positions}, which is no square"
    return ""


def _check_quantization(name: str, found: Any, file: Path) -> None:
    """Refuses what would not be the numbers that the checkpoint's tensors are."""
    if not found:
        return
    method = found.get("quant_method") if isinstance(found, dict) else found
    if method == ASCEND:
        return  # its layers are in the description beside
    lists = [found.get(name) for name in _EXCLUDING] if isinstance(found, dict) else []
    kept = [entry for names in lists if isinstance(names, list) for entry in names]
    if not any(isinstance(entry, str) and "visual" in entry for entry in kept):
        raise MmparityError(
            f"{file}: {name} is of {_shown(method)} and does not leave the vision "
            "tower as it is. Known here is W8A8 of vllm-ascend, by its "
            "quant_model_description.json. If the tower is not quantised, list "
            '"visual" under modules_to_not_convert; else give the checkpoint that '
            "this one was made of."
        )


def _is_count(value: Any, most: int, least: int = 1) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and least <= value <= most


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, dict) else "an object"
    return text if len(text) <= 40 else f"{text[:40]}..."
