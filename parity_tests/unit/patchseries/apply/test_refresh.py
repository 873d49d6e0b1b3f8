# SPDX-License-Identifier: Apache-2.0
"""Commits to files and back: byte-stable, names kept, nothing silently dropped."""

import pytest

from patchseries.apply.losses import require_known
from patchseries.apply.refresh import refresh
from patchseries.series.tables import BEGIN, END

FORMAT_PATCH = ("-k", "-N", "--zero-commit", "--full-index", "--no-signature",
                "--no-stat", "--no-renames")  # fmt: skip


@pytest.fixture
def work(toy):
    return toy.project.root / "work"


def files(toy):
    return {path.name: path.read_bytes() for path in toy.folder.iterdir()}


def reword(work, tools, message):
    tools.git(work, "commit", "-q", "--amend", "-m", message)


def test_refresh_changes_nothing_twice(toy, work):
    before = files(toy)
    assert set(before) == {
        *(
            f"{slug}.patch"
            for slug in ("first-lines", "second-file", "third-neighbour")
        ),
        "series",
        "README.md",
    }
    assert refresh(toy.project, work, None, None) == [
        "toy-1.0: 3 patches, nothing changed"
    ]
    assert files(toy) == before


def test_export_then_apply_then_export(toy):
    before = files(toy)
    toy.apply(toy.patched)
    refresh(toy.project, toy.patched, None, None)
    assert files(toy) == before


def test_files_are_what_stock_git_writes(toy, tmp_path, tools):
    toy.apply(toy.patched)
    tools.git(toy.patched, "format-patch", *FORMAT_PATCH, "-o", str(tmp_path), "-3")
    stock = [path.read_bytes() for path in sorted(tmp_path.glob("*.patch"))]
    ours = [(toy.folder / f"{slug}.patch").read_bytes() for slug in tools.patches]
    assert stock == ours


def test_same_bytes_whatever_the_configuration(toy, work, tools, hermetic):
    before = files(toy)
    for key, value in {
        "diff.noprefix": "true",
        "diff.renames": "copies",
        "diff.context": "9",
        "diff.algorithm": "patience",
        "core.quotePath": "true",
        "format.signOff": "true",
        "format.subjectPrefix": "HACK",
        "format.attach": "x",
        "format.headers": "X-Hack: 1",
        "format.useAutoBase": "true",
        "format.encodeEmailHeaders": "false",
        "i18n.logOutputEncoding": "latin1",
    }.items():
        tools.git(work, "config", "--global", key, value)
        tools.git(work, "config", key, value)
    refresh(toy.project, work, None, None)
    assert files(toy) == before


def test_names_survive_a_new_title_or_new_content(toy, work, tools):
    (work / "pkg/other.py").write_text("O = 1\n")
    tools.git(work, "commit", "-q", "-am", "[Bugfix] Third: a neighbour of the first")
    tools.git(work, "reset", "-q", "--soft", "HEAD~2")
    tools.git(work, "commit", "-q", "-m", "[Bugfix] Third: a neighbour of the first")
    changes = refresh(toy.project, work, None, None)
    assert "content    third-neighbour" in changes, "the title was the same"
    reword(work, tools, "[Bugfix] Another title")
    assert "message    third-neighbour" in refresh(toy.project, work, None, None)
    assert b"Another title" in files(toy)["third-neighbour.patch"]


def test_trailer_names_the_file_and_is_not_exported(toy, work, tools):
    reword(work, tools, "[Core] T\n\nWhy: x\n\nRelated: none, x\nPatch-Slug: named\n"
           "Signed-off-by: A <a@x>")  # fmt: skip
    changes = refresh(toy.project, work, None, None)
    assert "new        named" in changes and "removed    third-neighbour" in changes
    assert b"Patch-Slug" not in files(toy)["named.patch"]
    assert b"Signed-off-by" not in files(toy)["named.patch"]
    assert "third-neighbour.patch" not in files(toy)


