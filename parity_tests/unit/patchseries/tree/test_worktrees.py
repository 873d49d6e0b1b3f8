# SPDX-License-Identifier: Apache-2.0
"""Several worktrees of one repository: no branch is moved under another one's feet."""

import subprocess

import pytest

from patchseries.apply.refresh import refresh
from patchseries.apply.status import status
from patchseries.apply.unapply import unapply


@pytest.fixture
def checkout(toy, tmp_path):
    return toy.clone(tmp_path / "checkout")


@pytest.fixture
def linked(checkout, tmp_path, tools):
    path = tmp_path / "linked"
    tools.git(checkout, "worktree", "add", "-q", "-b", "other", str(path))
    return path


def contents(path, tools):
    return {name: entry[:2] for name, entry in tools.picture(path).items()}


def branch(path, tools):
    return tools.git(path, "branch", "--show-current")


def test_each_worktree_has_a_branch_of_its_own(toy, checkout, linked, tools):
    before = tools.git_picture(checkout), contents(linked, tools)
    toy.apply(checkout)
    toy.apply(linked)
    own = f"patchseries/{tools.tree}"
    assert [branch(path, tools) for path in (checkout, linked)] == (
        [own, f"{own}@linked"]
    )
    unapply(toy.project, checkout, None)
    assert tools.git(linked, "status", "--porcelain") == ""
    assert status(toy.project, linked, None).state == "applied"
    assert len(tools.git(linked, "log", "--format=%h", "other..").split()) == 3
    unapply(toy.project, linked, None)
    assert branch(linked, tools) == "other"
    assert (tools.git_picture(checkout), contents(linked, tools)) == before


def test_a_series_is_refreshed_from_any_worktree(toy, checkout, linked, tools):
    toy.apply(linked)
    tools.edit(linked, {"pkg/b.py": "B = 5\n"})
    tools.git(linked, "commit", "-q", "-m", "[Core] Five\n\nWhy: so.")
    assert any("five" in line for line in refresh(toy.project, linked, None, None))


def _on_it(path, tools):
    tools.git(path, "switch", "-q", "main")


def _rebasing_it(path, tools):
    tools.git(path, "switch", "-q", "main")
    tools.edit(path, {"pkg/other.py": {3: "mine\n"}})
    tools.git(path, "stash", "-q")
    stop = ["git", "-c", "sequence.editor=sed -i 1i\\ break", "rebase", "-i", "HEAD"]
    subprocess.run(stop, cwd=path, check=True, capture_output=True)
    assert branch(path, tools) == ""


def _bisecting_it(path, tools):
    tools.git(path, "switch", "-q", "main")
    tools.git(path, "bisect", "start")
    tools.git(path, "checkout", "-q", "--detach")


@pytest.mark.parametrize("take", [_on_it, _rebasing_it, _bisecting_it])
def test_a_branch_that_another_worktree_took_is_not_turned_to(
    toy, checkout, linked, tools, refused, take
):
    toy.apply(checkout)
    take(linked, tools)
    before = tools.git_picture(checkout)
    error = refused("branch-in-use", unapply, toy.project, checkout, None)
    assert str(linked) in error.args[0]
    assert tools.git_picture(checkout) == before
    way_out = error.advice.split("`")[1].split()
    tools.git(checkout, *way_out[1:])
    assert not (checkout / "pkg/new/d.py").exists()


def test_nor_is_a_branch_deleted_that_another_worktree_took(
    toy, checkout, linked, tools, refused
):
    toy.apply(checkout)
    tools.git(checkout, "switch", "-q", "-c", "mine")
    tools.git(linked, "switch", "-q", f"patchseries/{tools.tree}")
    refused("branch-in-use", unapply, toy.project, checkout, None)
    tools.git(linked, "switch", "-q", "other")
    unapply(toy.project, checkout, None)
    assert branch(checkout, tools) == "main"


def test_nor_moved(toy, checkout, linked, tools, refused):
    toy.apply(checkout)
    tools.git(checkout, "switch", "-q", "main")
    tools.git(linked, "switch", "-q", f"patchseries/{tools.tree}")
    refused("branch-in-use", toy.apply, checkout)


def test_a_branch_that_moves_meanwhile_is_not_overwritten(
    toy, checkout, tools, refused
):
    """As by a push into this repository: after it was looked at, before it is made."""
    name = f"refs/heads/patchseries/{tools.tree}"

    def push():
        stage = checkout / ".git/patchseries/stage/new-index"
        assert tools.seen(stage)
        tools.git(checkout, "update-ref", name, "main")

    before = tools.git_picture(checkout)
    with tools.meanwhile(push):
        error = refused("ref-moved", toy.apply, checkout)
    assert name in str(error)
    assert tools.git(checkout, "rev-parse", name) == (
        tools.git(checkout, "rev-parse", "main")
    )
    tools.git(checkout, "update-ref", "-d", name)
    assert tools.git_picture(checkout) == before


def test_where_the_repository_lies_elsewhere(toy, checkout, tmp_path, tools):
    """git lists such a main worktree under its repository's path."""
    apart = tmp_path / "apart"
    source = ("clone", "-q", f"--separate-git-dir={tmp_path / 'repository'}")
    tools.git(tmp_path, *source, str(checkout), str(apart))
    before = contents(apart, tools)
    toy.apply(apart)
    assert branch(apart, tools) == f"patchseries/{tools.tree}"
    unapply(toy.project, apart, None)
    assert contents(apart, tools) == before
