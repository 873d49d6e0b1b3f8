# SPDX-License-Identifier: Apache-2.0
"""Trees in known states, and the commands that lead from one state to another."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from patchseries.apply.refresh import refresh
from patchseries.errors import PatchseriesError
from patchseries.project import Project

NAME, FILES, CHANGED = "made-1.0", 60, 24
IDENTITY = ("-c", "user.name=kills", "-c", "user.email=kills@example.com")
QUESTIONS = (
    ("rev-parse", "--symbolic-full-name", "HEAD"), ("rev-parse", "HEAD"),
    ("for-each-ref",), ("ls-files", "-s", "-v"), ("worktree", "list", "--porcelain"),
    ("status", "--porcelain", "--ignored"),
)  # fmt: skip
Picture = dict[str, object]


def git(folder: Path, *args: str) -> str:
    """git as a user runs it."""
    done = subprocess.run(
        ["git", *IDENTITY, *args], cwd=folder, capture_output=True, check=True,
        env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
    )  # fmt: skip
    return os.fsdecode(done.stdout).strip()


@dataclass(frozen=True)
class Move:
    """A command of patchseries, and the state that it leads to."""

    words: tuple[str, ...]
    goal: str

    def __str__(self) -> str:
        return f"{self.words[2]} to {self.goal}"

    def on(self, verb: str) -> Move:
        """Another command on the same tree, which changes nothing."""
        return Move((*self.words[:2], verb, *self.words[3:5]), self.goal)


@dataclass
class Site:
    """One tree, and what it looks like in each state.

    Attributes:
        others: folders beside it in which nothing may change or stay either.
        stage: where a switch has its journal.
        moves: by the state before; all but `way_out` are tried.
        way_out: what leads to the first state from anywhere, None without such.
        works: checkouts whose HEAD a user turns before a move, with the commit.
    """

    kind: str
    root: Path
    others: list[Path]
    stage: Path
    moves: dict[str, list[Move]]
    way_out: Move | None = None
    works: dict[str, tuple[Path, str]] = field(default_factory=dict)
    state: str = "before"
    pictures: dict[str, Picture] = field(default_factory=dict)

    def prepare(self, move: Move) -> None:
        """What a user does before a move."""
        if move.goal in self.works:
            work, commit = self.works[move.goal]
            git(work, "checkout", "-q", "--detach", commit)

    def picture(self) -> Picture:
        """Everything that a user sees, and all of ours that may have stayed."""
        seen: Picture = {}
        for home in (self.root, *self.others):
            timed = self.kind.startswith("plain") and not list(
                home.glob(".patchseries/*.json")
            )
            for path in home.rglob("*"):
                parts = path.relative_to(home).parts
                if parts[0] != ".git" and "originals" not in parts[:-1]:
                    seen[str(path)] = _entry(path, timed)
            if (home / ".git").exists():
                seen |= {f"{home}: {q}": git(home, *q) for q in QUESTIONS}
                seen |= _left(Path(git(home, "rev-parse", "--absolute-git-dir")))
        return seen


def _entry(path: Path, timed: bool) -> object:
    info = path.lstat()
    if path.is_symlink():
        return path.readlink()
    if not path.is_file():
        return info.st_mode
    content = b"" if path.name == "receipt.json" else path.read_bytes()
    digest = hashlib.sha1(content).hexdigest()[:10]
    return oct(info.st_mode), len(content), digest, info.st_mtime_ns if timed else 0


def _left(git_dir: Path) -> Picture:
    """What is in a repository's folder of ours, and locks and half files of git."""
    seen: Picture = {}
    for path in git_dir.rglob("*"):
        parts = path.relative_to(git_dir).parts
        ours = any("patchseries" in part for part in parts)
        if parts[0] in ("refs", "logs") and path.suffix != ".lock":
            continue
        if ours or path.suffix == ".lock" or path.name.startswith("tmp_"):
            seen[str(path)] = "there"
    return seen


def made_sites(folder: Path, apart: Path | None) -> Iterator[Site]:
    """A made series on a checkout, a plain tree, a linked worktree, and its project.

    Args:
        apart: a folder on another file system than `folder`.
    """
    projects, work = _make_projects(folder)
    pristine = folder / "pristine"
    checkout = _clone(pristine, folder / "checkout")
    yield _site("git", checkout, [], checkout / ".git/patchseries", projects)
    plain = _without_git(pristine, folder / "plain")
    yield _site("plain", plain, [], plain / ".patchseries", projects)
    for kind, where in (("worktree", folder), ("worktree apart", apart)):
        if where:
            main, tree = _clone(pristine, folder / f"main of {kind}"), where / "tree"
            git(main, "worktree", "add", "-q", "-b", "mine", str(tree))
            private = main / ".git/worktrees/tree/patchseries"
            yield _site(kind, tree, [main], private, projects)
    yield _refreshed(_copy(projects[0]), work)


