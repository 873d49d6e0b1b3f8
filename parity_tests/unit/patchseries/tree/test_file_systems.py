# SPDX-License-Identifier: Apache-2.0
"""Trees over several file systems, full ones, and those that cannot exchange files."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import patchseries
from patchseries.apply.status import status
from patchseries.apply.unapply import unapply
from patchseries.files import flip, settle

MEMORY = Path("/dev/shm")


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system than the repository."""
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip(f"{MEMORY} is no file system of its own")
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(params=["linked worktree", "separate git dir"])
def apart(request, toy, elsewhere, tmp_path, tools):
    checkout, tree = toy.clone(tmp_path / "checkout"), elsewhere / "tree"
    if request.param == "linked worktree":
        tools.git(checkout, "worktree", "add", "-q", "-b", "other", str(tree))
    else:
        where = f"--separate-git-dir={tmp_path / 'repository'}"
        tools.git(checkout, "clone", "-q", where, str(checkout), str(tree))
    return tree


def look(path, tools):
    files = {name: entry[:2] for name, entry in tools.picture(path).items()}
    head = tools.git(path, "rev-parse", "--symbolic-full-name", "HEAD")
    git_dir = Path(tools.git(path, "rev-parse", "--absolute-git-dir"))
    kept = [p.name for p in git_dir.iterdir() if "patchseries" in p.name]
    refs = tools.git(path, "for-each-ref")
    status = tools.git(path, "status", "--porcelain", "--ignored")
    return files, head, refs, kept, status, (git_dir / "index.lock").exists()


def test_a_tree_apart_from_its_repository(toy, apart, tools):
    before = look(apart, tools)
    toy.apply(apart)
    assert (apart / "pkg/new/d.py").read_text() == "D = 1\n"
    assert status(toy.project, apart, None).state == "applied"
    assert tools.git(apart, "status", "--porcelain", "--ignored") == ""
    unapply(toy.project, apart, None)
    assert look(apart, tools) == before


def test_killed_in_such_a_tree(toy, apart, tools):
    before, step, seen = look(apart, tools), 40, set()
    while not tools.die_at(step, lambda: toy.apply(apart), apart.parent):
        seen.add(status(toy.project, apart, None).state)
        assert tools.git(apart, "status", "--porcelain", "-unormal").count("??") <= 1
        unapply(toy.project, apart, None)
        assert look(apart, tools) == before, f"killed at step {step}"
        step += 3
    assert "interrupted" in seen


def in_a_namespace(script, *args):
    """Run a script that may mount, where the system lets a user have a namespace."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no namespaces for mounts here")
    tools = str(Path(patchseries.__file__).parents[1])
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", script, *map(str, args)],
        env=os.environ | {"PYTHONPATH": tools}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


INNER = """
import json, subprocess, sys
target, project = sys.argv[1:]
subprocess.run(["mount", "--bind", target + "/pkg", target + "/pkg"], check=True)
command = [sys.executable, "-m", "patchseries", "--project", project]
done = [
    subprocess.run([*command, verb, "--onto", target], capture_output=True, text=True)
    for verb in ("apply", "status")
]
print(json.dumps([[one.returncode, one.stdout + one.stderr] for one in done]))
"""


@pytest.mark.parametrize("kind", ["clone", "plain"])
def test_a_mount_within_the_tree_is_refused_by_name(toy, tmp_path, tools, kind):
    """Two mounts of one file system look like one, and nothing moves between them."""
    target = getattr(toy, kind)(tmp_path / "target")
    before = tools.picture(target)
    (code, text), (_, shown) = in_a_namespace(INNER, target, toy.project.root)
    assert code == 2 and "other-file-system" in text, text
    assert "pkg/" in text and "Traceback" not in text
    assert "interrupted" not in shown
    seen = {n: e[:2] for n, e in tools.picture(target).items()}
    assert seen == {n: e[:2] for n, e in before.items()}


FULL = """
import json, os, shutil, subprocess, sys
source, project, disk, verb = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], check=True)
target, scratch = disk + "/target", disk + "/scratch"
shutil.copytree(source, target, symlinks=True)
os.mkdir(scratch)
command = [sys.executable, "-m", "patchseries", "--project", project]

