# SPDX-License-Identifier: Apache-2.0
"""A hermetic git and a toy project: one pinned sdist, three patches that overlap."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from patchseries import git
from patchseries.apply.apply import Options, apply, ensure_patched
from patchseries.apply.refresh import refresh
from patchseries.errors import PatchseriesError
from patchseries.pins.fetch import commit_tree, fetch
from patchseries.pins.sources import read_sources
from patchseries.pins.unpack import unpack_sdist
from patchseries.project import Project

TREE = "toy-1.0"
LINES = [f"line {n}\n" for n in range(40)]
FILES = {
    "pkg/__init__.py": "# SPDX-License-Identifier: Apache-2.0\n",
    "pkg/a.py": "".join(LINES),
    "pkg/b.py": "B = 1\n",
    "pkg/gone.py": "GONE = 1\n",
    "pkg/other.py": "".join(LINES),
    "lib/ignored.txt": "in the sdist, though .gitignore names it\n",
    "run.sh": "#!/bin/sh\n",
    ".gitignore": "lib/\n__pycache__/\n",
}
PATCHES = {
    "first-lines": (
        "[Core] First lines",
        {"pkg/a.py": {10: "line ten\n"}},
    ),
    "second-file": (
        "[Core][Misc] Second file",
        {"pkg/b.py": {0: "B = 2\n"}, "pkg/new/d.py": "D = 1\n"},
    ),
    "third-neighbour": (
        "[Bugfix] Third: a neighbour of the first",
        {"pkg/a.py": {11: "line eleven\n"}, "pkg/gone.py": None},
    ),
}
TRAILERS = """
Upstream-Status: Pending
Related: none, a toy
Remove-when: {marker}
Depends-on: {needs}
Test-Plan: pytest tests/test_{slug}.py
"""
MARKERS = {
    "first-lines": "pkg/a.py: ^line ten$",
    "second-file": "pkg/new/d.py: D",
    "third-neighbour": "absent pkg/gone.py",
}
NEEDS = {"third-neighbour": "first-lines"}


def make_hermetic(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but ours, a frozen clock for git, no network settings."""
    for name in [n for n in os.environ if n.startswith(("GIT_", "PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_AUTHOR_DATE", "1700000000 +0000")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1700000000 +0000")
    monkeypatch.setenv("GIT_EDITOR", "false")
    monkeypatch.setenv("PATCHSERIES_CACHE", str(home / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (home / ".gitconfig").write_text(
        "[user]\nname = Tester\nemail = tester@x.invalid\n"
    )


@pytest.fixture(autouse=True)
def hermetic(tmp_path_factory, monkeypatch):
    """The home folder of a hermetic environment."""
    home = tmp_path_factory.mktemp("home")
    make_hermetic(home, monkeypatch)
    git._kept_settings.cache_clear()  # a folder's name comes again after a test
    return home


def run_git(folder: Path, *args: str) -> str:
    """git as a user runs it."""
    done = subprocess.run(
        ["git", *args], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def make_sdist(path: Path, files: dict[str, str], top: str = TREE) -> str:
    """Write a `.tar.gz` and return its sha256."""
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mode = len(text), 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_pin(project: Project, sha256: str, tree: str) -> None:
    """A sources.toml with the toy alone."""
    project.pins.parent.mkdir(parents=True, exist_ok=True)
    project.pins.write_text(
        '[[source]]\nname = "toy"\nversion = "1.0"\nkind = "sdist"\npurpose = "toy"\n'
        f'[[source.archive]]\nfile = "{TREE}.tar.gz"\nsha256 = "{sha256}"\n'
        f'tree = "{tree}"\n'
    )


@dataclass
class Toy:
    """A project with a pinned toy tree and, once `write_series` ran, a series."""

    project: Project
    index: Path

    @property
    def source(self):
        return read_sources(self.project.pins)[TREE]

    @property
    def pristine(self) -> Path:
        return self.project.pristine(TREE)

    @property
    def patched(self) -> Path:
        return ensure_patched(self.project, self.source)

    @property
    def folder(self) -> Path:
        return self.project.patches / TREE

    def fetch(self, repair: bool = False) -> list[str]:
        said: list[str] = []
        fetch(self.project, self.source, repair, said.append)
        return said

    def apply(self, path: Path, name: str | None = None, **options) -> list[str]:
        return apply(self.project, path, name, Options(**options))

    def clone(self, path: Path) -> Path:
        """A user's own checkout, made with stock git."""
        run_git(self.pristine, "clone", "-q", "--no-hardlinks", ".", str(path))
        run_git(path, "checkout", "-q", "-b", "main")
        return path

    def plain(self, path: Path) -> Path:
        """The unpacked sdist, without git."""
        path.mkdir(parents=True)
        unpack_sdist(self.index / f"{TREE}.tar.gz", path)
        return path

    def write_series(self) -> None:
        """Make the three patches as commits, then export them."""
        work = self.project.root / "work"
        self.clone(work)
        for slug, (title, edits) in PATCHES.items():
            commit_edits(work, edits)
            body = f"Why: a toy needs\n{slug}.\n\nHow: as edited here, in a few words"
            body += " more than fourteen.\n"
            message = f"{title}\n\n{body}{trailers(slug)}Patch-Slug: {slug}\n"
            run_git(work, "commit", "-q", "-m", message)
        refresh(self.project, work, None, None)


def trailers(slug: str) -> str:
    needs = NEEDS.get(slug, "none")
    marker = MARKERS.get(slug, "absent nothing")
    return TRAILERS.format(slug=slug, needs=needs, marker=marker)


def commit_edits(work: Path, edits: dict) -> None:
    """Stage edits: {line: text} changes lines, a text is the file, None deletes it."""
    for name, edit in edits.items():
        path = work / name
        if edit is None:
            path.unlink()
        elif isinstance(edit, str):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(edit)
        else:
            lines = path.read_text().splitlines(keepends=True)
            for number, text in edit.items():
                lines[number] = text
            path.write_text("".join(lines))
    run_git(work, "add", "-A", "-f")


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """Index, pins, pristine tree and series, made once and copied for each test."""
    home = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        make_hermetic(tmp_path_factory.mktemp("home"), patch)
        index, unpacked = home / "index", home / "unpacked"
        index.mkdir()
        unpacked.mkdir()
        toy = Toy(Project(home / "project"), index)
        sha256 = make_sdist(index / f"{TREE}.tar.gz", FILES)
        unpack_sdist(index / f"{TREE}.tar.gz", unpacked)
        write_pin(toy.project, sha256, commit_tree(unpacked, TREE, sha256))
        toy.project.patches.mkdir()
        patch.setenv("PIP_FIND_LINKS", str(index))
        shutil.copytree(home / "project", home / "bare")
        toy.fetch()
        toy.write_series()
    return home


@pytest.fixture
def bare_toy(template, tmp_path, monkeypatch) -> Toy:
    """Pinned, not fetched."""
    shutil.copytree(template / "bare", tmp_path / "project")
    shutil.copytree(template / "index", tmp_path / "index")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return Toy(Project(tmp_path / "project"), tmp_path / "index")


@pytest.fixture
def toy(template, tmp_path, monkeypatch) -> Toy:
    """Fetched, with a series."""
    shutil.copytree(template / "project", tmp_path / "project")
    shutil.copytree(template / "index", tmp_path / "index")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return Toy(Project(tmp_path / "project"), tmp_path / "index")


def picture(root: Path, but: tuple[str, ...] = ()) -> dict[str, tuple]:
    """Bytes, mode and time of every file, and every folder; `.git` left out."""
    seen = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.split("/")[0] in (".git", *but):
            continue
        info = path.lstat()
        if path.is_file():
            seen[name] = (path.read_bytes(), info.st_mode, info.st_mtime_ns)
        else:
            seen[name] = (info.st_mode,)
    return seen


def git_picture(root: Path) -> tuple:
    """Files, HEAD, branches and status of a checkout, stray tool files included."""
    extra = [p.name for p in (root / ".git").iterdir() if "patchseries" in p.name]
    names = {n: v[:2] for n, v in picture(root).items()}
    refs = run_git(root, "for-each-ref", "--format=%(refname) %(objectname)")
    head = (root / ".git/HEAD").read_text()
    status = run_git(root, "status", "--porcelain", "--ignored")
    return names, head, refs, status, extra, (root / ".git/index.lock").exists()


CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod")


def die_at(step: int, function: Callable[[], object], *where: Path) -> bool:
    """Run a function in a child, killed at its n-th change in `where` or start of git.

    Returns:
        Whether the child came to its end before that.
    """
    child = os.fork()
    if child:
        _, ended = os.waitpid(child, 0)
        return not os.WIFSIGNALED(ended)
    left = step

    def watch(event: str, details: tuple) -> None:
        nonlocal left
        if _counts(event, details, where):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(watch)
    try:
        function()
    finally:
        os._exit(0)


def _counts(event: str, details: tuple, where: tuple[Path, ...]) -> bool:
    if event in ("ctypes.dlsym", "subprocess.Popen"):  # the first is renameat2
        return True
    writes = event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR)
    if not (writes or event in CHANGES) or not isinstance(details[0], (str, Path)):
        return False
    return any(Path(details[0]).is_relative_to(folder) for folder in where)


def seen(path: Path, seconds: float = 20.0) -> bool:
    """Whether a file comes into being; looks as often as it can."""
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            return False
    return True


@contextmanager
def meanwhile(function: Callable[[], object]) -> Iterator[None]:
    """Run a function in another process beside the block."""
    child = os.fork()
    if not child:
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    yield
    assert os.waitpid(child, 0)[1] == 0, "what was to happen meanwhile did not"


@pytest.fixture
def refused() -> Callable:
    """Runs a call that must be refused, and hands back the error."""

    def call(code: str, function: Callable, *args, **options) -> PatchseriesError:
        with pytest.raises(PatchseriesError) as caught:
            function(*args, **options)
        assert caught.value.code == code, str(caught.value)
        return caught.value

    return call


@pytest.fixture
def series(toy):
    """Replaces the toy's series with these patches, by slug."""

    def call(patches, values=None):
        work = toy.project.root / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(toy.folder)
        toy.clone(work)
        for slug, edits in patches.items():
            commit_edits(work, edits)
            text = "Why: it is needed\nfor this.\n\nHow: by edits, in a few more words"
            text += " than fourteen.\n"
            last = trailers(slug)
            for key, value in (values or {}).get(slug, {}).items():
                lines = [x for x in last.splitlines() if not x.startswith(f"{key}:")]
                last = "\n".join([*lines, f"{key}: {value}", ""])
            message = f"[Core] The {slug}\n\n{text}{last}Patch-Slug: {slug}\n"
            run_git(work, "commit", "-q", "-m", message)
        refresh(toy.project, work, None, None)

    return call


@pytest.fixture
def pins(toy):
    def call(*texts):
        with toy.project.pins.open("a") as file:
            file.write("".join(texts))

    return call


@pytest.fixture
def tools():
    """The helpers above, for tests that need them by name."""
    import types

    return types.SimpleNamespace(
        git=run_git,
        sdist=make_sdist,
        pin=write_pin,
        picture=picture,
        git_picture=git_picture,
        edit=commit_edits,
        files=FILES,
        lines=LINES,
        patches=PATCHES,
        tree=TREE,
        trailers=trailers,
        die_at=die_at,
        seen=seen,
        meanwhile=meanwhile,
    )
