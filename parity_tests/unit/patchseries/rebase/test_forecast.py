# SPDX-License-Identifier: Apache-2.0
"""`forecast`: one word for each patch on another tree, and the reason."""

import pytest
from click.testing import CliRunner

from patchseries.cli import main


@pytest.fixture
def forecast(toy, tmp_path):
    """The word and the line of each patch on a release with these edits."""
    text = toy.project.pins.read_text()
    text = text.replace('purpose = "toy"', 'purpose = "toy"\npackage = "pkg"')
    toy.project.pins.write_text(text)

    def run(edit=lambda tree: None, landed=""):
        tree = toy.plain(tmp_path / "other")
        edit(tree)
        if landed:
            (toy.project.patches / "landed.toml").write_text(f'["toy-1.0"]\n{landed}')
        args = [
            "--project",
            str(toy.project.root),
            "forecast",
            "--text-only",
            str(tree),
        ]
        done = CliRunner().invoke(main, args)
        assert done.exit_code in (0, 1), done.output
        rows = [x.strip() for x in done.output.splitlines() if x[:2] == "  "]
        words = {row.split()[0]: row.split()[1] for row in rows if row.count("  ")}
        return words, done

    return run


def replaced(path, old, new):
    def edit(tree):
        text = (tree / path).read_text()
        assert old in text
        (tree / path).write_text(text.replace(old, new))

    return edit


def test_what_merges_applies(forecast):
    words, _ = forecast(replaced("pkg/a.py", "line 30\n", "line thirty\n"))
    assert set(words.values()) == {"applies"}


def test_a_renamed_file_is_followed(forecast):
    def edit(tree):
        (tree / "pkg/v1").mkdir()
        (tree / "pkg/a.py").rename(tree / "pkg/v1/a.py")

    words, _ = forecast(edit)
    assert words["first-lines"] == words["third-neighbour"] == "moved"
    assert words["second-file"] == "applies"


def test_another_file_of_that_name_is_not_followed(forecast):
    def edit(tree):
        (tree / "pkg/v1").mkdir()
        (tree / "pkg/a.py").unlink()
        (tree / "pkg/v1/a.py").write_text("something = 'else'\n" * 40)

    words, _ = forecast(edit)
    assert words["first-lines"] == "conflicts"
    assert words["third-neighbour"] == "blocked"


def test_what_upstream_changed_otherwise_conflicts_with_the_place(forecast):
    words, done = forecast(replaced("pkg/a.py", "line 10\n", "line X\n"))
    assert words["first-lines"] == "conflicts"
    assert words["third-neighbour"] == "blocked"
    assert "there: line X" in done.output and done.exit_code == 1


def test_a_change_that_is_there_has_landed(forecast):
    words, _ = forecast(replaced("pkg/a.py", "line 10\n", "line ten\n"))
    assert words["first-lines"] == "landed"


LANDED = '"second-file" = {"b is two" = ["pkg/b.py has B = 2 || pkg/b.py has B = TWO"]}'


def test_what_upstream_solved_in_its_own_way_has_landed(forecast):
    words, done = forecast(replaced("pkg/b.py", "B = 1", "B = TWO"), LANDED)
    assert words["second-file"] == "landed"
    assert "b is two (pkg/b.py:1)" in done.output


def test_what_merges_though_upstream_solved_it_is_redundant(forecast):
    sign = '"second-file" = {"b is two" = ["pkg/other.py has TWO = 2"]}'

    def edit(tree):
        (tree / "pkg/other.py").write_text("TWO = 2\n")

    words, _ = forecast(edit, sign)
    assert words["second-file"] == "redundant"


def test_a_word_is_no_evidence(forecast):
    words, _ = forecast(replaced("pkg/b.py", "B = 1", "B = 1\n# B = 2"), LANDED)
    assert words["second-file"] != "landed"


def test_what_is_missing_of_a_patch_is_named(forecast):
    signs = (
        '"second-file" = {"b is two" = ["pkg/b.py has B = 2"],'
        ' "there is a d" = ["pkg/new/d.py"]}'
    )
    words, done = forecast(replaced("pkg/b.py", "B = 1", "B = 2"), signs)
    assert words["second-file"] == "partly"
    assert "missing: there is a d" in done.output
