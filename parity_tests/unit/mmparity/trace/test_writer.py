# SPDX-License-Identifier: Apache-2.0
"""Traces round-trip, stay bounded, and never trust what they read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from mmparity.cli import main
from mmparity.errors import MmparityError
from mmparity.trace.format import KEEP_FLOAT64_NUMEL
from mmparity.trace.manifest import MANIFEST_LIMIT
from mmparity.trace.reader import TraceReader
from mmparity.trace.writer import TraceWriter
from mmparity.types.trace import TraceMeta

if TYPE_CHECKING:
    from conftest import Damage, Sides


@pytest.fixture
def trace(sides: Sides) -> Path:
    return sides.write()[0]


def edit(trace: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((trace / "trace.json").read_text())
    change(manifest)
    (trace / "trace.json").write_text(json.dumps(manifest))


def test_round_trip_keeps_bits_order_and_meta(sides: Sides, trace: Path) -> None:
    reader = TraceReader(trace)
    assert reader.meta == sides.old_meta
    assert [record.hook_point for record in reader.records] == list(sides.old)
    assert [record.order for record in reader.records] == list(range(len(sides.old)))
    for name, tensor in sides.old.items():
        assert torch.equal(reader.read(name), tensor)
        assert reader.read(name).dtype == tensor.dtype


def test_a_dtype_that_is_never_written_is_not_read(trace: Path) -> None:
    edit(trace, lambda m: m["records"][1].update(dtype="complex64"))
    with pytest.raises(MmparityError, match="is 'complex64', which a trace cannot"):
        TraceReader(trace)


def test_later_changes_and_layouts_do_not_reach_the_trace(
    sides: Sides, tmp_path: Path
) -> None:
    tensor = torch.arange(12.0).view(3, 4)
    with TraceWriter(tmp_path / "t", sides.old_meta) as writer:
        writer.add("a", tensor.t(), "x")
        tensor += 100
        writer.add("scalar", torch.tensor(3), "x")
    reader = TraceReader(tmp_path / "t")
    assert torch.equal(reader.read("a"), torch.arange(12.0).view(3, 4).t())
    assert reader.read("scalar").item() == 3


def test_large_float64_is_stored_as_float32_and_small_is_kept(
    sides: Sides, tmp_path: Path
) -> None:
    most = KEEP_FLOAT64_NUMEL
    with TraceWriter(tmp_path / "t", sides.old_meta) as writer:
        writer.add("small", torch.rand(most, dtype=torch.float64), "x")
        writer.add("large", torch.rand(most + 1, dtype=torch.float64), "x")
    reader = TraceReader(tmp_path / "t")
    assert reader.record("small").dtype == "float64"
    assert reader.record("large").dtype == "float32"


def test_each_block_is_flushed_by_itself(trace: Path) -> None:
    reader = TraceReader(trace)
    files = {record.hook_point: record.file for record in reader.records}
    assert files["blocks.0.attn.q"] == files["blocks.0"]
    assert files["blocks.0"] != files["blocks.1"]
    writer_holds = [load_file(trace / name).keys() for name in set(files.values())]
    assert max(len(keys) for keys in writer_holds) == 4


def test_empty_tensor_is_recorded_with_an_error(sides: Sides, tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "t", sides.old_meta) as writer:
        writer.add("a", torch.zeros(0, 4), "x")
    assert TraceReader(tmp_path / "t").record("a").error == "the tensor is empty"


def test_same_hook_point_twice_is_refused(sides: Sides, tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "t", sides.old_meta) as writer:
        writer.add("a", torch.zeros(1), "x")
        with pytest.raises(ValueError, match="captured twice"):
            writer.add("a", torch.zeros(1), "x")


def test_interrupted_capture_is_recognised(sides: Sides, trace: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="stop"),
        TraceWriter(trace, sides.old_meta) as writer,
    ):
        writer.add("a", torch.zeros(1), "x")
        writer.add("blocks.0.b", torch.zeros(1), "x")
        raise RuntimeError("stop")
    with pytest.raises(MmparityError, match="interrupted"):
        TraceReader(trace)


def test_writing_again_replaces_the_old_trace(sides: Sides, trace: Path) -> None:
    with TraceWriter(trace, sides.old_meta) as writer:
        writer.add("only", torch.zeros(1), "x")
    assert sorted(file.name for file in trace.iterdir()) == [
        "00000.safetensors",
        "trace.json",
    ]


def test_foreign_folder_is_not_overwritten(
    sides: Sides, trace: Path, tmp_path: Path
) -> None:
    (trace / "thesis.txt").write_text("mine")
    with (
        pytest.raises(MmparityError, match=r"thesis\.txt"),
        TraceWriter(trace, sides.old_meta),
    ):
        pass
    assert (trace / "trace.json").exists()


def _truncate(trace: Path) -> None:
    file = trace / "00001.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def _flip_a_bit(trace: Path) -> None:
    file = trace / "00000.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _link(trace: Path) -> None:
    file = trace / "00000.safetensors"
    file.rename(trace.parent / "elsewhere")
    file.symlink_to(trace.parent / "elsewhere")


def _other_tensor(trace: Path) -> None:
    file = trace / "00000.safetensors"
    tensors = {name: tensor.flip(0) for name, tensor in load_file(file).items()}
    save_file(tensors, file)
    size = file.stat().st_size
    edit(trace, lambda manifest: manifest["files"].update({file.name: size}))


def _claim(trace: Path, header: bytes, size: int | None = None) -> None:
    """A safetensors file that says ``header``; the manifest agrees with its size."""
    file = trace / "00000.safetensors"
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") if size is None else b"")
        stream.write(header)
        if size is not None:
            stream.truncate(size)
    edit(trace, lambda m: m["files"].update({file.name: file.stat().st_size}))


def _pipe(trace: Path) -> None:
    (trace / "trace.json").unlink()
    os.mkfifo(trace / "trace.json")


def _endless(trace: Path) -> None:
    (trace / "trace.json").unlink()
    (trace / "trace.json").symlink_to("/dev/zero")


def _bomb(trace: Path) -> None:
    with (trace / "trace.json").open("wb") as stream:
        stream.truncate(MANIFEST_LIMIT + 1)


TERABYTE = 1 << 40
LONG = {
    "a": {"dtype": "F32", "shape": [TERABYTE], "data_offsets": [0, 4 * TERABYTE]},
}
HOSTILE: dict[str, Callable[[Path], object]] = {
    "is larger than 67108864 bytes": _bomb,
    "recursion depth": lambda t: (t / "trace.json").write_text("[" * 100_000),
    "trace.json is not a plain file.$": _pipe,
    "is not a plain file": _endless,
    "larger than 8589934592 bytes": lambda t: _claim(t, b"", 8 * TERABYTE),
    "cannot be read: .*[Hh]eader": lambda t: _claim(t, b"\xff" * 8),
    "cannot be read: .*Error": lambda t: _claim(t, json.dumps(LONG).encode()),
    "is no name": lambda t: edit(t, lambda m: m["meta"].update(case="\x1b[2J")),
    "'aaa.*is no name": lambda t: edit(
        t, lambda m: m["records"][0].update(hook_point="a" * 1001)
    ),
    "digits|valid": lambda t: (t / "trace.json").write_text("9" * 10_000),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_hostile_trace_is_one_clear_error_of_the_command(
    trace: Path, tmp_path: Path, message: str
) -> None:
    HOSTILE[message](trace)
    arguments = ["compare", str(trace), str(trace), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert re.search(message, result.stderr, re.DOTALL | re.MULTILINE), result.stderr
    assert "Traceback" not in result.stderr


def test_what_a_killed_writer_left_is_written_again(sides: Sides, trace: Path) -> None:
    (trace / "trace.json").rename(trace / "trace.json.partial")
    with TraceWriter(trace, sides.old_meta) as writer:
        writer.add("only", torch.zeros(1), "x")
    assert not (trace / "trace.json.partial").exists()
    assert TraceReader(trace).record("only")


BROKEN: dict[str, Callable[[Path], object]] = {
    "bytes; trace.json says": _truncate,
    "digest": _flip_a_bit,
    "does not have the digest": _other_tensor,
    "missing or not a plain file": lambda t: (t / "00000.safetensors").unlink(),
    "not a plain file": _link,
    "cannot be read": lambda t: (t / "trace.json").write_text("{"),
    "trace_version None": lambda t: (t / "trace.json").write_text("[]"),
    "trace_version 99": lambda t: edit(t, lambda m: m.update(trace_version=99)),
    "grid_thw": lambda t: edit(t, lambda m: m["meta"].pop("grid_thw")),
    "records.0.shape": lambda t: edit(t, lambda m: m["records"][0].update(shape="x")),
    "not in the list of files": lambda t: edit(
        t, lambda m: m["records"][0].update(file="/etc/passwd")
    ),
    "names the file": lambda t: edit(
        t, lambda m: m["files"].update({"../../old/00000.safetensors": 1})
    ),
    "there twice": lambda t: edit(t, lambda m: m["records"].append(m["records"][0])),
    "says float32 \\(1, 2\\)": lambda t: edit(
        t, lambda m: m["records"][1].update(shape=[1, 2])
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_or_hostile_trace_is_refused(trace: Path, message: str) -> None:
    BROKEN[message](trace)
    with pytest.raises(MmparityError, match=message):
        reader = TraceReader(trace)
        for record in reader.records:
            reader.read(record.hook_point)


def test_not_a_safetensors_file_is_refused(trace: Path) -> None:
    file = trace / "00000.safetensors"
    file.write_bytes(b"\x80\x04" + b"x" * (file.stat().st_size - 2))
    with pytest.raises(MmparityError, match="cannot be read"):
        TraceReader(trace).read("attn.seqlens")


def test_meta_is_known_only_at_the_end(sides: Sides, tmp_path: Path) -> None:
    meta: TraceMeta = sides.old_meta
    with TraceWriter(tmp_path / "t", meta) as writer:
        writer.meta = sides.new_meta
    assert TraceReader(tmp_path / "t").meta == sides.new_meta


def test_oracle_without_casts_to_float32_is_still_stored_small(
    sides: Sides, tmp_path: Path
) -> None:
    class NoCasts(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            casts = func in (torch.Tensor.float, torch.Tensor.to)
            return args[0] if casts else func(*args, **(kwargs or {}))

    large = torch.rand(KEEP_FLOAT64_NUMEL + 1, dtype=torch.float64)
    with NoCasts(), TraceWriter(tmp_path / "t", sides.old_meta) as writer:
        writer.add("large", large, "x")
    assert TraceReader(tmp_path / "t").read("large").dtype == torch.float32


def test_a_tensor_that_would_not_be_aligned_gets_a_file_of_its_own(
    sides: Sides, tmp_path: Path
) -> None:
    tensors = {"a": torch.ones(3, dtype=torch.int8), "b": torch.ones(2)}
    with TraceWriter(tmp_path / "t", sides.old_meta) as writer:
        for name, tensor in tensors.items():
            writer.add(f"blocks.0.{name}", tensor, "x")
    reader = TraceReader(tmp_path / "t")
    assert torch.equal(reader.read("blocks.0.b"), tensors["b"])
    assert reader.record("blocks.0.a").file != reader.record("blocks.0.b").file


def test_more_names_than_a_header_holds_make_a_further_file(
    sides: Sides, tmp_path: Path
) -> None:
    names = [f"blocks.0.{number:03}{'x' * 200}" for number in range(80)]
    with TraceWriter(tmp_path / "t", sides.old_meta) as writer:
        for number, name in enumerate(names):
            writer.add(name, torch.full((2,), float(number)), "x")
    reader = TraceReader(tmp_path / "t")
    assert len({record.file for record in reader.records}) == 2
    assert [reader.read(name)[0].item() for name in names] == list(range(80))


def test_a_dtype_that_no_trace_can_hold_is_refused(
    sides: Sides, tmp_path: Path
) -> None:
    with (
        pytest.raises(MmparityError, match=r"a is torch\.complex64, .* Allowed: "),
        TraceWriter(tmp_path / "t", sides.old_meta) as writer,
    ):
        writer.add("a", torch.zeros(1, dtype=torch.complex64), "x")


def test_each_field_of_a_manifest_with_another_value_is_refused_or_read(
    sides: Sides, damage: Damage, tmp_path: Path
) -> None:
    old, new, oracle = sides.write()
    words = ["compare", old, new, "--oracle", oracle, "--out", tmp_path / "out"]
    text = (old / "trace.json").read_text()
    damaged = [json.dumps(x) for x in damage.one_at_each_place(json.loads(text))]
    cut = [text[:size] for size in range(0, len(text), len(text) // 9)]
    read = 0
    for content in (*damaged, *cut):
        (old / "trace.json").write_text(content)
        read += damage.is_read(*words)
    assert 0 < read < len(damaged) / 2
