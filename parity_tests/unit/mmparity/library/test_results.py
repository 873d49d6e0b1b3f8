# SPDX-License-Identifier: Apache-2.0
"""The library does what the commands do, and imports nothing before it is asked."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import mmparity

if TYPE_CHECKING:
    from conftest import Sides


def test_importing_it_imports_no_torch_and_every_name_is_there() -> None:
    code = (
        "import sys, mmparity; assert 'torch' not in sys.modules; print(*dir(mmparity))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert set(mmparity.__all__) <= set(done.stdout.split())
    for name in mmparity.__all__:
        assert getattr(mmparity, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mmparity.nothing


def test_folders_are_compared_and_the_result_is_loaded_again(sides: Sides) -> None:
    sides.new["blocks.1.attn.k"][0, 0, 0] += 1
    old, new, oracle = sides.write()
    out = sides.root / "out"
    result = mmparity.compare_folders(old, new, out, oracle=oracle)
    assert result.verdict == "fail"
    assert result.first_divergence is not None
    assert result.first_divergence.hook_point == "blocks.1.attn.k"
    failing = [row.hook_point for _, row in result.rows("fail")]
    assert failing == ["blocks.1.attn.k"]
    assert mmparity.load_result(out).data == result.data
    assert result.write_report().name == "report.html"
    assert (
        "<script" not in result.write_report().parent.joinpath("report.md").read_text()
    )


def test_a_result_shows_itself_and_escapes_what_others_named(sides: Sides) -> None:
    for meta in ("old_meta", "new_meta"):
        from dataclasses import replace

        setattr(sides, meta, replace(getattr(sides, meta), case="<b>x</b>"))
    sides.new["merger"] += 1
    old, new, _ = sides.write()
    result = mmparity.compare_folders(old, new, sides.root / "out")
    shown = result._repr_html_()
    assert "<table>" in shown and "&lt;b&gt;x&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert "FAIL" in str(result)


def test_a_folder_without_a_result_is_one_error(tmp_path) -> None:
    with pytest.raises(mmparity.MmparityError, match=r"comparison\.json"):
        mmparity.load_result(tmp_path)
