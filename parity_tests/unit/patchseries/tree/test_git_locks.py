# SPDX-License-Identifier: Apache-2.0
"""git processes that outlive a killed command, and the locks of those that did not."""

import os
import shutil
import signal
import stat

import pytest

from patchseries.apply.status import status
from patchseries.apply.unapply import unapply


@pytest.fixture
def checkout(toy, tmp_path):
    return toy.clone(tmp_path / "checkout")


def killed_while_refs_move(toy, checkout, tools):
    """A checkout whose files are in place, and nothing of whose refs has moved."""
    step, journal = 60, checkout / ".git/patchseries/stage/refs.json"
    while not journal.exists():
        if journal.parent.exists():
            unapply(toy.project, checkout, None)
        assert not tools.die_at(step, lambda: toy.apply(checkout), checkout)
        step += 1


@pytest.mark.parametrize(
    "name, text",
    [
        ("HEAD", ""),
        ("HEAD", "ref: refs/heads/patchseries/toy-1.0\n"),
        ("HEAD", "ref: refs/heads/patchs"),
        ("refs/heads/patchseries/toy-1.0", ""),
        ("refs/heads/main", ""),
        ("packed-refs", ""),
    ],
)
@pytest.mark.parametrize("command", ["apply", "unapply"])
def test_a_lock_that_our_git_left_is_removed(toy, checkout, tools, name, text, command):
    before = tools.git_picture(checkout)
    killed_while_refs_move(toy, checkout, tools)
    lock = checkout / f".git/{name}.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(text)
    if command == "apply":
        toy.apply(checkout)
        assert status(toy.project, checkout, None).state == "applied"
    unapply(toy.project, checkout, None)
    assert not lock.exists() and tools.git_picture(checkout) == before


def test_a_lock_of_somebody_else_is_named(toy, checkout, tools, refused):
    killed_while_refs_move(toy, checkout, tools)
    lock = checkout / ".git/HEAD.lock"
    lock.write_text("ref: refs/heads/other\n")
    for _ in range(2):
        error = refused("locked", toy.apply, checkout)
        assert str(lock) in error.advice and "remove that file" in error.advice
    lock.unlink()
    toy.apply(checkout)
    assert status(toy.project, checkout, None).state == "applied"


def test_nothing_is_changed_where_such_a_lock_is(toy, checkout, tools, refused):
    before = tools.git_picture(checkout)
    lock = checkout / ".git/HEAD.lock"
    lock.write_text("")
    os.utime(lock, (1, 1))
    error = refused("locked", toy.apply, checkout)
    assert str(lock) in error.advice
    assert lock.exists() and tools.git_picture(checkout) == before


@pytest.mark.parametrize("slow", ["update-ref", "symbolic-ref -m", "checkout-index"])
def test_the_next_command_waits_for_git_of_a_killed_one(
    toy, checkout, tools, tmp_path, monkeypatch, slow
):
    before = tools.git_picture(checkout)
    real, began = shutil.which("git"), tmp_path / "began"
    wrapper = tmp_path / "bin/git"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *"{slow}"*) touch {began}; sleep 2;; esac\n'
        f'exec {real} "$@"\n'
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IEXEC)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{path}")
    child = os.fork()
    if not child:
        toy.apply(checkout)
        os._exit(1)
    assert tools.seen(began)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    monkeypatch.setenv("PATH", path)
    unapply(toy.project, checkout, None)
    assert tools.git_picture(checkout) == before
    toy.apply(checkout)
    unapply(toy.project, checkout, None)
    assert tools.git_picture(checkout) == before
