# SPDX-License-Identifier: Apache-2.0
"""`mmparity serve`: both sides' servers, asked and measured in one go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mmparity.engine.offline.checkpoints import served_checkpoint
from mmparity.engine.offline.run import Say
from mmparity.engine.online import report, result, vllm_bench
from mmparity.engine.online.client import compare
from mmparity.engine.online.load import load
from mmparity.engine.online.measure import judge_all
from mmparity.engine.online.runners import Runner, runner
from mmparity.engine.online.servers import SMALL, Server, serving
from mmparity.engine.online.types import (
    DETAILS,
    BenchResult,
    Comparison,
    Measured,
    Question,
    ServeResult,
    Settings,
    StreamVerdict,
)
from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.project import ROOT
from mmparity.stored_json import plain, to_json
from mmparity.types.verdict import worst

FILE, PAGE = "serve.json", "serve.md"
SMALL_MODEL = "qwen2.5-vl"
CHECKPOINTS = ROOT / "build" / "engine" / "checkpoints"
SIDES = ("old", "new")
CONCURRENCY, MAX_TOKENS, START_SECONDS = 16, 16, 600.0
STRICT = 1e-3
"""Near tie and tolerance in float32, where only sums in another order differ."""
UNFINISHED = BenchResult("error", "it did not finish", 0, {})


@dataclass(frozen=True)
class ServeOptions:
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


def serve(given: ServeOptions, settings: Settings, say: Say) -> ServeResult:
    """Runs it all; returns and writes what `serve.json` holds."""
    runners = [runner(name) for name in (given.old, given.new)]
    options, model = given.options, given.model
    if not model:
        if not all(one.on_cpu for one in runners):
            raise MmparityError("--model: name what an installed vLLM is to serve.")
        model, options = str(_small_model()), (*SMALL, *options)
        settings = replace(settings, near_tie=STRICT, tolerance=STRICT)
    asked = load(given.out, settings.requests)
    found = ServeResult(given.old, given.new, given.model or SMALL_MODEL)
    say(f"starting vllm serve of {given.old} and {given.new}")
    with serving(runners, model, options, given.out, given.start_seconds) as servers:
        try:
            runs = _runs(servers, asked, settings, say)
            built = {name: result.build(run) for name, run in runs.items()}
            found = replace(found, runs=built, across=_across(asked, runs))
            if given.bench and not any(run.interrupted for run in runs.values()):
                found = replace(found, bench=UNFINISHED)
                done = _bench(runners, servers, model, given, settings, say)
                found = replace(found, bench=done)
        finally:  # what was measured is kept, whatever ends the rest
            found = with_verdict(found)
            if found.runs:
                write(found, given.out)
    return found


def write(result: ServeResult, out: Path) -> None:
    """Writes `serve.json` and its page."""
    write_text(out / FILE, to_json(as_data(result)))
    write_text(out / PAGE, markdown(result))


def as_data(served: ServeResult) -> Any:
    """What `serve.json` stores."""
    runs = {name: result.as_data(run) for name, run in served.runs.items()}
    data = {**plain(served), "runs": runs}
    if served.bench is None:
        del data["bench"]
    return data


def _bench(
    runners: list[Runner],
    servers: list[Server],
    model: str,
    given: ServeOptions,
    settings: Settings,
    say: Say,
) -> BenchResult:
    """`vllm bench serve` of each side, one after the other."""
    sides = []
    for side, one, server in zip(SIDES, runners, servers, strict=True):
        say(f"vllm bench serve of {one.name}")
        sides.append(
            vllm_bench.bench(
                *(one, server.url, model, given.out / f"bench/{side}.json"),
                *(settings.requests, settings.concurrency),
            )
        )
    return vllm_bench.compared(sides[0], sides[1], settings.requests)


def serve_small(out: Path, requests: int, say: Say) -> ServeResult:
    """vLLM as released and with the series, on this CPU, for `mmparity engine`."""
    given = ServeOptions("vllm-0.12.0", "unified", "", (), True, START_SECONDS, out)
    settings = Settings(requests, CONCURRENCY, max_tokens=MAX_TOKENS)
    return serve(given, settings, say)


def with_verdict(served: ServeResult) -> ServeResult:
    """The worst of its parts, and that part's reason; all reasons where they pass."""
    parts = {name: (run.verdict, run.reason) for name, run in served.runs.items()}
    for side, part in served.across.items():
        parts[f"{side}, streamed against not"] = (part.verdict, part.reason)
    if served.bench:
        parts["vllm bench serve"] = (served.bench.verdict, served.bench.reason)
    verdict = worst(of for of, _ in parts.values())
    reasons = [f"{name}: {why}" for name, (of, why) in parts.items() if of == verdict]
    shown = reasons if verdict == "pass" else reasons[:1]
    return replace(served, verdict=verdict, reason="; ".join(shown))


def markdown(served: ServeResult) -> str:
    """All of it as a page."""
    word = report.WORDS[served.verdict]
    lines = [f"# {served.old} and {served.new} serve {served.model}: {word}", ""]
    for name, run in served.runs.items():
        lines += [f"# {name}", "", report.markdown(run)]
    for side, part in served.across.items():
        lines += [f"{side}, streamed against not streamed: {part.reason}.", ""]
    if served.bench:
        lines += ["# vllm bench serve", "", f"{served.bench.reason}.", ""]
        lines += report.table(("", *SIDES), bench_rows(served.bench))
    return "\n".join(lines) + "\n"


def terminal(served: ServeResult, console: Console) -> None:
    """Prints it."""
    for name, run in served.runs.items():
        console.print(f"\n{name}", style="bold")
        report.terminal(run, console)
    for side, part in served.across.items():
        console.print(f"{side}, streamed against not streamed: {part.reason}")
    if served.bench:
        table = Table("vllm bench serve", *SIDES)
        for row in bench_rows(served.bench):
            table.add_row(*row)
        console.print(table)
    console.print(f"{report.WORDS[served.verdict]}: {served.reason}", markup=False)


def bench_rows(bench: BenchResult) -> list[tuple[str, ...]]:
    """Figures of both sides: name, old, new."""
    figures = [side.figures for side in bench.sides.values()]
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
) -> dict[str, StreamVerdict]:
    """Whether each side answers the same, streamed and not."""
    if len(runs) < 2:
        return {}
    one, two = runs.values()
    detail = max(one.detail, two.detail, key=DETAILS.index)
    found = {}
    for name in SIDES:
        sides: tuple[Measured, Measured] = (getattr(one, name), getattr(two, name))
        judged = judge_all(asked, *sides, one.settings, detail)
        both = Comparison(one.settings, detail, *sides, judged)
        found[name] = StreamVerdict(*result.judgement(both))
    return found


def _small_model() -> Path:
    return served_checkpoint(CHECKPOINTS, SMALL_MODEL)