def run(verb):
    return subprocess.run(
        [*command, verb, "--onto", target], capture_output=True, text=True,
        env=os.environ | {"TMPDIR": scratch},
    )

def tree():
    seen = {}
    for folder, _, files in os.walk(target):
        if not folder.startswith(target + "/.git/objects"):
            seen[folder] = 0
            for name in files:
                path = os.path.join(folder, name)
                seen[path] = open(path, "rb").read().hex() if name != "index" else 0
    return seen

if verb == "unapply":
    assert run("apply").returncode == 0
before, found = tree(), []
for pages in [0, 1, 2, 3, 5, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 80, 100]:
    filler = disk + "/filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    size = os.path.getsize(filler)
    os.truncate(filler, max(0, size - 4096 * pages))
    done = run(verb)
    os.unlink(filler)
    lists = os.listdir(scratch)
    same = tree() == before
    found.append([pages, done.returncode, done.stderr, same, lists])
    if not done.returncode:
        break
    if not same:
        mended = run(verb)
        found[-1] += [mended.returncode, mended.stderr]
        break
print(json.dumps(found))
"""


@pytest.mark.parametrize("kind", ["clone", "plain"])
@pytest.mark.parametrize("verb", ["apply", "unapply"])
def test_a_full_disk(toy, tmp_path, kind, verb):
    """Ever a little more space, until it is enough: refused whole, by name, or done."""
    source, disk = getattr(toy, kind)(tmp_path / "source"), tmp_path / "disk"
    disk.mkdir()
    found = in_a_namespace(FULL, source, toy.project.root, disk, verb)
    *refused, last = found
    assert refused and last[1] == 0, last
    for pages, code, text, same, scratch in refused:
        assert code == 2 and "disk-full" in text, f"{pages} pages: {text}"
        assert "Traceback" not in text and same and scratch == [], pages


@pytest.fixture(params=["renameat2", "links", "neither"])
def no_exchange(request, monkeypatch):
    """What a file system can: NFS has no exchange, FAT no hard links either."""
    from patchseries import files

    def missing(source, goal, flags):
        raise OSError(22, "Invalid argument")

    if request.param != "renameat2":
        monkeypatch.setattr(files, "_rename", missing)
    if request.param == "neither":

        def no_links(*args, **options):
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)


@pytest.mark.parametrize("place", [None, "old"])
@pytest.mark.parametrize("shelf", [None, "new"])
def test_files_change_places(tmp_path, no_exchange, place, shelf):
    one, two = tmp_path / "tree/one", tmp_path / "shelf/one"
    for path, text in ((one, place), (two, shelf)):
        if text:
            path.parent.mkdir()
            path.write_text(text)
    for expected in ((shelf, place), (place, shelf)):
        flip(one, two)
        settle(one, two)
        found = tuple(p.read_text() if p.exists() else None for p in (one, two))
        assert found == expected
    names = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert names <= {"one"}


def test_the_whole_way_without_an_exchange(toy, tmp_path, tools, no_exchange):
    target = toy.plain(tmp_path / "target")
    before = tools.picture(target)
    toy.apply(target)
    assert status(toy.project, target, None).state == "applied"
    unapply(toy.project, target, None)
    assert tools.picture(target) == before


def test_killed_without_an_exchange(toy, tmp_path, tools, no_exchange):
    target = toy.plain(tmp_path / "target")
    before = tools.picture(target)
    step = 0
    while not tools.die_at(step, lambda: toy.apply(target), target):
        unapply(toy.project, target, None)
        assert tools.picture(target) == before, f"killed at step {step}"
        step += 1
