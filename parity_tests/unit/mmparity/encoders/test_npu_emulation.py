# SPDX-License-Identifier: Apache-2.0
"""The emulated operators: their schemas, their arithmetic, what they refuse."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mmparity.encoders.npu_emulation import compiled, fused_attention, operators
from mmparity.encoders.npu_emulation.schemas import (
    RELEASES,
    SCHEMAS,
    schemas_in_wheel,
)
from mmparity.workload.implementation import FLOAT32_NOTE

ROOT = Path(__file__).resolve().parents[4]
SOURCES = ROOT / "vllm_src"


def draw(
    *shape: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def run_python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh process: an installed emulation stays for good."""
    environment = {"PYTHONPATH": ":".join(map(str, (*path, ROOT / "tools")))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def relative_error(got: torch.Tensor, exact: torch.Tensor) -> float:
    return ((got.double() - exact).norm() / exact.norm()).item()


# --- schemas


@pytest.mark.parametrize("release", RELEASES)
def test_schemas_are_those_of_the_wheel(release: str) -> None:
    wheel = SOURCES / f"torch-npu-{release}"
    if not wheel.is_dir() and release != "2.9.0":
        pytest.skip(f"optional: patchseries fetch {wheel.name}")
    assert wheel.is_dir(), f"{wheel} is not there; run: patchseries fetch"
    assert schemas_in_wheel(wheel, RELEASES[release]) == RELEASES[release]


def test_the_compiled_operator_has_the_schema_of_its_source() -> None:
    binding = SOURCES / "vllm-ascend-0.30.0rc2" / compiled.BINDING
    if not binding.is_file():
        pytest.skip("optional: patchseries fetch vllm-ascend-0.30.0rc2")
    place = binding.read_text().split(f'"{compiled.NAME}(', 1)[1].split(");", 1)[0]
    said = f'"{compiled.NAME}(' + place
    text = "".join(re.findall(r'"([^"]*)"', said))
    assert torch._C.parse_schema(text) == torch._C.parse_schema(compiled.SCHEMA)


def test_operators_that_a_tree_gives_shapes_are_declared_as_its_library_would(
    tmp_path: Path,
) -> None:
    binding, meta = tmp_path / compiled.BINDING, tmp_path / compiled.META
    for file in (binding, meta):
        file.parent.mkdir()
    binding.write_text(
        'ops.def(\n  "turn(Tensor x,"\n  "  int by) -> Tensor");\n'
        'ops.def("other(Tensor x) -> ()");\n'
        f'ops.def("{compiled.NAME}(Tensor x) -> Tensor");\n'
    )
    assert compiled.declared(tmp_path) == []
    names = ("turn", compiled.NAME)
    meta.write_text(
        "".join(f'register_meta_if_necessary("_C_ascend", "{n}", f)\n' for n in names)
    )
    (schema,) = compiled.declared(tmp_path)
    parsed = torch._C.parse_schema("turn(Tensor x, int by) -> Tensor")
    assert torch._C.parse_schema(schema) == parsed


def test_another_schema_in_the_wheel_is_seen(tmp_path: Path) -> None:
    library = tmp_path / "torch_npu" / "lib"
    library.mkdir(parents=True)
    npu = b"\0npu_swiglu(Tensor input, int dim=-2) -> Tensor\0"
    (library / "libtorch_npu.so").write_bytes(b"\x7fELF" + npu)
    (library / "libop_plugin_atb.so").write_bytes(b"\x7fELF")
    found = schemas_in_wheel(tmp_path, SCHEMAS)
    assert found == {
        "npu::npu_swiglu": "npu_swiglu(Tensor input, int dim=-2) -> Tensor"
    }
    assert found != SCHEMAS


def test_how_long_an_operator_ran_is_noted() -> None:
    code = (
        "import time, torch; from mmparity.encoders import npu_emulation as npu\n"
        "gelu = npu.operators.npu_fast_gelu\n"
        "npu.operators.npu_fast_gelu = lambda x: (time.sleep(0.1), gelu(x))[1]\n"
        "npu.install().npu_fast_gelu(torch.zeros(2))\n"
        "print([(k, v >= 0.1) for k, v in npu.seconds.items()], npu.running)"
    )
    done = run_python(code)
    assert done.stdout == "[('npu_fast_gelu', True)] []\n", done.stderr


@pytest.mark.parametrize("release", RELEASES)
def test_every_schema_has_its_operator(release: str) -> None:
    """It takes what the schema has; what a schema lacks has a default."""
    for name, schema in RELEASES[release].items():
        short = name.split("::")[1]
        operator = getattr(operators, short, None) or getattr(fused_attention, short)
        parsed = torch._C.parse_schema(schema)
        positional = [item.name for item in parsed.arguments if not item.kwarg_only]
        named = [item.name for item in parsed.arguments if item.kwarg_only]
        signature = inspect.signature(operator)
        bound = signature.bind(*positional, **dict.fromkeys(named)).arguments
        assert list(bound)[: len(positional)] == positional, name


# --- installing


def test_registers_the_schemas_and_names_what_is_missing() -> None:
    done = run_python(
        """
import torch
from mmparity.encoders import npu_emulation
from mmparity.encoders.npu_emulation.schemas import SCHEMAS
npu_emulation.install()
import torch_npu
from torch_npu.npu.streams import Event
for name, schema in SCHEMAS.items():
    namespace, operator = name.split("::")
    registered = getattr(getattr(torch.ops, namespace), operator)
    expected = torch._C.parse_schema(f"{namespace}::{schema}")
    assert registered.default._schema == expected
    assert getattr(torch_npu, operator) is registered
assert npu_emulation.install() is torch_npu
assert torch.npu.is_available() is False
for use in (lambda: torch_npu.npu_fused_infer_attention_score(1), Event):
    try:
        use()
    except npu_emulation.NotEmulatedError as error:
        print(error)
"""
    )
    assert done.returncode == 0, done.stderr
    assert "torch_npu.npu_fused_infer_attention_score is not emulated" in done.stdout
    assert "torch_npu.npu.streams.Event is not emulated" in done.stdout


def test_refuses_where_torch_npu_is_installed(tmp_path: Path) -> None:
    (tmp_path / "torch_npu").mkdir()
    (tmp_path / "torch_npu" / "__init__.py").touch()
    code = "from mmparity.encoders import npu_emulation; npu_emulation.install()"
    done = run_python(code, tmp_path)
    assert "MmparityError: torch_npu is installed on this machine" in done.stderr


def test_what_is_registered_for_npus_runs_on_cpu_tensors() -> None:
    done = run_python(
        """
import torch
from mmparity.encoders import npu_emulation
npu_emulation.install()
library = torch.library.Library("trial", "FRAGMENT")
library.define("twice(Tensor x) -> Tensor")
library.impl("twice", lambda x: 2 * x, "PrivateUse1")
assert torch.ops.trial.twice(torch.ones(2)).tolist() == [2, 2]
"""
    )
    assert done.returncode == 0, done.stderr


# --- rotary embedding


@pytest.mark.parametrize("mode", ["half", "interleave"])
def test_rotary_turns_each_pair_by_its_angle(mode: str) -> None:
    x = draw(1, 6, 2, 8).double()
    angles = draw(1, 6, 1, 4, seed=1).double()
    pairs = x.unflatten(-1, (2, 4)) if mode == "half" else x.unflatten(-1, (4, 2))
    dim = -2 if mode == "half" else -1
    turn = torch.polar(torch.ones_like(angles), angles)
    number = torch.complex(*pairs.unbind(dim)) * turn
    expected = torch.stack((number.real, number.imag), dim=dim).flatten(-2)
    wide = torch.cat((angles, angles), -1)
    if mode == "interleave":
        wide = angles.repeat_interleave(2, -1)
    cos, sin = wide.cos().float(), wide.sin().float()
    got = operators.npu_rotary_mul(x.float(), cos, sin, mode)
    torch.testing.assert_close(got.double(), expected, atol=1e-6, rtol=0)


def test_rotary_keeps_the_dtype_and_rounds_once() -> None:
    x = draw(1, 6, 2, 8, dtype=torch.bfloat16)
    cos, sin = draw(1, 6, 1, 8, seed=1), draw(1, 6, 1, 8, seed=2)
    got = operators.npu_rotary_mul(x, cos, sin)
    exact = operators.npu_rotary_mul(x.float(), cos, sin)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, exact.bfloat16())


