# SPDX-License-Identifier: Apache-2.0
"""`mmparity year` on the two sides of the series."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from mmparity.cli import main
from mmparity.fork_server import ForkServer


def test_a_year_of_two_says_what_the_series_changes(
    tmp_path: Path, forks: ForkServer
) -> None:
    words = f"year --depth 2 --dtype bfloat16 --case ragged --out {tmp_path}".split()
    words += ["--impl", "vllm-0.12.0", "--impl", "unified"]
    done = CliRunner().invoke(main, words, obj=forks)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "a-year.md").read_text()
    row = {
        line.split("`")[1]: [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("| `")
    }
    assert row["unified"][1] == "same bits as `vllm-0.12.0`"
    assert "within noise" in row["vllm-0.12.0"][1]
    assert row["ascend-0.11.0"][1] == "the first"
    assert float(row["vllm-0.12.0"][4]) > 1 and row["unified"][4] == "0"
    pinned = {name: cells[9] for name, cells in row.items()}
    assert pinned["vllm-0.12.0"] == pinned["ascend-0.11.0"] == "8 x its own"
    assert pinned["unified"] == "1 x its own"
    assert "n/a" not in text
    assert (tmp_path / "images" / "a-year.svg").read_text().startswith("<svg")
    result = json.loads((tmp_path / "comparison.json").read_text())
    assert {case["new"] for case in result["cases"]} == {"vllm-0.12.0", "unified"}