def test_moved_lines_are_told_from_new_content(toy, work, tools):
    tools.git(work, "reset", "-q", "--hard", "HEAD~3")
    tools.edit(work, {"pkg/a.py": {3: "one\ntwo\n"}})
    tools.git(work, "commit", "-q", "-m", "[Core] Earlier\n\nWhy: so.")
    for slug in tools.patches:
        tools.git(work, "am", "-q", "-3", "-k", str(toy.folder / f"{slug}.patch"))
    changes = refresh(toy.project, work, None, None)
    assert changes[:3] == [
        "new        earlier",
        "positions  first-lines",
        "positions  third-neighbour",
    ]


def test_order_follows_the_commits_and_comments_stay(toy, work, tools):
    text = (toy.folder / "series").read_text()
    (toy.folder / "series").write_text("# about the first\n" + text + "# end\n")
    tools.git(work, "reset", "-q", "--hard", "HEAD~3")
    for slug in ("second-file", "first-lines", "third-neighbour"):
        tools.git(work, "am", "-q", "-k", str(toy.folder / f"{slug}.patch"))
    assert "order      changed" in refresh(toy.project, work, None, None)
    assert (toy.folder / "series").read_text() == (
        "second-file.patch\n# about the first\nfirst-lines.patch\n"
        "third-neighbour.patch\n# end\n"
    )


def test_tables(toy, work):
    readme = toy.project.root / "README.md"
    readme.write_text(f"# Project\n\n{BEGIN}\nold\n{END}\nrest\n")
    assert "wrote README.md" in refresh(toy.project, work, None, None)
    text = readme.read_text()
    row = "| [first-lines](patches/toy-1.0/first-lines.patch) | [Core] First lines |"
    assert row in text and "old" not in text
    assert text.startswith("# Project\n") and text.endswith(f"{END}\nrest\n")
    page = (toy.folder / "README.md").read_text()
    assert (
        "| [second-file](second-file.patch) | [Core][Misc] Second file | +2 -1 |"
        in page
    )


def test_refuses_what_it_would_lose(toy, work, tools, refused, tmp_path):
    before = files(toy)
    (work / "untracked").write_text("x")
    refused("uncommitted", refresh, toy.project, work, None, None)
    (work / "untracked").unlink()
    (work / "pkg/b.py").write_text("x")
    error = refused("uncommitted", refresh, toy.project, work, None, None)
    assert "     " + " M pkg/b.py" in str(error)
    tools.git(work, "commit", "-q", "-am", "fixup! x")
    refused("unfinished", refresh, toy.project, work, None, None)
    tools.git(work, "reset", "-q", "--hard", "HEAD~")
    tools.git(work, "checkout", "-q", "-b", "side", "HEAD~2")
    (work / "pkg/other.py").write_text("side\n")
    tools.git(work, "commit", "-q", "-am", "[Core] Side")
    tools.git(work, "merge", "-q", "--no-edit", "main")
    refused("not-linear", refresh, toy.project, work, None, None)
    tools.git(work, "checkout", "-q", "--orphan", "other")
    (work / "pkg/b.py").write_text("other\n")
    tools.git(work, "commit", "-q", "-am", "other")
    refused("no-base", refresh, toy.project, work, "toy-1.0", None)
    refused("no-base", refresh, toy.project, work, None, "nonsense")
    refused("not-git", refresh, toy.project, toy.plain(tmp_path / "p"), None, None)
    assert files(toy) == before


def test_nothing_to_export(toy, tmp_path, refused):
    clean = toy.clone(tmp_path / "clean")
    refused("no-commits", refresh, toy.project, clean, None, None)


def test_two_commits_of_one_title(toy, work, tools, refused):
    tools.git(work, "commit", "-q", "--allow-empty", "-m", "[Core] First lines")
    before = files(toy)
    refused("same-slug", refresh, toy.project, work, None, None)
    assert files(toy) == before


def edit_patch(toy, tools, where, slug, edits):
    """Amend one commit of a series in a checkout and write the series from there."""
    tools.git(where, "reset", "-q", "--hard", "HEAD~3")
    for name in tools.patches:
        tools.git(where, "am", "-q", "-k", str(toy.folder / f"{name}.patch"))
        if name == slug:
            tools.edit(where, edits)
            tools.git(where, "commit", "-q", "--amend", "--no-edit")
    return refresh(toy.project, where, None, None)


def commit_on_top(where, tools, title="[Core] Mine"):
    tools.edit(where, {"pkg/mine.py": f"{title!r}\n"})
    tools.git(where, "commit", "-q", "-m", f"{title}\n\nWhy: so.")


