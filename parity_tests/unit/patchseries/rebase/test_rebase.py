# SPDX-License-Identifier: Apache-2.0
"""A series onto another release: carried over, recognised, or explained; never lost."""

import shutil

import pytest
from click.testing import CliRunner

from patchseries.apply.apply import Options, apply
from patchseries.cli import main
from patchseries.project import Project
from patchseries.rebase.proposal import propose, write_proposal
from patchseries.series.folder import read_series


@pytest.fixture
def newer(toy, tools, tmp_path):
    """A later release as an unpacked tree, with edits as `commit_edits` takes them."""

    def call(edits):
        work = tmp_path / "newer"
        shutil.rmtree(work, ignore_errors=True)
        toy.clone(work)
        tools.edit(work, edits)
        tools.git(work, "commit", "-q", "-m", "later")
        return work

    return call


def fates(proposal):
    return {m.slug: m.outcome for m in proposal.moved}


def test_clean(toy, newer, tools, tmp_path):
    tree = newer({"pkg/a.py": {30: "line thirty\n"}, "pkg/other.py": {1: "x\n"}})
    before = tools.git_picture(tree)
    proposal = propose(toy.project, tools.tree, tree)
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
    proposal = propose(toy.project, tools.tree, tree)
    assert fates(proposal)["first-lines"] == "three-way"
    assert proposal.open == [] and len(proposal.files) == 3


def test_conflict_is_explained_and_the_rest_kept(toy, newer, tools, tmp_path):
    tree = newer({"pkg/a.py": {10: "ten, as upstream wants it\n"}})
    proposal = propose(toy.project, tools.tree, tree)
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


def test_moved_file_is_followed_by_its_lines(toy, newer, tools):
    tree = newer({"pkg/b.py": None, "pkg/sub/b.py": "B = 1\n"})
    proposal = propose(toy.project, tools.tree, tree)
    assert not proposal.open
    assert [m.slug for m in proposal.moved if m.renamed] == ["second-file"]
    patch = proposal.files["second-file"]
    assert b"+++ b/pkg/sub/b.py" in patch and b"b/pkg/b.py" not in patch


def test_another_file_of_the_name_of_a_moved_one_is_shown(toy, newer, tools):
    tree = newer({"pkg/b.py": None, "pkg/sub/b.py": "import another\n"})
    proposal = propose(toy.project, tools.tree, tree)
    (moved,) = proposal.open
    assert moved.slug == "second-file"
    assert "is not there; of that name: pkg/sub/b.py" in moved.explanation[0]


def test_upstream_by_content(toy, newer, tools):
    edits = {
        "pkg/a.py": {10: "line ten\n", 30: "more\n", 8: "other\n"},
        "pkg/b.py": "B = 2\n",
        "pkg/new/d.py": "D = 1\n",
    }
    moved = propose(toy.project, tools.tree, newer(edits)).moved
    assert [m.outcome for m in moved[:2]] == ["upstream", "upstream"]


def test_upstream_by_commit(toy, tools, tmp_path):
    """Taken as it was, then changed: only the history tells."""
    tree = toy.clone(tmp_path / "clone")
    tools.git(tree, "am", "-q", str(toy.folder / "first-lines.patch"))
    tools.edit(tree, {"pkg/a.py": {10: "ten, later\n"}})
    tools.git(tree, "commit", "-q", "-m", "later")
    first, second, _ = propose(toy.project, tools.tree, tree).moved
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
    assert "2 of 3 patches are carried over, 1 wait for a person, 2 are not pr" in (
        result.stdout
    )
    assert 'file = "toy-1.1.tar.gz"' in result.stdout
    folder = toy.project.root / "build/rebase/toy-1.1"
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


def test_nothing_carried_over_is_an_answer(toy, run, tools, newer, tmp_path):
    """Not git's usage text: what was found out is worth reading, and is kept."""
    edits = {"pkg/a.py": {10: "ten\n", 11: "eleven\n"}, "pkg/b.py": "B = 3\n"}
    out = tmp_path / "out"
    result = run("--to", str(newer(edits)), "--out", str(out))
    assert result.exit_code == 1, result.output
    assert all(": patch " in line for line in result.stderr.splitlines())
    assert "0 of 3 patches are carried over, 3 wait for a person" in result.stdout
    assert "there: eleven" in result.stdout and "range-diff" not in result.stdout
    lines = (out / "series").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"# {slug}" for slug in tools.patches
    ]


