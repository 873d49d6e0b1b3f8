# SPDX-License-Identifier: Apache-2.0
"""Starts processes as forks of one that has imported what they import first.

``python -m mmparity.fork_server MODULE`` imports MODULE and then forks for each request
that comes over the socket that its standard input is. It never has a second thread, and
ends when the other end of the socket is closed.
"""

from __future__ import annotations

import gc
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

from mmparity.processes import Command, close_pipes, end_group
from mmparity.tied import POLL_SECONDS

_SIZE = struct.Struct("!I")
_FILES = 4
"""Standard input, output and error of a fork, and the pipe that tells of it."""


@contextmanager
def fork_server(
    module: str, runs: str, log: Path, environment: Mapping[str, str]
) -> Iterator[ForkServer]:
    """Starts a server that imports ``module``, for forks that run ``main`` of ``runs``.

    What libraries read of the environment as they are loaded is the server's:
    ``environment`` and that of this process.
    """
    ours, theirs = socket.socketpair()
    server = Command((sys.executable, "-m", __spec__.name, module))
    with theirs:
        process = server.start([], log, environment, theirs.fileno())
    try:
        yield ForkServer(runs, ours, log)
    finally:
        ours.close()
        process.end()


@contextmanager
def forks_of_this(runs: str) -> Iterator[ForkServer]:
    """A server that is a fork of this process, and has imported what this one has."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _serve_only(theirs)
    theirs.close()
    try:
        yield ForkServer(runs, ours, Path(os.devnull))
    finally:
        ours.close()
        os.waitpid(pid, 0)


class ForkServer:
    """Starts forks that run ``main(arguments)`` of a module.

    They take their environment from this process and not from the server.
    """

    def __init__(self, runs: str, requests: socket.socket, log: Path) -> None:
        self._runs, self._socket, self._log = runs, requests, log

    def running(self, module: str) -> ForkServer:
        """The same server, for forks that run ``main`` of another module."""
        return ForkServer(module, self._socket, self._log)

    def start(
        self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> Fork:
        """Asks for a fork and does not wait for it."""
        log.parent.mkdir(parents=True, exist_ok=True)
        request = {
            "module": self._runs,
            "arguments": list(arguments),
            "environment": {**os.environ, **environment},
        }
        with ExitStack() as theirs:
            read_in, write_in = os.pipe()
            read_out, write_out = os.pipe()
            read_status, write_status = os.pipe()
            errors = theirs.enter_context(log.open("w"))
            for number in (read_in, write_out, write_status):
                theirs.callback(os.close, number)
            fork = Fork(write_in, read_out, read_status, (self._log, log))
            content = json.dumps(request).encode()
            files = [read_in, write_out, errors.fileno(), write_status]
            with suppress(OSError):  # the server has ended; so says the fork's status
                socket.send_fds(self._socket, [_SIZE.pack(len(content))], files)
                self._socket.sendall(content)
        return fork


class Fork:
    """A fork, as ``subprocess.Popen`` shows a process."""

    def __init__(
        self, stdin: int, stdout: int, status: int, logs: tuple[Path, Path]
    ) -> None:
        self.stdin: IO[str] = open(stdin, "w")  # noqa: SIM115
        self.stdout: IO[str] = open(stdout, errors="replace")  # noqa: SIM115
        self.returncode: int | None = None
        self._pid: int | None = None
        self._status = os.fdopen(status)
        self._naming, self._waiting = threading.Lock(), threading.Lock()
        self._logs = logs

    @property
    def pid(self) -> int:
        """Its process and its group; waits until it was forked.

        Raises ProcessLookupError where the server ended before.
        """
        with self._naming:
            if self._pid is None:
                self._pid = int(self._status.readline() or 0)
        if self._pid == 0:
            raise ProcessLookupError("the server of forks has ended")
        return self._pid

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status; that of a killed one where the server has ended.

        The log of one that was never forked is the server's, which says why. Several
        threads may wait.
        """
        if not self._waiting.acquire(timeout=-1 if timeout is None else timeout):
            raise subprocess.TimeoutExpired("a fork", timeout or 0.0)
        try:
            if self.returncode is None:
                self.returncode = self._status_within(timeout)
                self._status.close()
            return self.returncode
        finally:
            self._waiting.release()

    def _status_within(self, timeout: float | None) -> int:
        try:
            pid = self.pid
        except ProcessLookupError:
            shutil.copyfile(*self._logs)
            return -signal.SIGKILL
        if not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(pid), timeout or 0.0)
        line = self._status.readline()
        return int(line) if line else -signal.SIGKILL

    def end(self) -> None:
        """Ends its group; one that was not forked yet will find its input closed."""
        if self._pid is not None or select.select([self._status], [], [], 0)[0]:
            end_group(self)
        else:
            close_pipes(self)


def serve(requests: socket.socket) -> None:
    """Forks for each request, until the other end is closed."""
    telling: dict[int, int] = {}
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    while True:
        ready = select.select([requests, read_end], [], [])[0]
        if read_end in ready:
            os.read(read_end, 4096)
            _tell(telling)
        if requests in ready:
            request = _received(requests)
            if request is None:
                return
            content, files = request
            pid = os.fork()
            if pid == 0:
                own = requests.fileno(), read_end, write_end
                _become(content, (*files, *own, *telling.values()))
            os.setpgid(pid, pid)  # before anyone who knows of it may end its group
            telling[pid] = files.pop()
            _say(telling[pid], pid)
            for number in files:
                os.close(number)


def _received(requests: socket.socket) -> tuple[bytes, list[int]] | None:
    head, files, *_ = socket.recv_fds(requests, _SIZE.size, _FILES)
    if not head:
        return None
    return requests.recv(_SIZE.unpack(head)[0], socket.MSG_WAITALL), files


def _tell(telling: dict[int, int]) -> None:
    """Tells how each fork that has ended did."""
    while telling:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        number = telling.pop(pid)
        _say(number, os.waitstatus_to_exitcode(status))
        os.close(number)


def _say(pipe: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody asks any more
        os.write(pipe, f"{number}\n".encode())


def _become(content: bytes, files: Sequence[int]) -> NoReturn:
    """The fork: runs what was asked for in a group of its own, and ends."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, file in enumerate(files[:3]):
            os.dup2(file, number)
        for file in files:
            os.close(file)
        request = json.loads(content)
        os.environ.clear()
        os.environ.update(request["environment"])
        _end_with(os.getppid())
        gc.enable()
        status = import_module(request["module"]).main(request["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Taking frameworks down takes seconds, and what matters is on the disk.
        os._exit(status)


def _end_with(server: int) -> None:
    """Ends this group when the server does, which ends with who started it."""

    def watch() -> None:
        while os.getppid() == server:
            time.sleep(POLL_SECONDS)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _serve_only(requests: socket.socket) -> NoReturn:
    """Keeps nothing open that is not the server's, and never returns."""
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):  # a command may have its own
            signal.signal(number, signal.SIG_DFL)
        os.dup2(requests.fileno(), 0)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        requests.detach()
        _serve_on_standard_input()
        status = 0
    finally:
        os._exit(status)


def _serve_on_standard_input() -> None:
    requests = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    serve(requests)


def main(module: str) -> None:
    """Imports and serves."""
    gc.disable()  # nothing of an import is garbage
    import_module(module)
    gc.freeze()
    _serve_on_standard_input()


if __name__ == "__main__":
    main(sys.argv[1])
