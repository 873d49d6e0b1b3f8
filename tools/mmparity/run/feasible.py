# SPDX-License-Identifier: Apache-2.0
"""What a plan asks for that cannot run, said before the first capture.

Everything here is known from options, configurations and names of files; what only an
import shows is left to the worker.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmparity.encoders import devices
from mmparity.errors import MmparityError
from mmparity.workload import models
from mmparity.workload.towers import tower_of
from mmparity.workload.trained_file import why_missing

if TYPE_CHECKING:
    from mmparity.run.plan import Options, Plan
    from mmparity.workload.implementations import Implementation

TENSOR_PARALLEL = (1, 2, 4, 8)


def check_options(options: Options) -> None:
    """Refuses options of which one would win in silence."""
    depths = {
        "--fast": options.fast,
        "--depth": options.depth is not None,
        "--full-depth": options.full_depth,
    }
    given = [name for name, there in depths.items() if there]
    if len(given) > 1:
        raise MmparityError(f"{' and '.join(given)} say other depths: give one.")
    emptied = [(options.out / name).resolve() for name in ("traces", "grafted")]
    if options.cache and any(map(options.cache.resolve().is_relative_to, emptied)):
        raise MmparityError(
            f"--cache {options.cache} is where a run's own traces come and go: give a "
            f"folder outside of {options.out}."
        )
    if options.tp_mode == "data" and options.tp == 1:
        raise MmparityError(
            "--mm-encoder-tp-mode data spreads images over ranks: give --tp 2 or more."
        )


def check_plan(plan: Plan, implementations: dict[str, Implementation]) -> None:
    """Raises MmparityError with the first thing of a plan that cannot run."""
    from mmparity.workload.inputs import Geometry, check_fits
    from mmparity.workload.tower_config import with_depth

    sides = [item for name in plan.trees if not (item := implementations[name]).oracle]
    for side in sides:
        devices.check_side(side, plan.options.device)
        for dtype in plan.dtypes:
            devices.check_dtype(side, dtype, plan.options.device)
    if plan.options.checkpoint is None and (why := why_missing(plan.model)):
        raise MmparityError(f"{plan.model} can't be run: {why}.")
    config = vision_config_of(plan)
    what = str(plan.options.checkpoint or plan.model or models.DEFAULT_MODEL)
    try:
        with_depth(config, plan.depth)
        for case in plan.cases:
            check_fits(case, Geometry.of(config))
    except MmparityError as error:
        raise MmparityError(f"{what}: {error}") from error
    _check_quantized(plan, config, sides)
    family = models.family_of(config)
    for side in sides:
        _check_encoder(side, family.name, plan.trees[side.name], what)
    _check_ranks(plan, config, what)
    if plan.options.ray is None:
        devices.check_present(plan.options.device, plan.tp)


def vision_config_of(plan: Plan) -> Any:
    """The vision configuration that a plan runs, at its full depth."""
    from mmparity.workload.seeded import vision_config
    from mmparity.workload.tower_config import read_vision_config

    if plan.options.checkpoint is not None:
        return read_vision_config(plan.options.checkpoint)
    return vision_config(plan.model or models.DEFAULT_MODEL)


def _check_encoder(
    side: Implementation, family: str, trees: dict[str, str], what: str
) -> None:
    """Whether it has an encoder of the family, and its trees have the classes."""
    if family not in side.classes:
        raise MmparityError(
            f"{side.name} has no encoder for {family}, which {what} is. Give --model "
            "with one that is, or other --old and --new."
        )
    given = side.classes[family]
    package, _, rest = given.module.partition(".")
    for source, tree in trees.items():
        if source.replace("-", "_") != package:
            continue
        file = Path(tree, package, *rest.split(".")).with_suffix(".py")
        text = file.read_text(errors="replace") if file.is_file() else ""
        for name in (given.tower, given.model):
            if not re.search(rf"\b{name}\b", text):
                raise MmparityError(
                    f"{side.name} needs {name} of {given.module}, but {tree} has none: "
                    f"it is another release's than {side.trees[source]}."
                )


def _check_ranks(plan: Plan, config: Any, what: str) -> None:
    """Whether the ranks can share heads, MLP and merger evenly."""
    if tower_of(config) is not None:
        if plan.tp > 1:
            raise MmparityError(f"--tp {plan.tp}: {what} is run on one rank only.")
        return
    width = models.width(config)
    mlp = getattr(config, "intermediate_size", None) or int(width * config.mlp_ratio)
    parts = {
        "heads": config.num_heads,
        "lanes of its MLP": mlp,
        "lanes of its merger": width * config.spatial_merge_size**2,
    }
    shared = {} if plan.data_parallel else parts
    fits = [n for n in TENSOR_PARALLEL if not any(s % n for s in shared.values())]
    if plan.tp in fits:
        return
    text = f"--tp {plan.tp}: "
    for name, size in shared.items():
        if size % plan.tp:
            text += f"{what} has {size} {name}, which so many ranks cannot share. "
            break
    text += f"Allowed: {', '.join(map(str, fits))}"
    if not plan.data_parallel:
        text += "; --mm-encoder-tp-mode data spreads images and not weights."
    raise MmparityError(text)


def _check_quantized(plan: Plan, config: Any, sides: list[Implementation]) -> None:
    """Whether a W8A8 checkpoint meets W8A8 cases, and sides that can load it."""
    from mmparity.run.plan import QUANTIZED_DTYPES
    from mmparity.workload.checkpoint import quantization

    folder = plan.options.checkpoint
    is_quantized = (
        plan.quantized if folder is None else bool(quantization(folder, config))
    )
    if plan.quantized and not is_quantized:
        raise MmparityError(
            f"case {plan.cases[0].name!r} is of W8A8 layers, and {folder} has none."
        )
    other = [dtype for dtype in plan.dtypes if dtype not in QUANTIZED_DTYPES]
    if is_quantized and other and sides:  # an oracle has a dtype of its own
        raise MmparityError(
            f"{folder} is W8A8, which does not run in {other[0]}. Give --dtype "
            f"{' --dtype '.join(QUANTIZED_DTYPES)}."
        )
    for side in sides:
        if is_quantized and not side.ascend:
            raise MmparityError(f"{side.name} cannot load W8A8 as vllm-ascend does.")
