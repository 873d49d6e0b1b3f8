# SPDX-License-Identifier: Apache-2.0
"""The way of a reviewer: one command, one page, and on it what the guide says."""

from __future__ import annotations

import re
import shlex
import struct
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from webdriver import Browser, chromium

from mmparity.cli import main
from mmparity.compare.result import write_result
from mmparity.types.comparison import ComparisonResult

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[4]
GUIDE = (ROOT / "docs/reading-a-report.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()

STEPS = {
    "The verdict.": "h1",
    "First divergence": "#finding",
    "The chart": ".evidence figure.chart",
    "The map of the encoder": "#map",
    "What ran, and what was emulated.": "table.sides",
    "Sources": "[aria-label='Sources and patches']",
}
"""What the guide calls each step of the first minute -> where the page has it."""
EVIDENCE = ("#cases", "#cost", "#replaced", "#unmatched", "#structure")
"""What comes after it, in the order in which the guide names it."""


def test_the_guide_leads_through_the_page_that_the_command_makes(
    browser: Browser, failing: ComparisonResult, tmp_path: Path
) -> None:
    write_result(failing, tmp_path)
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert (done.exit_code, str(tmp_path / "report.html") in done.output) == (1, True)
    minute = GUIDE.split("## In one minute\n")[1].split("\n## ")[0]
    assert re.findall(r"^\d\. \*\*(.*?)\*\*", minute, re.M) == list(STEPS)
    browser.open(tmp_path / "report.html")
    for name, place in STEPS.items():
        shown = "const it = document.querySelector(arguments[0]);"
        assert browser.run(f"{shown} return it && it.checkVisibility()", place), name
    order = """return arguments[0].map((place) =>
        document.querySelector(place).getBoundingClientRect().top)"""
    tops = browser.run(order, ["h1", "#finding", "#map", *EVIDENCE])
    assert tops == sorted(tops)


def test_from_the_verdict_to_the_row_and_to_the_patch(
    browser: Browser, failing: ComparisonResult, tmp_path: Path
) -> None:
    write_result(failing, tmp_path)
    CliRunner().invoke(main, ["report", str(tmp_path)])
    browser.open(tmp_path / "report.html")
    name = browser.text("#finding + .where")
    browser.run("document.querySelector('#finding + .where a').click()")
    row = "const row = document.getElementById(location.hash.slice(1));"
    browser.wait(True, f"{row} return Boolean(row && row.checkVisibility())")
    assert name in browser.run(f"{row} return row.innerText")
    patch = "const it = document.querySelector('a[href^=\"#patch-\"]'); it.click();"
    slug = browser.run(f"{patch} return it.getAttribute('href').slice(1)")
    shown = f"return document.getElementById({slug!r}).querySelector('pre').innerText"
    browser.wait(True, f"return Boolean(document.getElementById({slug!r}).open)")
    assert "@@" in browser.run(shown)


def test_the_command_of_the_guide_takes_a_picture_of_the_page(
    passing: ComparisonResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = re.findall(r"^chromium .*", CONTRIBUTING, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    picture = Path("docs/images/report-passing.png")
    picture.parent.mkdir(parents=True)
    Path("build/parity").mkdir(parents=True)
    write_result(passing, Path("build/parity"))
    assert CliRunner().invoke(main, ["report", "build/parity"]).exit_code == 0
    (_, *words) = shlex.split(line)
    subprocess.run(
        [str(chromium()), *words], check=True, capture_output=True, timeout=120
    )
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert (width, height) == (1440, 900)
