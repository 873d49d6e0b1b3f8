# SPDX-License-Identifier: Apache-2.0
"""Vision and audio towers beside the Qwen-VL family's, each described in one file.

``NAME.toml`` beside this module says what a small tower is built of, what it is shown
and where its hook points are; ``like`` another one, it says what differs. Data only:
it must import without torch.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from mmparity.errors import MmparityError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODEL_TYPE = "{}_seeded_tower"
"""In the config.json of a seeded tower, which no released model has."""
BLOCK = "blocks.{i}"
STAR = re.compile(r"^\*(?=\.|$)")
QKV = "attn.qkv"
ATTENTION = ("attn.q", "attn.k", "attn.v", "attn.context")
"""What one point ``attn`` stands for, in order of execution."""
LENGTHS = "attn.seqlens"
LAST = "last_hidden_state"
FUSED = {
    "qkv_proj": ["q_proj", "k_proj", "v_proj"],
    "gate_up_proj": ["gate_proj", "up_proj"],
}
"""vLLM's usual layers for several of a checkpoint."""
Table = dict[str, Any]
"""What a file says under one key."""
Places = dict[str, str | list[str]]
"""Hook point -> where it is. ``*`` is a block, by its number."""


@dataclass(frozen=True)
class Shape:
    """What the harness must know of a tower without building it."""

    depth: int
    heads: int
    head_size: int
    patch_size: int = 14
    merge_size: int = 1
    temporal_patch_size: int = 1
    channels: int = 3


@dataclass(frozen=True)
class Tower:
    """A small tower with seeded weights.

    Attributes:
        name: what the command line calls it.
        title: one line that says what it is.
        inputs: how pixels are handed in, of ``mmparity.encoders.tower_modules``.
        grids: of the images it is shown, (frames, rows, columns) in patches.
        shape: depth, heads and patches.
        blocks: where its numbered blocks are, as vLLM names them.
        module: ``module:Class`` of vLLM, in ``vllm.model_executor.models``.
        points: hook point -> module, in order of execution.
        config: fields of its configuration.
        config_class: ``package.module:Class``, made with these fields.
        packed: images are sequences of one row, and attention is told their lengths.
        given: more arguments of its class.
        weights: the checkpoint's layers -> shape of the weight, which has a bias, too,
            unless the name ends in ``.weight``; in ``!``, it is the parameter's own.
            ``*`` is every block. Where there is an oracle, those unlike its own.
        fused: vLLM's layer -> those of the checkpoint that lie side by side in it;
            ``FUSED`` where it says nothing.
        loosened: why the series may change its bits; empty where it may not.
        at: module of an implementation's name maps -> points that it has elsewhere.
        oracle: ``module:Class`` of transformers; empty where it has no such tower.
        oracle_config_class: of the oracle, where that is another one.
        oracle_blocks: where the oracle's numbered blocks are.
        oracle_points: hook points that it has elsewhere; ``- reason`` for one it lacks.
        oracle_names: pattern of the oracle's parameter -> the checkpoint's, with
            ``#part/parts`` where several of them lie side by side there.
        oracle_inputs: how it takes pixels, where that is another way.
    """

    name: str
    title: str
    inputs: str
    grids: list[list[int]]
    shape: Shape
    blocks: str
    module: str
    points: Places
    config: Table
    config_class: str = "transformers:PretrainedConfig"
    packed: bool = False
    given: Table = field(default_factory=dict)
    weights: dict[str, list[int]] = field(default_factory=dict)
    fused: dict[str, list[str]] = field(default_factory=lambda: dict(FUSED))
    loosened: str = ""
    at: dict[str, Places] = field(default_factory=dict)
    oracle: str = ""
    oracle_config_class: str = ""
    oracle_blocks: str = ""
    oracle_points: Places = field(default_factory=dict)
    oracle_names: dict[str, str] = field(default_factory=dict)
    oracle_inputs: str = ""

    @property
    def model_type(self) -> str:
        """Of its configuration."""
        return MODEL_TYPE.format(self.name)

    @cached_property
    def hook_points(self) -> tuple[str, ...]:
        """Canonical names, in order of execution."""
        return tuple(
            name for key in self.points for name in expanded(key, packed=self.packed)
        )

    def stored_names(self, parameter: str) -> tuple[str, int, int]:
        """Where the checkpoint has one of the oracle's parameters.

        Returns:
            Its name there, and which of how many equal parts of it, from 0.
        """
        name, part = parameter, "0/1"
        for pattern, replacement in self.oracle_names.items():
            wanted, _, given = replacement.partition("#")
            found, count = re.subn(pattern, wanted, name)
            if count:
                name, part = found, given or part
        number, parts = part.split("/")
        return name, int(number), int(parts)