def test_rotary_refuses_an_unknown_mode() -> None:
    x = draw(1, 1, 1, 4)
    with pytest.raises(ValueError, match="rotary_mode 'quarter'"):
        operators.npu_rotary_mul(x, x, x, "quarter")


@pytest.mark.parametrize(
    ("x", "cos", "message"),
    [
        (draw(6, 2, 8), draw(6, 1, 8), r"input must have 4 dimensions .* \[6, 2, 8\]"),
        (draw(1, 6, 2, 8), draw(6, 8), r"r1 must have 4 dimensions .* \[6, 8\]"),
        (draw(1, 6, 2, 8).double(), draw(1, 6, 1, 8), "not .* of torch.float64"),
        (draw(1, 6, 2, 8), draw(1, 6, 1, 4), "one even number below 896, not 8, 4"),
        (draw(1, 6, 2, 7), draw(1, 6, 1, 7), "not 7, 7 and 7"),
        (draw(1, 1, 1, 896), draw(1, 1, 1, 896), "below 896"),
    ],
)
def test_rotary_refuses_what_the_operator_refuses(
    x: torch.Tensor, cos: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        operators.npu_rotary_mul(x, cos, cos)


# --- attention


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    lengths: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    out = torch.full_like(q, torch.nan)
    operators._npu_flash_attention_unpad(
        query=q,
        key=k,
        value=v,
        seq_len=lengths,
        scale_value=scale,
        num_heads=q.shape[1],
        num_kv_heads=k.shape[1],
        out=out,
    )
    return out


def exact_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: list[int], scale: float
) -> torch.Tensor:
    parts = []
    for q_i, k_i, v_i in zip(
        *(x.double().split(lengths) for x in (q, k, v)), strict=True
    ):
        logits = torch.einsum("qhd,khd->hqk", q_i, k_i) * scale
        parts.append(torch.einsum("hqk,khd->qhd", logits.softmax(-1), v_i))
    return torch.cat(parts)


