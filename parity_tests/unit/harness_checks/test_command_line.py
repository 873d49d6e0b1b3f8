# SPDX-License-Identifier: Apache-2.0
"""Exit code 1 says that a check found something, and nothing else does."""

from __future__ import annotations

import sys

import click
import pytest

from harness_checks.command_line import run
from mmparity.errors import MmparityError


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (MmparityError("no tree"), "mmparity: no tree\n"),
        (click.ClickException("measured elsewhere"), "Error: measured elsewhere\n"),
        (click.UsageError("no mutant"), "Error: no mutant\n"),
        (KeyboardInterrupt(), "interrupted\n"),
        (RuntimeError("planted"), "RuntimeError: planted\n"),
    ],
)
def test_what_could_not_run_exits_2(
    raised: BaseException,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @click.command
    def check() -> None:
        raise raised

    monkeypatch.setattr(sys, "argv", ["check"])
    with pytest.raises(SystemExit) as caught:
        run(check)
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(said)


@pytest.mark.parametrize("code", [0, 1])
def test_the_command_s_own_exit_code_stays(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command
    def check() -> None:
        sys.exit(code)

    monkeypatch.setattr(sys, "argv", ["check"])
    with pytest.raises(SystemExit) as caught:
        run(check)
    assert caught.value.code == code
