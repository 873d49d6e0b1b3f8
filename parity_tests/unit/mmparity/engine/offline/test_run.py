# SPDX-License-Identifier: Apache-2.0
"""A run of the engine that does not come to its end leaves no result of another."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from mmparity.engine.offline import run
from mmparity.errors import MmparityError


def test_the_result_of_the_run_before_goes_as_its_outcomes_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "find_trees", lambda names, *_: {n: {} for n in names})
    monkeypatch.setattr(run.overlay, "make", lambda *_: tmp_path)
    monkeypatch.setattr(run.checkpoints, "served_checkpoint", ends)
    (tmp_path / "engine.json").write_text("{}")
    options = run.EngineOptions(sides=("vllm-0.12.0", "unified"), out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run.execute(options, print)
    assert not (tmp_path / "engine.json").exists()


def test_options_that_are_refused_leave_it(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text("{}")
    options = run.EngineOptions(sides=("unified",), out=tmp_path)
    with pytest.raises(MmparityError, match="no two of these sides"):
        run.execute(options, print)
    assert (tmp_path / "engine.json").exists()
