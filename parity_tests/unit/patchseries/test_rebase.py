# SPDX-License-Identifier: Apache-2.0
"""A series onto another release: carried over, recognised, or explained; never lost."""

import pytest
from click.testing import CliRunner

from patchseries.apply import Options, apply
from patchseries.cli import main
from patchseries.folder import read_series
from patchseries.project import Project
from patchseries.rebase import rebase, write_proposal


@pytest.fixture
def newer(toy, tools, tmp_path):
    """A later release as an unpacked tree, with edits as `commit_edits` takes them."""

    def call(edits):
        work = toy.clone(tmp_path / "newer")
        tools.edit(work, edits)
        tools.git(work, "commit", "-q", "-m", "later")
        return work

    return call


def fates(proposal):
    return {m.slug: m.outcome for m in proposal.moved}


def test_clean(toy, newer, tools, tmp_path):
    tree = newer({"pkg/a.py": {30: "line thirty\n"}, "pkg/other.py": {1: "x\n"}})
    before = tools.git_picture(tree)
    proposal = rebase(toy.project, tools.tree, tree)
    assert fates(proposal) == {
        "first-lines": "offset",
        "second-file": "exact",
        "third-neighbour": "offset",
    }
    assert proposal.open == [] and proposal.range_diff.count(" = ") == 3
    assert tools.git_picture(tree) == before
    out = tmp_path / "out" / "patches" / tools.tree
    write_proposal(toy.project, proposal, out)
    there = Project(tmp_path / "out")
    titles = [p.subject for p in read_series(toy.project, tools.tree).patches]
    assert [p.subject for p in read_series(there, tools.tree).patches] == titles
    apply(there, tree, tools.tree, Options())
    text = (tree / "pkg/a.py").read_text()
    assert "line ten\n" in text and "line thirty\n" in text


def test_three_way(toy, newer, tools):
    """Context that moved on is merged with the files the patch was written for."""
    tree = newer({"pkg/a.py": {8: "eight, later\n"}})
    proposal = rebase(toy.project, tools.tree, tree)
    assert fates(proposal)["first-lines"] == "three-way"
    assert proposal.open == [] and len(proposal.files) == 3


def test_conflict_is_explained_and_the_rest_kept(toy, newer, tools, tmp_path):
    tree = newer({"pkg/a.py": {10: "ten, as upstream wants it\n"}})
    proposal = rebase(toy.project, tools.tree, tree)
    first, second, third = proposal.moved
    assert first.outcome == "conflict" and second.outcome == "exact"
    assert third.outcome == "blocked" and third.detail == "needs first-lines"
    text = "\n".join(first.explanation)
    assert "pkg/a.py: 1 of the changed places" in text and "line 11" in text
    assert "there: ten, as upstream wants it" in text and "patch: line ten" in text
    assert list(proposal.files) == ["second-file"]
    write_proposal(toy.project, proposal, tmp_path / "out")
    lines = (tmp_path / "out/series").read_text().splitlines()
    assert lines[0].startswith("# first-lines: conflict")
    assert lines[1] == "second-file.patch"
    assert lines[2] == "# third-neighbour: blocked needs first-lines"


def test_moved_file_is_looked_for(toy, newer, tools):
    tree = newer({"pkg/b.py": None, "pkg/sub/b.py": "B = 1\n"})
    proposal = rebase(toy.project, tools.tree, tree)
    (moved,) = proposal.open
    assert moved.slug == "second-file"
    assert "is not there; of that name: pkg/sub/b.py" in moved.explanation[0]


def test_upstream_by_marker_and_by_content(toy, newer, tools):
    edits = {
        "pkg/a.py": {10: "line ten\n", 30: "more\n", 8: "other\n"},
        "pkg/b.py": "B = 2\n",
        "pkg/new/d.py": "D = 1\n",
    }
    moved = rebase(toy.project, tools.tree, newer(edits)).moved
    assert [m.outcome for m in moved[:2]] == ["upstream", "upstream"]
    assert "Remove-when holds" in moved[0].detail


def test_upstream_by_commit(toy, tools, tmp_path):
    """Taken as it was, then changed: only the history tells."""
    tree = toy.clone(tmp_path / "clone")
    tools.git(tree, "am", "-q", str(toy.folder / "first-lines.patch"))
    tools.edit(tree, {"pkg/a.py": {10: "ten, later\n"}})
    tools.git(tree, "commit", "-q", "-m", "later")
    first, second, _ = rebase(toy.project, tools.tree, tree).moved
    assert first.outcome == "upstream" and first.detail.startswith("is commit ")
    assert second.outcome == "exact"


@pytest.fixture
def run(toy):
    def call(*args):
        words = ["--project", str(toy.project.root), "rebase", *args]
        return CliRunner().invoke(main, words)

    return call


def test_release_by_version(toy, run, tools, tmp_path):
    files = {**tools.files, "pkg/b.py": "B = 7\n"}
    tools.sdist(toy.index / "toy-1.1.tar.gz", files, "toy-1.1")
    result = run("--to", "1.1")
    assert result.exit_code == 1, result.output
    assert "second-file      conflict" in result.stdout
    assert "2 of 3 patches are carried over, 1 wait" in result.stdout
    assert 'file = "toy-1.1.tar.gz"' in result.stdout
    folder = toy.project.patches / "toy-1.1"
    assert sorted(p.name for p in folder.iterdir()) == [
        "first-lines.patch",
        "series",
        "third-neighbour.patch",
    ]
    (toy.index / "toy-1.1.tar.gz").unlink()
    again = run("--to", "1.1", "--series", tools.tree)
    assert again.exit_code == 2 and "folder-exists" in again.stderr
    again = run("--to", "1.1", "--series", tools.tree, "--out", str(tmp_path / "out"))
    assert again.exit_code == 1, "the release is in the cache"


def test_refusals(toy, run, tmp_path):
    result = run("--to", "9.9")
    assert result.exit_code == 2 and "found: 1.0" in result.stderr
    (tmp_path / "empty").mkdir()
    result = run("--to", str(tmp_path / "empty"))
    assert result.exit_code == 2 and "foreign-directory" in result.stderr
