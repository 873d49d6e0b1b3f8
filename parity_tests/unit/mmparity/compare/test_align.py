# SPDX-License-Identifier: Apache-2.0
"""Every hook point of both sides comes out exactly once, whatever the traces hold."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mmparity.compare.align import align
from mmparity.trace.manifest import UnmatchedPath
from mmparity.types.trace import TensorRecord

NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True)
DECLARED = st.lists(
    st.tuples(st.sampled_from("abcdefghxyz"), st.booleans()),
    unique_by=lambda item: item[0],
)


class FakeTrace(SimpleNamespace):
    """The part of TraceReader that aligning needs."""

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def record(self, name: str) -> TensorRecord:
        found: TensorRecord = self.by_name[name]
        return found


def trace(names: list[str], declared: list[tuple[str, bool]]) -> Any:
    records = [
        TensorRecord(name, order, (1,), "float32", "f", "d", name)
        for order, name in enumerate(names)
    ]
    return FakeTrace(
        records=records,
        by_name={record.hook_point: record for record in records},
        unmatched=[
            UnmatchedPath(path, "because", explained) for path, explained in declared
        ],
    )


@given(NAMES, NAMES, DECLARED, DECLARED)
def test_nothing_is_lost_and_nothing_twice(
    old_names: list[str],
    new_names: list[str],
    old_declared: list[tuple[str, bool]],
    new_declared: list[tuple[str, bool]],
) -> None:
    old, new = trace(old_names, old_declared), trace(new_names, new_declared)
    result = align(old, new, None)
    paired = [pair.hook_point for pair in result.pairs]
    assert len(paired) == len(set(paired))
    accounted = set(paired) | {item.path for item in result.unmatched}
    assert set(old_names) | set(new_names) <= accounted
    explained = {
        path for path, is_explained in old_declared + new_declared if is_explained
    }
    for pair in result.pairs:
        if pair.old is None or pair.new is None:
            assert pair.hook_point not in explained
    both = set(old_names) & set(new_names)
    assert both <= set(paired)
    for path, is_explained in old_declared + new_declared:
        if not is_explained and path not in both and path not in explained:
            assert any(u.path == path and not u.explained for u in result.unmatched)


@given(NAMES, NAMES)
def test_old_order_is_kept_and_new_ones_follow_their_predecessor(
    old_names: list[str], new_names: list[str]
) -> None:
    result = align(trace(old_names, []), trace(new_names, []), None)
    order = [pair.hook_point for pair in result.pairs]
    assert [name for name in order if name in old_names] == old_names
    for before, name in pairwise(new_names):
        if name not in old_names and before not in old_names:
            assert order.index(before) < order.index(name)


def test_an_oracle_may_declare_what_it_lacks_in_every_block() -> None:
    names = ["blocks.0.norm", "blocks.1.norm"]
    side, oracle = trace(names, []), trace(names[:1], [("blocks.{i}.norm", True)])
    pairs = align(side, side, oracle).pairs
    assert [pair.oracle_absent for pair in pairs] == ["because", "because"]
