# SPDX-License-Identifier: Apache-2.0
"""Which device the tests run on; what it cannot run is skipped with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from webdriver import chromium

from mmparity.capture.worker_process import WORKER, may_fork, warm_forks
from mmparity.fork_server import ForkServer
from mmparity.processes import Starter

SHARED = ("captures", "towers")
"""Fixtures that cost minutes, made once for all files that use them."""
MARKER_DEVICE = {"gpu": "cuda", "npu": "npu"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        choices=("cpu", "cuda", "npu"),
        default="cpu",
        help="device of the tests marked gpu or npu (default: cpu, which skips them)",
    )


def _has(device: str) -> bool:
    import torch

    if device == "npu":
        import torch_npu  # noqa: F401

        return bool(torch.npu.is_available())
    return torch.cuda.is_available()


# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


def pytest_configure(config: pytest.Config) -> None:
    _share_cores()
    _require_device(config)


def _share_cores() -> None:
    """Of several test processes, each has its part of the cores, as its workers do."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
    if workers:
        threads = max(1, (os.cpu_count() or 1) // workers)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def _require_device(config: pytest.Config) -> None:
    """A device that was asked for and is not there is an error, never a skip."""
    device = config.getoption("--device")
    if device == "cpu":
        return
    try:
        found = _has(device)
    except ImportError as error:
        raise pytest.UsageError(f"--device {device}: {error}") from error
    if not found:
        raise pytest.UsageError(
            f"--device {device}: torch finds no such device; `mmparity doctor` says why"
        )


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    device = config.getoption("--device")
    browser = chromium()
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
        for marker, needed in MARKER_DEVICE.items():
            if item.get_closest_marker(marker) and device != needed:
                reason = f"needs --device {needed} (make test-{marker})"
                item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("browser") and browser is None:
            reason = "needs Chromium (apt-get install chromium chromium-driver)"
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where xdist takes no groups, each process would make every capture again."""
    if session.config.getoption("loadgroup", False):
        lone = [item.nodeid for item in session.items if "@" not in item.nodeid]
        assert not lone, f"pytest-xdist did not group {lone[0]}"


def _group(item: pytest.Item) -> str:
    """What one process runs: a file, or all tests that look at the same captures."""
    fixtures = getattr(item, "fixturenames", ())
    shared = next((name for name in SHARED if name in fixtures), None)
    return shared or item.nodeid.partition("::")[0]


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> str:
    """The device asked for with ``--device``."""
    return str(pytestconfig.getoption("--device"))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of seeded checkpoints, each written once for all test processes."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return folder / "checkpoints"


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """What workers import is imported once for all tests; they are its forks.

    So are scripts beside the tests of encoders.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).with_name("vision")))
        with warm_forks() as forks:
            yield forks


@pytest.fixture(scope="session")
def starter(device: str, request: pytest.FixtureRequest) -> Starter:
    """Starts workers, as a run does."""
    if not may_fork(device):
        return WORKER
    forks: Starter = request.getfixturevalue("forks")
    return forks
