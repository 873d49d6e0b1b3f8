# SPDX-License-Identifier: Apache-2.0
"""A year of releases on one page: a chart, a table, and which of them differ where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmparity.report import labels
from mmparity.report.year import LAST, Release, plain
from mmparity.types.comparison import ComparisonResult
from mmparity.types.trace import Costs

COLUMNS = (
    "implementation",
    "against the one before it",
    "output : oracle",
    "output : {first}",
    "reads",
    "pads",
    "cats",
    "dispatches",
    "kept",
    "an entry pins",
    "forward",
)


def page(
    result: ComparisonResult,
    found: Sequence[Release],
    left_out: Mapping[str, str],
    chart: str,
) -> str:
    """The page, in Markdown.

    Args:
        left_out: implementation -> why it was not run.
        chart: path of the drawing, as seen from the page.
    """
    first = found[0].name
    parts = [
        "# A year of releases",
        "",
        "`make year` writes this page. " + _conditions(result),
        "",
        f"![Error of each layer against the oracle, for each release]({chart})",
        "",
        *_findings(found),
        "",
        *_table(found, first),
        "",
        *_notes(found),
    ]
    if left_out:
        parts += ["", "Left out:", ""]
        parts += [f"- `{name}`: {reason}" for name, reason in left_out.items()]
    return "\n".join(parts) + "\n"


def _conditions(result: ComparisonResult) -> str:
    of = result.provenance
    meta = next(m for case in result.cases if (m := case.new_meta or case.old_meta))
    versions = _versions(of.versions)
    others: dict[str, list[str]] = {}
    for name, found in of.environments.items():
        others.setdefault(_versions(found), []).append(f"`{name}`")
    elsewhere = "".join(
        f"; {', '.join(names)} with {text}" for text, names in others.items()
    )
    cpus = f"{of.machine.cpus} cores of {of.machine.processor}" if of.machine else "?"
    return (
        f"`{labels.clean(of.command)}`, {of.created[:10]}, {cpus}: {meta.model}'s "
        f"vision tower at {meta.depth} blocks, case {meta.case.rpartition('/')[2]}, "
        f"the same weights and pixels for all. The oracle is transformers' encoder in "
        f"float64. Run with {versions}{elsewhere}."
    )


def _versions(found: Mapping[str, str]) -> str:
    named = [
        f"{name} {found[name]}" for name in ("torch", "transformers") if name in found
    ]
    return " and ".join(named)


def _findings(found: Sequence[Release]) -> list[str]:
    lines = [
        f"- `{item.name}`, {dtype}, against `{item.before}`: first at {text}"
        for item in found
        for dtype, text in item.findings.items()
        if not item.failed
    ]
    lines += [
        f"- `{item.name}` could not run: {item.failed}" for item in found if item.failed
    ]
    if not lines:
        return ["No release computes anything else than the one before it."]
    return [
        "Releases that compute something else than the one before them:",
        "",
        *lines,
    ]


def _table(found: Sequence[Release], first: str) -> list[str]:
    head = [name.format(first=first) for name in COLUMNS]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return [*lines, *(f"| {' | '.join(_cells(item))} |" for item in found)]


def _cells(item: Release) -> list[str]:
    name = f"`{item.name}`"
    if item.failed:
        return [name, "could not run", *[""] * (len(COLUMNS) - 2)]
    outputs = {dtype: by[LAST] for dtype, by in item.errors.items() if LAST in by}
    return [
        name,
        _held(item),
        _both(outputs),
        _both(item.against_first),
        *_costs(item.costs),
    ]


def _held(item: Release) -> str:
    if not item.before:
        return "the first"
    if item.findings:
        return f"differs from `{item.before}`"
    if item.same and not any(item.same.values()):
        return f"same bits as `{item.before}`"
    everywhere = len(item.since) == len(item.same) and len({*item.since.values()}) == 1
    since = dict.fromkeys(
        f"`{point}`" if everywhere else f"`{point}` in {dtype}"
        for dtype, point in item.since.items()
    )
    first = " and ".join(since)
    return f"`{item.before}` within noise, {_both(item.same)}, from {first} on"


def _both(values: Mapping[str, float]) -> str:
    return ", ".join(f"{value:.1e}" for value in values.values())


def _costs(costs: Costs | None) -> list[str]:
    if costs is None:
        return ["n/a"] * 7
    calls = costs.per_block
    block = (calls.reads, calls.pads, calls.cats, calls.dispatches) if calls else ()
    pinned = "n/a"
    if costs.entry_bytes and costs.pinned_bytes:
        pinned = f"{costs.pinned_bytes / costs.entry_bytes:.3g} x its own"
    return [
        *([f"{value:.4g}" for value in block] or ["n/a"] * 4),
        "n/a" if costs.kept_bytes is None else labels.bytes_(costs.kept_bytes),
        pinned,
        "n/a" if costs.seconds is None else f"{costs.seconds:.2f} s",
    ]


def _notes(found: Sequence[Release]) -> list[str]:
    measured = [item for item in found if item.costs]
    if not measured:
        return []
    costs = measured[0].costs
    assert costs is not None
    grid = "x".join(map(str, costs.grid[1:]))
    own = labels.bytes_(costs.entry_bytes) if costs.entry_bytes else "?"
    lines = [
        "Errors are normalized L2, in float32 and in bfloat16; in float32 native "
        "attention stands in for the NPU's operator, which has none. Costs are those "
        "in bfloat16: reads, pads, cats and dispatches of one block with an image of "
        f"{grid} patches, where an emulated operator counts as one dispatch; bytes of "
        f"tensors kept after {costs.sizes} image sizes; bytes that one of "
        f"{costs.items} images' cached embeddings keeps alive once the others are "
        f"gone, by the tree's own model runner (its own: {own}); the least time of a "
        "forward, which on Ascend's side is that of emulated operators on a CPU and "
        "says nothing of a device."
    ]
    for item in measured:
        assert item.costs is not None
        lines += [
            f"\n`{item.name}`: {name} not measured: {plain(why)}"
            for name, why in item.costs.missing.items()
        ]
    return lines
