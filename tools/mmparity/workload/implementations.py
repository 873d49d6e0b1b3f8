# SPDX-License-Identifier: Apache-2.0
"""Who is compared: the implementations by name, and the trees each runs from.

Data only. It must import without torch; ``mmparity.encoders`` builds them.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

from mmparity.errors import MmparityError
from mmparity.project import known
from mmparity.workload.classes import ORACLE, PADDED, SERIES, VLLM, WITHOUT_PADDING
from mmparity.workload.implementation import OMNI_UNSPLIT, TODAY
from mmparity.workload.implementation import Classes as Classes  # for --encoder FILE
from mmparity.workload.implementation import Implementation as Implementation
from mmparity.workload.models import MODELS

ENCODERS = "MMPARITY_ENCODERS"
"""Environment variable with the files of ``--encoder``, for worker processes."""
ADDED: set[str] = set()
"""Names of those that such a file declares."""


_OLD_TREES = {"vllm": "vllm-0.11.0", "vllm-ascend": "vllm-ascend-0.11.0"}
_PATCHED_TREES = {
    "vllm": "patched/vllm-0.12.0",
    "vllm-ascend": "patched/vllm-ascend-0.12.0rc1",
}


def _of_today(
    name: str,
    title: str,
    trees: dict[str, str],
    after: str,
    no_given: dict[str, str] = OMNI_UNSPLIT,
) -> Implementation:
    """One of vLLM 0.30.0 or later; with a tree of vllm-ascend, on its operators."""
    ascend = "vllm-ascend" in trees
    return Implementation(
        name=name,
        title=title,
        hook_maps="ascend_0_30" if ascend else "vllm_0_13",
        classes=VLLM,
        trees=trees,
        ascend=ascend,
        float32_attention=ascend,
        environment=TODAY,
        torch_npu="2.10.0.post4",
        optional=True,
        no_given=no_given,
        after=after,
    )


IMPLEMENTATIONS: dict[str, Implementation] = {
    item.name: item
    for item in (
        Implementation(
            name="ascend-0.11.0",
            title="vllm-ascend 0.11.0's own encoder class, weights padded at load",
            hook_maps="ascend_0_11",
            classes=PADDED,
            trees=_OLD_TREES,
            ascend=True,
            float32_attention=True,
            no_given=OMNI_UNSPLIT,
        ),
        Implementation(
            name="ascend-0.11.0-nopad",
            title="vllm-ascend 0.11.0's own encoder class without padding",
            hook_maps="ascend_0_11",
            classes=WITHOUT_PADDING,
            trees=_OLD_TREES,
            ascend=True,
            float32_attention=True,
            no_given=OMNI_UNSPLIT,
            after="ascend-0.11.0",
        ),
        Implementation(
            name="ascend-0.12.0rc1",
            title="vLLM 0.12.0's encoder with vllm-ascend 0.12.0rc1's monkey patches",
            hook_maps="vllm_0_12",
            classes=VLLM,
            trees={"vllm": "vllm-0.12.0", "vllm-ascend": "vllm-ascend-0.12.0rc1"},
            ascend=True,
            float32_attention=True,
            no_given=OMNI_UNSPLIT,
            after="ascend-0.11.0",
        ),
        Implementation(
            name="vllm-0.12.0",
            title="vLLM 0.12.0's encoder as released",
            hook_maps="vllm_0_12",
            classes=SERIES,
            trees={"vllm": "vllm-0.12.0"},
            no_given=OMNI_UNSPLIT,
            after="ascend-0.11.0",
        ),
        Implementation(
            name="unified",
            title="vLLM 0.12.0 with this series, native operators",
            hook_maps="unified",
            classes=SERIES,
            trees={"vllm": _PATCHED_TREES["vllm"]},
            after="vllm-0.12.0",
        ),
        Implementation(
            name="unified-ascend",
            title="vLLM and vllm-ascend with both series, Ascend operators",
            hook_maps="unified",
            classes=SERIES,
            trees=_PATCHED_TREES,
            ascend=True,
            after="ascend-0.12.0rc1",
        ),
        Implementation(
            name="unified-ascend-weights",
            title="unified-ascend with heads padded in the weights",
            hook_maps="unified",
            classes=VLLM,
            trees=_PATCHED_TREES,
            ascend=True,
            pad_weights=True,
            after="unified-ascend",
        ),
        Implementation(
            name="vllm-0.13.0",
            title="vLLM 0.13.0's encoder as released",
            hook_maps="vllm_0_13",
            classes=VLLM,
            trees={"vllm": "vllm-0.13.0"},
            optional=True,
            no_given=OMNI_UNSPLIT,
            after="vllm-0.12.0",
        ),
        Implementation(
            name="ascend-0.13.0",
            title="vLLM 0.13.0's encoder with vllm-ascend 0.13.0's operators",
            hook_maps="ascend_0_13",
            classes=VLLM,
            trees={"vllm": "vllm-0.13.0", "vllm-ascend": "vllm-ascend-0.13.0"},
            ascend=True,
            float32_attention=True,
            torch_npu="2.8.0.post2",
            optional=True,
            no_given=OMNI_UNSPLIT,
            after="ascend-0.12.0rc1",
        ),
        _of_today(
            "vllm-0.30.0",
            "vLLM 0.30.0's encoder as released",
            {"vllm": "vllm-0.30.0"},
            after="vllm-0.13.0",
        ),
        _of_today(
            "vllm-0.33.0",
            "vLLM 0.33.0's encoder as released",
            {"vllm": "vllm-0.33.0"},
            after="vllm-0.30.0",
            no_given={},
        ),
        _of_today(
            "ascend-0.30.0rc2",
            "vLLM 0.30.0's encoder with vllm-ascend 0.30.0rc2's operators",
            {"vllm": "vllm-0.30.0", "vllm-ascend": "vllm-ascend-0.30.0rc2"},
            after="ascend-0.13.0",
        ),
        _of_today(
            "unified-0.30.0",
            "vLLM 0.30.0 with today's series, native operators",
            {"vllm": "patched/vllm-0.30.0"},
            after="vllm-0.30.0",
        ),
        _of_today(
            "unified-0.33.0",
            "vLLM 0.33.0 with today's series, native operators",
            {"vllm": "patched/vllm-0.33.0"},
            after="vllm-0.33.0",
            no_given={},
        ),
        _of_today(
            "unified-ascend-0.30.0rc2",
            "vLLM 0.30.0 and vllm-ascend 0.30.0rc2 with today's series",
            {
                "vllm": "patched/vllm-0.30.0",
                "vllm-ascend": "patched/vllm-ascend-0.30.0rc2",
            },
            after="ascend-0.30.0rc2",
        ),
        Implementation(
            name="installed",
            title="the vLLM that --python installed=PYTHON imports, on its device",
            hook_maps="installed",
            classes=VLLM,
            optional=True,
            installed=True,
        ),
        Implementation(
            name="hf",
            title="transformers' encoder; in float64 it is the oracle",
            hook_maps="hf",
            classes=ORACLE,
            oracle=True,
        ),
        Implementation(
            name="hf-today",
            title="the encoder of the transformers in environment today",
            hook_maps="hf_5",
            classes={name: ORACLE[name] for name in ("qwen2_vl", "qwen2_5_vl")},
            oracle=True,
            environment=TODAY,
            optional=True,
        ),
    )
}
UNPINNED = frozenset(n for n, item in IMPLEMENTATIONS.items() if item.installed)
"""Names of those whose packages no pin says."""


def add_file(file: Path) -> None:
    """Adds what one Python file declares, to this process and those it starts.

    ``IMPLEMENTATIONS`` and, if there are new ones, ``MODELS``; ``hook_map`` is the name
    map of its implementations, ``start`` imports the framework of theirs.
    """
    file = Path(file).resolve()
    name = f"mmparity_encoder.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise MmparityError(f"--encoder {file} is no Python file that can be read.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        added = tuple(module.IMPLEMENTATIONS)
        models = {model.name: model for model in getattr(module, "MODELS", ())}
        if not all(isinstance(item, Implementation) for item in added):
            raise TypeError("IMPLEMENTATIONS holds other things than Implementation")
        if not callable(module.hook_map):
            raise TypeError("hook_map is no function")
    except Exception as error:
        raise MmparityError(
            f"--encoder {file} cannot be used: {type(error).__name__}: {error}. It "
            "declares IMPLEMENTATIONS and hook_map; see docs/adding-an-encoder.md."
        ) from error
    for item in added:
        known = IMPLEMENTATIONS.get(item.name)
        if known is not None and known.hook_maps != name:
            raise MmparityError(f"--encoder {file}: {item.name!r} is there already.")
        runtime = item.runtime or (name if hasattr(module, "start") else "")
        ADDED.add(item.name)
        IMPLEMENTATIONS[item.name] = replace(
            item, hook_maps=item.hook_maps or name, runtime=runtime
        )
    MODELS.update(models)
    files = [text for text in os.environ.get(ENCODERS, "").split(os.pathsep) if text]
    if str(file) not in files:
        os.environ[ENCODERS] = os.pathsep.join([*files, str(file)])


def get(name: str) -> Implementation:
    """The implementation of that name, or an error that names the closest."""
    return known("implementation", name, IMPLEMENTATIONS)


for _file in filter(None, os.environ.get(ENCODERS, "").split(os.pathsep)):
    add_file(Path(_file))
