# SPDX-License-Identifier: Apache-2.0
"""Endpoints, and environments with a vLLM, that answer as a test says."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_vllm
import pytest
import uvicorn
from PIL import Image

FAKE = Path(fake_vllm.__file__)


@pytest.fixture
def endpoints() -> Iterator[tuple[Any, Any]]:
    """Two that answer alike."""
    servers, threads, fakes = [], [], (fake_vllm.Fake(), fake_vllm.Fake())
    for fake in fakes:
        listening = socket.create_server(("127.0.0.1", 0))
        fake.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            fake_vllm.application(fake), log_level="error", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        servers.append(server)
        threads.append(thread)
    end = time.monotonic() + 10
    while not all(server.started for server in servers) and time.monotonic() < end:
        time.sleep(0.01)
    yield fakes
    for server in servers:
        server.should_exit = server.force_exit = True
    for thread in threads:
        thread.join(10)


@pytest.fixture
def material(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of two images, and a file of two prompts."""
    images, prompts = tmp_path / "images", tmp_path / "prompts.txt"
    images.mkdir()
    for name, color in (("red.png", "red"), ("blue.jpg", "blue")):
        Image.new("RGB", (8, 8), color).save(images / name)
    prompts.write_text(" What is this?\n\n Which colour has it?\n")
    return images, prompts


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str, str], str]:
    """Makes the python of an environment; what is wrong with it has a name."""

    def make(name: str, wrong: str = "") -> str:
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\nFAKE="{wrong}" exec "{sys.executable}" "{FAKE}" "$@"\n'
        )
        program.chmod(0o755)
        return str(program)

    return make
