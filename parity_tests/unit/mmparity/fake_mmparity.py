# SPDX-License-Identifier: Apache-2.0
"""The command line as it is, on the implementations and the worker of test_execute."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from pathlib import Path

# A shell's background job, as the tests may be, ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, str(Path(__file__).parent / "run"))

import test_execute  # noqa: E402

from mmparity import cli  # noqa: E402
from mmparity.capture import worker_process  # noqa: E402
from mmparity.run import execute  # noqa: E402
from mmparity.workload import implementations  # noqa: E402

implementations.IMPLEMENTATIONS.update(test_execute.IMPLEMENTATIONS)
worker_process.warm_workers = lambda device: nullcontext(test_execute.COMMAND)
execute.WORKER = test_execute.COMMAND

if __name__ == "__main__":
    cli.main()
