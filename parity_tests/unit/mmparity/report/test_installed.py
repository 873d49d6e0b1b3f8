# SPDX-License-Identifier: Apache-2.0
"""The wheel, installed in an environment of its own, works without the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import setup_venv
from mmparity.compare.result import write_result
from mmparity.types.comparison import ComparisonResult

pytestmark = pytest.mark.xdist_group("installed")

ROOT = Path(__file__).resolve().parents[4]
LOCK = ROOT / "requirements/base.txt"
FAILING = ROOT / "parity_tests/golden/failing"


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = "from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    # What setuptools leaves behind stays out of the checkout.
    source = folder / "source"
    names = ("tools", "patches", "requirements", "pyproject.toml", "setup.py")
    for name in (*names, "README.md", "LICENSE", "vllm_src/sources.toml"):
        there = source / name
        there.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, there, ignore=ignore)
        else:
            shutil.copyfile(ROOT / name, there)
    version = {**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": "7.8.9"}
    run(sys.executable, "-c", f"import sys; {build}", folder, cwd=source, env=version)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bin_folder(wheel: Path) -> Path:
    """Core dependencies alone, in the versions of the lock."""
    uv, venv = setup_venv.find_uv(), wheel.parent / "venv"
    run(
        uv,
        "venv",
        "-q",
        "--no-project",
        "--python",
        sys.executable,
        venv,
        cwd=venv.parent,
    )
    run(
        *(uv, "pip", "install", "-q", "--python", venv / "bin/python"),
        *("--constraint", LOCK, wheel),
        cwd=venv.parent,
    )
    return venv / "bin"


def test_a_wheel_has_what_both_tools_read_and_none_of_their_checks(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"mmparity", "patchseries", "vllm_encoder_parity"}
    kept = {str(f.relative_to(ROOT)) for f in (ROOT / "patches").glob("[!.]*/[!.]*")}
    bundled = {n.removeprefix("vllm_encoder_parity/") for n in names}
    assert kept <= bundled
    assert {"vllm_src/sources.toml", "patches/intended.toml"} <= bundled
    for asset in ("report/assets/report.js", "report/templates/page.html.j2"):
        assert f"mmparity/{asset}" in names
    assert "mmparity/py.typed" in names


def test_an_installed_package_renders_the_same_report_outside_of_the_checkout(
    bin_folder: Path, tmp_path: Path, failing: ComparisonResult
) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    write_result(failing, tmp_path)
    run(bin_folder / "mmparity", "report", tmp_path, cwd=tmp_path, env=env)
    made = (tmp_path / "report.html").read_text()
    assert made == (FAILING / "report.html").read_text()
    assert not (tmp_path / "home").exists(), "a report writes beside its result alone"


@pytest.mark.parametrize("tool", ["mmparity", "patchseries"])
def test_both_tools_say_the_version_of_the_package(
    bin_folder: Path, tmp_path: Path, tool: str
) -> None:
    assert "7.8.9" in run(bin_folder / tool, "--version", cwd=tmp_path)


def test_an_installed_patchseries_has_the_series_and_a_folder_of_the_users(
    bin_folder: Path, tmp_path: Path
) -> None:
    env = {"PATH": os.environ["PATH"], "XDG_DATA_HOME": str(tmp_path / "data")}
    shown = run(bin_folder / "patchseries", "status", cwd=tmp_path, env=env)
    assert "vllm-0.12.0: nothing is patched yet" in shown
    root = tmp_path / "data/vllm-encoder-parity"
    assert (root / "patches/vllm-0.12.0/series").read_bytes() == (
        ROOT / "patches/vllm-0.12.0/series"
    ).read_bytes()


def test_an_installed_doctor_names_what_its_extra_would_bring(
    bin_folder: Path, tmp_path: Path
) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [bin_folder / "mmparity", "doctor"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert re.search(r"missing or of another version: .*torch", done.stdout)
    assert "vllm-encoder-parity[encoders]" in done.stdout
    assert "patchseries fetch" in done.stdout
