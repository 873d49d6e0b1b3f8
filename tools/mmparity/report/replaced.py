# SPDX-License-Identifier: Apache-2.0
"""Old code -> new code, with the rows of this result that prove each line."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from mmparity.report import labels, rows
from mmparity.trace.hook_points import pattern_of
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.evidence import ReplacedCode
from mmparity.types.verdict import Verdict, worst
from mmparity.workload.models import DEFAULT_MODEL


@dataclass(frozen=True)
class ProofView:
    """The rows of one pair and hook point that show that nothing was lost, or a test.

    A pass only where each case that is meant ran, has such rows and passed.
    """

    text: str
    verdict: Verdict | None
    """None where no case of this result is meant."""
    counts: str
    anchor: str
    repeat: str


@dataclass(frozen=True)
class ReplacedView:
    """One reason for overrides."""

    row: str
    title: str
    overrides: tuple[str, ...]
    patches: tuple[str, ...]
    proofs: tuple[ProofView, ...]


@dataclass(frozen=True)
class PatchView:
    """One patch, with the diff of its code."""

    slug: str
    path: str
    title: str
    diff: str


def patches(result: ComparisonResult) -> tuple[PatchView, ...]:
    """Returns the patches in the order of the result."""
    return tuple(
        PatchView(
            slug=labels.clean(item.slug, 80),
            path=labels.clean(f"patches/{item.series}/{item.slug}.patch", 200),
            title=labels.clean(item.title, 200),
            diff=item.diff,
        )
        for item in result.patches
    )


def replaced(result: ComparisonResult) -> tuple[ReplacedView, ...]:
    """Returns one line for each reason."""
    return tuple(_line(result, item) for item in result.replaced)


def unproven(lines: tuple[ReplacedView, ...], left_out: Sequence[str]) -> str:
    """What a pass does not say; empty where there is nothing to say.

    A behaviour is proven here where each of its proofs that ran passed, and one did.
    """
    texts = [_proven(lines)] if lines else []
    texts += [f"Not run: {labels.clean(text, 200)}." for text in left_out]
    return " ".join(texts)


def _proven(lines: tuple[ReplacedView, ...]) -> str:
    ran = {line.row: {p.verdict for p in line.proofs if p.verdict} for line in lines}
    left = [row for row, verdicts in ran.items() if verdicts != {"pass"}]
    total = labels.count(len(lines), "replaced behaviour")
    if not left:
        return f"All of {total} proven here."
    return f"{len(lines) - len(left)} of {total} proven here; {', '.join(left)} not."


def _line(result: ComparisonResult, item: ReplacedCode) -> ReplacedView:
    return ReplacedView(
        row=labels.clean(item.row, 20),
        title=labels.clean(item.title, 200),
        overrides=tuple(labels.clean(text, 200) for text in item.overrides),
        patches=tuple(labels.clean(slug, 80) for slug in item.patches),
        proofs=tuple(_proof(result, text) for text in item.proofs),
    )


def _proof(result: ComparisonResult, text: str) -> ProofView:
    """What this result says of a proof: a test is none of its rows."""
    words = text.split()
    shown = labels.clean(text)
    if len(words) < 3:
        return ProofView(shown, None, "", "", labels.clean(f"pytest {text}"))
    model, pair, hook_point, *options = words
    old, _, new = pair.partition(":")
    command = ["mmparity", "run", "--model", model, "--old", old, "--new", new]
    repeat = labels.clean(shlex.join([*command, *options]))
    given = dict(zip(options[::2], options[1::2], strict=False))
    meant = [
        (f"case-{number}", case)
        for number, case in enumerate(result.cases, 1)
        if _is_meant(case, model, pair, given)
    ]
    if not meant:
        return ProofView(shown, None, "", "", repeat)
    made = [_rows(anchor, case, hook_point) for anchor, case in meant]
    found = [row for case_rows in made for row in case_rows]
    failed = [anchor for anchor, verdict in found if verdict != "pass"]
    bad = [anchor for anchor, case in meant if case.verdict != "pass"]
    counts = f"{len(found) - len(failed):,} of {labels.count(len(found), 'row')} pass"
    if bad:
        counts += f", {len(meant) - len(bad)} of {labels.count(len(meant), 'case')}"
    verdicts = [case.verdict for _, case in meant] + [verdict for _, verdict in found]
    verdicts += ["pass" if case_rows else "error" for case_rows in made]
    anchor = [*failed, *bad, *(anchor for anchor, _ in found), meant[0][0]][0]
    return ProofView(shown, worst(verdicts), counts, anchor, repeat)


def _rows(
    anchor: str, case: CaseComparison, hook_point: str
) -> list[tuple[str, Verdict]]:
    """Anchor and verdict of each row of a case at a hook point."""
    anchors = rows.anchors(anchor, case.layers)
    return [
        (anchor, layer.verdict)
        for anchor, layer in zip(anchors, case.layers, strict=True)
        if pattern_of(layer.hook_point) == hook_point
    ]


def _is_meant(
    case: CaseComparison, model: str, pair: str, options: dict[str, str]
) -> bool:
    """Whether a case is one of the proof's; one that died may have its name alone."""
    of, _, name = case.name.rpartition("/")
    meta, ranks = case.new_meta or case.old_meta, options.get("--tp", "1")
    if meta is not None:
        ran = meta.model == model and str(meta.tensor_parallel) == ranks
    else:
        ran = (of or DEFAULT_MODEL) == model + (f"-tp{ranks}" if ranks != "1" else "")
    pair_ran = f"{case.old}:{case.new}" == pair
    return ran and pair_ran and options.get("--case", name) == name
