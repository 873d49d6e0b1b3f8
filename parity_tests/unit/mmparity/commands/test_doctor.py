# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmparity.commands import doctor
from mmparity.run import readiness
from mmparity.run.environment_state import trees_of

TITLE = (
    "[Multimodal] One rotary operator for every vision encoder, native and out of tree"
)
FOLD = TITLE.index(" vision")
PATCH = f"""\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A Writer <writer@example.com>
Date: Thu, 1 Jan 1970 00:00:00 +0000
Subject: [PATCH] {TITLE[:FOLD]}
{TITLE[FOLD:]}

Why.
---
"""


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True, env=environment)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with sources and both series applied, on a roomy machine."""
    monkeypatch.setattr(readiness, "ROOT", tmp_path)
    monkeypatch.setattr(
        readiness, "check_packages", lambda: readiness.Check("packages", "ok", "")
    )
    monkeypatch.setattr(readiness, "available_memory", lambda: 20 * readiness.GIB)
    monkeypatch.setattr(readiness, "NEEDED_DISK", 0)
    for tree in readiness.PRISTINE:
        (tmp_path / "vllm_src" / tree).mkdir(parents=True)
    for tree in readiness.PATCHED:
        series = tmp_path / "patches" / tree
        series.mkdir(parents=True)
        (series / "series").write_text("# order\nrotary.patch\n")
        (series / "rotary.patch").write_text(PATCH)
        patched = tmp_path / "vllm_src/patched" / tree
        patched.mkdir(parents=True)
        git(patched, "init", "-q")
        for title in ("base", TITLE):
            git(patched, "commit", "-q", "--allow-empty", "-m", title)
    return tmp_path


def only(name: str) -> readiness.Check:
    return next(check for check in readiness.checks() if check.name == name)


def test_ready_machine_exits_zero(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main() == 0
    assert "This machine can run: cpu" in capsys.readouterr().out


def test_json_holds_every_check(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(as_json=True) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["can_run"][0] == "cpu"
    names = [check["name"] for check in answer["checks"]]
    assert len(names) == len(set(names)) == 13


def test_unfetched_source_is_named_with_the_command(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "vllm_src/vllm-ascend-0.11.0").rmdir()
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "not fetched: vllm-ascend-0.11.0" in out
    assert "fix: make sources" in out
    assert "The default run cannot run: sources." in out


def test_what_is_optional_is_not_missing(root: Path) -> None:
    """A fresh clone has the trees of the default run and no other."""
    assert not (root / "vllm_src/vllm-0.13.0").exists()
    assert only("sources").state == only("series").state == "ok"


def test_another_environment_says_its_distance_from_its_releases(root: Path) -> None:
    today = only("today")
    assert (today.state, today.fix) == ("absent", "make setup ENV=today")
    packages = root / ".venv-today/lib/python3.11/site-packages"
    for name, version in (("torch", "2.13.0+cpu"), ("transformers", "5.16.1")):
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    assert "not there: patched/vllm-0.30.0" in only("today").detail
    assert only("today").fix == "patchseries fetch --all && patchseries apply"
    for tree in trees_of("today"):
        (root / "vllm_src" / tree).mkdir(parents=True)
    pin = '[build-system]\nrequires = [\n    "torch == 2.14.0",\n]\n'
    (root / "vllm_src/vllm-0.33.0/pyproject.toml").write_text(pin)
    assert only("today") == readiness.Check(
        "today",
        "ok",
        "torch 2.13.0+cpu (vllm-0.33.0 asks for 2.14.0), transformers 5.16.1; "
        "6 trees in vllm_src/",
    )


def test_folded_subject_is_one_title(root: Path) -> None:
    assert readiness.patch_title(root / "patches/vllm-0.12.0/rotary.patch") == TITLE


def test_missing_commit_means_not_applied(root: Path) -> None:
    git(root / "vllm_src/patched/vllm-0.12.0", "reset", "-q", "--soft", "HEAD~1")
    series = only("series")
    assert (series.state, series.fix) == ("missing", "make apply")
    assert series.detail == "vllm_src/patched/vllm-0.12.0 lacks 1 of 1 patches"


def test_commit_on_top_is_said_and_runs(root: Path) -> None:
    patched = root / "vllm_src/patched/vllm-0.12.0"
    git(patched, "commit", "-q", "--allow-empty", "-m", "work in progress")
    assert only("series").state == "differs"
    assert doctor.main() == 0


def test_patches_out_of_order_are_said(root: Path) -> None:
    series = root / "patches/vllm-0.12.0"
    (series / "second.patch").write_text(PATCH.replace(TITLE[:20], "[Doc] Before it, "))
    (series / "series").write_text("second.patch\nrotary.patch\n")
    assert "lacks 1 of 2" in only("series").detail
    second = readiness.patch_title(series / "second.patch")
    git(root / "vllm_src/patched/vllm-0.12.0", "commit", "--allow-empty", "-m", second)
    assert only("series").state == "differs"


def test_series_without_file_means_not_applied(root: Path) -> None:
    (root / "patches/vllm-0.12.0/rotary.patch").unlink()
    assert only("series").state == "missing"


def test_little_memory_or_disk_fails(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "available_memory", lambda: 4 * readiness.GIB)
    monkeypatch.setattr(readiness, "NEEDED_DISK", 1 << 60)
    assert [only(name).state for name in ("memory", "disk")] == ["missing"] * 2
    assert doctor.main() == 1


def test_locked_versions_follow_the_markers(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "# made\nhere==1.0 \\\n    --hash=sha256:00\n"
        "old==1.0 ; python_full_version < '3' \\\n    --hash=sha256:00\n"
        "new==2.0 ; python_full_version >= '3' \\\n    --hash=sha256:00\n"
    )
    assert readiness.locked_versions(lock) == {"here": "1.0", "new": "2.0"}


@pytest.mark.parametrize(
    ("lock", "state", "detail"),
    [
        ("click==0.0.1", "differs", "click "),
        ("no-such-package==1.0", "missing", "1 of 1 are missing: no-such-package"),
    ],
)
def test_packages_are_held_against_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str, state: str, detail: str
) -> None:
    monkeypatch.setattr(readiness, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/base.txt").write_text(lock + " \\\n")
    (tmp_path / "requirements/torch.txt").write_text("")
    check = readiness.check_packages()
    assert (check.state, check.fix) == (state, "make setup")
    assert detail in check.detail


def test_packages_of_another_environment_are_held_against_its_own_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / ".venv-today"
    prefix.mkdir()
    (prefix / "setup.json").write_text('{"digest": "x", "build": "cpu"}')
    monkeypatch.setattr(readiness, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/today.txt").write_text("no-such-package==1.0 \\\n")
    (tmp_path / "requirements/today-cpu.txt").write_text("")
    check = readiness.check_packages()
    assert (check.state, check.fix) == ("missing", "make setup ENV=today")
    assert "1 of 1 are missing: no-such-package" in check.detail


@pytest.mark.parametrize("stamp", ["", "[1]", '{"device"'])
def test_a_stamp_that_was_cut_off_is_that_of_the_usual_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stamp: str
) -> None:
    (tmp_path / "setup.json").write_text(stamp)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert readiness.check_packages().fix in ("", "make setup")


def test_works_without_torch_and_quickly() -> None:
    hide = (
        "import sys; sys.modules['torch'] = None; from mmparity.commands import doctor"
    )
    tools = str(Path(doctor.__file__).parents[2])
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", f"{hide}; doctor.main()"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": tools},
    )
    assert done.returncode == 0, done.stderr
    assert "python" in done.stdout
    assert time.monotonic() - started < 5


def test_accelerator_counts_only_when_ready() -> None:
    ready = readiness.Check("cuda", "ok", "")
    unready = readiness.Check("npu", "absent", "")
    assert readiness.can_run([ready, unready]) == ["cpu", "cuda"]
    assert readiness.can_run([ready, readiness.Check("disk", "missing", "")]) == []
