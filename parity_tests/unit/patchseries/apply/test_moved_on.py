# SPDX-License-Identifier: Apache-2.0
"""What was applied is met again: after a switch, a reinstallation, a wish to sign."""

import shutil

import pytest
from click.testing import CliRunner

from patchseries.apply.status import status
from patchseries.apply.unapply import unapply
from patchseries.cli import main
from patchseries.pins.unpack import unpack_sdist


@pytest.fixture
def checkout(toy, tmp_path):
    return toy.clone(tmp_path / "checkout")


def commit(tools, tree, file="pkg/other.py"):
    (tree / file).write_text("mine\n")
    tools.git(tree, "commit", "-q", "-am", "mine")
    return tools.git(tree, "rev-parse", "HEAD")


@pytest.mark.parametrize("options", [{}, {"signoff": True}])
def test_a_branch_that_moved_on_takes_the_series_again(toy, checkout, tools, options):
    toy.apply(checkout, **options)
    tools.git(checkout, "switch", "-q", "main")
    base = commit(tools, checkout)
    before = tools.git_picture(checkout)[0]
    assert "3 patches applied" in toy.apply(checkout, **options)[-1]
    assert tools.git(checkout, "merge-base", "HEAD", "main") == base
    unapply(toy.project, checkout, None)
    assert tools.git_picture(checkout)[0] == before
    assert tools.git(checkout, "branch", "--list", "patchseries/*") == ""


def test_the_same_without_a_receipt(toy, checkout, tools):
    """The commits of the branch are this series by what they are."""
    toy.apply(checkout)
    tools.git(checkout, "switch", "-q", "main")
    commit(tools, checkout)
    shutil.rmtree(checkout / ".git/patchseries")
    assert "3 patches applied" in toy.apply(checkout)[-1]


def test_commits_on_top_of_the_series_are_not_lost(toy, checkout, tools, refused):
    toy.apply(checkout)
    mine = commit(tools, checkout)
    tools.git(checkout, "switch", "-q", "main")
    commit(tools, checkout, "run.sh")
    error = refused("branch-exists", toy.apply, checkout)
    assert f"git branch -m patchseries/{tools.tree} NEW" in error.advice
    tools.git(checkout, "branch", "-m", f"patchseries/{tools.tree}", "kept")
    toy.apply(checkout)
    assert tools.git(checkout, "rev-parse", "kept") == mine


@pytest.fixture(params=["plain", "package"])
def installed(request, toy, tmp_path):
    """A tree without git, the path to give, and a way to install a release over it."""
    root = toy.plain(tmp_path / "tree")
    if request.param == "package":
        shutil.move(root / "pkg", tmp_path / "site" / "pkg")
        root = tmp_path / "site"

    def install(edits=None):
        fresh = tmp_path / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        unpack_sdist(toy.index / "toy-1.0.tar.gz", fresh)
        for name, text in (edits or {}).items():
            (fresh / name).write_text(text)
        top = "pkg" if request.param == "package" else "."
        shutil.copytree(fresh / top, root / top, dirs_exist_ok=True)

    return root, root / "pkg" if request.param == "package" else root, install


def contents(root):
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in root.rglob("*.*")
        if p.is_file()
    }


def test_the_same_release_installed_over_it_is_patched_again(toy, installed, tools):
    root, path, install = installed
    before = contents(root)
    toy.apply(path)
    after = contents(root)
    install()
    assert (root / "pkg/new/d.py").exists(), "what the series added is nobody's"
    found = status(toy.project, path, None)
    assert (found.state, found.ready) == ("reinstalled", True)
    assert "3 patches applied" in toy.apply(path)[-1]
    assert contents(root) == after
    assert status(toy.project, path, None).state == "applied"
    unapply(toy.project, path, None)
    assert contents(root) == before


def test_what_is_left_after_an_installation_is_taken_out(toy, installed):
    root, path, install = installed
    before = contents(root)
    toy.apply(path)
    install()
    assert "taken out" in unapply(toy.project, path, None)[-1]
    assert contents(root) == before
    assert not (root / "pkg/new").exists() and not list(root.rglob(".patchseries"))


def test_an_edit_is_no_installation(toy, installed, refused):
    root, path, _ = installed
    toy.apply(path)
    (root / "pkg/a.py").write_text("mine\n")
    refused("not-as-applied", unapply, toy.project, path, None)
    assert (root / "pkg/a.py").read_text() == "mine\n"
    assert (root / "pkg/b.py").read_text() == "B = 2\n"


def signed(tools, tree):
    log = tools.git(tree, "log", "--format=%B", "main..HEAD")
    return log.count("Signed-off-by: Tester <tester@x.invalid>")


def test_an_applied_tree_is_signed_when_asked(toy, checkout, tools):
    before = tools.git_picture(checkout)
    toy.apply(checkout)
    files = tools.picture(checkout)
    assert "3 patches applied" in toy.apply(checkout, signoff=True)[-1]
    assert signed(tools, checkout) == 3
    assert tools.picture(checkout) == files
    assert "already applied" in toy.apply(checkout, signoff=True)[-1]
    assert "already applied" in toy.apply(checkout)[-1] and signed(tools, checkout) == 3
    unapply(toy.project, checkout, None)
    assert tools.git_picture(checkout) == before


def test_an_update_stays_signed(toy, checkout, tools, series):
    toy.apply(checkout, signoff=True)
    series({"only": {"pkg/b.py": "B = 4\n"}})
    toy.apply(checkout)
    assert (checkout / "pkg/b.py").read_text() == "B = 4\n"
    assert signed(tools, checkout) == 1


def test_what_has_no_commits_cannot_be_signed(toy, tmp_path, tools, refused):
    plain = toy.plain(tmp_path / "plain")
    before = tools.picture(plain)
    assert "git" in refused("nothing-to-sign", toy.apply, plain, signoff=True).advice
    assert tools.picture(plain) == before
    checkout = toy.clone(tmp_path / "checkout")
    files = [str(toy.folder / f"{slug}.patch") for slug in tools.patches]
    tools.git(checkout, "am", "-q", *files)
    error = refused("nothing-to-sign", toy.apply, checkout, signoff=True)
    assert "git rebase --signoff" in error.advice


def test_every_tree_is_checked_before_any_is_changed(toy, checkout, tmp_path, tools):
    good, bad = checkout, toy.clone(tmp_path / "bad")
    commit(tools, bad, "pkg/a.py")

    def run(command, *trees):
        words = ["--project", str(toy.project.root), command]
        words += [word for tree in trees for word in ("--onto", str(tree))]
        return CliRunner().invoke(main, words)

    before = tools.git_picture(good)
    for other in (bad, tmp_path / "nowhere"):
        result = run("apply", good, other)
        assert result.exit_code == 2 and result.stdout == "", result.output
        assert tools.git_picture(good) == before
    tools.git(bad, "reset", "-q", "--hard", "HEAD~")
    assert run("apply", good, bad).stdout.count("3 patches applied") == 2
    assert run("status", good, bad).stdout.count("): applied") == 2
    after = tools.git_picture(good)
    (bad / "pkg/a.py").write_text("mine\n")
    assert run("unapply", good, bad).exit_code == 2
    assert tools.git_picture(good) == after
    tools.git(bad, "stash")
    assert run("unapply", good, bad).stdout.count("taken out") == 2
    assert tools.git_picture(good) == before
