# SPDX-License-Identifier: Apache-2.0
"""Whose Python runs an implementation, and a `--python` that cannot be."""

from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mmparity.capture.trace_meta import versions, versions_of
from mmparity.errors import MmparityError
from mmparity.run.plan import Options
from mmparity.run.planning import make_plans
from mmparity.workload import pythons
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.pythons import (
    OF_A_WORKER,
    check_pythons_run,
    check_pythons_used,
    find_pythons,
)


@pytest.fixture(autouse=True)
def nothing_asked_before() -> None:
    pythons._lacking.cache_clear()


def test_only_another_python_is_named() -> None:
    assert find_pythons(["unified", "hf"], (), IMPLEMENTATIONS) == {}
    given = (f"installed={sys.executable}",)
    found = find_pythons(["hf", "installed"], given, IMPLEMENTATIONS)
    assert found == {"installed": sys.executable}


def test_a_python_comes_before_the_environment() -> None:
    given = (f"vllm-0.33.0={sys.executable}",)
    found = find_pythons(["vllm-0.33.0"], given, IMPLEMENTATIONS)
    assert found == {"vllm-0.33.0": sys.executable}


@pytest.mark.parametrize(
    "given, said",
    [
        ((), "give --python installed="),
        (("installed",), "is not IMPL=PYTHON"),
        (("installed2=python",), "Closest: 'installed'"),
        (("installed=/no/such/python",), "no program that can run"),
    ],
)
def test_what_cannot_run_is_refused(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(MmparityError, match=said):
        find_pythons(["installed"], given, IMPLEMENTATIONS)


def test_a_python_that_nothing_would_run_is_refused() -> None:
    given = (f"installed={sys.executable}",)
    with pytest.raises(MmparityError, match="takes no part"):
        check_pythons_used(given, ["unified"], IMPLEMENTATIONS)
    with pytest.raises(MmparityError, match="given twice"):
        check_pythons_used(given * 2, ["installed"], IMPLEMENTATIONS)


def test_another_python_says_its_own_versions(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    script = tmp_path / "run"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    assert versions_of(str(script)) == versions()
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no torch here >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(MmparityError, match="cannot run a worker: no torch here"):
        versions_of(str(broken))


def script(folder: Path, text: str) -> str:
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 0", "python is no Python that answers. Give the Python that runs vLLM"),
        ("echo hello", "is no Python that answers"),
        ("echo 1", "is no Python that answers"),
        ("echo broken >&2; exit 3", "python ended with 3: broken. Give the Python"),
        ("exit 3", "ended with 3: it says nothing"),
        ("sleep 9", "did not answer in 0.2 s"),
        ("""echo '["psutil", "torch"]'""", "has no psutil, torch: .*, or install them"),
        ("""echo '["vllm"]'""", "installed: .*python has no vllm: .*, or install it t"),
    ],
)
def test_a_python_that_cannot_run_a_worker_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setattr(pythons, "_PATIENCE_S", 0.2 if "sleep" in text else 60)
    with pytest.raises(MmparityError, match=said):
        check_pythons_run({"installed": script(tmp_path, text)}, IMPLEMENTATIONS)


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "python"
    file.write_bytes(b"\x7fELF")
    file.chmod(0o755)
    with pytest.raises(MmparityError, match="python does not start: Exec format"):
        check_pythons_run({"installed": str(file)}, IMPLEMENTATIONS)


def test_only_an_installed_vllm_needs_a_vllm_of_its_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_pythons_run({"vllm-0.33.0": sys.executable}, IMPLEMENTATIONS)
    monkeypatch.setattr(pythons, "OF_A_WORKER", ("torch", "no_such_package"))
    for name, lacks in (("vllm-0.33.0", ""), ("installed", "vllm, ")):
        with pytest.raises(MmparityError, match=f"has no {lacks}no_such_package: "):
            check_pythons_run({name: sys.executable}, IMPLEMENTATIONS)


@pytest.mark.usefixtures("source_trees")
def test_a_python_is_asked_before_there_is_a_plan(tmp_path: Path) -> None:
    given = f"installed={script(tmp_path, 'exit 1')}"
    options = Options(tmp_path, old="hf", new="installed", pythons=(given,))
    with pytest.raises(MmparityError, match="ended with 1"):
        make_plans(options, IMPLEMENTATIONS)


def test_what_a_worker_imports_is_asked_for() -> None:
    found: set[str] = set()
    seen: set[str] = set()
    left = ["mmparity.capture.worker", "mmparity.encoders.vllm_runtime"]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None, name
        for node in ast.parse(Path(spec.origin).read_text()).body:
            names = [alias.name for alias in getattr(node, "names", ())]
            if isinstance(node, ast.ImportFrom):
                inner = [f"{node.module}.{item}" for item in names]
                names = [str(node.module)]
                if names[0].startswith("mmparity"):
                    names += [item for item in inner if _is_module(item)]
            elif not isinstance(node, ast.Import):
                continue
            left += [item for item in names if item.startswith("mmparity")]
            found |= {item.partition(".")[0] for item in names}
    assert len(seen) > 30
    assert found - sys.stdlib_module_names - {"mmparity"} <= set(OF_A_WORKER)


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
