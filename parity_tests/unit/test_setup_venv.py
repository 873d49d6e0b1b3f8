# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import setup_extras
import setup_locks
import setup_venv
from setup_venv import SetupError

MACHINES = [
    {"python_full_version": python, "platform_machine": machine, **linux}
    for linux in ({"sys_platform": "linux", "implementation_name": "cpython"},)
    for python in ("3.10.13", "3.11.7", "3.12.1")
    for machine in ("x86_64", "aarch64")
]


def entries(name: str) -> list[Requirement]:
    lines = setup_locks.lock_file(name).read_text().splitlines()
    return [Requirement(x.removesuffix("\\")) for x in lines if x and x[0].isalnum()]


def versions(name: str, machine: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries(name):
        if entry.marker is None or entry.marker.evaluate(machine):
            assert entry.name not in found, f"{entry.name} is locked twice"
            found[entry.name] = str(entry.specifier)
    return found


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished ``.venv`` whose python is this one, and no way to build another."""
    monkeypatch.setattr(setup_venv, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(setup_venv, "STAMP", tmp_path / ".venv/setup.json")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(setup_venv, "find_uv", lambda: "uv")
    monkeypatch.setattr(setup_venv, "build", lambda *_: None)
    setup_venv.setup("cpu", None)
    return tmp_path / ".venv"


@pytest.fixture
def built(venv: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """What a later ``setup`` builds."""
    calls: list[tuple[str, str | None]] = []
    monkeypatch.setattr(
        setup_venv,
        "build",
        lambda uv, device, asked, machine: calls.append((device, asked)),
    )
    return calls


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: "-".join(m.values()))
def test_locks_agree_and_pin_what_the_project_promises(machine: dict[str, str]) -> None:
    base, torch, lint = (versions(name, machine) for name in ("base", "torch", "lint"))
    assert base.keys() & torch.keys() == set()
    assert {
        name for name in base.keys() & lint.keys() if base[name] != lint[name]
    } == set()
    assert torch["torch"] == "==2.9.1"
    assert torch["torchvision"] == "==0.24.1"
    assert base["transformers"] == "==4.57.6"
    # vllm-ascend's own requirement.
    assert int(base["numpy"].removeprefix("==").split(".")[0]) < 2
    assert any(name.startswith("nvidia-") for name in torch) == (
        machine["platform_machine"] == "x86_64"
    )


TODAY = ["today", "today-torch", "today-cpu"]


@pytest.mark.parametrize("name", [*setup_venv.LOCKS, *setup_extras.EXTRAS, *TODAY])
def test_every_locked_package_has_a_hash_and_no_index(name: str) -> None:
    text = setup_locks.lock_file(name).read_text()
    for block in re.findall(r"^\w.*\n(?: .*\n)*", text, re.MULTILINE):
        assert "--hash=sha256:" in block, block
    assert "://" not in text
    assert "--index" not in text


def asked_for(name: str) -> list[str]:
    """The lines of ``requirements/<name>.in`` and of the files that it reads."""
    text = (setup_venv.ROOT / f"requirements/{name}.in").read_text()
    lines = [line for line in text.splitlines() if line and line[0] != "#"]
    read = [line.split()[1] for line in lines if line.startswith("-r ")]
    own = [line for line in lines if not line.startswith("-r ")]
    return own + [x for file in read for x in asked_for(file.removesuffix(".in"))]


@pytest.mark.parametrize("name", ["base", "torch", "lint", "engine", *TODAY])
def test_lock_holds_everything_asked_for(name: str) -> None:
    locked = {entry.name for entry in entries(name)}
    asked = [Requirement(line.partition(" #")[0]) for line in asked_for(name)]
    assert asked
    assert [r.name for r in asked if r.name not in locked] == []


def test_repeated_setup_builds_nothing(
    built: list[tuple[str, str | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    setup_venv.setup(None, None)
    assert built == []
    assert ".venv is up to date (cpu)" in capsys.readouterr().out


@pytest.mark.parametrize("changed", ["base", "torch", "lint"])
def test_changed_lock_rebuilds(
    built: list[tuple[str, str | None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: str,
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(setup_venv.LOCKS[changed].read_text() + "# newer\n")
    monkeypatch.setitem(setup_venv.LOCKS, changed, other)
    setup_venv.setup(None, None)
    assert built == [("cpu", None)]


def test_interrupted_or_broken_venv_rebuilds(
    built: list[tuple[str, str | None]], venv: Path
) -> None:
    setup_venv.STAMP.unlink()
    setup_venv.setup(None, None)
    (venv / "bin/python").unlink()
    (venv / "bin/python").symlink_to("/nonexistent/python")
    setup_venv.setup(None, None)
    assert len(built) == 2


def test_device_stays_until_another_is_asked_for(
    built: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = {"modules": {"torch": "2.9.0"}}
    monkeypatch.setattr(setup_venv, "probe_machine", lambda *_: machine)
    setup_venv.setup("npu", "/usr/bin/python3")
    setup_venv.setup(None, None)
    machine["modules"] = {"torch": "2.9.1"}
    setup_venv.setup(None, None)
    setup_venv.setup("cpu", None)
    npu = ("npu", "/usr/bin/python3")
    assert built == [npu, npu, ("cpu", None)]


def test_machine_without_torch_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(setup_venv.NEEDED_MODULES, "npu", ("no_such_torch_npu",))
    with pytest.raises(SetupError, match=r"has no no_such_torch_npu.*PYTHON=/path"):
        setup_venv.probe_machine("npu", sys.executable)


@pytest.mark.parametrize("asked", ["3.9", "3.13.1", "/nonexistent/python"])
def test_unusable_python_is_refused_by_name(asked: str) -> None:
    # `false` finds no Python at all, like uv on a machine without the one asked for.
    with pytest.raises(SetupError, match=re.escape(f"PYTHON={asked} is")):
        setup_venv.choose_python("false", asked)


def test_venv_is_never_built_from_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv would find the .venv of the folder first, and then clear it."""
    uv = setup_venv.find_uv()  # the one that built this .venv, which has no pip
    monkeypatch.setattr(setup_venv, "ROOT", tmp_path)
    subprocess.run([uv, "venv", "-q", str(tmp_path / ".venv")], check=True)
    assert str(tmp_path) not in setup_venv.choose_python(uv, None)


def test_machine_packages_come_after_the_lock(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = venv / "lib/python3.11/site-packages"
    site.mkdir(parents=True)
    monkeypatch.setattr(setup_venv, "CUDA_CHECK", "pass")
    machine = {"site": ["/opt/torch/site-packages"], "modules": {"torch": "2.9.0"}}
    setup_venv.use_machine_packages("cuda", machine)
    assert (site / "machine_packages.pth").read_text() == "/opt/torch/site-packages\n"
    monkeypatch.setattr(setup_venv, "CUDA_CHECK", "raise SystemExit(1)")
    with pytest.raises(SetupError, match="does not serve DEVICE=cuda"):
        setup_venv.use_machine_packages("cuda", machine)


def test_the_engines_packages_are_installed_once_for_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, commands = tmp_path / "packages", []

    def install(*command: object, failed: str) -> None:
        commands.append(command)
        folder.mkdir()

    monkeypatch.setattr(setup_venv, "ENGINE_PACKAGES", folder)
    monkeypatch.setattr(setup_venv, "run", install)
    monkeypatch.setattr(setup_venv, "find_uv", lambda: "uv")
    setup_venv.setup_engine()
    setup_venv.setup_engine()
    assert len(commands) == 1
    other = tmp_path / "other.txt"
    other.write_text(setup_venv.LOCKS["engine"].read_text() + "# newer\n")
    monkeypatch.setitem(setup_venv.LOCKS, "engine", other)
    monkeypatch.setattr(setup_venv, "ROOT", tmp_path)
    setup_venv.setup_engine()
    assert len(commands) == 2


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: "-".join(m.values()))
@pytest.mark.parametrize("name", setup_extras.EXTRAS)
def test_extra_brings_only_what_venv_has_not(
    name: str, machine: dict[str, str]
) -> None:
    present = versions("base", machine) | versions("torch", machine)
    extra = versions(name, machine)
    named = {entry.lower() for entry in setup_locks.NAME.findall(
        (setup_venv.ROOT / f"requirements/{name}.in").read_text())}  # fmt: skip
    assert (
        extra and {n for n in extra.keys() & present.keys() if n not in named} == set()
    )


@pytest.mark.parametrize("name", setup_extras.EXTRAS)
def test_extra_has_nothing_that_every_venv_has(name: str) -> None:
    """A version that differs on one machine is in the lock of all of them."""
    same = []
    for machine in MACHINES:
        present = versions("base", machine) | versions("torch", machine)
        extra = versions(name, machine)
        same.append({n for n in extra if present.get(n) == extra[n]})
    assert set.intersection(*same) == set()


def test_extra_is_installed_once_and_again_when_its_lock_changes(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = []

    def run(*command: object, failed: str) -> None:
        folder = Path(str(command[command.index("--target") + 1]))
        folder.mkdir(parents=True)
        installed.append(folder)

    monkeypatch.setattr(setup_extras, "VENV", venv)
    monkeypatch.setattr(setup_extras, "find_uv", lambda: "uv")
    monkeypatch.setattr(setup_extras, "run", run)
    for _ in range(2):
        setup_extras.install("accuracy")
    assert installed == [venv / "extras/accuracy"]
    (venv / "extras/accuracy/lock.sha256").write_text("of another lock")
    setup_extras.install("accuracy")
    assert len(installed) == 2


@pytest.mark.parametrize("stamp", ["", '{"device', "[1]"])
def test_a_stamp_that_was_cut_off_is_that_of_no_environment(
    venv: Path, built: list[tuple[str, str | None]], stamp: str
) -> None:
    (venv / "setup.json").write_text(stamp)
    setup_venv.setup(None, None)
    assert built == [("cpu", None)]
