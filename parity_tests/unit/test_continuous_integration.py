# SPDX-License-Identifier: Apache-2.0
"""The workflow, the action and the hooks: of a right form, and run step by step."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = ROOT / ".github/actions/parity/action.yml"
WORKFLOW = ROOT / ".github/workflows/parity.yml"
GOLDEN = ROOT / "parity_tests/golden/failing"
CHECKED = {"github-workflows": WORKFLOW, "github-actions": ACTION}
MAKE = """#!/usr/bin/env bash
printf '%s\\n' "$@" > asked
[ -z "$NO_REPORT" ] && mkdir -p build/parity && cp "$GOLDEN"/* build/parity/
exit 1
"""
GH = """#!/usr/bin/env bash
printf '%s\\n' "$@" > posted
"""


def check(schema: str, file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema"]
    command += ["--builtin-schema", f"vendor.{schema}", str(file)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("schema", CHECKED)
def test_the_linter_finds_nothing(schema: str) -> None:
    done = check(schema, CHECKED[schema])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("schema", CHECKED)
def test_the_linter_would_find_a_wrong_key(schema: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    text = CHECKED[schema].read_text()
    broken.write_text(text.replace("runs-on:", "runs_on:").replace("using:", "use:"))
    assert check(schema, broken).returncode == 1


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
    return [step for step in found if "run" in step]


def run_steps(folder: Path, **more: str) -> list[int]:
    """Runs every step of the action as a runner does; the exit code of each."""
    for name, text in (("make", MAKE), ("gh", GH)):
        file = folder / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    given = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "GOLDEN": str(GOLDEN),
        "FAST": "1",
        "MORE": "--case image $(touch escaped)",
        "PULL_REQUEST": "7",
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        **more,
    }
    bash = [shutil.which("bash") or "bash", "--noprofile", "--norc", "-eo", "pipefail"]
    return [
        subprocess.run([*bash, "-c", step["run"]], cwd=folder, env=given).returncode
        for step in steps()
    ]


def test_a_difference_fails_the_run_and_its_report_is_shown_and_posted(
    tmp_path: Path,
) -> None:
    assert run_steps(tmp_path) == [1, 0, 0]
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[:3] == ["parity", "FAST=1", "OUT=build/parity"]
    assert (tmp_path / "summary").read_text() == (GOLDEN / "report.md").read_text()
    posted = (tmp_path / "posted").read_text().splitlines()
    assert posted[:3] == ["pr", "comment", "7"]
    assert "build/parity/report.md" in posted
    assert not (tmp_path / "escaped").exists()


def test_a_run_without_a_report_says_so_and_posts_nothing(tmp_path: Path) -> None:
    assert run_steps(tmp_path, NO_REPORT="1") == [1, 0, 0]
    assert "ended before it had a report" in (tmp_path / "summary").read_text()
    assert not (tmp_path / "posted").exists()


def test_no_input_is_written_into_a_shell() -> None:
    """What a pull request may choose reaches a script as a variable alone."""
    workflow = yaml.safe_load(WORKFLOW.read_text())
    scripts = [step["run"] for step in steps()]
    for job in workflow["jobs"].values():
        scripts += [step["run"] for step in job["steps"] if "run" in step]
    assert [script for script in scripts if "${{" in script] == []
    assert "pull_request_target" not in WORKFLOW.read_text()


def test_hooks_run_what_is_there() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    local = {hook["id"]: hook for hook in config["repos"][0]["hooks"]}
    (given,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    hook = local[given["id"]]
    assert hook["entry"] == f".venv/bin/{given['entry']}"
    words = [str(Path(sys.executable).parent / "patchseries"), "check", "--help"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert all(word in shown for word in given["entry"].split()[2:])
