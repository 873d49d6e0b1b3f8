# SPDX-License-Identifier: Apache-2.0
"""A file of a user's own encoder that cannot be used is one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmparity.errors import MmparityError
from mmparity.workload.implementations import IMPLEMENTATIONS, add_file

MAP = "def hook_map(subject): pass\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no attribute 'IMPLEMENTATIONS'"),
        ("IMPLEMENTATIONS = (\n", "SyntaxError"),
        (MAP + "IMPLEMENTATIONS = 1\n", "not iterable"),
        (MAP + "IMPLEMENTATIONS = {'mine': 1}\n", "other things than Implementation"),
        (MAP + "IMPLEMENTATIONS = ()\nMODELS = [1]\n", "no attribute 'name'"),
        ("IMPLEMENTATIONS = ()\nhook_map = 1\n", "hook_map is no function"),
    ],
)
def test_a_file_that_declares_no_encoder_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    file, before = tmp_path / "mine.py", dict(IMPLEMENTATIONS)
    file.write_text(text)
    with pytest.raises(MmparityError, match=rf"mine\.py cannot be used: .*{said}"):
        add_file(file)
    assert before == IMPLEMENTATIONS


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MmparityError, match="is no Python file that can be read"):
        add_file(tmp_path / "mine.py")
