# SPDX-License-Identifier: Apache-2.0
"""What is allowed at a hook point, by dtype and kind. No arithmetic on tensors.

Two rules work together. The oracle rule is the sharp one: new may be at most
``oracle_factor`` times as far from float64 as old is. The table's bounds catch
what the oracle rule cannot: both sides wrong, and comparisons without an oracle.
docs/judging.md says where the numbers come from.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from mmparity.compare.floors import Floors, read_floors
from mmparity.errors import MmparityError
from mmparity.trace.hook_points import pattern_of
from mmparity.types.comparison import Expected
from mmparity.types.row import Metrics, Noise, Tolerance

_Bound = tuple[str, Any, float]

IDENTICAL = "identical expected"
CONTROL = {"seqlens", "cu_seqlens", "max_seqlen", "window_index"}
EPSILON = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}

_TABLE = {
    # (dtype, kind): l2, token, element, oracle l2
    ("float32", "table"): (1e-6, 1e-6, 1e-5, 1e-6),
    ("float32", "layer"): (1e-5, 5e-5, 2e-4, 1e-5),
    ("bfloat16", "table"): (1e-2, 2e-2, 5e-2, 1e-2),
    ("bfloat16", "layer"): (5e-2, 1e-1, 1.0, 5e-2),
    ("float16", "table"): (1e-3, 2e-3, 5e-3, 1e-3),
    ("float16", "layer"): (1e-2, 2e-2, 2e-1, 1e-2),
    ("float64", "table"): (1e-13, 1e-13, 1e-12, 1e-6),
    ("float64", "layer"): (1e-12, 1e-11, 1e-10, 1e-6),
}
ORACLE_FACTORS = {"float64": 3.0, "float32": 2.0, "float16": 1.5, "bfloat16": 1.5}
"""In float32 a correct side may sum in another order; bfloat16's error is mostly
the rounding of what is stored, which both sides share."""
EXTREME = 2.0
"""A worst token or element scatters more than a whole tensor's error."""
NOISE_FACTOR = 3.0
"""Noise is measured on the smallest case by one null pair; others scatter more."""
QUANTIZED_FLOORS = Path(__file__).with_name("w8a8_floors.json")
"""What `mmparity floors --measure` wrote of the released encoder, all its blocks."""
QUANTIZED_FACTOR = 1.5
"""In a W8A8 encoder, new may differ from old this many times as much as old does
from itself under another thread count, kernel or packing."""


def kind_of(hook_point: str, dtype: str) -> str:
    """``control``, ``table`` (rotary cos and sin) or ``layer``."""
    last = hook_point.rsplit(".", 1)[-1]
    if last in CONTROL or is_integral(dtype):
        return "control"
    return "table" if last in {"cos", "sin"} else "layer"


def is_integral(dtype: str) -> bool:
    """Whether values of this dtype are compared exactly."""
    return dtype == "bool" or dtype.lstrip("u").startswith("int")


def tolerance_for(
    hook_point: str, tensor_dtype: str, run_dtype: str, quantization: str = ""
) -> Tolerance:
    """The tolerance of one hook point of a run in ``run_dtype``.

    ``quantization`` is how the encoder's layers are quantised; empty where not.
    """
    kind = kind_of(hook_point, tensor_dtype)
    if kind == "control":
        return Tolerance(
            0.0, 0.0, 0.0, 1.0, 0.0, exact=True, reason="integers and control tensors"
        )
    if (run_dtype, kind) not in _TABLE:
        raise MmparityError(
            f"no tolerance for dtype {run_dtype[:40]!r}; known: "
            f"{sorted({dtype for dtype, _ in _TABLE})}"
        )
    l2, token, element, oracle = _TABLE[run_dtype, kind]
    tolerance = Tolerance(
        normalized_l2_error=l2,
        max_token_error=token,
        oracle_error=oracle,
        oracle_factor=ORACLE_FACTORS[run_dtype],
        max_element_error=element,
        oracle_floor=EPSILON[run_dtype] / 2,
        reason=f"{run_dtype}, {kind}",
    )
    if not quantization:
        return tolerance
    return _of_quantized(tolerance, hook_point, run_dtype)


