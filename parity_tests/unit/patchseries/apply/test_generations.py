# SPDX-License-Identifier: Apache-2.0
"""Series for several releases of one package, and one that is merged from another."""

import pytest
from click.testing import CliRunner

from patchseries.apply.derive import derive
from patchseries.apply.refresh import refresh
from patchseries.cli import main
from patchseries.pins.fetch import commit_tree
from patchseries.pins.sources import read_sources
from patchseries.pins.unpack import unpack_sdist
from patchseries.series.folder import read_series, series_names

OLDER = "toy-0.9"


@pytest.fixture
def run(toy):
    def call(*args):
        return CliRunner().invoke(main, ["--project", str(toy.project.root), *args])

    return call


@pytest.fixture
def older(toy, tools, pins, tmp_path):
    """A release before the toy's, with other lines near those of the patches.

    Returns:
        What pins it; its series is merged from the toy's, but for these patches.
    """

    def pin(edits=(), without=()):
        lines = [f"# of 0.9\n{tools.lines[0]}", *tools.lines[1:]]
        files = {**tools.files, "pkg/a.py": "".join(lines), **dict(edits)}
        archive = toy.index / f"{OLDER}.tar.gz"
        sha256 = tools.sdist(archive, files, OLDER)
        unpacked = tmp_path / "older"
        unpacked.mkdir()
        unpack_sdist(archive, unpacked)
        pins(
            '[[source]]\nname = "toy"\nversion = "0.9"\nkind = "sdist"\n'
            f'purpose = "before"\noptional = true\nderived_from = "{tools.tree}"\n'
            f"without = {list(without)}\n[[source.archive]]\n"
            f'file = "{OLDER}.tar.gz"\nsha256 = "{sha256}"\n'
            f'tree = "{commit_tree(unpacked, OLDER, sha256)}"\n'
        )
        return read_sources(toy.project.pins)[OLDER]

    return pin


def slugs(toy, name):
    return [patch.slug for patch in read_series(toy.project, name).patches]


def test_a_series_is_merged_into_another_release(toy, tools, older, run):
    older()
    assert run("fetch", OLDER).exit_code == 0
    done = run("refresh", "--onto", str(toy.project.root / "work"))
    assert f"{OLDER}: new        first-lines" in done.output, done.output
    assert slugs(toy, OLDER) == list(tools.patches)
    assert run("apply", "--series", OLDER).exit_code == 0
    text = (toy.project.patched / OLDER / "pkg/a.py").read_text()
    assert text.startswith("# of 0.9\nline 0\n"), "its own lines stay"
    assert "line ten\nline eleven\n" in text, "the patches' lines come in"
    assert run("check", "--fast").exit_code == 0


def test_it_is_written_with_its_origin_alone(toy, older, run, refused):
    older()
    run("fetch", OLDER)
    run("refresh", "--onto", str(toy.project.root / "work"))
    run("apply", "--series", OLDER)
    tree = toy.project.patched / OLDER
    error = refused("derived-series", refresh, toy.project, tree, None, None)
    assert "toy-1.0" in error.advice


def test_check_finds_a_copy_that_was_edited_by_hand(toy, older, run):
    older()
    run("fetch", OLDER)
    run("refresh", "--onto", str(toy.project.root / "work"))
    patch = toy.project.patches / OLDER / "second-file.patch"
    patch.write_text(patch.read_text().replace("a toy needs", "a toy wants"))
    done = run("check", "--fast", "--series", OLDER)
    assert done.exit_code == 1
    assert f"{OLDER}/second-file: content: is not what toy-1.0 makes" in done.output


def test_what_does_not_merge_has_to_be_named(toy, tools, older, run, refused):
    lines = [*tools.lines[:10], "another ten\n", *tools.lines[11:]]
    older({"pkg/a.py": "".join(lines)}, without=["third-neighbour"])
    run("fetch", OLDER)
    error = refused("not-derived", derive, toy.project, OLDER)
    assert "first-lines" in str(error) and "without" in error.advice


def test_patches_named_are_left_out(toy, tools, older, run):
    lines = [*tools.lines[:10], "another ten\n", *tools.lines[11:]]
    older({"pkg/a.py": "".join(lines)}, without=["first-lines", "third-neighbour"])
    run("fetch", OLDER)
    assert [patch.slug for patch in derive(toy.project, OLDER)] == ["second-file"]


def test_a_series_of_a_tree_that_is_not_there_is_left_out_and_said(toy, older, run):
    source = older()
    run("fetch", OLDER)
    run("refresh", "--onto", str(toy.project.root / "work"))
    tree = toy.project.pristine(source.tree_name)
    tree.rename(tree.with_name("elsewhere"))
    done = run("apply")
    assert done.exit_code == 0, done.output
    assert f"{OLDER}: left out (`patchseries fetch {OLDER}`" in done.output
    assert not (toy.project.patched / OLDER).exists()
    asked = run("check", "--fast", "--series", OLDER)
    assert asked.exit_code == 2 and "not-fetched" in asked.output


def test_the_newest_release_comes_first_in_tables(toy, older, run):
    older()
    run("fetch", OLDER)
    (toy.project.root / "README.md").write_text(
        "<!-- patch-table:begin -->\n<!-- patch-table:end -->\n"
    )
    run("refresh", "--onto", str(toy.project.root / "work"))
    assert series_names(toy.project) == ["toy-1.0", OLDER]
    text = (toy.project.root / "README.md").read_text()
    assert text.index("<b>toy-1.0</b>") < text.index(f"**[{OLDER}](patches/{OLDER})**")
    assert "3 patches of toy-1.0, merged into that release" in text


def test_apply_recognises_the_release_by_its_files(toy, older, run, tmp_path):
    older()
    run("fetch", OLDER)
    run("refresh", "--onto", str(toy.project.root / "work"))
    checkout = tmp_path / "checkout"
    unpack_sdist(toy.index / f"{OLDER}.tar.gz", checkout)
    assert f"{OLDER}: 3 patches applied" in run("apply", "--onto", str(checkout)).output


def test_a_patch_of_two_series_is_named_with_its_series(toy, older, run):
    older()
    run("fetch", OLDER)
    run("refresh", "--onto", str(toy.project.root / "work"))
    meant = run("pr-body", "--draft", "first-lines")
    assert meant.exit_code == 0, "what is merged from another series is never sent"
    merged = run("pr-body", "--draft", f"{OLDER}/first-lines")
    assert merged.exit_code == 0 and merged.output.startswith("# [Core] First lines")