LENGTHS = torch.tensor([7, 1, 12], dtype=torch.int32)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Native attention stands in for the operator in float32."""
    monkeypatch.setattr(operators, "float32_attention", True)


@pytest.mark.parametrize(
    ("dtype", "allowed"),
    [(torch.float16, 1e-3), (torch.bfloat16, 5e-3), (torch.float32, 1e-6)],
)
@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("scale", [80**-0.5, 0.7])
def test_attention_stays_in_its_sequence_and_takes_the_scale_as_given(
    dtype: torch.dtype, allowed: float, scale: float
) -> None:
    q, k, v = (draw(20, 3, 16, dtype=dtype, seed=seed) for seed in range(3))
    got = attention(q, k, v, LENGTHS, scale)
    exact = exact_attention(q, k, v, LENGTHS.tolist(), scale)
    assert relative_error(got, exact) < allowed


def test_attention_accumulates_bfloat16_in_float32() -> None:
    """A sum of 4,096 equal terms stops growing in bfloat16 at 256 times a term."""
    q = torch.zeros(4096, 1, 8, dtype=torch.bfloat16)
    v = torch.ones(4096, 1, 8, dtype=torch.bfloat16)
    got = attention(q, q, v, torch.tensor([4096], dtype=torch.int32), 1.0)
    assert torch.equal(got, v)


@pytest.mark.usefixtures("stand_in")
def test_attention_does_not_see_padded_lanes() -> None:
    q, k, v = (draw(20, 3, 80, seed=seed) for seed in range(3))
    wide = [torch.nn.functional.pad(x, (0, 48)) for x in (q, k, v)]
    padded = attention(*wide, LENGTHS, 80**-0.5)
    assert padded[..., 80:].count_nonzero() == 0
    plain = attention(q, k, v, LENGTHS, 80**-0.5)
    torch.testing.assert_close(padded[..., :80], plain, atol=1e-6, rtol=1e-5)


@pytest.mark.usefixtures("stand_in")
def test_attention_shares_key_heads() -> None:
    q, k, v = draw(20, 4, 8), draw(20, 2, 8, seed=1), draw(20, 2, 8, seed=2)
    got = attention(q, k, v, LENGTHS, 0.3)
    k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
    exact = exact_attention(q, k, v, LENGTHS.tolist(), 0.3)
    assert relative_error(got, exact) < 1e-6


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([7, 1, 12]), "int32 on the host, not torch.int64"),
        (torch.tensor([20], dtype=torch.int32, device="meta"), "on the host"),
        (torch.tensor([0, 7, 20], dtype=torch.int32), r"query must be \[27, 3"),
        (torch.tensor([7, 1], dtype=torch.int32), r"query must be \[8, 3"),
    ],
)
def test_attention_refuses_what_the_operator_refuses(
    lengths: torch.Tensor, message: str
) -> None:
    q, k, v = (half(20, 3, 16, seed=seed) for seed in range(3))
    with pytest.raises(ValueError, match=message):
        attention(q, k, v, lengths, 1.0)


def half(*shape: int, seed: int = 0) -> torch.Tensor:
    return draw(*shape, dtype=torch.float16, seed=seed)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"query": draw(20, 4, 16)}, "query must be float16 or bfloat16, not .*32"),
        ({"out": draw(20, 4, 16)}, "out must be float16 or bfloat16, not .*32"),
        ({"key": half(20, 2, 16).bfloat16()}, "key is .*bfloat16, but query is .*16"),
        ({"query": half(20, 8, 16)[:, ::2]}, "query must be contiguous"),
        ({"out": half(20, 4, 32)[..., ::2]}, "out must be contiguous"),
        ({"key": half(20, 4, 16)}, r"key must be \[20, 2, 16\] .* not \[20, 4, 16\]"),
        ({"value": half(20, 2, 8)}, r"value must be \[20, 2, 16\] .* \[20, 2, 8\]"),
        ({"out": half(1, 20, 4, 16)}, r"out must be \[20, 4, 16\]"),
        ({"num_kv_heads": 3}, "num_heads 4 must be a multiple of num_kv_heads 3"),
        ({"seq_len": LENGTHS[None]}, r"one dimension, not \[1, 3\]"),
        (
            {name: half(20, 4, 264) for name in ("query", "out")}
            | {name: half(20, 2, 264) for name in ("key", "value")},
            "heads of 264 are over 256",
        ),
    ],
)
def test_attention_refuses_tensors_that_the_operator_refuses(
    given: dict[str, Any], message: str
) -> None:
    allowed = {
        "query": half(20, 4, 16),
        "key": half(20, 2, 16, seed=1),
        "value": half(20, 2, 16, seed=2),
        "out": half(20, 4, 16),
        "seq_len": LENGTHS,
        "scale_value": 1.0,
        "num_heads": 4,
        "num_kv_heads": 2,
    }
    operators._npu_flash_attention_unpad(**allowed)
    with pytest.raises(ValueError, match=message):
        operators._npu_flash_attention_unpad(**{**allowed, **given})


def test_what_stood_in_is_called_so() -> None:
    done = run_python(
        """
