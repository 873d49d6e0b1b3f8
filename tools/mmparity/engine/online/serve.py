# SPDX-License-Identifier: Apache-2.0
"""`mmparity serve`: both sides' servers, asked and measured in one go."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mmparity.engine.offline.checkpoints import served_checkpoint
from mmparity.engine.online import report, result, vllm_bench
from mmparity.engine.online.client import compare
from mmparity.engine.online.load import load
from mmparity.engine.online.measure import judge_all
from mmparity.engine.online.runners import Runner, runner
from mmparity.engine.online.servers import SMALL, Server, serving
from mmparity.engine.online.types import (
    DETAILS,
    SERVING_VERSION,
    Comparison,
    Measured,
    Question,
    Settings,
)
from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.project import ROOT
from mmparity.types.verdict import worst

FILE, PAGE = "serve.json", "serve.md"
SMALL_MODEL = "qwen2.5-vl"
CHECKPOINTS = ROOT / "build" / "engine" / "checkpoints"
SIDES = ("old", "new")
CONCURRENCY, MAX_TOKENS, START_SECONDS = 16, 16, 600.0
STRICT = 1e-3
"""Near tie and tolerance in float32, where only sums in another order differ."""
UNFINISHED = {"verdict": "error", "reason": "it did not finish", "sides": {}}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What `mmparity serve` was asked for.

    Attributes:
        old: a side by name, or a python that has vLLM installed.
        new: likewise.
        model: checkpoint; empty for the project's small one.
        options: for ``vllm serve`` of both.
        bench: whether ``vllm bench serve`` runs too.
        start_seconds: given to the servers to start.
    """

    old: str
    new: str
    model: str
    options: tuple[str, ...]
    bench: bool
    start_seconds: float
    out: Path


def serve(order: Order, settings: Settings, say: Say) -> dict[str, Any]:
    """Runs it all; returns and writes what `serve.json` holds."""
    runners = [runner(name) for name in (order.old, order.new)]
    options, model = order.options, order.model
    if not model:
        if not all(one.on_cpu for one in runners):
            raise MmparityError("--model: name what an installed vLLM is to serve.")
        model, options = str(_small_model()), (*SMALL, *options)
        settings = replace(settings, near_tie=STRICT, tolerance=STRICT)
    asked = load(order.out, settings.requests)
    data: dict[str, Any] = {"schema_version": SERVING_VERSION}
    data |= {"old": order.old, "new": order.new, "model": order.model or SMALL_MODEL}
    say(f"starting vllm serve of {order.old} and {order.new}")
    with serving(runners, model, options, order.out, order.start_seconds) as servers:
        try:
            runs = _runs(servers, asked, settings, say)
            data["runs"] = {name: result.as_data(run) for name, run in runs.items()}
            data["streamed against not"] = _across(asked, runs)
            if order.bench and not any(run.interrupted for run in runs.values()):
                data["bench"] = UNFINISHED
                data["bench"] = _bench(runners, servers, model, order, settings, say)
        finally:  # what was measured is kept, whatever ends the rest
            if "runs" in data:
                write(data, order.out)
    return data


def write(data: dict[str, Any], out: Path) -> None:
    """Adds the verdict, and writes `serve.json` and its page."""
    data["verdict"], data["reason"] = verdict_of(data)
    text = json.dumps(data, indent=1, ensure_ascii=False)
    write_text(out / FILE, text + "\n")
    write_text(out / PAGE, markdown(data))


def _bench(
    runners: list[Runner],
    servers: list[Server],
    model: str,
    order: Order,
    settings: Settings,
    say: Say,
) -> dict[str, Any]:
    """`vllm bench serve` of each side, one after the other."""
    sides = []
    for one, server in zip(runners, servers, strict=True):
        say(f"vllm bench serve of {one.name}")
        sides.append(
            vllm_bench.bench(
                *(one, server.url, model, order.out / "bench"),
                *(settings.requests, settings.concurrency),
            )
        )
    return vllm_bench.compared(sides[0], sides[1], settings.requests)


