# SPDX-License-Identifier: Apache-2.0
"""`vllm serve` of one side on this machine, ended with the ``with``."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmparity.engine.online.runners import Runner, start, tail
from mmparity.errors import MmparityError

HOST = "127.0.0.1"
SERVED = "model"
"""What both sides call their model."""
SMALL = (
    *("--dtype", "float32", "--max-model-len", "2048", "--max-num-seqs", "16"),
    "--enforce-eager",
)
"""For the project's small models on a CPU."""
_POLL_SECONDS = 0.5


class Server:
    """A started server; ``wait`` until it answers."""

    def __init__(
        self, runner: Runner, model: str, options: Sequence[str], log: Path
    ) -> None:
        self.name, self.log = runner.name, log
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        self._process = start(
            runner.command(
                *("serve", model, "--host", HOST, "--port", str(port)),
                *("--served-model-name", SERVED, *options),
            ),
            runner.environment,
            log,
        )

    def wait(self, seconds: float) -> None:
        """Returns when it answers.

        Raises:
            MmparityError: it ended, or does not answer in time; with its log's end.
        """
        end = time.monotonic() + seconds
        while not self._healthy():
            if self._process.poll() is not None:
                raise MmparityError(
                    f"vllm serve of {self.name} ended:\n{tail(self.log)}"
                )
            if time.monotonic() > end:
                raise MmparityError(
                    f"vllm serve of {self.name} does not answer after {seconds:.0f} s; "
                    f"allow more with --start-seconds.\n{tail(self.log)}"
                )
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ends it with all its processes."""
        self._process.end()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def serving(
    runners: Sequence[Runner],
    model: str,
    options: Sequence[str],
    folder: Path,
    seconds: float,
) -> Iterator[list[Server]]:
    """A server for each runner, side by side; all answer."""
    servers: list[Server] = []
    try:
        for name, runner in zip(("old", "new"), runners, strict=True):
            log = folder / f"{name}-server.log"
            servers.append(Server(runner, model, options, log))
        for server in servers:
            server.wait(seconds)
        yield servers
    finally:
        for server in servers:
            server.stop()


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server((HOST, 0)) as listening:
        return int(listening.getsockname()[1])