import torch
from mmparity.encoders import npu_emulation
torch_npu = npu_emulation.install()
lengths = torch.tensor([4, 2], dtype=torch.int32)
for stands_in in (False, True):
    npu_emulation.operators.float32_attention = stands_in
    npu_emulation.called.clear()
    q = torch.randn(6, 2, 8, dtype=torch.float32 if stands_in else torch.float16)
    torch_npu._npu_flash_attention_unpad(q, q, q, lengths, 1.0, 2, 2, out=q.clone())
    print(*npu_emulation.called_names())
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "_npu_flash_attention_unpad",
        f"_npu_flash_attention_unpad ({FLOAT32_NOTE})",
    ]


# --- norms and activation


def exact_norm(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gamma.double()


def test_rms_norm_rounds_once() -> None:
    x, gamma = (
        draw(64, 96, dtype=torch.bfloat16),
        draw(96, dtype=torch.bfloat16, seed=1),
    )
    got, rstd = operators.npu_rms_norm(x, gamma)
    exact = exact_norm(x, gamma)
    assert got.dtype == torch.bfloat16
    assert rstd.dtype == torch.float32
    assert (got == exact.bfloat16()).float().mean() > 0.999


def test_add_rms_norm_returns_the_sum_and_norms_it() -> None:
    x1, x2 = draw(64, 96), draw(64, 96, seed=1)
    gamma = draw(96, seed=2)
    got, _, total = operators.npu_add_rms_norm(x1, x2, gamma)
    assert torch.equal(total, x1 + x2)
    assert relative_error(got, exact_norm(x1 + x2, gamma)) < 1e-6


def test_add_rms_norm_norms_the_sum_before_it_is_rounded() -> None:
    x1 = draw(64, 96, dtype=torch.bfloat16)
    x2 = draw(64, 96, dtype=torch.bfloat16, seed=1)
    ones = torch.ones(96, dtype=torch.bfloat16)
    got, _, total = operators.npu_add_rms_norm(x1, x2, ones)
    assert torch.equal(total, (x1.float() + x2.float()).bfloat16())
    unrounded = exact_norm(x1.float() + x2.float(), ones).bfloat16()
    rounded = exact_norm(total, ones).bfloat16()
    assert (got == unrounded).float().mean() > 0.999
    assert not torch.equal(unrounded, rounded)


def test_swiglu_gates_the_second_half_with_the_first() -> None:
    x = draw(5, 12)
    gate, up = x.double().chunk(2, -1)
    exact = gate / (1 + (-gate).exp()) * up
    assert relative_error(operators.npu_swiglu(x), exact) < 1e-6


# --- quantisation


def test_quantize_rounds_saturates_and_shifts() -> None:
    x = torch.tensor([[0.26, -1.0, 500.0, -500.0]])
    scale, zero = torch.tensor([2.0]), torch.tensor([3.0])
    got = operators.npu_quantize(x, scale, zero, torch.qint8, -1, False)
    assert got.dtype == torch.int8
    assert got.tolist() == [[4, 1, 127, -128]]
    got = operators.npu_quantize(x, scale, zero, torch.qint8, -1, True)
    assert got.tolist() == [[3, 2, 127, -128]]


def test_quantize_refuses_other_dtypes() -> None:
    with pytest.raises(ValueError, match="quint4x2 is not emulated"):
        one = torch.ones(1)
        operators.npu_quantize(one, one, None, torch.quint4x2)


def int8(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8)


def test_quant_matmul_accumulates_exactly_and_scales_columns() -> None:
    x1, x2 = int8(5, 3420, seed=0), int8(3420, 7, seed=1)
    bias = torch.arange(7, dtype=torch.int32) * 1000
    scale = torch.linspace(0.001, 0.01, 7)
    got = operators.npu_quant_matmul(
        x1, x2, scale, bias=bias, output_dtype=torch.float32
    )
    total = x1.long() @ x2.long() + bias
    torch.testing.assert_close(got, (total.double() * scale.double()).float())


def test_quant_matmul_takes_the_scale_as_bits_for_float16() -> None:
    x1, x2 = int8(5, 16, seed=0), int8(16, 7, seed=1)
    scale = torch.linspace(0.001, 0.01, 7)
    bits = scale.view(torch.int32).long()
    got, expected = (
        operators.npu_quant_matmul(x1, x2, given, output_dtype=torch.float16)
        for given in (bits, scale)
    )
    assert torch.equal(got, expected)


def test_quant_matmul_refuses_floats() -> None:
    with pytest.raises(ValueError, match="only int8"):
        operators.npu_quant_matmul(draw(2, 2), draw(2, 2), draw(2))


def test_an_emulated_operator_counts_as_the_one_call_that_it_is_on_an_npu() -> None:
    code = """
import torch
import torch.distributed.fsdp  # as in a worker: it registers for CPUs itself
from mmparity.encoders import npu_emulation
from mmparity.encoders.counting import counted
torch_npu = npu_emulation.install()
x, cos = torch.randn(1, 6, 2, 8), torch.randn(1, 6, 1, 8)
q, lengths = torch.randn(6, 2, 8).half(), torch.tensor([4, 2], dtype=torch.int32)
def forward():
    torch_npu.npu_rotary_mul(x, cos, cos)
    torch_npu._npu_flash_attention_unpad(q, q, q, lengths, 1.0, 2, 2, out=q.clone())
found = counted(forward)
print(found.dispatches, found.host_reads, found.concatenations, found.peak_bytes)
def eager():
    torch.cat((x, x))
    lengths.to(lengths.device).tolist()
    forward()
found = counted(eager)
print(found.dispatches, found.host_reads, found.concatenations)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    first, second = (
        list(map(int, line.split())) for line in done.stdout.splitlines()[-2:]
    )
    assert first[1:3] == [0, 0] and first[3] >= 6 * 2 * 8 * 4
    assert second[1:3] == [1, 1] and first[0] < second[0] < 15