def test_a_tree_of_an_older_series_takes_nothing_back(toy, work, tools, refused):
    toy.apply(toy.patched)
    edit_patch(toy, tools, work, "second-file", {"pkg/b.py": "B = 3\n"})
    before = files(toy)
    for advice in ("patchseries apply", "git branch -m patchseries/toy-1.0 mine"):
        error = refused("older-series", refresh, toy.project, toy.patched, None, None)
        assert "second-file: changed in the series since" in str(error)
        assert "first-lines" not in str(error) and "third" not in str(error)
        assert advice in str(error)
        assert files(toy) == before
        commit_on_top(toy.patched, tools, advice)


def test_the_advice_of_the_refusal_works(toy, work, tools):
    toy.apply(toy.patched)
    base = tools.git(toy.patched, "rev-parse", "HEAD~3")
    commit_on_top(toy.patched, tools)
    edit_patch(toy, tools, work, "second-file", {"pkg/b.py": "B = 3\n"})
    tools.git(toy.patched, "branch", "-m", "patchseries/toy-1.0", "mine")
    tools.git(toy.patched, "checkout", "-q", "--detach", base)
    toy.apply(toy.patched)
    tools.git(toy.patched, "cherry-pick", "mine")
    changes = refresh(toy.project, toy.patched, None, None)
    assert [line for line in changes if "wrote" not in line] == ["new        mine"]


def test_edits_of_the_tree_itself_go_on(toy, tools):
    toy.apply(toy.patched)
    for text in ("B = 4\n", "B = 5\n"):
        tools.git(toy.patched, "reset", "-q", "--hard", "HEAD~")
        tools.edit(toy.patched, {"pkg/b.py": text})
        tools.git(toy.patched, "commit", "-q", "--amend", "--no-edit")
        last = str(toy.folder / "third-neighbour.patch")
        tools.git(toy.patched, "am", "-q", "-k", last)
        changes = refresh(toy.project, toy.patched, None, None)
        assert "content    second-file" in changes


def test_what_was_brought_over_by_hand_is_no_loss(toy, work, tools):
    toy.apply(toy.patched)
    edit_patch(toy, tools, work, "second-file", {"pkg/b.py": "B = 3\n"})
    tools.git(toy.patched, "reset", "-q", "--hard", "HEAD~3")
    for slug in tools.patches:
        tools.git(toy.patched, "am", "-q", "-k", str(toy.folder / f"{slug}.patch"))
    assert refresh(toy.project, toy.patched, None, None) == [
        "toy-1.0: 3 patches, nothing changed"
    ]


def test_a_missing_patch_is_dropped_only_by_name(toy, work, tools, refused):
    before = files(toy)
    tools.git(work, "reset", "-q", "--hard", "HEAD~")
    error = refused("older-series", refresh, toy.project, work, None, None)
    assert "third-neighbour: no commit of the tree is this patch" in str(error)
    assert "--drop" in str(error)
    assert files(toy) == before
    changes = refresh(toy.project, work, None, None, ["third-neighbour"])
    assert "removed    third-neighbour" in changes
    assert "third-neighbour.patch" not in files(toy)


def test_a_patch_added_or_taken_out_since_stays_so(toy, work, tools, refused):
    toy.apply(toy.patched)
    commit_on_top(work, tools)
    refresh(toy.project, work, None, None)
    error = refused("older-series", refresh, toy.project, toy.patched, None, None)
    assert "mine: no commit of the tree is this patch" in str(error)
    tools.git(work, "reset", "-q", "--hard", "HEAD~2")
    refresh(toy.project, work, None, None, ["mine", "third-neighbour"])
    error = refused("older-series", refresh, toy.project, toy.patched, None, None)
    assert "third-neighbour: taken out of the series since" in str(error)


def test_drop_refuses_what_is_not_there_or_still_is(toy, work, refused):
    refused("no-patch", require_known, toy.project, ["no-neighbour"])
    require_known(toy.project, ["third-neighbour"])
    before = files(toy)
    refused("not-dropped", refresh, toy.project, work, None, None, ["first-lines"])
    assert files(toy) == before
