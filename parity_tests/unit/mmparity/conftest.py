# SPDX-License-Identifier: Apache-2.0
"""Small synthetic traces, in which a test plants one error with a known place."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from webdriver import Browser, started

from mmparity.cli import main
from mmparity.trace.reader import TraceReader
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TraceMeta
from mmparity.workload import trees as trees_module
from mmparity.workload.implementations import IMPLEMENTATIONS

TOKENS, HEADS, HEAD = 24, 4, 8
META = TraceMeta(
    implementation="old",
    case="image",
    dtype="float32",
    device="cpu",
    weights_digest="w",
    pixels_digest="p",
    grid_thw=((1, 4, 6),),
    depth=2,
    modules={"blocks.0": "Block", "blocks.0.norm1": "RMSNorm", "blocks.1": "Block"},
    parameters={"blocks.0.norm1.weight": [[32], "float32"]},
    hyper_parameters={"head_size": HEAD},
)

Tensors = dict[str, torch.Tensor]
Change = Callable[[Tensors], None]


def exact_tensors() -> Tensors:
    """What the oracle has: a two-block encoder's hook points, in order."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors: Tensors = {"attn.seqlens": torch.tensor([0, 16, 24], dtype=torch.int32)}
    tensors["patch_embed"] = draw(TOKENS, HEADS * HEAD)
    for block in range(2):
        for name in ("q", "k", "context"):
            tensors[f"blocks.{block}.attn.{name}"] = draw(TOKENS, HEADS, HEAD)
        tensors[f"blocks.{block}"] = draw(TOKENS, HEADS * HEAD)
    tensors["merger"] = draw(TOKENS // 4, HEADS * HEAD)
    return tensors


def with_noise(seed: int, dtype: torch.dtype = torch.float32) -> Tensors:
    """The same, as a correct implementation computes it: with rounding errors."""
    generator = torch.Generator().manual_seed(seed)
    epsilon = torch.finfo(dtype).eps
    noisy: Tensors = {}
    for name, tensor in exact_tensors().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor = (tensor * (1 + 0.3 * epsilon * noise)).to(dtype)
        noisy[name] = tensor
    return noisy


def write_trace(
    directory: Path,
    tensors: Tensors,
    meta: TraceMeta = META,
    unmatched: tuple[tuple[str, str, bool], ...] = (),
    errors: dict[str, str] | None = None,
) -> Path:
    with TraceWriter(directory, meta) as writer:
        for name, tensor in tensors.items():
            writer.add(name, tensor, f"visual.{name}", error=(errors or {}).get(name))
        for path, reason, explained in unmatched:
            writer.unmatched(path, reason, explained)
    return directory


class Sides:
    """Old, new and oracle traces of one case; ``change`` plants the error in new."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.old = with_noise(1)
        self.new = with_noise(2)
        self.oracle = exact_tensors()
        self.old_meta = META
        self.new_meta = replace(META, implementation="new")
        self.oracle_meta = replace(META, implementation="hf", dtype="float64")
        self.old_unmatched: tuple[tuple[str, str, bool], ...] = ()
        self.new_unmatched: tuple[tuple[str, str, bool], ...] = ()
        self.oracle_unmatched: tuple[tuple[str, str, bool], ...] = ()
        self.new_errors: dict[str, str] = {}

    def noisy(self, seed: int, dtype: torch.dtype) -> Tensors:
        return with_noise(seed, dtype)

    def write(self) -> tuple[Path, Path, Path]:
        return (
            write_trace(self.root / "old", self.old, self.old_meta, self.old_unmatched),
            write_trace(
                self.root / "new",
                self.new,
                self.new_meta,
                self.new_unmatched,
                self.new_errors,
            ),
            write_trace(
                self.root / "oracle",
                self.oracle,
                self.oracle_meta,
                self.oracle_unmatched,
            ),
        )

    def readers(self) -> tuple[TraceReader, TraceReader, TraceReader]:
        old, new, oracle = self.write()
        return TraceReader(old), TraceReader(new), TraceReader(oracle)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    try:
        with started(tmp_path_factory.mktemp("browser")) as browser:
            yield browser
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    config = {"model_type": "qwen2_5_vl", "vision_config": {"depth": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def ready_traces(tmp_path_factory: pytest.TempPathFactory, sides: Sides) -> None:
    """Traces that the fake workers hand out, made once."""
    root = tmp_path_factory.getbasetemp() / "ready"
    os.environ["FAKE_WORKER_TRACES"] = str(root)
    if root.exists():
        return
    for case in ("image", "ragged"):
        for kind in ("same", "differs"):
            for dtype in ("float32", "float64"):
                meta = replace(sides.old_meta, case=case, dtype=dtype)
                with TraceWriter(root / kind / f"{case}-{dtype}", meta) as writer:
                    for name, tensor in sides.oracle.items():
                        tensor = tensor.clone()
                        if kind == "differs" and name == "patch_embed":
                            tensor[3, 5] += 1
                        writer.add(name, tensor.to(getattr(torch, dtype)), "x")


@pytest.fixture
def source_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trees that name the classes of the implementations, and hold nothing else."""
    root = tmp_path / "sources"
    monkeypatch.setattr(trees_module, "SOURCES", root)
    for item in IMPLEMENTATIONS.values():
        for source, folder in item.trees.items():
            package = root / folder / source.replace("-", "_")
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").touch()
            for given in item.classes.values():
                path = given.module.replace(".", "/")
                file = package.parent / f"{path}.py"
                if file.is_relative_to(package):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with file.open("a") as stream:
                        stream.write(f"class {given.tower}: {given.model}\n")
    return root


At = tuple[str | int, ...]
DROPPED = object()


class Damage:
    """JSON with another value at one place, and what a command may say of it."""

    values: tuple[Any, ...] = (
        *(DROPPED, None, True, "x", "", -1, 0, 1.5, 1 << 62, 10**400, 1e308, 5e-324),
        *("NaN", "Infinity", "-Infinity", [], {}, [[]], [None], {"x": None}),
        *(["x"] * 3, "\x1b[2J\u202e" * 50, "pass", "error", "complex64", "../x"),
        *([-1, 4], [1 << 40], {"type": "torch.Tensor"}),
    )

    def places(
        self, raw: Any, pattern_of: Callable[[str], str] = lambda key: key
    ) -> list[At]:
        """One place of each pattern: in lists, and under keys, that are alike."""

        def walk(value: Any, at: At) -> Iterator[At]:
            yield at
            steps = value.keys() if isinstance(value, dict) else ()
            for step in steps or range(len(value) if isinstance(value, list) else 0):
                yield from walk(value[step], (*at, step))

        def pattern(at: At) -> tuple[str, ...]:
            return tuple(pattern_of(x) if isinstance(x, str) else "*" for x in at)

        return list({pattern(at): at for at in walk(raw, ())}.values())

    def changed(self, raw: Any, at: At, value: Any) -> Any:
        """The JSON with another value at a place."""
        if not at:
            return {} if value is DROPPED else value
        raw = copy.deepcopy(raw)
        holder: Any = raw
        for step in at[:-1]:
            holder = holder[step]
        if value is DROPPED:
            del holder[at[-1]]
        else:
            holder[at[-1]] = value
        return raw

    def one_at_each_place(
        self, raw: Any, pattern_of: Callable[[str], str] = lambda key: key
    ) -> Iterator[Any]:
        """Another value at each place in turn; over all places, each of them."""
        for number, at in enumerate(self.places(raw, pattern_of)):
            yield self.changed(raw, at, self.values[number % len(self.values)])

    def is_read(self, *words: object) -> bool:
        """Runs a command: it reads what it is given, or refuses it in one message."""
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert isinstance(done.exception, SystemExit | None), (words, done.exception)
        assert "\x1b" not in done.output
        if not done.stderr.startswith("mmparity: "):
            return True
        assert done.exit_code == 2
        assert done.stderr.count("\n") <= 3 and len(done.stderr) < 900, done.stderr
        return False


@pytest.fixture(scope="session")
def damage() -> Damage:
    return Damage()
