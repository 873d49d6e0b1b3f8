# SPDX-License-Identifier: Apache-2.0
"""``mmparity list``: names, and where an implementation has each hook point."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from mmparity import encoders
from mmparity.encoders.rules import Declared, HookMap, Tap
from mmparity.errors import MmparityError
from mmparity.trace import hook_points
from mmparity.workload import models
from mmparity.workload.cases import CASES
from mmparity.workload.implementations import IMPLEMENTATIONS, get
from mmparity.workload.pairs import has_encoder
from mmparity.workload.paths import paths_of
from mmparity.workload.towers import TOWERS

ABSENT = "(no hook point)"


@click.command(name="list")
@click.argument(
    "what", type=click.Choice(["cases", "models", "implementations", "hook-points"])
)
@click.option("--impl", help="hook-points: where this implementation has each.")
@click.option("--model", help="hook-points: of this model. Default: qwen2.5-vl-7b.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_names(what: str, impl: str | None, model: str | None, as_json: bool) -> None:
    """List cases, models, implementations or hook points.

    \b
      mmparity list hook-points --impl ascend-0.11.0 --model qwen2-vl-7b
    """
    if (impl or model) and (what != "hook-points" or impl is None):
        raise MmparityError(
            "--impl and --model show the name map of one implementation: "
            "`mmparity list hook-points --impl IMPL [--model MODEL]`."
        )
    rows = {
        "cases": _case_rows,
        "models": _model_rows,
        "implementations": _implementation_rows,
        "hook-points": lambda: _hook_point_rows(impl, model),
    }[what]()
    if as_json:
        click.echo(json.dumps(_grouped(rows), indent=2))
        return
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:{width}}  {text}".rstrip())


def _case_rows() -> list[tuple[str, str]]:
    return [
        (case.name, f"{case.description} [{', '.join(paths_of(case))}]")
        for case in CASES.values()
    ]


def _implementation_rows() -> list[tuple[str, str]]:
    return [(name, item.title) for name, item in IMPLEMENTATIONS.items()]


def _model_rows() -> list[tuple[str, str]]:
    return [
        (item.name, f"{_kind(item)}; configuration: {item.source}")
        for item in models.MODELS.values()
    ]


def _kind(model: models.Model) -> str:
    tower = TOWERS.get(model.name)
    return tower.title if tower else model.family


def _hook_point_rows(impl: str | None, model: str | None) -> list[tuple[str, str]]:
    if impl is not None:
        return _name_map_rows(impl, model)
    points = hook_points.every()
    return [(point.name, f"{point.layout} {point.about}") for point in points]


def _grouped(rows: list[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Names -> text; a list where there are several of a name."""
    found: dict[str, list[str]] = {}
    for name, text in rows:
        found.setdefault(name, []).append(text)
    return {name: text[0] if len(text) == 1 else text for name, text in found.items()}


def _name_map_rows(
    implementation: str, model: str | None = None
) -> list[tuple[str, str]]:
    """Hook point -> module or operator, what is taken there, and its transforms.

    Modules that run and are declared to be no hook point come last.
    """
    item = get(implementation)
    given = models.get(model or models.DEFAULT_MODEL)
    if not has_encoder(item, given.name):
        raise MmparityError(
            f"{implementation} has no encoder for {given.name}. With one: "
            + ", ".join(name for name in models.MODELS if has_encoder(item, name))
        )
    deepstack = len(given.vision_config.get("deepstack_visual_indexes", ()))
    names = encoders.hook_map(item, models.FAMILIES[given.family], deepstack)
    taken: dict[str, list[str]] = {}
    for place, tap in _taps(names):
        taken.setdefault(tap.hook_point, []).append(_described(place, tap))
    order = hook_points.ARCHITECTURES[names.architecture].all
    found = [
        (point.name, "; ".join(taken.get(point.name, ["nowhere: a capture fails"])))
        for point in order
        if deepstack or point not in hook_points.ARCHITECTURES["qwen3_vl"].in_deepstack
    ]
    declared = [
        (ABSENT, f"{path or '(encoder)'}: {rule.reason}")
        for path, rule in names.modules.items()
        if isinstance(rule, Declared)
    ]
    return found + declared


def _taps(names: HookMap) -> Iterator[tuple[str, Tap]]:
    for path, rule in names.modules.items():
        if isinstance(rule, tuple):
            for tap in rule:
                yield path or "(encoder)", tap
    for operator in names.operators:
        for tap in operator.taps:
            function = operator.target.partition(":")[2]
            yield f"{operator.inside or '(encoder)'}/{function}", tap


def _described(place: str, tap: Tap) -> str:
    text = f"{place} {tap.take}"
    if tap.layout:
        text += f" [{', '.join(tap.layout)}]"
    if tap.part:
        text += f" part {tap.part[0] + 1} of {tap.part[1]}"
    return text + (" for each sequence" if tap.segments else "")