def real_sites(project: Project, folder: Path) -> Iterator[Site]:
    """A project's own series on checkouts of their trees, and on a plain one.

    Raises:
        PatchseriesError: a tree is not fetched.
    """
    for series in sorted(project.patches.glob("*/series")):
        name = series.parent.name
        pristine = project.pristine(name)
        if not pristine.is_dir():
            raise PatchseriesError("not-fetched", f"no {pristine}", "`make sources`")
        tree = _clone(pristine, folder / name)
        yield _site(name, tree, [], tree / ".git/patchseries", [project])
        plain = _without_git(pristine, folder / f"plain {name}")
        yield _site(f"plain {name}", plain, [], plain / ".patchseries", [project])


def _without_git(tree: Path, path: Path) -> Path:
    skipped = shutil.ignore_patterns(".git")
    return Path(shutil.copytree(tree, path, symlinks=True, ignore=skipped))


def _copy(project: Project) -> Project:
    """One that may be written while the other stays what it is."""
    root = project.root.with_name(f"{project.root.name}, written")
    return Project(Path(shutil.copytree(project.root, root)))


def _clone(pristine: Path, path: Path) -> Path:
    git(pristine, "clone", "-q", "--no-hardlinks", ".", str(path))
    git(path, "checkout", "-q", "-B", "main")
    return path


def _site(
    kind: str, root: Path, others: list[Path], private: Path, projects: list[Project]
) -> Site:
    """With work of a user in it: an edit, and a file that nobody else knows."""
    with (root / "setup.py").open("a") as file:
        file.write("# mine\n")
    (root / "notes of mine").write_text("mine\n")

    def command(project: Project, verb: str) -> tuple[str, ...]:
        return ("--project", str(project.root), verb, "--onto", str(root))

    out = Move(command(projects[0], "unapply"), "before")
    to = [
        Move(command(project, "apply"), f"applied {number}")
        for number, project in enumerate(projects, 1)
    ]
    moves = {"before": to}
    for move in to:
        moves[move.goal] = [out, *(other for other in to if other != move)]
    return Site(kind, root, others, private / "stage", moves, out)


def _refreshed(project: Project, work: Path) -> Site:
    """The project's own files, written from one line of commits or another."""
    where = ("--project", str(project.root), "refresh", "--onto", str(work))
    words = (*where, "--series", NAME, "--base", "main")
    there, back = Move(words, "after"), Move(words, "before")
    works = {"before": (work, "all"), "after": (work, "other")}
    stage = project.patches / ".patchseries/stage"
    moves = {"before": [there], "after": [back]}
    return Site("refresh", project.root, [], stage, moves, None, works)


def _make_projects(folder: Path) -> tuple[list[Project], Path]:
    """Two projects with a version each of one series, and the commits of it."""
    pristine, work = folder / "pristine", folder / "work"
    for number in range(FILES):
        path = pristine / f"pkg/part{number % 5}/file{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{number} {line}\n" for line in range(200)))
    (pristine / "setup.py").write_text("# setup\n")
    (pristine / "run.sh").write_text("#!/bin/sh\n")
    git(pristine, "init", "-q", "-b", "main")
    git(pristine, "add", "-A")
    git(pristine, "commit", "-q", "-m", "pristine")
    _clone(pristine, work)
    projects = []
    for version in (1, 2):
        _commit(work, version, range(version, 4))
        git(work, "branch", "all" if version == 1 else "fewer")
        project = Project(folder / f"project {version}")
        project.patches.mkdir(parents=True)
        project.trees.mkdir()
        project.pins.touch()
        marks = "<!-- patch-table:begin -->\n<!-- patch-table:end -->\n"
        (project.root / "README.md").write_text(marks)
        refresh(project, work, NAME, "main")
        projects.append(project)
    _commit(work, 2, range(1, 4))
    git(work, "branch", "other")
    return projects, work


def _commit(work: Path, version: int, numbers: range) -> None:
    git(work, "checkout", "-q", "--detach", "main")
    for number in numbers:
        _change(work, number, version)
        text = f"[Core] Patch {number}\n\nWhy: so.\n\nPatch-Slug: patch-{number}\n"
        git(work, "add", "-A")
        git(work, "commit", "-q", "-m", text)


def _change(work: Path, number: int, version: int) -> None:
    """Changed, added, deleted and executable files."""
    files = sorted(work.glob("pkg/part*/file*.py"))
    for path in files[number : CHANGED * number : number]:
        path.write_text(f"# {number} of version {version}\n{path.read_text()}")
    (work / f"new{number}/deep").mkdir(parents=True)
    (work / f"new{number}/deep/file.py").write_text(f"{version}\n")
    files[-number].unlink()
    if number == 2:
        (work / "run.sh").write_text("#!/bin/sh\necho\n")
        (work / "run.sh").chmod(0o755)
