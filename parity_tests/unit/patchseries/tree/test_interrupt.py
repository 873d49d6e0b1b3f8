# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at every step of apply, unapply and refresh: the old state or the new one."""

import os

import pytest
from click.testing import CliRunner

from patchseries.apply.refresh import refresh
from patchseries.apply.status import status
from patchseries.apply.unapply import unapply
from patchseries.cli import main


@pytest.fixture(params=["git", "plain"])
def target(request, toy, tmp_path):
    make = toy.clone if request.param == "git" else toy.plain
    return make(tmp_path / "target")


def look(path, tools):
    """All that the tool promises; what it keeps for itself by its names."""
    files = {n: v[:2] for n, v in tools.picture(path, (".patchseries",)).items()}
    hidden = path / ".git" if (path / ".git").exists() else path
    kept = [p.relative_to(path) for p in hidden.rglob("*") if "patchseries" in p.name]
    kept += (path / ".patchseries").rglob("*")
    refs = tools.git_picture(path)[1:4] if hidden != path else ()
    return files, refs, sorted(map(str, kept)), list(path.rglob("*.lock"))


@pytest.mark.parametrize("direction", ["apply", "unapply"])
def test_killed_anywhere(toy, target, tools, direction):
    """Once more, or the other way: from every point at which a command may die."""

    def there():
        toy.apply(target)

    def back():
        unapply(toy.project, target, None)

    start = look(target, tools)
    there()
    end = look(target, tools)
    if direction == "apply":
        back()
    else:
        start, end, there, back = end, start, back, there
    step, sides = 0, []
    while not tools.die_at(step, there, target):
        sides.append(status(toy.project, target, None).state)
        if len(sides) % 2:
            there()
            assert look(target, tools) == end, f"killed at step {step}, then run again"
        back()
        assert look(target, tools) == start, f"killed at step {step}, then back"
        step += 1 if sides[-1] == "interrupted" else 6
    assert sides.count("interrupted") > 8
    assert set(sides) <= {"interrupted", "applied", "not-applied"}
    assert look(target, tools) == end


def test_refresh_killed_anywhere(toy, tools):
    work, root = toy.project.root / "work", toy.project.root
    marks = "<!-- patch-table:begin --><!-- patch-table:end -->"
    (root / "README.md").write_text(marks)
    refresh(toy.project, work, None, None)

    def see():
        files = [*toy.project.patches.rglob("*"), root / "README.md"]
        return {str(path): path.read_bytes() for path in files if path.is_file()}

    def there():
        refresh(toy.project, work, None, None, ["third-neighbour"])

    old = see()
    tip = tools.git(work, "rev-parse", "HEAD")
    tools.git(work, "reset", "-q", "--hard", "HEAD~")
    tools.edit(work, {"pkg/x.py": "X = 1\n"})
    tools.git(work, "commit", "-q", "-m", "[Core] Another\n\nWhy: so.")
    new_tip = tools.git(work, "rev-parse", "HEAD")
    there()
    new, step, sides = see(), 0, set()
    while True:
        tools.git(work, "checkout", "-q", "--detach", tip)
        refresh(toy.project, work, None, None, ["another"])
        assert see() == old
        tools.git(work, "checkout", "-q", "--detach", new_tip)
        if tools.die_at(step, there, toy.project.patches, root / "README.md"):
            break
        words = ["--project", str(root), "status", "--onto", str(work)]
        assert CliRunner().invoke(main, words).exit_code == 0
        seen = see()
        assert seen in (old, new), f"killed at step {step}"
        sides.add(seen == new)
        there()
        assert see() == new
        step += 2
    assert see() == new and {True, False} <= sides


def test_edit_after_an_interruption_is_kept(toy, target, tools, refused):
    step = 0
    while "ten" not in (target / "pkg/a.py").read_text():
        assert not tools.die_at(step, lambda: toy.apply(target), target)
        step += 1
    (target / "pkg/a.py").write_text("mine\n")
    error = refused("interrupted", toy.apply, target)
    assert "pkg/a.py" in str(error) and "move your edit away" in error.advice
    assert (target / "pkg/a.py").read_text() == "mine\n"
    (target / "pkg/a.py").unlink()
    toy.apply(target)
    assert status(toy.project, target, None).state == "applied"


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


def test_scratch_repositories_of_killed_commands_go(toy, target, tmp_path, monkeypatch):
    """Also one that Ctrl-C met while it was being removed; nobody else's folder."""
    scratch = tmp_path / "scratch"
    (scratch / f"patchseries-{'a' * 32}/objects").mkdir(parents=True)
    (scratch / f"patchseries-{'b' * 32}.lock").touch()
    (scratch / "patchseries-notes").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    toy.apply(target)
    assert [path.name for path in scratch.iterdir()] == ["patchseries-notes"]


def test_no_scratch_folder_outlives_the_next_command(toy, tools, tmp_path, monkeypatch):
    """Whatever a command was at when it was killed: `refresh` has several of them."""
    scratch, work = tmp_path / "scratch", toy.project.root / "work"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    left, step = set(), 0
    while not tools.die_at(step, lambda: refresh(toy.project, work, None, None), work):
        left |= {path.name for path in scratch.iterdir()}
        words = ["--project", str(toy.project.root), "unapply", "--onto", str(work)]
        CliRunner().invoke(main, words)  # refused: that tree has commits, no receipt
        assert not list(scratch.iterdir()), f"killed at step {step}"
        step += 2
    assert len(left) > 4
