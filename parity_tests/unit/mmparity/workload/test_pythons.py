# SPDX-License-Identifier: Apache-2.0
"""Whose Python runs an implementation, and a `--python` that cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmparity.capture.trace_meta import versions, versions_of
from mmparity.errors import MmparityError
from mmparity.workload.implementations import IMPLEMENTATIONS
from mmparity.workload.pythons import check_pythons_used, find_pythons


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
