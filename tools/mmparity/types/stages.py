# SPDX-License-Identifier: Apache-2.0
"""Where the seconds of a run went."""

from __future__ import annotations

from dataclasses import dataclass, field

STAGES = (
    "prepare",
    "cache",
    "import",
    "build",
    "oracle",
    "capture",
    "compare",
    "graft",
    "report",
)


@dataclass(frozen=True)
class WorkerSeconds:
    """What the processes of one implementation did, by their own clocks.

    Processes run side by side, so these are no part of the run's seconds: one that
    imports while another captures is not waited for. Of several ranks the first counts.

    Attributes:
        importing: packages and trees, from the start of the process.
        building: reading weights, building encoders, proving what they loaded.
        capturing: the forwards of all cases, with the plain ones that are timed.
    """

    importing: float = 0.0
    building: float = 0.0
    capturing: float = 0.0


@dataclass(frozen=True)
class Stages:
    """What a run did or waited for, one thing after the other.

    Attributes:
        seconds: stage -> wall seconds of the run, in the order of STAGES; they add up
            to its seconds. ``prepare``: checkpoints and pixels. ``cache``: taking
            traces. ``import``, ``build``, ``capture``: waiting for a worker of a side
            that did this; on Ray all waiting is ``capture``. ``oracle``: waiting for
            the oracle, whatever it did. ``graft``: new once more, where a case fails.
            ``report``: writing the result and its pages.
        workers: implementation -> what its processes did meanwhile.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    workers: dict[str, WorkerSeconds] = field(default_factory=dict)
