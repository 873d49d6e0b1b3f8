# SPDX-License-Identifier: Apache-2.0
"""Seconds to a verdict stand beside their targets, and their stages beside them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness_checks.bench import stages
from harness_checks.bench.stages import HEAD, RUNS, Scene, TimedRun, row


def test_target_and_measured_stand_side_by_side_with_what_is_in_no_stage() -> None:
    spent = {"prepare": 1.0, "capture": 12.5, "report": 0.5}
    cells = dict(
        zip(HEAD, row(TimedRun("edit", "run", 20.0, 17.0, spent)), strict=True)
    )
    assert (cells["target"], cells["measured"], cells[""]) == ("20 s", "17.0 s", "met")
    assert (cells["capture"], cells["import"], cells["else"]) == ("12.5", "", "3.0")


def test_what_takes_longer_is_missed() -> None:
    assert row(TimedRun("edit", "run", 20.0, 20.01, {}))[3] == "missed"


def test_the_targets_are_those_that_were_set() -> None:
    targets = {name: target for name, (_, target, _) in RUNS.items()}
    assert targets == {"edit": 20.0, "watch": 8.0, "fast": 75.0, "default": 240.0}


def test_an_edit_is_one_that_git_sees_in_a_clone_alone(
    tmp_path: Path,
) -> None:
    patched = tmp_path / "patched"
    file = patched / stages.EDITED
    file.parent.mkdir(parents=True)
    file.write_text("a = 1\n")
    git = ["git", "-C", str(patched), "-c", "user.name=a", "-c", "user.email=a@example"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    scene = Scene(tmp_path / "scene", patched)
    scene.edit()
    status = ["git", "-C", str(scene.tree), "status", "--porcelain"]
    assert stages.EDITED in subprocess.check_output(status, text=True)
    assert file.read_text() == "a = 1\n"
