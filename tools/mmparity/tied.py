# SPDX-License-Identifier: Apache-2.0
"""A command that ends with the process that started it, and all that it started.

A process stands between both, the leader of their group. It looks whether its parent
is still there, and ends as the command does. So it is the same for our workers and for
what cannot be asked to look itself, such as ``vllm serve``. Needs Python alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

POLL_SECONDS = 0.25
GRACE_SECONDS = 5.0
"""Between asking a group to end and ending it."""
_TOOLS = Path(__file__).resolve().parents[1]
_START = f"import sys; sys.path.insert(0, {str(_TOOLS)!r}); import mmparity.tied as t; "


def tied(command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` tied to this process."""
    python = [sys.executable, "-S", "-E", "-c", f"{_START}t.main()"]
    return [*python, str(os.getpid()), *command]


def main() -> None:
    """Runs the command of the arguments to its end, or to that of the parent."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave_it_to_the_command)
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")
    watch = threading.Thread(target=_watch, args=(parent,), daemon=True)
    watch.start()
    status = process.wait()
    if os.getppid() != parent:  # what the command started may still be there
        watch.join()
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _leave_it_to_the_command(number: int, frame: object) -> None:
    """A signal to the group reaches the command too; its end is waited for."""
