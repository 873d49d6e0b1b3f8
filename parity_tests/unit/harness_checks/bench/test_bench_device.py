# SPDX-License-Identifier: Apache-2.0
"""What the bench refuses before it starts a worker."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from harness_checks.bench.__main__ import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device", "cuda", "--docs"), "--docs is of figures of a CPU"),
        (
            ("--device", "cuda", "--only", "ascend"),
            "none of the pairs of --device cuda: vllm-0.12.0:unified",
        ),
        (("--only", "ascend-9"), "vllm-0.12.0:unified, ascend-0.11.0:unified-ascend"),
    ],
)
def test_what_cannot_be_measured_is_refused(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", "").split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    done = CliRunner().invoke(main, ["--device", "cuda"])
    assert done.exit_code == 2
    assert "finds no such device" in done.output
