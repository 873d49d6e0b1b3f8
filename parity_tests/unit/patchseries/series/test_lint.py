# SPDX-License-Identifier: Apache-2.0
"""Rules for headers and content: each one found when it is broken, and only then."""

from dataclasses import replace

import pytest

from patchseries.series.folder import read_series
from patchseries.series.lint import lint_content, lint_series
from patchseries.series.patch import FileChange
from patchseries.series.series import Series


@pytest.fixture
def series(toy):
    return read_series(toy.project, "toy-1.0")


def findings(series, message=None, **changes):
    first = replace(series.patches[0], **changes)
    if message:
        first = replace(first, message=message(first.message))
    whole = Series(series.name, (first, *series.patches[1:]))
    return [finding.detail for finding in lint_series(whole)]


def test_clean(series):
    assert findings(series) == []


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("[Core] First", "First", "does not start with [Tag]s"),
        ("[Core] First", "[Core]First", "does not start with [Tag]s"),
        ("First lines", "First " + "x" * 70, "at most 72"),
        ("First lines", "First lines.", "full stop"),
        ("Why: a toy needs\nfirst-lines.", "Why.", "explains neither"),
        ("How: as", "And as", "headed How"),
        ("Why: a", "Why: a\n--- b\n", "would cut the message"),
        ("Why: a", "Why: a\ndiff --git b\n", "would cut the message"),
        ("Upstream-Status: Pending", "X: y", "no Upstream-Status"),
        ("Status: Pending", "Status: Submitted", "is not Pending"),
        ("Status: Pending", "Status: Soon", "is not Pending"),
        ("Related: none, a toy", "Related: none", "Related: 'none'"),
        ("Depends-on: none", "Depends-on: second-file", "neither an earlier"),
        ("Depends-on: none", "Depends-on: none\nSigned-off-by: A <a@x>", "signed off"),
    ],
)
def test_headers(series, old, new, expected):
    def edit(message):
        assert old in message
        if new == "Why.":
            return "[Core] First lines\n\nWhy.\n\nHow.\n\nRelated: none, x\n"
        return message.replace(old, new)

    assert any(expected in text for text in findings(series, edit))


@pytest.mark.parametrize("value", ["Submitted [url]", "Backport [v0.13]", "Pending"])
def test_status_words(series, value):
    assert not findings(series, lambda m: m.replace("Pending", value))


def test_size_counts_no_tests(series):
    def change(path):
        state = ("100644", "1" * 40)
        return (FileChange(path, state, state, 501, 0),)

    assert any("adds 501" in t for t in findings(series, changes=change("a.py")))
    assert not findings(series, changes=change("tests/a.py"))


@pytest.mark.parametrize(
    "line, expected",
    [
        ("import re", "regex"),
        ("from re import match", "regex"),
        ("import triton", "triton_utils"),
        ("from triton.x import y", "triton_utils"),
        ("import pickle", "pickle"),
        ('logger.info(f"x")', "G004"),
        ("x = 1 ", "white space"),
        ("import regex as re", None),
        ("from vllm.triton_utils import triton", None),
        ("import requests", None),
    ],
)
def test_content(series, line, expected):
    data = b"--- a/x.py\n+++ b/x.py\n@@ -0,0 +1 @@\n+" + line.encode() + b"\n"
    patch = replace(series.patches[0], data=data)
    licence = b"# SPDX-License-Identifier: Apache-2.0\n"
    texts = list(lint_content(patch, {"x.py": licence + line.encode() + b"\n"}))
    assert [expected in text for text in texts] == ([True] if expected else [])
    texts = list(lint_content(patch, {"x.py": b"x = 1\n"}))
    assert any("SPDX" in text for text in texts)
