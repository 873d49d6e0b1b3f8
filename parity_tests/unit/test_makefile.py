# SPDX-License-Identifier: Apache-2.0
"""The names that a person types, and what each would run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = [
    "setup",
    "sources",
    "apply",
    "unapply",
    "status",
    "parity",
    "year",
    "engine",
    "report",
    "test",
    "test-gpu",
    "test-npu",
    "test-upstream",
    "kills",
    "mutants",
    "bench",
    "serve-bench",
    "accuracy",
    "lint",
    "check",
    "clean",
]


def make(*arguments: str) -> str:
    # An outer `make test ARGS=...` must not reach the inner make.
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS")}
    for name in (
        "MAKELEVEL",
        "MAKEOVERRIDES",
        "ARGS",
        "VLLM",
        "ASCEND",
        "FAST",
        "OLD",
        "NEW",
        "MODEL",
        "JOBS",
        "ENV",
        "MODELS",
    ):
        clean.pop(name, None)
    done = subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, env=clean
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def planned(*arguments: str) -> list[str]:
    """What make would run, without the setup that precedes everything."""
    lines = make("-n", *arguments).splitlines()
    return [" ".join(line.split()) for line in lines if "setup_venv" not in line]


def test_help_is_the_default_and_names_every_target() -> None:
    shown = make()
    assert shown == make("help")
    for target in TARGETS:
        assert re.search(rf"^  {target} +\S", shown, re.MULTILINE), target


def test_parity_fetches_applies_runs() -> None:
    assert planned("parity", "FAST=1", "OUT=build/x") == [
        ".venv/bin/patchseries fetch",
        ".venv/bin/patchseries apply",
        ".venv/bin/mmparity run --fast --out build/x",
    ]
    (*_, last) = planned("parity", "ENV=today", "MODELS=all", "ARGS=--json")
    expected = ".venv/bin/mmparity run --env today --models all --out build/parity"
    assert last == f"{expected} --json"


def test_a_year_of_todays_trees_fetches_all_of_them() -> None:
    assert planned("year", "ENV=today")[-3:] == [
        ".venv/bin/patchseries fetch --all",
        ".venv/bin/patchseries apply",
        ".venv/bin/mmparity year --page docs/a-year.md",
    ]


def test_the_projects_own_environment_needs_no_other_trees() -> None:
    assert planned("parity", "ENV=base") == [
        ".venv/bin/patchseries fetch",
        ".venv/bin/patchseries apply",
        ".venv/bin/mmparity run --env base --out build/parity",
    ]
    assert planned("setup", "ENV=base") == planned("setup")


def test_apply_works_on_the_projects_trees() -> None:
    expected = [".venv/bin/patchseries fetch", ".venv/bin/patchseries apply"]
    assert planned("apply") == expected


def test_apply_onto_checkouts_signed_off() -> None:
    """In one command, which checks both before it changes either."""
    (command,) = planned("apply", "VLLM=/a b/vllm", "ASCEND=/c", "SIGNOFF=1")
    onto = '--onto "/a b/vllm" --onto "/c"'
    assert command == f".venv/bin/patchseries apply --signoff {onto}"


@pytest.mark.parametrize("verb", ["unapply", "status"])
def test_one_checkout_only(verb: str) -> None:
    expected = [f'.venv/bin/patchseries {verb} --onto "/c"']
    assert planned(verb, "ASCEND=/c") == expected


def test_serving_targets_name_model_and_environments() -> None:
    given = ("MODEL=a/b", "OLD=/x y/python", "NEW=/z/python", "ARGS=--limit 3")
    expected = '--model "a/b" --old "/x y/python" --new "/z/python" --limit 3'
    assert planned("accuracy", *given)[-1] == f".venv/bin/mmparity accuracy {expected}"
    assert planned("serve-bench", *given)[-1] == f".venv/bin/mmparity serve {expected}"
    assert "tools/setup_extras.py accuracy" in planned("accuracy")[-2]


def test_all_models_try_for_the_trained_weights() -> None:
    trained = "python3 tools/setup_extras.py --optional trained"
    assert trained not in planned("parity", "FAST=1")
    assert trained in planned("parity", "MODELS=all")


def test_tests_run_in_as_many_processes_as_asked() -> None:
    shared = "--dist loadgroup --no-loadscope-reorder"
    assert planned("test")[-1] == f".venv/bin/pytest -n 2 {shared}"
    given = planned("test", "JOBS=0", "ARGS=-k name")
    assert given[-1] == f".venv/bin/pytest -n 0 {shared} -k name"


@pytest.mark.parametrize(("marker", "device"), [("gpu", "cuda"), ("npu", "npu")])
def test_device_tests_name_their_device(marker: str, device: str) -> None:
    # With a space, pytest takes the device for a folder and never reads our option.
    expected = f".venv/bin/pytest --device={device} -m {marker}"
    assert planned(f"test-{marker}")[-1] == expected


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    assert "```\nmake test\n```" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("\nmake test")
