# SPDX-License-Identifier: Apache-2.0
"""Extras beside .venv: one that can't be had stops set-up, unless it is optional."""

from pathlib import Path

import pytest

import setup_extras
from setup_command import SetupError


@pytest.fixture(autouse=True)
def no_venv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(setup_extras, "VENV", tmp_path)


def test_an_optional_extra_that_cannot_be_had_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SetupError, match="run `make setup` first"):
        setup_extras.install_all(["trained"], optional=False)
    setup_extras.install_all(["trained"], optional=True)
    assert "trained is left out: .venv is not there" in capsys.readouterr().err


def test_a_name_that_is_no_extra_is_an_error_even_if_optional() -> None:
    with pytest.raises(SetupError, match="no extra 'trained-all'; allowed: accuracy"):
        setup_extras.install_all(["trained-all"], optional=True)
