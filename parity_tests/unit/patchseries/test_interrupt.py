# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at every step of apply and unapply: the old tree or the new one."""

import os
import signal
from pathlib import Path

import pytest

from patchseries.status import status
from patchseries.unapply import unapply

STEPS = (
    (os, "link"),
    (Path, "replace"),
    (os, "open"),
    (Path, "rename"),
    (Path, "unlink"),
    (Path, "mkdir"),
    (Path, "rmdir"),
)


def run_until(step, function):
    """Run in a child that is killed at its n-th change of the file system.

    Returns:
        Whether the child came to its end before that.
    """
    child = os.fork()
    if child == 0:
        left = step
        for owner, name in STEPS:
            real = getattr(owner, name)

            def counted(*args, _real=real, **options):
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return _real(*args, **options)

            setattr(owner, name, counted)
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return False
    assert os.WEXITSTATUS(ended) == 0
    return True


@pytest.fixture(params=["git", "plain"])
def target(request, toy, tmp_path):
    make = toy.clone if request.param == "git" else toy.plain
    return make(tmp_path / "target")


def look(path, tools):
    files = {n: v[:2] for n, v in tools.picture(path, (".patchseries",)).items()}
    if not (path / ".git").exists():
        return files, (path / ".patchseries/receipt.json").exists()
    names = [p.name for p in (path / ".git").rglob("*") if "patchseries" in p.name]
    return files, tools.git_picture(path)[1:4], len(names)


@pytest.mark.parametrize("direction", ["apply", "unapply"])
def test_killed_anywhere(toy, target, tools, direction):
    """The other command recovers, from every point at which the first may die."""
    old = look(target, tools)
    toy.apply(target)
    new = look(target, tools)
    if direction == "apply":
        unapply(toy.project, target, None)
        start, end = old, new
    else:
        start, end = new, old

    def there():
        if direction == "apply":
            toy.apply(target)
        else:
            unapply(toy.project, target, None)

    def back():
        if direction == "apply":
            unapply(toy.project, target, None)
        else:
            toy.apply(target)

    sides = set()
    for step in range(200):
        if run_until(step, there):
            break
        state = status(toy.project, target, None).state
        assert state in ("interrupted", "applied", "not-applied"), f"step {step}"
        sides.add(state)
        if step % 2:
            there()
            assert look(target, tools) == end, f"killed at step {step}, then run again"
        back()
        assert look(target, tools) == start, f"killed at step {step}, then back"
    else:
        raise AssertionError("never ended")
    assert step > 15 and "interrupted" in sides
    assert look(target, tools) == end


def test_edit_after_an_interruption_is_kept(toy, target, tools, refused):
    step = 0
    while not (target / "pkg/new/d.py").exists():
        assert not run_until(step, lambda: toy.apply(target))
        step += 1
    (target / "pkg/a.py").write_text("mine\n")
    if status(toy.project, target, None).state == "interrupted":
        error = refused("interrupted", toy.apply, target)
        assert "pkg/a.py" in str(error) and "move your edit away" in error.advice
    assert (target / "pkg/a.py").read_text() == "mine\n"


@pytest.mark.parametrize("fails", range(6))
def test_full_disk(toy, target, tools, refused, monkeypatch, fails):
    old = look(target, tools)
    left = fails
    full = False
    real = Path.replace

    def failing(path, goal):
        nonlocal left, full
        left -= 1
        if left == -1:
            full = True
            raise OSError(28, "No space left on device", str(goal))
        return real(path, goal)

    monkeypatch.setattr(Path, "replace", failing)
    try:
        toy.apply(target)
        assert not full
    except Exception as error:
        assert full and error.code == "disk-full", error
        assert look(target, tools)[0] == old[0]
        assert look(target, tools)[1] == old[1]
    monkeypatch.undo()


def test_two_at_once(toy, target, tools):
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                toy.apply(target)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert status(toy.project, target, None).state == "applied"
