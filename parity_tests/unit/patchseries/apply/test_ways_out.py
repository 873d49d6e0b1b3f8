# SPDX-License-Identifier: Apache-2.0
"""Every dead end has a way out: what the refusal advises is done here, word by word.

Each state is set up for real. The command is refused with exit status 2, its code word
and an unchanged tree; then the commands in the advice are typed, and it goes through.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from patchseries.cli import main


@dataclass(frozen=True)
class End:
    """A state in which a command is refused.

    Attributes:
        make: sets it up and hands back the tree to be given.
        steps: which of the advice's commands to type, the first being 0.
        again: words of the command that then has to go through.
    """

    code: str
    make: Callable[..., Path]
    steps: tuple[int, ...] = (0,)
    words: tuple[str, ...] = ("apply",)
    again: tuple[str, ...] = ()


def _clone(toy, tools, folder):
    return toy.clone(folder / "tree")


def _staged(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    (tree / "pkg/other.py").write_text("mine\n")
    tools.git(tree, "add", "-A")
    return tree


def _edited(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    (tree / "pkg/a.py").write_text("mine\n")
    return tree


def _sparse(toy, tools, folder, *options):
    tree = toy.clone(folder / "tree")
    tools.git(tree, "sparse-checkout", "set", *options)
    assert not (tree / "pkg/a.py").exists()
    return tree


def _sparse_cone(toy, tools, folder):
    return _sparse(toy, tools, folder, "--cone", "lib")


def _sparse_patterns(toy, tools, folder):
    return _sparse(toy, tools, folder, "--no-cone", "/lib/", "/pkg/b.py")


def _sparse_index(toy, tools, folder):
    return _sparse(toy, tools, folder, "--cone", "--sparse-index", "lib")


def _skipped(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    tools.git(tree, "update-index", "--skip-worktree", "pkg/a.py", "pkg/gone.py")
    return tree


def _assumed(toy, tools, folder):
    tree = _skipped(toy, tools, folder)
    tools.git(tree, "update-index", "--assume-unchanged", "pkg/b.py", "pkg/a.py")
    return tree


def _branch_above(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    tools.git(tree, "switch", "-q", "-c", "patchseries")
    return tree


def _branch_below(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    tools.git(tree, "branch", f"patchseries/{tools.tree}/mine")
    return tree


def _own_commits(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    tools.git(tree, "switch", "-q", "-c", f"patchseries/{tools.tree}")
    tools.git(tree, "commit", "-q", "--allow-empty", "-m", "mine")
    tools.git(tree, "switch", "-q", "main")
    return tree


def _sha256(toy, tools, folder):
    tree = toy.plain(folder / "tree")
    made = subprocess.run(["git", "init", "-q", "--object-format=sha256"], cwd=tree)
    if made.returncode:
        pytest.skip("this git makes no sha256 repositories")
    tools.git(tree, "add", "-A", "-f")
    tools.git(tree, "commit", "-q", "-m", "unpacked")
    return tree


def _site(toy, tools, folder, name="site-packages"):
    shutil.copytree(toy.pristine / "pkg", folder / name / "pkg")
    (folder / name / "toy-1.0.dist-info").mkdir()
    return folder / name


def _wheel(toy, tools, folder):
    return _site(toy, tools, folder, "unpacked")


def _within(toy, tools, folder):
    return toy.clone(folder / "tree") / "pkg"


def _untracked(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    (tree / "pkg/new").mkdir()
    (tree / "pkg/new/d.py").write_text("mine\n")
    return tree


def _blocked(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    (tree / "pkg/new").write_text("mine\n")
    return tree


def _nested(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    tools.git(tree, "init", "-q", "pkg/new")
    return tree


def _unborn(toy, tools, folder):
    tree = toy.plain(folder / "tree")
    tools.git(tree, "init", "-q")
    return tree


def _locked(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    (tree / ".git/index.lock").write_text("")
    return tree


def _two_topics(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    tools.git(tree, "switch", "-q", "-c", "topic")
    (tree / "pkg/other.py").write_text("topic\n")
    tools.git(tree, "commit", "-q", "-am", "topic")
    tools.git(tree, "format-patch", "-q", "-1", "-o", str(folder))
    tools.git(tree, "switch", "-q", "main")
    (tree / "pkg/other.py").write_text("main\n")
    tools.git(tree, "commit", "-q", "-am", "main")
    return tree


def _session(*command):
    def make(toy, tools, folder):
        tree = _two_topics(toy, tools, folder)
        words = [word.format(folder=folder) for word in command]
        subprocess.run(["git", *words], cwd=tree, capture_output=True)
        return tree

    return make


def _by_am(toy, tools, folder, count=3):
    tree = toy.clone(folder / "tree")
    slugs = list(tools.patches)[:count]
    files = [str(toy.folder / f"{slug}.patch") for slug in slugs]
    tools.git(tree, "am", "-q", "--keep-non-patch", *files)
    return tree


def _half(toy, tools, folder):
    return _by_am(toy, tools, folder, 1)


def _drifted(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    tools.edit(tree, {"pkg/a.py": {8: "drifted\n"}})
    tools.git(tree, "commit", "-q", "-m", "drift")
    return tree


def _other_series(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    toy.apply(tree)
    shutil.copytree(toy.folder, toy.project.patches / "other")
    return tree


def _nobody(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    tools.git(tree, "config", "--global", "--remove-section", "user")
    return tree


def _on_top(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    toy.apply(tree)
    (tree / "pkg/b.py").write_text("mine\n")
    tools.git(tree, "commit", "-q", "-am", "mine")
    return tree


def _branch_moved(toy, tools, folder):
    tree = toy.clone(folder / "tree")
    toy.apply(tree)
    tools.git(
        tree,
        "branch",
        "-f",
        "main",
        tools.git(tree, "commit-tree", "-m", "x", "main^{tree}"),
    )
    return tree


def _edited_plain(toy, tools, folder):
    tree = toy.plain(folder / "tree")
    toy.apply(tree)
    for name in ("pkg/a.py", "pkg/new/d.py"):
        (tree / name).write_text("mine\n")
    return tree


def _another_release(toy, tools, folder):
    site = _site(toy, tools, folder)
    toy.apply(site / "pkg")
    for name in ("a.py", "b.py"):
        (site / "pkg" / name).write_text("another\n" * 40)
    (site / "pkg/gone.py").write_text("GONE = 1\n")
    return site / "pkg"


ENDS = {
    "staged": End("staged-changes", _staged),
    "edited": End("dirty-file", _edited),
    "sparse checkout, cone": End("hidden-file", _sparse_cone),
    "sparse checkout, patterns": End("hidden-file", _sparse_patterns),
    "sparse checkout, sparse index": End("hidden-file", _sparse_index),
    "skip-worktree": End("hidden-file", _skipped),
    "assume-unchanged": End("hidden-file", _assumed),
    "a branch patchseries": End("branch-exists", _branch_above),
    "a branch below ours": End("branch-exists", _branch_below),
    "our branch with other commits": End("branch-exists", _own_commits),
    "sha256": End("object-format", _sha256, (0, 1)),
    "site-packages": End("installed-packages", _site),
    "an unpacked wheel": End("installed-packages", _wheel),
    "a folder of a checkout": End("not-top-level", _within),
    "an untracked file": End("untracked-collision", _untracked),
    "a file for a folder": End("path-blocked", _blocked),
    "a repository within": End("nested-repository", _nested),
    "no commit": End("no-commit", _unborn),
    "a lock": End("index-locked", _locked),
    "am": End("operation-in-progress", _session("am", "{folder}/0001-topic.patch")),
    "rebase": End("operation-in-progress", _session("rebase", "topic")),
    "merge": End("operation-in-progress", _session("merge", "topic")),
    "cherry-pick": End("operation-in-progress", _session("cherry-pick", "topic")),
    "revert": End("operation-in-progress", _session("revert", "topic")),
    "bisect": End("operation-in-progress", _session("bisect", "start")),
    "a part, by am": End("half-patched", _half),
    "a part, dropped": End("half-patched", _half, (1,)),
    "lines moved": End("wrong-base", _drifted, (0,), again=("unapply",)),
    "another series": End(
        "other-series", _other_series, words=("apply", "--series", "other")
    ),
    "nobody's name": End("no-identity", _nobody, (0, 1), ("apply", "--signoff")),
    "commits on top": End("not-as-applied", _on_top, (1,), ("unapply",)),
    "commits on top, exported": End("not-as-applied", _on_top, (0, 1), ("unapply",)),
    "all of it, by am": End("no-receipt", _by_am, (0,), ("unapply",)),
    "all of it, by am, dropped": End("no-receipt", _by_am, (1,), ("unapply",)),
    "the branch moved": End("branch-moved", _branch_moved, (0,), ("unapply",)),
    "edited after apply": End("not-as-applied", _edited_plain, (0, 1), ("unapply",)),
    "another release over it": End(
        "not-as-applied", _another_release, (0,), ("unapply",), ("status",)
    ),
}


def looks(tree, tools):
    inside = tools.git_picture(tree) if (tree / ".git").exists() else None
    return inside or tools.picture(tree)


@pytest.mark.parametrize("title", ENDS)
def test_the_advice_leads_out(toy, tools, tmp_path, title):
    end = ENDS[title]
    tree = end.make(toy, tools, tmp_path)

    def run(*words):
        given = ["--project", str(toy.project.root), *words, "--onto", str(tree)]
        return CliRunner().invoke(main, given)

    before = looks(tree, tools)
    refused = run(*end.words)
    assert refused.exit_code == 2, refused.output
    assert refused.stderr.startswith(f"patchseries: {end.code}: "), refused.stderr
    assert looks(tree, tools) == before
    commands = re.findall("`([^`]+)`", refused.stderr.partition("\n  -> ")[2])
    for number in end.steps:
        tree = type_in(toy, commands[number].replace("NEW", "new-name"), tree)
    done = run(*(end.again or end.words))
    assert done.exit_code == 0, done.output
    if (end.again or end.words)[0] == "apply":
        assert "applied" in run("status").output
        assert run("unapply").exit_code == 0


def type_in(toy, command: str, tree: Path) -> Path:
    """Do what an advice says; the tree to go on with."""
    option, *words = shlex.split(command)
    if option == "--onto":
        return Path(words[0])
    if option == "patchseries":
        onto = [] if {"--onto", "--to"} & set(words) else ["--onto", str(tree)]
        given = ["--project", str(toy.project.root), *words, *onto]
        result = CliRunner().invoke(main, given)
        assert result.exit_code == 0, result.output
        return tree
    subprocess.run(command, shell=True, cwd=tree, check=True, capture_output=True)
    return tree


@pytest.mark.parametrize("where", ["attributes", "named"])
@pytest.mark.parametrize("rule", ["* text eol=crlf", "*.py filter=loud"])
def test_global_attributes_describe_a_users_files(
    toy, tools, tmp_path, hermetic, where, rule
):
    """git's own `status` is clean, so nothing is edited."""
    file = hermetic / ".config/git/attributes"
    config = hermetic / ".gitconfig"
    if where == "named":
        file = hermetic / "my-attributes"
        config.write_text(
            config.read_text() + "[core]\nattributesFile = ~/my-attributes\n"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{rule}\n")
    smudge, clean = "sed s/line/LINE/", "sed s/LINE/line/"
    config.write_text(
        config.read_text() + f'[filter "loud"]\nsmudge = {smudge}\nclean = {clean}\n'
    )
    tree = tmp_path / "tree"
    tools.git(tmp_path, "clone", "-q", str(toy.pristine), str(tree))
    line = b"line 9\r\n" if "crlf" in rule else b"LINE 9\n"
    assert line in (tree / "pkg/a.py").read_bytes()
    before = tools.git_picture(tree)
    toy.apply(tree)
    assert line in (tree / "pkg/a.py").read_bytes()
    assert tools.git(tree, "status", "--porcelain") == ""
    CliRunner().invoke(
        main, ["--project", str(toy.project.root), "unapply", "--onto", str(tree)]
    )
    assert tools.git_picture(tree) == before


@pytest.mark.parametrize("given", ["third_party/toy", "third_party/alone/pkg"])
def test_vendored_in_a_larger_repository(toy, tools, tmp_path, given):
    """Its files are changed in place, for a commit of that repository."""
    outer = tmp_path / "outer"
    toy.plain(outer / "third_party/toy")
    (outer / "third_party/toy/setup.py").write_text("")
    shutil.copytree(toy.pristine / "pkg", outer / "third_party/alone/pkg")
    tools.git(outer, "init", "-q")
    tools.git(outer, "add", "-A", "-f")
    tools.git(outer, "commit", "-q", "-m", "vendored")
    tree = outer / given
    toy.apply(tree)
    changed = tools.git(outer, "status", "--porcelain")
    assert "pkg/a.py" in changed and "pkg/new" in changed
    CliRunner().invoke(
        main, ["--project", str(toy.project.root), "unapply", "--onto", str(tree)]
    )
    assert tools.git(outer, "status", "--porcelain") == ""