def _of_quantized(tolerance: Tolerance, hook_point: str, dtype: str) -> Tolerance:
    """No tighter than what the same quantised code differs by from itself.

    A value near a rounding boundary becomes another integer by the least noise before
    it, and every quantised layer makes new ones of the noise that reaches it.
    """
    floor = quantized_floors().errors.get(dtype, {}).get(pattern_of(hook_point), 0.0)
    l2 = QUANTIZED_FACTOR * floor
    if l2 <= tolerance.normalized_l2_error:
        return tolerance
    return replace(
        tolerance,
        normalized_l2_error=l2,
        max_token_error=max(tolerance.max_token_error, EXTREME * l2),
        oracle_error=max(tolerance.oracle_error, l2),
        reason=f"{tolerance.reason}, W8A8: {QUANTIZED_FACTOR} floors of {floor:.2e}",
    )


@cache
def quantized_floors() -> Floors:
    """The null floors of a W8A8 encoder, with where they were measured."""
    return read_floors(QUANTIZED_FLOORS)


def held_to(tolerance: Tolerance, expected: Expected) -> Tolerance:
    """The tolerance of a row whose pair is expected to be ``expected``."""
    if tolerance.exact or expected != "identical":
        return tolerance
    return replace(tolerance, identical=True, reason=f"{tolerance.reason}, {IDENTICAL}")


def above_noise(tolerance: Tolerance, noise: Noise | None) -> Tolerance:
    """No tighter than what old differs by from itself.

    Against the oracle, what other kernels change of old's error takes the place of a
    factor on it, which allows too much of a late layer's error and, where one kernel
    rounds less than another, too little of an early one's.
    """
    if noise is None or tolerance.exact:
        return tolerance
    l2, token, element, change = (NOISE_FACTOR * value for value in astuple(noise))
    reason = f"{NOISE_FACTOR:g} times noise of {noise.normalized_l2_error:.2e}"
    wider = l2 > tolerance.normalized_l2_error
    return replace(
        tolerance,
        normalized_l2_error=max(tolerance.normalized_l2_error, l2),
        max_token_error=max(tolerance.max_token_error, token),
        max_element_error=max(tolerance.max_element_error, element),
        oracle_error=max(tolerance.oracle_error, l2),
        oracle_slack=change,
        reason=f"{tolerance.reason}, {reason}" if wider else tolerance.reason,
    )


@dataclass(frozen=True)
class Exceeded:
    """The first bound that a row's metrics break."""

    metric: str
    value: float
    allowed: float


def first_exceeded(metrics: Metrics, tolerance: Tolerance) -> Exceeded | None:
    """None if the row passes; a value that is not a number never does."""
    if tolerance.exact:
        bounds = [("max_abs_diff", metrics.max_abs_diff, 0.0)]
    elif metrics.bit_equal:
        return None
    else:
        bounds = _pair_bounds(metrics, tolerance)
        if metrics.new_oracle_error is not None:
            bounds += _oracle_bounds(metrics, tolerance)
        if tolerance.identical:  # last: what is out of tolerance says more
            bounds.append(("max_abs_diff", metrics.max_abs_diff, 0.0))
    for metric, value, allowed in bounds:
        if not value <= allowed:
            return Exceeded(metric, value, allowed)
    return None


def _pair_bounds(metrics: Metrics, tolerance: Tolerance) -> list[_Bound]:
    names = ("normalized_l2_error", "max_token_error", "max_element_error")
    return [(name, getattr(metrics, name), getattr(tolerance, name)) for name in names]


def _oracle_bounds(metrics: Metrics, tolerance: Tolerance) -> list[_Bound]:
    of_old, of_new = metrics.old_oracle_error, metrics.new_oracle_error
    assert of_old is not None
    bounds: list[_Bound] = [
        ("new_oracle_error", of_new, tolerance.oracle_error),
        ("new_oracle_error", of_new, tolerance.oracle_bound(of_old)),
    ]
    factor = EXTREME * tolerance.oracle_times(of_old)
    least = EXTREME * tolerance.oracle_floor
    for name, floor in (
        ("oracle_max_token_error", least),
        ("oracle_max_abs_diff", least * metrics.old_max_abs),
    ):
        worst, of_new = (getattr(metrics, f"{side}_{name}") for side in ("old", "new"))
        bounds.append((f"new_{name}", of_new, factor * max(worst, floor)))
    return bounds
