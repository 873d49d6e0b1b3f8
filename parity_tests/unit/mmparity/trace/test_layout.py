# SPDX-License-Identifier: Apache-2.0
"""Layout transforms: exact inverses of the padding, and nothing dropped unseen."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mmparity.trace.batched import BATCHED
from mmparity.trace.layout import (
    TRANSFORMS,
    HeadGeometry,
    LayoutError,
    execute,
    invert,
    plan,
)

GEOMETRY = HeadGeometry(num_heads=3, head_size=10)
SIZES = st.integers(1, 8)


def transform(
    names: tuple[str, ...], tensor: torch.Tensor, geometry: HeadGeometry = GEOMETRY
) -> torch.Tensor:
    return execute(tensor, plan(names, tuple(tensor.shape), geometry))


def pad_halves(x: torch.Tensor, size: int) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    pad = (0, (size - x.shape[-1]) // 2)
    return torch.cat((F.pad(first, pad), F.pad(second, pad)), -1)


@given(tokens=SIZES, heads=SIZES, half=SIZES, extra=SIZES)
def test_unpad_halves_inverts_the_loaders_padding(
    tokens: int, heads: int, half: int, extra: int
) -> None:
    x = torch.randn(tokens, heads, 2 * half)
    padded = pad_halves(x, 2 * (half + extra))
    geometry = HeadGeometry(heads, 2 * half)
    assert torch.equal(transform(("unpad_halves",), padded, geometry), x)


@given(tokens=SIZES, heads=SIZES, size=SIZES, extra=SIZES)
def test_unpad_tail_inverts_padding_at_the_end(
    tokens: int, heads: int, size: int, extra: int
) -> None:
    x = torch.randn(tokens, heads, size)
    geometry = HeadGeometry(heads, size)
    assert torch.equal(transform(("unpad_tail",), F.pad(x, (0, extra)), geometry), x)


@pytest.mark.parametrize("name", ["unpad_halves", "unpad_tail"])
@pytest.mark.parametrize("value", [1e-30, float("nan"), -1.0])
def test_one_padded_lane_that_is_not_zero_is_an_error(name: str, value: float) -> None:
    x = torch.zeros(4, 3, 16)
    x[2, 1, 15] = value
    with pytest.raises(LayoutError, match="1 of 72 padded lanes are not zero"):
        transform((name,), x)


def test_the_other_padding_is_an_error() -> None:
    x = torch.randn(4, 3, 10)
    with pytest.raises(LayoutError, match="not zero"):
        transform(("unpad_tail",), pad_halves(x, 16))
    with pytest.raises(LayoutError, match="not zero"):
        transform(("unpad_halves",), F.pad(x, (0, 6)))


def test_heads_without_padding_need_no_step() -> None:
    assert plan(("unpad_halves",), (4, 3, 10), GEOMETRY) == ()


def test_qkv_is_split_before_it_is_unpadded() -> None:
    x = torch.randn(4, 3, 3, 10)
    flat = pad_halves(x, 16).reshape(4, 1, -1)
    names = ("squeeze.1", "split_qkv", "unpad_halves")
    assert torch.equal(transform(names, flat), x)
    steps = plan(names, (4, 1, 144), GEOMETRY)
    assert [step.shape for step in steps] == [(4, 144), (4, 3, 3, 16), (4, 3, 3, 10)]


def test_duplicated_cos_folds_and_a_difference_shows() -> None:
    half = torch.randn(4, 5)
    names = ("squeeze.2", "squeeze.0", "unpad_halves", "fold_halves")
    wide = torch.cat((half, half), -1)
    assert torch.equal(transform(names, pad_halves(wide, 16)[None, :, None]), half)
    wide[3, 9] += 1e-6
    with pytest.raises(LayoutError, match="two halves"):
        transform(("fold_halves",), wide)


def test_offsets_become_lengths() -> None:
    offsets = torch.tensor([0, 7, 8, 20], dtype=torch.int32)
    assert transform(("offsets_to_lengths",), offsets).tolist() == [7, 1, 12]
    with pytest.raises(LayoutError, match="first offset is 7"):
        transform(("offsets_to_lengths",), offsets[1:])


def test_lengths_become_offsets_and_the_longest() -> None:
    lengths = torch.tensor([0, 7, 1, 12], dtype=torch.int32)
    made = transform(("drop_empty", "lengths_to_offsets"), lengths)
    assert (made.tolist(), made.dtype) == ([0, 7, 8, 20], torch.int32)
    longest = transform(("offsets_to_lengths", "longest"), made)
    assert (longest.tolist(), longest.dtype) == ([12], torch.int32)
    assert transform(("longest",), lengths[-1:]).tolist() == [12]
    assert transform(("scalar",), lengths[2]).tolist() == [1]


def test_heads_first_becomes_tokens_first() -> None:
    x = torch.randn(1, 3, 4, 10)
    got = transform(("squeeze.0", "tokens_first"), x)
    assert torch.equal(got, x[0].transpose(0, 1))
    assert transform(("squeeze.0", "tokens_first", "length"), x).tolist() == [4]


def test_tokens_first_is_applied_where_the_shape_does_not_show_it() -> None:
    x = torch.randn(3, 3, 10)
    assert torch.equal(transform(("tokens_first",), x), x.transpose(0, 1))


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (("squeeze.1",), (4, 2, 10)),
        (("squeeze.1",), (4,)),
        (("split_qkv",), (4, 91)),
        (("split_heads",), (4, 3, 10)),
        (("unpad_tail",), (4, 3, 9)),
        (("fold_halves",), (4, 9)),
        (("offsets_to_lengths",), (1,)),
        (("lengths_to_offsets",), (4, 2)),
        (("longest",), (4, 1)),
        (("scalar",), (1,)),
        (("tokens_first",), (4, 3, 10)),
    ],
)
def test_an_unforeseen_shape_is_an_error_with_the_shape(
    names: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    with pytest.raises(LayoutError, match=r"\[4.*\]|\[1\]"):
        plan(names, shape, GEOMETRY)


HEAD_LAYOUTS = (
    ("squeeze.1", "split_qkv", "unpad_halves"),
    ("squeeze.1", "split_heads", "unpad_tail"),
    ("squeeze.0", "unpad_halves"),
    ("squeeze.0", "tokens_first"),
    ("squeeze.2", "squeeze.0", "unpad_halves", "fold_halves"),
    ("one_of_qkv",),
)
LENGTH_LAYOUTS = (("offsets_to_lengths",), ("drop_empty",), ())
NO_INVERSE = {"cos", "sin", "length", "longest"}


@pytest.mark.parametrize("names", HEAD_LAYOUTS)
@given(tokens=SIZES, heads=SIZES, half=SIZES, extra=st.integers(0, 4))
def test_the_inverse_gives_what_the_transforms_take(
    names: tuple[str, ...], tokens: int, heads: int, half: int, extra: int
) -> None:
    """From a canonical tensor there and back, and the padding is zero."""
    geometry, size = HeadGeometry(heads, 2 * half), 2 * (half + extra)
    if "tokens_first" in names or "one_of_qkv" in names:
        size = 2 * half
    raw = {
        "squeeze.1": (tokens, 1, (3 if "split_qkv" in names else 1) * heads * size),
        "squeeze.0": (1, tokens, heads, size),
        "squeeze.2": (1, tokens, 1, size),
        "one_of_qkv": (tokens, heads * size),
    }[names[0]]
    if "tokens_first" in names:
        raw = (1, heads, tokens, size)
    steps = plan(names, raw, geometry)
    canonical = torch.randn(steps[-1].shape if steps else raw)
    back = invert(canonical, steps, raw)
    assert tuple(back.shape) == raw
    assert torch.equal(execute(back, steps), canonical)
    added = back.count_nonzero() - canonical.count_nonzero() * (
        2 if "fold_halves" in names else 1
    )
    assert added == 0


@pytest.mark.parametrize("names", LENGTH_LAYOUTS)
@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_lengths_are_brought_back(names: tuple[str, ...], lengths: list[int]) -> None:
    canonical = torch.tensor(lengths, dtype=torch.int32)
    raw = (len(lengths) + bool(names),)
    steps = plan(names, raw, GEOMETRY)
    back = invert(canonical, steps, raw)
    assert back.dtype == canonical.dtype
    assert torch.equal(execute(back, steps), canonical)
    if "offsets_to_lengths" in names:
        assert back.tolist()[-1] == sum(lengths)


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_offsets_and_their_longest_are_brought_back(lengths: list[int]) -> None:
    raw = torch.tensor(lengths, dtype=torch.int32)
    steps = plan(("lengths_to_offsets",), tuple(raw.shape), GEOMETRY)
    back = invert(execute(raw, steps), steps, tuple(raw.shape))
    assert torch.equal(back, raw) and back.dtype == raw.dtype
    one = plan(("scalar",), (), GEOMETRY)
    assert torch.equal(invert(execute(raw[0], one), one, ()), raw[0])


def test_every_transform_has_an_inverse_or_is_known_to_have_none() -> None:
    without = {name for name, step in TRANSFORMS.items() if step.invert is None}
    assert without == NO_INVERSE
    layouts = (*HEAD_LAYOUTS, *LENGTH_LAYOUTS, ("lengths_to_offsets",), ("scalar",))
    tried = {name for names in layouts for name in names}
    assert tried == set(TRANSFORMS) - without - set(BATCHED)  # test_batched has those


@pytest.mark.parametrize("name", sorted(NO_INVERSE))
def test_what_cannot_be_undone_is_an_error(name: str) -> None:
    steps = plan((name,), (4,), GEOMETRY)
    with pytest.raises(LayoutError, match=f"{name} cannot be undone"):
        invert(torch.ones(steps[-1].shape), steps, (4,))
