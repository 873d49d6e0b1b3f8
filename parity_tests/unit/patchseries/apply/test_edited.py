# SPDX-License-Identifier: Apache-2.0
"""The lines that tell which patches an edited file holds."""

import pytest

from patchseries.apply.edited import held, step_of

RELEASE = (
    "import telling\nreturn nothing\ndef first(x):\nreturn nothing\nlast = first\n"
)


def _held(text, *hunks, **options):
    steps = [step_of([x.encode() for x in one], **options) for one in hunks]
    return held(text.encode(), steps)


@pytest.mark.parametrize("text", ["def second(x):\n", "# mine\ndef second(x):\n"])
def test_a_line_that_a_later_patch_takes_out_is_not_missed(text):
    steps = (["+def first(x):"], ["-def first(x):", "+def second(x):"])
    assert _held(text, *steps) == [True, True]
    assert _held("# mine\n", *steps) == [False, False]
    assert _held("def first(x):\n", *steps) == [True, False]


def test_a_patch_that_only_takes_out_is_told_by_what_follows_each_other():
    """One of its lines stays at another place."""
    hunks = ["-def first(x):", "-return nothing", " last = first"]
    assert _held("import telling\nreturn nothing\nlast = first\n", hunks) == [True]
    assert _held(RELEASE + "# mine\n", hunks) == [False]


def test_a_line_of_the_series_that_goes_again_tells_nothing():
    steps = (["+import for_a_while"], ["-import for_a_while"])
    assert _held("# mine\n", *steps) == [None, None]
    assert _held("import for_a_while\n", *steps) == [True, None]


def test_a_file_that_a_patch_deletes_is_not_there():
    assert _held("# mine\n", ["-def first(x):"], deletes=True) == [False]
