# SPDX-License-Identifier: Apache-2.0
"""Every kind of drift is found, named, and ends with status 1."""

import json

import pytest
from click.testing import CliRunner

from patchseries.cli import main
from patchseries.series.tables import BEGIN, END


@pytest.fixture
def run(toy):
    def call(*args):
        return CliRunner().invoke(main, ["--project", str(toy.project.root), *args])

    return call


def found(result):
    findings = json.loads(result.stdout)
    return {(f["patch"], f["kind"]) for f in findings}


def test_clean(run, toy):
    result = run("check")
    assert result.exit_code == 0, result.output
    toy.apply(toy.patched)
    assert run("check").exit_code == 0


def _missing(toy, tools):
    (toy.folder / "first-lines.patch").unlink()


def _extra(toy, tools):
    (toy.folder / "stray.patch").write_bytes(b"")


def _other_file(toy, tools):
    (toy.folder / "notes.txt").write_bytes(b"")


def _unlisted(toy, tools):
    path = toy.folder / "series"
    path.write_text(path.read_text().replace("third-neighbour.patch\n", ""))


def _bytes(toy, tools):
    path = toy.folder / "first-lines.patch"
    path.write_bytes(path.read_bytes() + b"-- \n2.39\n")


def _date(toy, tools):
    path = toy.folder / "first-lines.patch"
    path.write_bytes(path.read_bytes().replace(b"1 Jan 2026", b"2 Jan 2026"))


def _header(toy, tools):
    path = toy.folder / "first-lines.patch"
    path.write_bytes(path.read_bytes().replace(b"Remove-when: ", b"Removed: "))


def _page(toy, tools):
    (toy.folder / "README.md").write_text("by hand")


def _readme(toy, tools):
    (toy.project.root / "README.md").write_text(f"{BEGIN}\nold\n{END}\n")


def _commits(toy, tools):
    toy.apply(toy.patched)
    (toy.patched / "pkg/b.py").write_text("B = 9\n")
    tools.git(toy.patched, "commit", "-q", "-am", "[Core] Not exported")


@pytest.mark.parametrize(
    "prepare, expected",
    [
        (_missing, ("first-lines", "missing")),
        (_extra, ("stray", "extra")),
        (_other_file, ("notes.txt", "extra")),
        (_unlisted, ("third-neighbour", "extra")),
        (_bytes, ("first-lines", "content")),
        (_date, ("first-lines", "content")),
        (_header, ("first-lines", "header")),
        (_page, ("patches/toy-1.0/README.md", "table")),
        (_readme, ("README.md", "table")),
        (_commits, ("(commits)", "content")),
    ],
)
def test_drift(run, toy, tools, prepare, expected):
    prepare(toy, tools)
    result = run("check", "--json")
    assert result.exit_code == 1, result.output
    assert expected in found(result)
    assert run("check").exit_code == 1


def _order(toy, tools):
    lines = (toy.folder / "series").read_text().splitlines()
    (toy.folder / "series").write_text("\n".join(reversed(lines)) + "\n")


def _hunk(toy, tools):
    path = toy.folder / "first-lines.patch"
    path.write_bytes(path.read_bytes().replace(b"+line ten", b"+line 10!"))


def _pristine(toy, tools):
    (toy.pristine / "pkg/a.py").write_text("edited\n")


@pytest.mark.parametrize(
    "prepare, code",
    [
        (_order, "broken-series"),
        (_hunk, "corrupt-patch"),
        (_pristine, "tree-changed"),
    ],
)
def test_what_cannot_be_checked_is_no_pass(run, toy, tools, prepare, code):
    prepare(toy, tools)
    result = run("check")
    assert result.exit_code == 2 and code in result.stderr


def test_no_series_is_no_pass(run, toy):
    import shutil

    shutil.rmtree(toy.folder)
    assert run("check").exit_code == 2
    assert run("status").exit_code == 2
    assert run("apply").exit_code == 2


def test_commands_on_the_default_trees(run, toy, tools):
    result = run("apply")
    assert result.exit_code == 0 and "3 patches applied" in result.stdout
    result = run("status", "--json")
    (one,) = json.loads(result.stdout)
    assert one["state"] == "applied" and len(one["patches"]) == 3
    assert "first-lines" in run("status").stdout
    assert run("unapply").exit_code == 0
    assert tools.git(toy.patched, "branch", "--show-current") == "pristine"
    assert run("fetch", "nonsense").exit_code == 2
    assert run("fetch", "toy").stdout == "toy-1.0: unchanged\n"


def test_pr_body(run):
    result = run("pr-body", "--draft", "third-neighbour")
    assert result.exit_code == 0
    plan = "```bash\npytest tests/test_third-neighbour.py\n```"
    for part in ("## Purpose", "## Test Plan", "## Test Result", plan):
        assert part in result.stdout
    assert result.stdout.startswith("# [Bugfix] Third: a neighbour of the first\n")
    assert "Upstream-Status" not in result.stdout
    assert "DRAFT: no result" in result.stdout
    result = run("pr-body", "nonsense")
    assert result.exit_code == 2 and "first-lines" in result.stderr
