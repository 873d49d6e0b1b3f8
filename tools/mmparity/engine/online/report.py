# SPDX-License-Identifier: Apache-2.0
"""`serving.json` for the terminal and as Markdown; computes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mmparity.files import write_text

FILE = "serving.md"
WORDS = {"pass": "THE SAME", "fail": "DIFFERENT", "error": "COULD NOT BE COMPARED"}
SHOWN = 10
QUOTED = 60
Row = tuple[str, str, str]


def headline(data: dict[str, Any]) -> str:
    """The verdict in words."""
    return f"{WORDS[data['verdict']]}: {data['reason']}."


def notes(data: dict[str, Any]) -> list[str]:
    """What a reader must know of how it was compared."""
    summary, settings = data["summary"], data["settings"]
    said = [
        f"{summary['distinct_questions']} distinct questions, "
        f"{summary['distinct_answers']} distinct answers; "
        f"{'streamed' if settings['stream'] else 'not streamed'}, "
        f"{settings['concurrency']} at a time."
    ]
    if data["compared_by"] == "text":
        said.append(
            "Compared by greedy text alone: an endpoint offers no logprobs, so near "
            "ties are not told from differences."
        )
    elif summary["compared_tokens"]:
        said.append(
            f"Compared by {data['compared_by']} and logprobs: "
            f"{summary['compared_tokens']} tokens, largest difference "
            f"{number(summary['largest_logprob_difference'])} of a chosen token "
            f"(allowed {settings['tolerance']:g}), "
            f"{number(summary['largest_top_logprob_difference'])} of the likeliest "
            f"{settings['top_logprobs']}."
        )
    if summary["near tie"]:
        said.append(
            f"{summary['near tie']} near ties: from there on the answers may differ by "
            f"right, as two tokens were within {settings['near_tie']:g} on both sides."
        )
    for name, side in data["sides"].items():
        if side["limit"]:
            said.append(f"{name}: {side['limit']}")
    return said


def rows(data: dict[str, Any]) -> list[Row]:
    """Figures of both sides: name, old, new."""
    sides = (data["sides"]["old"], data["sides"]["new"])
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
    found = [(name, *(number(side[key]) for side in sides)) for name, key in plain]
    for name, key in (
        ("first token", "first_token_seconds"),
        ("each later token", "per_token_seconds"),
        ("whole answer", "total_seconds"),
    ):
        if any(side[key] for side in sides):
            shown = [_milliseconds(side[key]) for side in sides]
            found.append((f"{name}, ms p50/p95/p99", *shown))
    return [(name, old, new) for name, old, new in found]


def terminal(data: dict[str, Any], console: Console) -> None:
    """Prints it."""
    console.print(headline(data), markup=False, soft_wrap=True)
    table = Table("", "old", "new")
    for row in rows(data):
        table.add_row(*row)
    console.print(table)
    for note in notes(data):
        console.print(note, markup=False, soft_wrap=True)
    for item in _told(data):
        console.print(
            f"{item['verdict']}: number {item['number']}, {item['image']}: "
            f"{item['reason']}\n  old {item['old']['text'][:QUOTED]!r}\n"
            f"  new {item['new']['text'][:QUOTED]!r}",
            markup=False,
            soft_wrap=True,
        )


def markdown(data: dict[str, Any]) -> str:
    """The same as a page."""
    lines = [f"## {headline(data)}", "", *table(("", "old", "new"), rows(data)), ""]
    lines += [f"- {cell(note)}" for note in notes(data)]
    told = _told(data)
    if told:
        head = ("number", "image", "verdict", "reason", "old", "new")
        lines += ["", *table(head, (_cells(item) for item in told))]
    left = sum(item["verdict"] != "same" for item in data["answers"]) - len(told)
    if left:
        lines += ["", f"{left} more in serving.json."]
    return "\n".join(lines) + "\n"


def write(data: dict[str, Any], out: Path) -> Path:
    """Writes the page into ``out``."""
    return write_text(out / FILE, markdown(data))


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


def _told(data: dict[str, Any]) -> list[dict[str, Any]]:
    order = ("differ", "error", "near tie")
    told = [item for item in data["answers"] if item["verdict"] in order]
    return sorted(told, key=lambda item: order.index(item["verdict"]))[:SHOWN]


def _cells(item: dict[str, Any]) -> list[str]:
    quotes = [item[side]["text"][:QUOTED] for side in ("old", "new")]
    return [
        str(item["number"]),
        item["image"],
        item["verdict"],
        item["reason"],
        *quotes,
    ]


def _milliseconds(found: dict[str, float] | None) -> str:
    if not found:
        return "-"
    return " / ".join(f"{found[name] * 1000:.0f}" for name in ("p50", "p95", "p99"))
