# SPDX-License-Identifier: Apache-2.0
"""The other environments beside .venv: made once, from their locks, in their place."""

import sys
from pathlib import Path

import click
import pytest

import setup_environment
import setup_venv
from mmparity.commands.run import run
from setup_venv import SetupError


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is run in a project of its own whose environments are this python."""
    ran: list[list[str]] = []

    def run(*command: object, failed: str) -> None:
        ran.append([str(part) for part in command])
        if "venv" in ran[-1]:
            python = Path(ran[-1][-1], "bin/python")
            python.parent.mkdir(parents=True)
            python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            python.chmod(0o755)

    (tmp_path / "requirements").mkdir()
    for name in ("today", "today-cpu", "today-torch"):
        (tmp_path / f"requirements/{name}.txt").write_text(f"# {name}\n")
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(setup_environment, "ROOT", tmp_path)
    use_uv(tmp_path, monkeypatch, has_cpu_build=False)
    monkeypatch.setattr(setup_environment, "run", run)
    return ran


def use_uv(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, has_cpu_build: bool
) -> None:
    """One that finds this python, and says whether the packages can be had."""
    uv = folder / "uv"
    found = f'[ "$1" = python ] && exec echo "{sys.executable}"'
    uv.write_text(f"#!/bin/sh\n{found}\nexit {int(not has_cpu_build)}\n")
    uv.chmod(0o755)
    monkeypatch.setattr(setup_environment, "find_uv", lambda: str(uv))


def installed(commands: list[list[str]]) -> list[str]:
    return [part for part in commands[1] if part.endswith(".txt")]


@pytest.mark.parametrize("stamp", ["", '{"digest', "{}", "[]", "[1]", "null"])
def test_a_stamp_that_was_cut_off_is_that_of_no_environment(
    commands: list[list[str]], tmp_path: Path, stamp: str
) -> None:
    setup_environment.install("today", sys.executable)
    (tmp_path / ".venv-today/setup.json").write_text(stamp)
    commands.clear()
    setup_environment.install("today", sys.executable)
    assert len(commands) == 3


def test_it_is_made_once_and_again_when_a_lock_changes(
    commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        setup_environment.install("today", sys.executable)
    assert len(commands) == 3
    assert ".venv-today is up to date" in capsys.readouterr().out
    (tmp_path / "requirements/today.txt").write_text("# newer\n")
    setup_environment.install("today", sys.executable)
    assert len(commands) == 6


def test_without_a_cpu_build_the_usual_one_is_installed_and_its_size_said(
    commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    setup_environment.install("today", sys.executable)
    assert installed(commands)[-1] == "requirements/today-torch.txt"
    assert "takes 9 GB" in capsys.readouterr().out


def test_with_a_cpu_build_that_is_installed(
    commands: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_uv(tmp_path, monkeypatch, has_cpu_build=True)
    setup_environment.install("today", sys.executable)
    assert installed(commands)[-1] == "requirements/today-cpu.txt"
    assert "takes 3 GB" in capsys.readouterr().out


def test_a_disk_that_is_too_full_is_refused_before_anything_is_installed(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(setup_environment.GIGABYTES, "torch", 10**9)
    with pytest.raises(SetupError, match="the disk has"):
        setup_environment.install("today", sys.executable)
    assert len(commands) == 1


@pytest.mark.parametrize("asked", ["3.10", "3.13"])
def test_a_python_that_vllm_does_not_run_on_is_refused(asked: str) -> None:
    with pytest.raises(SetupError, match=r"allowed: 3\.11 to 3\.12"):
        setup_environment.choose_python("false", asked, setup_environment.OLDEST)


def test_what_may_be_set_up_is_what_a_run_takes() -> None:
    (given,) = (item for item in run.params if item.name == "environment")
    assert isinstance(given.type, click.Choice)
    assert list(setup_environment.MAKERS) == list(given.type.choices)


def test_what_is_beside_the_projects_own_has_locks_of_its_own() -> None:
    for name in setup_environment.ENVIRONMENTS:
        locks = setup_environment.lock_files(name, "cpu")
        assert all(file.is_file() for file in locks)


def test_base_is_the_projects_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup_venv, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(setup_venv, "is_current", lambda stamp: stamp["python"] == "x")
    setup_environment.install("base", "x")
    assert capsys.readouterr().out == ".venv is up to date (cpu).\n"


def test_an_unknown_environment_is_answered_with_the_commands_that_make_one() -> None:
    said = "allowed: base, today. `make setup` makes base.* `make setup ENV=today` make"
    with pytest.raises(SetupError, match=said):
        setup_environment.install("tomorrow", None)