def expanded(key: str, *, packed: bool) -> tuple[str, ...]:
    """The hook points of one key of ``points``, with ``{i}`` for the block."""
    name = STAR.sub(BLOCK, key)
    if not name.endswith("attn"):
        return (name,)
    names = (LENGTHS, *ATTENTION) if packed else ATTENTION
    head = name.removesuffix("attn")
    return tuple(head + one.replace(LENGTHS, "seqlens") for one in names)


@dataclass(frozen=True)
class TowerConfig:
    """A tower's configuration, with the attributes of a vision configuration."""

    tower: Tower

    @property
    def model_type(self) -> str:
        """As config.json has it."""
        return self.tower.model_type

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.tower.shape.depth

    @property
    def num_heads(self) -> int:
        """Of the queries."""
        return self.tower.shape.heads

    @property
    def hidden_size(self) -> int:
        """Lanes of all heads."""
        return self.num_heads * self.tower.shape.head_size

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.tower.shape.patch_size

    @property
    def spatial_merge_size(self) -> int:
        """Side of a merged cell in patches."""
        return self.tower.shape.merge_size

    @property
    def temporal_patch_size(self) -> int:
        """Frames of a patch."""
        return self.tower.shape.temporal_patch_size

    @property
    def channels(self) -> int:
        """Of a pixel; of sound, its mel bins."""
        return self.tower.shape.channels

    def to_dict(self) -> Table:
        """All that decides its weights and what it computes."""
        return {"model_type": self.model_type, **recipe_of(self.tower)}

    def save_pretrained(self, directory: Path) -> None:
        """Writes config.json."""
        text = json.dumps(self.to_dict(), indent=2) + "\n"
        (Path(directory) / "config.json").write_text(text)


def recipe_of(tower: Tower) -> Table:
    """What of a tower decides its weights and what it computes."""
    names = ("module", "config", "config_class", "given", "weights", "oracle")
    recipe = {name: getattr(tower, name) for name in names}
    return {"depth": tower.shape.depth, **recipe, "oracle_names": tower.oracle_names}


def tower_of(config: Any) -> Tower | None:
    """The tower of a vision configuration; None where that is of another kind."""
    return config.tower if isinstance(config, TowerConfig) else None


def read_towers(folder: Path) -> dict[str, Tower]:
    """The towers of a folder by name; MmparityError where a file is none."""
    raw = {file.stem: _read(file) for file in sorted(folder.glob("*.toml"))}
    return {name: _tower(name, raw, folder) for name in raw if name}


def _read(file: Path) -> Table:
    try:
        return tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise MmparityError(f"{file} is no description of a tower: {error}") from error


def _tower(name: str, raw: dict[str, Table], folder: Path) -> Tower:
    try:
        given = _merged(name, raw)
        given["shape"] = Shape(**given["shape"])
        return Tower(name=name, **given)
    except (KeyError, TypeError, ValueError) as error:
        names = ", ".join(item.name for item in fields(Tower) if item.name != "name")
        raise MmparityError(
            f"{folder / name}.toml is no description of a tower: {error}. Its keys: "
            f"like, {names}."
        ) from error


def _spread(table: Table, *, parts: bool = False) -> Table:
    """A table with one entry for each choice of a key such as ``mlp.fc{1,2}``.

    A value with as many choices has one for each key; with ``parts``, one without is
    made of that many, side by side. Choices in a value alone are a list.
    """
    found: Table = {}
    for key, value in table.items():
        keys = _choices(key)
        values = _choices(value) if isinstance(value, str) else [value]
        if len(keys) == 1:
            found[key] = values if len(values) > 1 else value
        elif len(values) > 1:
            found |= zip(keys, values, strict=True)
        else:
            several = [f"{value}#{i}/{len(keys)}" for i in range(len(keys))]
            found |= zip(keys, several if parts else values * len(keys), strict=True)
    return found


def _choices(text: str) -> list[str]:
    """``mlp.fc{1,2}`` -> mlp.fc1, mlp.fc2."""
    found = re.search(r"\{([^{}]*,[^{}]*)\}", text)
    if not found:
        return [text]
    before, after = text[: found.start()], text[found.end() :]
    return [before + choice + after for choice in found[1].split(",")]


def _merged(name: str, raw: dict[str, Table]) -> Table:
    """A description, with what it does not say itself from the one it is ``like``."""
    own = dict(raw[name])
    base = own.pop("like", "")
    for key in own.keys() & {"points", "oracle_points", "weights", "oracle_names"}:
        own[key] = _spread(own[key], parts=key == "oracle_names")
    if "at" in own:
        own["at"] = {name: _spread(places) for name, places in own["at"].items()}
    if not base:
        return own
    merged = _merged(base, raw)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    if LAST in merged["points"]:
        merged["points"][LAST] = merged["points"].pop(LAST)
    return merged


TOWERS = read_towers(Path(__file__).parent)
