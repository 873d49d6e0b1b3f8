# SPDX-License-Identifier: Apache-2.0
"""`serving.json` for the terminal and as Markdown; computes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmparity.engine.online.types import Judged, Percentiles, ServingResult
from mmparity.files import write_text

FILE = "serving.md"
WORDS = {"pass": "THE SAME", "fail": "DIFFERENT", "error": "COULD NOT BE COMPARED"}
SHOWN = 10
QUOTED = 60
Row = tuple[str, str, str]


def headline(result: ServingResult) -> str:
    """The verdict in words."""
    return f"{WORDS[result.verdict]}: {result.reason}."


def notes(result: ServingResult) -> list[str]:
    """What a reader must know of how it was compared."""
    summary, settings = result.summary, result.settings
    said = [
        f"{summary.distinct_questions} distinct questions, "
        f"{summary.distinct_answers} distinct answers; "
        f"{'streamed' if settings.stream else 'not streamed'}, "
        f"{settings.concurrency} at a time."
    ]
    if result.compared_by == "text":
        said.append(
            "Compared by greedy text alone: an endpoint offers no logprobs, so near "
            "ties are not told from differences."
        )
    elif summary.compared_tokens:
        said.append(
            f"Compared by {result.compared_by} and logprobs: "
            f"{summary.compared_tokens} tokens, largest difference "
            f"{number(summary.largest_logprob_difference)} of a chosen token "
            f"(allowed {settings.tolerance:g}), "
            f"{number(summary.largest_top_logprob_difference)} of the likeliest "
            f"{settings.top_logprobs}."
        )
    if summary.near_tie:
        said.append(
            f"{summary.near_tie} near ties: from there on the answers may differ by "
            f"right, as two tokens were within {settings.near_tie:g} on both sides."
        )
    for name, side in result.sides.items():
        if side.limit:
            said.append(f"{name}: {side.limit}")
    return said


def rows(result: ServingResult) -> list[Row]:
    """Figures of both sides: name, old, new."""
    old, new = (result.sides[name] for name in ("old", "new"))
    plain = [
        ("endpoint", "url"),
        ("model", "model"),
        ("answered", "answered"),
        ("errors", "errors"),
        ("retries", "retries"),
        ("seconds", "seconds"),
        ("requests/s", "requests_per_second"),
        ("tokens/s", "tokens_per_second"),
    ]
    found = [
        (name, number(getattr(old, field)), number(getattr(new, field)))
        for name, field in plain
    ]
    for name, both in (
        ("first token", (old.first_token_seconds, new.first_token_seconds)),
        ("each later token", (old.per_token_seconds, new.per_token_seconds)),
        ("whole answer", (old.total_seconds, new.total_seconds)),
    ):
        if any(both):
            shown = (_milliseconds(both[0]), _milliseconds(both[1]))
            found.append((f"{name}, ms p50/p95/p99", *shown))
    return found


def terminal(result: ServingResult, console: Console) -> None:
    """Prints it."""
    console.print(headline(result), markup=False, soft_wrap=True)
    table = Table("", "old", "new")
    for row in rows(result):
        table.add_row(*row)
    console.print(table)
    for note in notes(result):
        console.print(note, markup=False, soft_wrap=True)
    for item in _told(result):
        console.print(
            f"{item.verdict}: number {item.question.number}, {item.question.image}: "
            f"{item.reason}\n  old {item.old.text[:QUOTED]!r}\n"
            f"  new {item.new.text[:QUOTED]!r}",
            markup=False,
            soft_wrap=True,
        )


def markdown(result: ServingResult) -> str:
    """The same as a page."""
    lines = [f"## {headline(result)}", ""]
    lines += [*table(("", "old", "new"), rows(result)), ""]
    lines += [f"- {cell(note)}" for note in notes(result)]
    told = _told(result)
    if told:
        head = ("number", "image", "verdict", "reason", "old", "new")
        lines += ["", *table(head, (_cells(item) for item in told))]
    left = sum(item.verdict != "same" for item in result.answers) - len(told)
    if left:
        lines += ["", f"{left} more in serving.json."]
    return "\n".join(lines) + "\n"


def write(result: ServingResult, out: Path) -> Path:
    """Writes the page into ``out``."""
    return write_text(out / FILE, markdown(result))


def number(value: float | str | None) -> str:
    """A figure as it is read."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(head: Iterable[str], body: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table; what is in the cells cannot break it."""
    names = list(head)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return lines + [f"| {' | '.join(map(cell, row))} |" for row in body]


def cell(text: str) -> str:
    """Text that stays text inside a table."""
    for char in "\\`*_[]<>|":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())


def _told(result: ServingResult) -> list[Judged]:
    order = ("differ", "error", "near tie")
    told = [item for item in result.answers if item.verdict in order]
    return sorted(told, key=lambda item: order.index(item.verdict))[:SHOWN]


def _cells(item: Judged) -> list[str]:
    quotes = (item.old.text[:QUOTED], item.new.text[:QUOTED])
    asked = item.question
    return [str(asked.number), asked.image, item.verdict, item.reason, *quotes]


def _milliseconds(found: Percentiles | None) -> str:
    if not found:
        return "-"
    return " / ".join(f"{of * 1000:.0f}" for of in (found.p50, found.p95, found.p99))
