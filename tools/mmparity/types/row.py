# SPDX-License-Identifier: Apache-2.0
"""One hook point of a comparison: its metrics, its tolerance and its verdict."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field

from mmparity.types.verdict import Verdict


@dataclass(frozen=True)
class Metrics:
    """Differences of one hook point; all arithmetic is done in float64.

    ``old`` is always the denominator. ``None`` means not applicable, and is
    never produced by a computation that failed (that is an error).
    """

    numel: int
    bit_equal: bool
    max_abs_diff: float
    mean_abs_diff: float
    normalized_l2_error: float
    cosine_similarity: float
    min_token_cosine: float
    min_token_cosine_index: int
    max_token_error: float
    """Largest per-token normalized L2 error, new against old."""
    max_token_error_index: int
    worst_index: tuple[int, ...]
    old_at_worst: float
    new_at_worst: float
    max_element_error: float
    """Largest |new - old| over (|old| + root mean square of old)."""
    old_max_abs: float
    old_oracle_error: float | None = None
    """normalized_l2_error of old against the float64 oracle."""
    new_oracle_error: float | None = None
    old_oracle_max_token_error: float | None = None
    new_oracle_max_token_error: float | None = None
    old_oracle_max_abs_diff: float | None = None
    new_oracle_max_abs_diff: float | None = None
    torch_close: bool | None = None
    """Whether torch.testing.assert_close passes with its defaults. Shown, and never
    the verdict: it calls most rows of a correct pair in bfloat16 wrong."""

    def __post_init__(self) -> None:
        assert not (self.bit_equal and self.max_abs_diff > 0), "bit_equal, and differs"
        of_oracle = [
            getattr(self, f"{side}_oracle_{name}")
            for side in ("old", "new")
            for name in ("error", "max_token_error", "max_abs_diff")
        ]
        assert len({value is None for value in of_oracle}) == 1, "half an oracle"
        sizes = (self.normalized_l2_error, self.max_token_error, *of_oracle)
        sizes += (self.max_abs_diff, self.mean_abs_diff, self.max_element_error)
        assert not any(size is not None and size < 0 for size in sizes), "negative size"


@dataclass(frozen=True)
class Noise:
    """What old differs by from itself at a row, measured in the same run.

    Attributes:
        normalized_l2_error: and the next two, as in Metrics.
        oracle_change: by how much its error against the oracle is another one.
    """

    normalized_l2_error: float
    max_token_error: float
    max_element_error: float
    oracle_change: float

    def or_more(self, other: Noise) -> Noise:
        """The larger of each."""
        return Noise(*map(max, astuple(self), astuple(other)))


NOISE_SHARE = 1.25
"""A quarter more error than old's: by so much the cases of a side scatter."""


@dataclass(frozen=True)
class Tolerance:
    """What is allowed at a hook point, and why; see docs/judging.md."""

    normalized_l2_error: float
    max_token_error: float
    oracle_error: float
    """Largest normalized_l2_error of new against the oracle."""
    oracle_factor: float
    """new's error against the oracle may be this many times old's; twice as many
    for the worst token and the worst element."""
    max_element_error: float = float("inf")
    oracle_slack: float | None = None
    """In place of the factor, where noise was measured: new's normalized_l2_error
    against the oracle may exceed a quarter more than old's by this."""
    oracle_floor: float = 0.0
    """Old's error counts as at least this much: it may be exact by chance."""
    exact: bool = False
    """Integers and control tensors: bit-equality only."""
    identical: bool = False
    """The pair is expected to have the same bits: any other value fails."""
    reason: str = ""

    def oracle_bound(self, of_old: float) -> float:
        """What new's normalized_l2_error against the oracle may be, from old's."""
        least = max(of_old, self.oracle_floor)
        if self.oracle_slack is None:
            return self.oracle_factor * least
        return NOISE_SHARE * least + self.oracle_slack

    def oracle_times(self, of_old: float) -> float:
        """How many times old's the bound is, and at least the factor."""
        least = max(of_old, self.oracle_floor)
        if not least:
            return self.oracle_factor
        return max(self.oracle_factor, self.oracle_bound(of_old) / least)


@dataclass(frozen=True)
class Grafted:
    """A row again, with new fed old's tensors at every hook point before it.

    Where the free-running row shows how error accumulates, this one shows who makes
    it.

    Attributes:
        verdict: under the tolerance of the row.
        reason: why it is not a pass.
        metrics: of new's tensor against old's.
        follows: failing hook points that could not be fed, so that this row may only
            show what they did.
    """

    verdict: Verdict
    reason: str
    metrics: Metrics | None
    follows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """One place where new itself differs from old, found by grafting.

    Attributes:
        hook_point: the first row of it; ``{i}`` stands for the block in ``pattern``.
        pattern: the hook point without its number.
        rows: all rows of that pattern that fail when grafted.
        about: what lies between the row and those before it, in words.
    """

    hook_point: str
    pattern: str
    rows: tuple[str, ...]
    about: str


@dataclass(frozen=True)
class LayerComparison:
    """One row: one hook point of one case.

    ``reason`` says in one sentence why the row is not a pass. ``exceeded`` names
    the first metric out of bounds, with its ``value`` and what was ``allowed``.
    """

    hook_point: str
    order: int
    block: int | None
    verdict: Verdict
    old_path: str
    new_path: str
    old_transforms: tuple[str, ...]
    new_transforms: tuple[str, ...]
    shape: tuple[int, ...]
    old_dtype: str
    new_dtype: str
    metrics: Metrics | None
    tolerance: Tolerance | None
    reason: str = ""
    exceeded: str | None = None
    value: float | None = None
    allowed: float | None = None
    grafted: Grafted | None = None
    """None where no grafted run was made."""
    null_floor: float | None = None
    """normalized_l2_error that is noise here, by measured null pairs of its dtype."""
    noise: Noise | None = None
    """None where none was measured; bounds are no tighter than it."""
    margin: float | None = None
    """The row's normalized_l2_error over the floor; None where the floor is 0."""


@dataclass(frozen=True)
class WorstElement:
    """One element of a failing row."""

    index: tuple[int, ...]
    old: float
    new: float


@dataclass(frozen=True)
class TokenMap:
    """Where a failing row differs, and by what.

    Attributes:
        hook_point: the row.
        errors: each token's normalized L2 error, new against old, three digits.
        places: each token's place in raster order over the images of grid_thw, in
            patches or, where there is one token for four, in merged cells; empty
            where tokens have no place on an image.
        elements: those that differ most, the worst first.
        statistics: mean, deviation and so on -> of old, of new.
    """

    hook_point: str
    errors: tuple[float, ...]
    places: tuple[int, ...]
    elements: tuple[WorstElement, ...] = ()
    statistics: dict[str, tuple[float, float]] = field(default_factory=dict)