def serve_small(out: Path, requests: int, say: Say) -> dict[str, Any]:
    """vLLM as released and with the series, on this CPU, for `mmparity engine`."""
    order = Order("vllm-0.12.0", "unified", "", (), True, START_SECONDS, out)
    settings = Settings(requests, CONCURRENCY, max_tokens=MAX_TOKENS)
    return serve(order, settings, say)


def verdict_of(data: dict[str, Any]) -> tuple[str, str]:
    """The worst of its parts, and that part's reason; all reasons where they pass."""
    parts = dict(data["runs"])
    for side, part in data["streamed against not"].items():
        parts[f"{side}, streamed against not"] = part
    if "bench" in data:
        parts["vllm bench serve"] = data["bench"]
    verdict = worst(part["verdict"] for part in parts.values())
    reasons = [
        f"{name}: {part['reason']}"
        for name, part in parts.items()
        if part["verdict"] == verdict
    ]
    return verdict, "; ".join(reasons if verdict == "pass" else reasons[:1])


def markdown(data: dict[str, Any]) -> str:
    """All of it as a page."""
    word = report.WORDS[data["verdict"]]
    lines = [f"# {data['old']} and {data['new']} serve {data['model']}: {word}", ""]
    for name, part in data["runs"].items():
        lines += [f"# {name}", "", report.markdown(part)]
    for side, part in data["streamed against not"].items():
        lines += [f"{side}, streamed against not streamed: {part['reason']}.", ""]
    if "bench" in data:
        bench = data["bench"]
        lines += ["# vllm bench serve", "", f"{bench['reason']}.", ""]
        lines += report.table(("", *SIDES), bench_rows(bench))
    return "\n".join(lines) + "\n"


def terminal(data: dict[str, Any], console: Console) -> None:
    """Prints it."""
    for name, part in data["runs"].items():
        console.print(f"\n{name}", style="bold")
        report.terminal(part, console)
    for side, part in data["streamed against not"].items():
        console.print(f"{side}, streamed against not streamed: {part['reason']}")
    if "bench" in data:
        table = Table("vllm bench serve", *SIDES)
        for row in bench_rows(data["bench"]):
            table.add_row(*row)
        console.print(table)
    console.print(f"{report.WORDS[data['verdict']]}: {data['reason']}", markup=False)


def bench_rows(bench: dict[str, Any]) -> list[tuple[str, ...]]:
    """Figures of both sides: name, old, new."""
    figures = [side["figures"] for side in bench["sides"].values()]
    return [
        (name, *(report.number(one[name]) for one in figures))
        for name in vllm_bench.FIGURES
        if figures
    ]


def _runs(
    servers: list[Server],
    asked: tuple[Question, ...],
    settings: Settings,
    say: Say,
) -> dict[str, Comparison]:
    """The same questions, streamed and not; an interrupted run is the last."""
    urls = (servers[0].url, servers[1].url)
    found: dict[str, Comparison] = {}
    for name, stream in (("streamed", True), ("not streamed", False)):
        say(f"{len(asked)} requests to each, {name}")
        found[name] = compare(urls, asked, replace(settings, stream=stream))
        if found[name].interrupted:
            break
    return found


def _across(
    asked: tuple[Question, ...], runs: dict[str, Comparison]
) -> dict[str, dict[str, str]]:
    """Whether each side answers the same, streamed and not."""
    if len(runs) < 2:
        return {}
    one, two = runs.values()
    detail = max(one.detail, two.detail, key=DETAILS.index)
    found = {}
    for name in SIDES:
        sides: tuple[Measured, Measured] = (getattr(one, name), getattr(two, name))
        judged = judge_all(asked, *sides, one.settings, detail)
        verdict, reason = result.judgement(
            Comparison(one.settings, detail, *sides, judged)
        )
        found[name] = {"verdict": verdict, "reason": reason}
    return found


def _small_model() -> Path:
    return served_checkpoint(CHECKPOINTS, SMALL_MODEL)
