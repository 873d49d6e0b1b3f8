# SPDX-License-Identifier: Apache-2.0
"""Somebody saves a file while a command runs: what was saved is there afterwards."""

import pytest

from patchseries.apply.refresh import refresh
from patchseries.apply.unapply import unapply
from patchseries.errors import PatchseriesError

ROUNDS = 6


def in_place(path):
    path.write_text("mine\n")


def by_rename(path):
    """As most editors save: beside it, then over it."""
    path.with_name("saved").write_text("mine\n")
    path.with_name("saved").replace(path)


def contents(path, tools, but=""):
    seen = tools.picture(path)
    return {name: entry[:2] for name, entry in seen.items() if name != but}


@pytest.mark.parametrize("save", [in_place, by_rename])
@pytest.mark.parametrize("name", ["pkg/a.py", "pkg/gone.py"])
@pytest.mark.parametrize("kind", ["clone", "plain"])
@pytest.mark.parametrize("command", ["apply", "unapply"])
def test_a_save_between_check_and_switch_is_kept(
    toy, tools, tmp_path, kind, name, save, command
):
    """The files are ready beside the tree by then, and have been looked at."""
    if command == "unapply" and name == "pkg/gone.py":
        name = "pkg/new/d.py"
    refusals = 0
    for number in range(ROUNDS):
        target = getattr(toy, kind)(tmp_path / f"target-{number}")
        private = target / (".git/patchseries" if kind == "clone" else ".patchseries")
        if command == "unapply":
            toy.apply(target)
        before = contents(target, tools, name)

        def edit(target=target, private=private):
            assert tools.seen(private / "stage/files")
            save(target / name)

        with tools.meanwhile(edit):
            try:
                toy.apply(target) if command == "apply" else (
                    unapply(toy.project, target, None)
                )
            except PatchseriesError as error:
                assert error.code == "dirty-file" and name in error.args[0]
                refusals += 1
        assert (target / name).read_text() == "mine\n"
        assert not (private / "stage").exists()
        if refusals:
            assert contents(target, tools, name) == before
            return
    raise AssertionError("every save came too late to be seen")


@pytest.mark.parametrize("kind", ["clone", "plain"])
def test_a_file_that_appears_where_the_series_adds_one(toy, tools, tmp_path, kind):
    target = getattr(toy, kind)(tmp_path / "target")
    private = target / (".git/patchseries" if kind == "clone" else ".patchseries")
    (target / "pkg/new").mkdir()
    before = contents(target, tools)

    def add():
        assert tools.seen(private / "stage/files")
        (target / "pkg/new/d.py").write_text("mine\n")

    with tools.meanwhile(add):
        try:
            toy.apply(target)
        except PatchseriesError as error:
            assert error.code in ("dirty-file", "untracked-collision")
            assert contents(target, tools, "pkg/new/d.py") == before
    assert (target / "pkg/new/d.py").read_text() == "mine\n"


def test_a_save_of_the_readme_while_refresh_writes_its_table(toy, tools):
    readme = toy.project.root / "README.md"
    work = toy.project.root / "work"
    tools.edit(work, {"pkg/x.py": "X = 1\n"})
    tools.git(work, "commit", "-q", "-m", "[Core] Another\n\nWhy: so.")
    readme.write_text("<!-- patch-table:begin --><!-- patch-table:end -->")
    before = contents(toy.project.patches, tools)

    def edit():
        assert tools.seen(toy.project.patches / ".patchseries/stage/files")
        by_rename(readme)

    with tools.meanwhile(edit):
        try:
            refresh(toy.project, work, None, None)
        except PatchseriesError as error:
            assert error.code == "dirty-file" and "README.md" in error.args[0]
            assert contents(toy.project.patches, tools) == before
    assert readme.read_text() == "mine\n"
