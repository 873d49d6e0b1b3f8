# SPDX-License-Identifier: Apache-2.0
"""Names that are no text, files in other encodings, errors of the system: exit 2."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from patchseries import __main__
from patchseries.apply.refresh import refresh
from patchseries.apply.status import status
from patchseries.apply.unapply import unapply
from patchseries.cli import main

LATIN = os.fsdecode(b"name-\xe9")


@pytest.fixture
def run(toy):
    def call(*args):
        words = ["--project", str(toy.project.root), *map(str, args)]
        return CliRunner().invoke(main, words)

    return call


@pytest.mark.parametrize("folder", [LATIN, "two\nlines", 'quo"te\\', " spaces "])
@pytest.mark.parametrize("kind", ["clone", "plain"])
def test_a_tree_may_have_any_name(toy, run, tools, tmp_path, kind, folder):
    path = getattr(toy, kind)(tmp_path / folder)
    before = tools.picture(path)
    for command in ("status", "apply", "status", "unapply"):
        result = run(command, "--onto", path)
        assert result.exit_code == 0, result.output
    changed = {n: v[0] for n, v in tools.picture(path).items()}
    assert changed == {n: v[0] for n, v in before.items()}


def test_the_project_may_have_any_name(toy, tools, tmp_path):
    root = tmp_path / f"{LATIN}\n"
    toy.project.root.rename(root)
    toy.project = type(toy.project)(root)
    toy.apply(toy.patched)
    assert status(toy.project, toy.patched, None).state == "applied"


def test_files_that_are_no_text_are_named(toy, run, tools, tmp_path):
    path = toy.clone(tmp_path / "checkout")
    (path / LATIN).write_text("mine\n")
    tools.git(path, "add", "-A")
    result = run("apply", "--onto", path)
    assert result.exit_code == 2 and "staged-changes" in result.stderr
    assert "name-\\udce9" in result.stderr
    result = run("status", "--onto", path)
    assert result.exit_code == 0 and "name-\\udce9" in result.stdout


def test_a_series_may_touch_them(toy, tools, tmp_path):
    work = toy.project.root / "work"
    tools.edit(work, {f"pkg/{LATIN}.txt": "one\n"})
    tools.git(work, "commit", "-q", "-m", "[Core] A name\n\nWhy: so.\n")
    refresh(toy.project, work, None, None)
    for target in (toy.clone(tmp_path / "git"), toy.plain(tmp_path / "plain")):
        toy.apply(target)
        assert (target / f"pkg/{LATIN}.txt").read_text() == "one\n"
        unapply(toy.project, target, None)
        assert not (target / f"pkg/{LATIN}.txt").exists()


def _series(toy):
    file = toy.folder / "series"
    file.write_bytes(b"# \xe9\n" + file.read_bytes())
    return file


def _pins(toy):
    toy.project.pins.write_bytes(toy.project.pins.read_bytes() + b"# \xe9\n")
    return toy.project.pins


def _readme(toy):
    file = toy.project.root / "README.md"
    file.write_bytes(b"\xe9\n")
    return file


def _message(toy):
    file = toy.folder / "first-lines.patch"
    file.write_bytes(file.read_bytes().replace(b"a toy needs", b"a \xe9 needs"))
    return file


@pytest.mark.parametrize("spoil", [_series, _pins, _readme, _message])
def test_another_encoding_is_refused_by_name(toy, run, spoil):
    file = spoil(toy)
    result = run("check")
    assert result.exit_code == 2 and "UTF-8" in result.stderr, result.output
    assert file.name in result.stderr


def test_a_commit_in_another_encoding(toy, run, tools, refused):
    work = toy.project.root / "work"
    tools.edit(work, {"pkg/b.py": "B = 5\n"})
    tools.git(work, "commit", "-q", "-m", "[Core] Name")
    commit = tools.git(work, "cat-file", "commit", "HEAD") + "\n"
    raw = work / ".git/raw"  # git itself writes none
    raw.write_bytes(commit.encode().replace(b"Name", b"\xe9"))
    made = tools.git(work, "hash-object", "-w", "-t", "commit", str(raw))
    tools.git(work, "reset", "-q", "--soft", made)
    error = refused("not-utf8", refresh, toy.project, work, None, None)
    assert "reword" in error.advice


def test_errors_of_the_system_are_no_findings(toy, run, tmp_path):
    """Exit status 1 would say that `check` found something."""
    series = toy.folder / "series"
    series.rename(toy.folder / "kept")
    series.mkdir()
    result = run("check")
    assert result.exit_code == 2 and str(series) in result.stderr
    assert result.stderr.startswith("patchseries: ") and "->" in result.stderr
    long = tmp_path / ("x" * 300)
    result = run("apply", "--onto", long)
    assert result.exit_code == 2 and "name-too-long" in result.stderr
    assert not isinstance(result.exception, OSError | UnicodeError)


def test_a_loop_of_links_is_no_folder(run, tmp_path):
    loop = Path(tmp_path, "loop")
    loop.symlink_to(loop)
    result = run("status", "--onto", loop)
    assert result.exit_code == 2, result.output


def test_our_own_mistake_exits_2_and_never_1(monkeypatch, capsys):
    def broken():
        raise RuntimeError("planted")

    monkeypatch.setattr(__main__.cli, "main", broken)
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 2
    assert "planted" in capsys.readouterr().err


def test_a_series_without_a_tree_is_no_part_of_the_json(toy, run):
    name = toy.patched.name
    shutil.rmtree(toy.patched)
    words = ["--series", name]
    shown = run("status", *words)
    assert "nothing is patched yet" in shown.stdout
    listed = run("status", *words, "--json")
    assert json.loads(listed.stdout) == []
    assert "nothing is patched yet" in listed.stderr
