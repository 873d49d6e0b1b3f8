# SPDX-License-Identifier: Apache-2.0
"""One way to start, quote and end a process of ours."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TextIO

from mmparity.tied import GRACE_SECONDS, tied

TOOLS = Path(__file__).resolve().parents[1]
TAIL_LINES = 15


class Process(Protocol):
    """What was started: a group of its own, led by ``pid``."""

    @property
    def pid(self) -> int:
        """Its process and its group."""

    @property
    def stdin(self) -> IO[str] | None:
        """To write to its standard input, where that is a pipe."""

    @property
    def stdout(self) -> IO[str] | None:
        """To read its standard output, where that is a pipe."""

    @property
    def returncode(self) -> int | None:
        """As ``subprocess`` has it; None until ``wait`` has returned."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status; ``subprocess.TimeoutExpired`` after ``timeout`` seconds."""

    def end(self) -> None:
        """Ends the whole group: a worker's children can outlive it."""


class Group(subprocess.Popen[str]):
    """A process that leads a group of its own."""

    def end(self) -> None:
        """Ends the whole group: a worker's children can outlive it."""
        end_group(self)


class Starter(Protocol):
    """A way to start processes that differ in their arguments."""

    def start(
        self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> Process:
        """Starts one, its standard input and output pipes, the rest in ``log``.

        ``environment`` is added to that of this process.
        """


@dataclass(frozen=True)
class Command:
    """Starts a command line, with tools/ as its folder and first on its path."""

    words: tuple[str, ...]

    def start(
        self,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        stdin: int = subprocess.PIPE,
    ) -> Group:
        """Starts it; ``stdin`` may be a file descriptor."""
        path = os.pathsep.join(filter(None, (str(TOOLS), os.environ.get("PYTHONPATH"))))
        variables = {**os.environ, **environment, "PYTHONPATH": path}
        return started([*self.words, *arguments], log, variables, stdin, TOOLS)


def started(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    stdin: int = subprocess.PIPE,
    cwd: Path | None = None,
    *,
    answers: bool = True,
) -> Group:
    """A group of its own that ends with this process, its standard error in ``log``.

    With ``answers`` its standard output can be read line by line, else it is there too.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stderr:
        return Group(
            tied(command),
            stdin=stdin,
            stdout=subprocess.PIPE if answers else stderr,
            stderr=stderr,
            text=True,
            errors="replace",
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )


@contextlib.contextmanager
def answering() -> Iterator[TextIO]:
    """This process's real standard output; what others print goes to standard error.

    A line is there for the reader as soon as it is written.
    """
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        yield stream
    finally:
        stream.close()


def end_group(process: Process) -> None:
    """Asks the group of a process to end, and ends it where it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
    close_pipes(process)


def close_pipes(process: Process) -> None:
    """Says and hears no more."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def tail_of(log: Path, lines: int = TAIL_LINES) -> str:
    """The end of a log, as messages quote it."""
    tail = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"  | {line}" for line in tail)


def end_of(log: Path) -> str:
    """The same with the log's name before it, or that there is nothing in it."""
    tail = tail_of(log)
    return f"The last lines of {log}:\n{tail}" if tail else f"Its log is empty: {log}"
