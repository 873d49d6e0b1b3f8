# SPDX-License-Identifier: Apache-2.0
"""Patch and series files as data."""

import doctest
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchseries.proof import prbody
from patchseries.series import patch, series
from patchseries.series.patch import (
    parse_patch,
    slug_of,
    split_trailers,
    without_trailers,
)
from patchseries.series.series import SeriesLine, format_series_file, parse_series_file

HEAD = b"From 0 Mon Sep 17\nFrom: a <b>\nDate: x\nSubject: [Core] t\n\nWhy: so.\n\n"
OLD, NEW = b"1" * 40, b"2" * 40


def one_file(path=b"p/x.py", extra=b"", hunk=b"@@ -1 +1,2 @@\n-a\n+b\n+c\n"):
    head = b"diff --git a/%s b/%s\n%sindex %s..%s" % (path, path, extra, OLD, NEW)
    return HEAD + head + b" 100644\n--- a/x\n+++ b/x\n" + hunk


@pytest.mark.parametrize("module", [patch, series, prbody])
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def test_parse():
    patch = parse_patch("x", one_file())
    assert patch.message == "[Core] t\n\nWhy: so.\n"
    (change,) = patch.changes
    assert change.old == ("100644", OLD.decode())
    assert (change.added, change.removed) == (2, 1)


def test_lines_that_look_like_headers_are_counted_as_content():
    hunk = b"@@ -1,3 +1,2 @@\n--- a/x\n-diff --git a/y b/y\n+++ b/x\n same\n"
    patch = parse_patch("x", one_file(hunk=hunk))
    assert [(c.path, c.added, c.removed) for c in patch.changes] == [("p/x.py", 1, 2)]


def test_folded_and_encoded_titles():
    data = one_file().replace(
        b"Subject: [Core] t", b"Subject: =?UTF-8?q?[Core]=20=C3=BC?=\n =?UTF-8?q?ber?="
    )
    assert parse_patch("x", data).subject == "[Core] \u00fcber"


@pytest.mark.parametrize(
    "data",
    [
        b"no header",
        HEAD + b"text without a diff\n",
        one_file(path=b"../x"),
        one_file(path=b"/x"),
        one_file(path=b".git/hooks/x"),
        one_file(path=b"sub/.GIT/x"),
        one_file(path=b".patchseries/x"),
        one_file().replace(OLD, b"1" * 7).replace(NEW, b"2" * 7),
        one_file().replace(b"100644", b"120000"),
        one_file().replace(b"100644", b"160000"),
        one_file(extra=b"similarity index 90%\nrename from a\nrename to b\n"),
    ],
)
def test_refused(data, refused):
    refused("bad-patch", parse_patch, "x", data)


def test_converted_line_ends_are_told_from_bad_form(refused):
    data = one_file().replace(b"\n", b"\r\n")
    assert "core.autocrlf" in str(refused("bad-patch", parse_patch, "x", data))


def test_a_patch_that_does_not_follow_is_refused(toy, refused):
    from patchseries.series.folder import read_series

    whole = read_series(toy.project, "toy-1.0")
    swapped = series.Series("x", tuple(reversed(whole.patches)))
    refused("broken-series", swapped.chains)


names = st.text(string.ascii_lowercase + "-.", min_size=1, max_size=9).filter(
    lambda name: name.strip(".-") == name
)
comments = st.sampled_from(["", "# a", "#b.patch"])


@given(st.lists(names, unique=True), st.lists(comments, max_size=5))
def test_series_file_round_trip(slugs, texts):
    lines = [SeriesLine(slug, tuple(texts)) for slug in slugs]
    assert parse_series_file(format_series_file(lines, texts)) == (lines, tuple(texts))


@pytest.mark.parametrize(
    "text", ["a.patch -p0\n", "a\n", "../a.patch\n", "a.patch\n" * 2]
)
def test_bad_series_file(text, refused):
    refused("bad-series-file", parse_series_file, text)


def test_trailers():
    message = "t\n\nWhy: this is no trailer.\n\nA: 1\nB: 2\n and on\nA: 3\n"
    text, trailers = split_trailers(message)
    assert text == "t\n\nWhy: this is no trailer."
    assert trailers == [("A", "1"), ("B", "2 and on"), ("A", "3")]
    assert without_trailers(message, ["b"]).endswith(".\n\nA: 1\nA: 3\n")
    assert without_trailers(message, ["C"]) == message
    assert without_trailers("t\n\nA: 1", ["A"]) == "t\n"
    assert split_trailers("A: 1\n") == ("A: 1", []), "a title is no trailer"


def test_slugs_are_short_and_never_empty():
    assert slug_of("[Core] \u00fc") == "patch"
    assert slug_of("[A][B] " + "word " * 30) == "-".join(["word"] * 12)
