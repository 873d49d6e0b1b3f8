# SPDX-License-Identifier: Apache-2.0
"""What git itself has under way is seen, whichever command began it."""

import subprocess

import pytest

from patchseries.apply.unapply import unapply


def begin(path, *args):
    """A git command that is meant to stop half-way."""
    done = subprocess.run(["git", *args], cwd=path, capture_output=True, text=True)
    return done.returncode


@pytest.fixture
def checkout(toy, tmp_path, tools):
    """`main`, and two commits on `topic` that each conflict with it in one file."""
    path = toy.clone(tmp_path / "checkout")
    tools.git(path, "checkout", "-q", "-b", "topic")
    for number in (1, 2):
        tools.edit(path, {"pkg/other.py": {5: f"topic {number}\n"}})
        tools.git(path, "commit", "-q", "-m", f"topic {number}")
    tools.git(path, "checkout", "-q", "main")
    tools.edit(path, {"pkg/other.py": {5: "main\n"}})
    tools.git(path, "commit", "-q", "-m", "main goes on")
    return path


def resolve(path, tools):
    """As many do it: with `git commit`, not with --continue."""
    tools.edit(path, {"pkg/other.py": "resolved\n"})
    tools.git(path, "commit", "-q", "-m", "resolved")


def _several_picked(path, tools):
    begin(path, "cherry-pick", "topic~1", "topic")
    resolve(path, tools)


def _several_reverted(path, tools):
    begin(path, "revert", "--no-edit", "topic", "topic~1")
    resolve(path, tools)


def _picked(path, tools):
    begin(path, "cherry-pick", "topic")
    tools.git(path, "checkout", "-q", "HEAD", "--", "pkg/other.py")


def _reverted(path, tools):
    begin(path, "revert", "--no-edit", "topic")
    tools.git(path, "checkout", "-q", "HEAD", "--", "pkg/other.py")


def _merged(path, tools):
    begin(path, "merge", "--no-commit", "-s", "ours", "topic")


def _rebased(path, tools):
    begin(path, "rebase", "--merge", "main", "topic")
    resolve(path, tools)


def _rebased_by_patches(path, tools):
    begin(path, "rebase", "--apply", "main", "topic")
    resolve(path, tools)


def _bisected(path, tools):
    tools.git(path, "bisect", "start")


@pytest.mark.parametrize(
    "start",
    [
        _several_picked,
        _several_reverted,
        _picked,
        _reverted,
        _merged,
        _rebased,
        _rebased_by_patches,
        _bisected,
    ],
)
@pytest.mark.parametrize("linked", [False, True], ids=["main", "worktree"])
def test_a_session_of_git_is_seen(
    toy, checkout, tmp_path, tools, refused, start, linked
):
    if linked:
        path = tmp_path / "linked"
        tools.git(checkout, "worktree", "add", "-q", "--detach", str(path))
        checkout = path
    start(checkout, tools)
    assert tools.git(checkout, "diff", "--cached", "--name-only") == ""
    before = tools.git(checkout, "rev-parse", "HEAD")
    refused("operation-in-progress", toy.apply, checkout)
    assert tools.git(checkout, "rev-parse", "HEAD") == before


def test_nor_is_a_series_written_or_taken_out_in_the_middle(
    toy, checkout, tools, refused
):
    from patchseries.apply.refresh import refresh

    toy.apply(checkout)
    _several_picked(checkout, tools)
    tools.git(checkout, "reset", "-q", "--soft", "HEAD~1")
    tools.git(checkout, "reset", "-q", "--hard")
    refused("operation-in-progress", unapply, toy.project, checkout, None)
    refused("operation-in-progress", refresh, toy.project, checkout, None, None)