def test_a_proposal_leaves_check_as_it_was(toy, run, tools):
    def check():
        words = ["--project", str(toy.project.root), "check", "--fast"]
        return CliRunner().invoke(main, words)

    before = check()
    tools.sdist(toy.index / "toy-1.1.tar.gz", tools.files, "toy-1.1")
    result = run("--to", "1.1")
    assert "to adopt them: its pin into" in result.stdout
    assert (check().exit_code, check().output) == (before.exit_code, before.output)


CODE = "B = 1\n\n\ndef two():\n    return B + 1\n"
TEST = "from pkg import b\n\n\ndef test_two():\n    assert b.two() == 2\n"
SETUP = "[source.tests]\noptions = ['--import-mode=importlib']\n"


@pytest.fixture
def tested(toy, series):
    """One patch that adds a function, with its test."""
    with toy.project.pins.open("a") as file:
        file.write(SETUP)
    edits = {"pkg/b.py": CODE, "tests/test_two.py": TEST}
    series({"two": edits}, {"two": {"Remove-when": "pkg/b.py: def two"}})


def test_carried_over_with_its_tests(toy, tested, run, newer, tools, tmp_path):
    tree = newer({"pkg/other.py": "O = 1\n"})
    before = tools.git_picture(tree)
    result = run("--to", str(tree), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "two  exact      its 1 tests pass there" in result.stdout
    assert tools.git_picture(tree) == before
    plain = tmp_path / "plain"
    shutil.copytree(tree, plain, ignore=shutil.ignore_patterns(".git"))
    result = run("--to", str(plain), "--out", str(tmp_path / "out2"))
    assert result.exit_code == 0 and "1 tests pass there" in result.stdout


def test_text_that_merges_may_be_wrong(toy, tested, run, newer, tmp_path):
    """The patch goes in as it is, and what it relies on has another meaning."""
    tree = newer(
        {"pkg/b.py": "B = 1\n", "pkg/__init__.py": "from pkg import b\nb.B=7\n"}
    )
    result = run("--to", str(tree), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "exact      its tests fail there: 1 of 1, " in result.stdout
    assert "1 wait for a person" in result.stdout
    lines = (tmp_path / "out/series").read_text().splitlines()
    assert lines[0].startswith("# two: exact its tests fail") and lines[1:] == [
        "two.patch"
    ]


def test_tests_that_pass_without_the_code_say_so(toy, tested, run, newer, tmp_path):
    init = "import sys\n\nfrom pkg import b\n\nb.two = lambda: 2\n"
    tree = newer({"pkg/__init__.py": init})
    result = run("--to", str(tree), "--out", str(tmp_path / "out"))
    assert "and without its code too: upstream may have it" in result.stdout


def test_tests_that_cannot_run_prove_nothing(toy, tested, run, newer, tmp_path):
    tree = newer({"pkg/__init__.py": "import no_such_library\n"})
    result = run("--to", str(tree), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "text only: its tests cannot run there: ModuleNotFoundError" in result.stdout
    assert "1 are not proven" in result.stdout


@pytest.mark.parametrize(
    "words, why", [((), "does not say how the tests"), (("--text-only",), "not run")]
)
def test_without_tests_it_says_text_only(toy, run, newer, tmp_path, words, why):
    tree = newer({"pkg/other.py": "O = 1\n"})
    result = run("--to", str(tree), "--out", str(tmp_path / "out"), *words)
    assert result.exit_code == 1 and result.stdout.count("text only: ") == 3
    assert why in result.stdout


def test_upstream_by_its_own_account_is_tried(tested, run, newer, tools, tmp_path):
    """Remove-when alone is a claim, which the patch's tests prove or do not."""
    claim = "B = 1\n\n\ndef two():\n    return 1 + {}\n"
    good = newer({"pkg/b.py": claim.format(1)})
    result = run("--to", str(good), "--out", str(tmp_path / "out"))
    assert "two  upstream?  Remove-when holds: pkg/b.py:4: def two():" in result.stdout
    assert "its 1 tests pass there (without its code)" in result.stdout
    assert result.exit_code == 0, result.output
    (good / "pkg/b.py").write_text(claim.format(2))
    tools.git(good, "commit", "-q", "-am", "wrong")
    result = run("--to", str(good), "--out", str(tmp_path / "out2"))
    assert "its tests fail there" in result.stdout and result.exit_code == 1


@pytest.fixture
def outcome(toy, series, newer, tools):
    """What becomes of one patch with this Remove-when on a tree with these edits."""

    def call(marker, edits, patch=None):
        patch = patch or {"pkg/b.py": "B = 1\n\nuse(lengths)\nlengths = 2\n"}
        series({"one": patch}, {"one": {"Remove-when": marker}})
        (moved,) = propose(toy.project, tools.tree, newer(edits)).moved
        return moved

    return call


def test_a_pattern_that_holds_by_accident_is_no_proof(outcome):
    moved = outcome("pkg/b.py: lengths", {"pkg/b.py": "B = 3\nlengths = None\n"})
    assert moved.outcome == "conflict"
    assert "by accident? pkg/b.py:2: lengths = None" in moved.detail
    assert "of its code, 0 of " in moved.explanation[0]


def test_a_pattern_may_name_upstreams_own_form(outcome):
    marker = "pkg/b.py: lengths = 2|host_lengths"
    moved = outcome(marker, {"pkg/b.py": "B = 3\nhost_lengths = None\n"})
    assert moved.outcome == "upstream?" and ":2: host_lengths" in moved.detail


def test_the_file_of_a_pattern_may_have_moved(outcome):
    edits = {"pkg/b.py": None, "pkg/sub/b.py": "B = 3\n\n  lengths  = 2\n"}
    patch = {"pkg/b.py": "B = 1\nlengths = 2\n", "pkg/a.py": {3: "three\n"}}
    moved = outcome("pkg/b.py: lengths +=", edits, patch)
    assert moved.outcome == "upstream?" and "pkg/sub/b.py:3: lengths" in moved.detail


def test_a_file_that_moved_is_not_absent(outcome):
    edits = {"pkg/gone.py": None, "pkg/b.py": "B = 3\n", "pkg/sub/gone.py": "G = 1\n"}
    moved = outcome("absent pkg/gone.py", edits)
    assert moved.outcome == "conflict"
    assert "pkg/gone.py is not there, but pkg/sub/gone.py is" in moved.detail


def test_a_pattern_may_look_at_any_file(outcome):
    """The series touches neither; both were taken for files that are not there."""
    moved = outcome("absent pkg/other.py", {"pkg/b.py": "B = 3\n"})
    assert moved.outcome == "conflict" and "Remove-when" not in moved.detail
    patch = {"pkg/b.py": "B = 1\nlengths = 2\n"}
    marker = "pkg/other.py: upstreams way|never"
    moved = outcome(
        marker, {"pkg/b.py": "B = 3\n", "pkg/other.py": {3: "upstreams way\n"}}, patch
    )
    assert moved.outcome == "upstream?"


def test_blocked_says_what_of_it_is_there(toy, newer, tools):
    tree = newer(
        {"pkg/a.py": {10: "other\n", 11: "line eleven\n"}, "pkg/gone.py": None}
    )
    third = propose(toy.project, tools.tree, tree).moved[2]
    assert third.outcome == "upstream?"
    tree = newer({"pkg/a.py": {10: "other\n", 11: "line eleven\n"}})
    third = propose(toy.project, tools.tree, tree).moved[2]
    assert third.outcome == "blocked"
    assert third.explanation == (
        "of its code, 1 of 1 added lines are there, 0 of 1 removed lines are gone",
    )


def test_an_installed_package_gets_an_answer_and_no_proposal(toy, run, tools, tmp_path):
    shutil.copytree(toy.pristine / "pkg", tmp_path / "site/pkg")
    result = run("--to", str(tmp_path / "site/pkg"))
    assert (
        result.exit_code == 1 and "an installed package has no tests" in result.stdout
    )
    assert "3 of 3 patches are carried over" in result.stdout
    assert "wrote" not in result.stdout and not (toy.project.root / "build").exists()


def test_refusals(toy, run, tmp_path):
    result = run("--to", "9.9")
    assert result.exit_code == 2 and "found: 1.0" in result.stderr
    (tmp_path / "empty").mkdir()
    result = run("--to", str(tmp_path / "empty"))
    assert result.exit_code == 2 and "foreign-directory" in result.stderr
