# SPDX-License-Identifier: Apache-2.0
"""The compiled sums against numpy's, for each dtype and layout."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from mmparity.compare.metrics import sums
from mmparity.compare.metrics.metrics import NotFinite, measure
from mmparity.types.row import Metrics

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DTYPES = (*FLOATS, torch.float8_e4m3fn, torch.int64, torch.int8, torch.uint8)
LAYOUTS = {
    "rows": lambda: torch.randn(6, 40),
    "heads": lambda: torch.randn(5, 4, 8),
    "transposed": lambda: torch.randn(40, 6).t(),
    "every other": lambda: torch.randn(6, 80)[:, ::2],
    "one dimension": lambda: torch.randn(33),
    "one number": lambda: torch.randn(()),
    "wide": lambda: torch.randn(1, 70000),
}


def numbers(old: torch.Tensor, new: torch.Tensor, exact: torch.Tensor) -> list[float]:
    """Some of the metrics by their formulas, straight in numpy."""
    o, n, r = (x.double().numpy() for x in (old, new, exact))
    apart = np.abs(n - o)

    def norm(x: np.ndarray) -> float:
        return math.sqrt(float((x * x).sum()))

    def over(part: float, whole: float) -> float:
        return (part / whole if whole else math.inf) if part else 0.0

    rms = math.sqrt(float((o * o).mean()))
    size = np.abs(o) + rms
    element = np.where(apart == 0, 0, apart / np.where(size == 0, 1, size))
    return [
        float(apart.max()),
        float(apart.mean()),
        float(np.abs(o).max()),
        float(element.max()),
        over(norm(n - o), norm(o)),
        over(norm(o - r), norm(r)),
        over(norm(n - r), norm(r)),
        float(np.abs(n - r).max()),
    ]


def digits(dtype: torch.dtype) -> float:
    """How far sums may be from those of float64, relative to their size."""
    return 1e-6 if dtype == torch.bfloat16 else 1e-12


def same_numbers(got: Metrics) -> list[float | None]:
    return [
        got.max_abs_diff,
        got.mean_abs_diff,
        got.old_max_abs,
        got.max_element_error,
        got.normalized_l2_error,
        got.old_oracle_error,
        got.new_oracle_error,
        got.new_oracle_max_abs_diff,
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_every_dtype_and_layout_gives_numpys_numbers(
    dtype: torch.dtype, layout: str
) -> None:
    torch.manual_seed(0)
    draw = LAYOUTS[layout]
    old, new = ((4 * draw()).to(dtype) for _ in range(2))
    for exact in (draw().double(), draw()):
        got = same_numbers(measure(old, new, exact))
        wanted = numbers(old, new, exact)
        assert got == pytest.approx(wanted, rel=digits(dtype))
        for exact_one in (0, 2, 7):  # largest ones, and no sums
            assert got[exact_one] == pytest.approx(wanted[exact_one], rel=1e-12)


def test_two_dtypes_are_compared_by_value() -> None:
    old = torch.randn(7, 9)
    new = old.bfloat16()
    got = measure(old, new, old.double())
    assert same_numbers(got) == pytest.approx(numbers(old, new, old), rel=1e-12)
    assert not got.bit_equal


def test_every_bfloat16_is_widened_to_its_value() -> None:
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16)
    values = bits.view(torch.bfloat16)
    values = values[torch.isfinite(values)].reshape(-1, 1)
    squares_T, _ = sums.squares(sums.arrays(values)[0])
    assert np.array_equal(squares_T, values.double().square().numpy()[:, 0])


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: str(dtype)[6:])
def test_extreme_values_are_measured(dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    tiny = limits.tiny * 2.0**-3  # below the smallest normal one
    most = limits.max if dtype != torch.float64 else 1e150  # whose square is finite
    old = torch.tensor([[most, -most, tiny, 0], [0, -0.0, tiny, 1]], dtype=dtype)
    new = torch.tensor([[most / 2, most, 0, tiny], [-0.0, 0, tiny, 1]], dtype=dtype)
    got = measure(old, new, old.double())
    expected = numbers(old, new, old.double())
    assert same_numbers(got) == pytest.approx(expected, rel=1e-12)
    assert got.worst_index == (0, 1)


@pytest.mark.parametrize("size", [1e-38, 1e-25, 1e-10, 1e10, 1e25, 1e37])
def test_rows_of_any_size_have_the_sums_of_float64(size: float) -> None:
    """Each other row is of that size, and too small or too large for float32."""
    torch.manual_seed(0)
    old, new = torch.randn(6, 3000), torch.randn(6, 3000)
    old[::2] *= size
    new[1::2] *= size
    pair = old.bfloat16(), new.bfloat16()
    got, wanted = measure(*pair), measure(*(side.double() for side in pair))
    assert same_numbers(got)[:5] == pytest.approx(same_numbers(wanted)[:5], rel=1e-6)
    assert got.min_token_cosine == pytest.approx(wanted.min_token_cosine, abs=1e-6)
    assert got.max_token_error == pytest.approx(wanted.max_token_error, rel=1e-6)
    assert got.worst_index == wanted.worst_index


def test_squares_beyond_float64_are_no_pass_and_no_crash() -> None:
    old = torch.full((2, 3), 1e200, dtype=torch.float64)
    got = measure(old, -old)
    assert not got.normalized_l2_error <= 1.0
    assert got.max_abs_diff == 2e200


@pytest.mark.parametrize("side", [0, 1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_measured(side: int, value: float) -> None:
    tensors = [torch.randn(4, 8) for _ in range(3)]
    tensors[side][2, 3] = value
    with pytest.raises(NotFinite):
        measure(*tensors)


def test_nan_on_both_sides_in_the_same_bits_is_never_measured() -> None:
    old = torch.full((2, 2), math.nan)
    with pytest.raises(NotFinite):
        measure(old, old.clone())


def test_of_equal_differences_the_first_one_is_named() -> None:
    old = torch.zeros(40, 1000)
    new = old.clone()
    new[3, 5] = new[3, 6] = new[39, 1] = 2.0
    assert measure(old, new).worst_index == (3, 5)


def test_where_nothing_can_be_written_it_compiles_without_a_cache() -> None:
    """As for an installed package of another user, without a home."""
    script = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import torch\n"
        "from mmparity.compare.metrics.metrics import measure\n"
        "print(measure(torch.ones(2, 3), torch.zeros(2, 3)).max_abs_diff)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1.0\n", done.stderr
