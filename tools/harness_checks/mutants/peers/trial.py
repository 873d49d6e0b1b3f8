# SPDX-License-Identifier: Apache-2.0
"""One trial of a server, judged by other tools in place of the harness.

The pair is the tree with the edit and the same tree without it: same names, same
classes, same operators. Each tool has its own encoder and its own forwards.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch

from harness_checks.mutants.captures import built
from harness_checks.mutants.catalogue import Mutant
from harness_checks.mutants.peers import msprobe, sglang
from harness_checks.mutants.peers.places import Places, is_edited
from harness_checks.mutants.peers.types import Found, Peer, Row
from harness_checks.mutants.trial import (
    UNCHANGED,
    Trial,
    TrialOutcome,
    raised_in,
    text_of,
)
from mmparity import encoders
from mmparity.capture.dumps.forward import DumpedTower
from mmparity.errors import MmparityError
from mmparity.workload import checkpoint
from mmparity.workload.implementations import get
from mmparity.workload.inputs import read_inputs

PEERS: dict[str, Peer] = {"msprobe": msprobe.PEER, "sglang": sglang.PEER}


def prepare(names: tuple[str, ...]) -> None:
    """Imports the tools; raises MmparityError where one is not installed."""
    for name in names:
        PEERS[name].prepare()


def tried(
    mutant: Mutant | None, trial: Trial, runtime: encoders.Runtime
) -> TrialOutcome:
    """What each tool says; the verdict is a pass where none flags anything.

    Without an edit it is done twice, and the second time is compared with the first.
    """
    found = {}
    for name in trial.job.peers:
        if trial.name == UNCHANGED:
            encoder = built(trial, runtime)
            for case, error in _dumped(trial, encoder, name, UNCHANGED):
                if error is not None:
                    raise MmparityError(f"{name}, {case}: {error}") from error
        found[name] = _judged(mutant, trial, built(trial, runtime), name)
    flagged = any(item.flagged for item in found.values())
    peers = {name: asdict(item) for name, item in found.items()}
    return trial.outcome("fail" if flagged else "pass", peers=peers)


def _judged(
    mutant: Mutant | None, trial: Trial, encoder: encoders.Encoder, name: str
) -> Found:
    """Compares case after case, up to the first in which anything is flagged."""
    count = 0
    for case, error in _dumped(trial, encoder, name, "new"):
        old = _folder(trial, name, case, UNCHANGED)
        new, out = (_folder(trial, name, case, kind) for kind in ("new", "table"))
        rows, failed = _compared(PEERS[name], old, new, out)
        if failed and error is None:
            return Found(reason=failed)
        count += len(rows)
        first = next((row for row in rows if row.flagged), None)
        shutil.rmtree(new, ignore_errors=True)
        if first is None and error is None:
            continue
        found = Found(True, rows=count)
        if first is not None:
            found = _placed(found, first, mutant, trial, encoder)
        if error is not None:
            place = raised_in(error, trial.job.trees)
            found = replace(found, places=(*found.places, place))
        return found
    return Found(rows=count)


def _placed(
    found: Found,
    row: Row,
    mutant: Mutant | None,
    trial: Trial,
    encoder: encoders.Encoder,
) -> Found:
    """With what the first flagged row shows."""
    config = checkpoint.read_vision_config(
        Path(trial.job.checkpoints[trial.workload.data])
    )
    places = Places(DumpedTower(get(trial.job.implementation), config)).of(row)
    kinds = type(encoder.model.get_submodule(row.module)).__mro__
    edited = mutant is not None and is_edited(
        row,
        [kind.__name__ for kind in kinds],
        mutant,
        mutant.path(trial.job.trees).read_text(),
    )
    return replace(found, row=row.text, places=tuple(places), edited=edited)


def _compared(peer: Peer, old: Path, new: Path, out: Path) -> tuple[list[Row], str]:
    """The rows, or why there are none: an error of the tool is no verdict of it."""
    try:
        return peer.compare(old, new, out), ""
    except Exception as error:
        traceback.print_exc()
        return [], text_of(error)


def _dumped(
    trial: Trial, encoder: encoders.Encoder, name: str, kind: str
) -> Iterator[tuple[str, Exception | None]]:
    """Dumps case after case; with the error of a forward that raised one."""
    for case, file in trial.job.inputs[trial.workload.data].items():
        folder = _folder(trial, name, case, kind)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        inputs = read_inputs(Path(file))
        error = None
        with PEERS[name].dump(encoder, folder), torch.inference_mode():
            try:
                encoder.forward(inputs.pixel_values, torch.tensor(inputs.grid_thw))
            except Exception as raised:
                traceback.print_exc()
                error = raised
        yield case, error


def _folder(trial: Trial, name: str, case: str, kind: str) -> Path:
    """Where a dump is: those without an edit stay for all the others."""
    of = UNCHANGED if kind == UNCHANGED else None
    folder = trial.folder(case, of)
    return folder.with_name(f"{folder.name}.{name}.{kind}")
