# SPDX-License-Identifier: Apache-2.0
"""Apply and unapply on git checkouts: the states of the behaviour matrix."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import patchseries
from patchseries.apply.status import status
from patchseries.apply.unapply import unapply
from patchseries.git import Git


@pytest.fixture
def checkout(toy, tmp_path):
    return toy.clone(tmp_path / "checkout")


def outcomes(toy, path):
    return [row.outcome for row in status(toy.project, path, None).patches]


def test_applies_as_commits_on_a_named_branch(toy, checkout, tools):
    toy.apply(checkout)
    assert (
        tools.git(checkout, "branch", "--show-current") == f"patchseries/{tools.tree}"
    )
    titles = tools.git(checkout, "log", "--reverse", "--format=%s", "main..HEAD")
    assert titles.splitlines() == [title for title, _ in tools.patches.values()]
    assert tools.git(checkout, "status", "--porcelain", "--ignored") == ""
    assert (checkout / "pkg/new/d.py").read_text() == "D = 1\n"
    assert not (checkout / "pkg/gone.py").exists()


def test_gives_the_tree_that_git_am_gives(toy, checkout, tmp_path, tools):
    toy.apply(checkout)
    other = toy.clone(tmp_path / "am")
    files = [str(toy.folder / f"{slug}.patch") for slug in tools.patches]
    tools.git(other, "am", "-q", "--keep-non-patch", *files)
    same = [tools.git(p, "rev-parse", "HEAD^{tree}") for p in (checkout, other)]
    assert same[0] == same[1]
    titles = [tools.git(p, "log", "--format=%B", "-3") for p in (checkout, other)]
    assert titles[0] == titles[1], "titles keep their [Tags]"


def test_unapply_restores_everything(toy, checkout, tools):
    before = tools.git_picture(checkout)
    toy.apply(checkout)
    assert tools.git_picture(checkout) != before
    unapply(toy.project, checkout, None)
    assert tools.git_picture(checkout) == before


def test_unapply_on_a_detached_head(toy, checkout, tools):
    tools.git(checkout, "checkout", "-q", "--detach")
    before = tools.git_picture(checkout)
    toy.apply(checkout)
    unapply(toy.project, checkout, None)
    assert tools.git_picture(checkout) == before


def test_second_apply_says_so(toy, checkout, tools):
    toy.apply(checkout)
    before = tools.git_picture(checkout)
    assert "already applied" in toy.apply(checkout)[0]
    assert tools.git_picture(checkout) == before


def test_already_applied_by_git_am(toy, checkout, tools, refused):
    files = [str(toy.folder / f"{slug}.patch") for slug in tools.patches]
    tools.git(checkout, "am", "-q", *files)
    assert outcomes(toy, checkout) == ["applied"] * 3
    assert "already applied" in toy.apply(checkout)[0]
    error = refused("no-receipt", unapply, toy.project, checkout, None)
    assert "git reset --keep" in error.advice


def test_unapply_of_nothing_is_no_error(toy, checkout):
    assert "nothing to do" in unapply(toy.project, checkout, None)[0]


@pytest.mark.parametrize("slug", ["first-lines", "second-file"])
def test_half_patched_is_refused(toy, checkout, tools, refused, slug):
    tools.git(checkout, "am", "-q", str(toy.folder / f"{slug}.patch"))
    before = tools.git_picture(checkout)
    refused("half-patched", toy.apply, checkout)
    assert tools.git_picture(checkout) == before
    assert outcomes(toy, checkout).count("applied") == 1


def test_unrelated_edit_stays(toy, checkout, tools):
    (checkout / "pkg/other.py").write_text("mine\n")
    (checkout / "untracked.txt").write_text("mine\n")
    toy.apply(checkout)
    assert (checkout / "pkg/other.py").read_text() == "mine\n"
    assert tools.git(checkout, "status", "--porcelain").split() == (
        ["M", "pkg/other.py", "??", "untracked.txt"]
    )
    unapply(toy.project, checkout, None)
    assert (checkout / "pkg/other.py").read_text() == "mine\n"
    assert (checkout / "untracked.txt").read_text() == "mine\n"


def _touched(path, tools):
    (path / "pkg/a.py").write_text("mine\n" + "".join(tools.lines))


def _same_size_and_time(path, tools):
    file = path / "pkg/b.py"
    info = file.stat()
    file.write_text("B = 7\n")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    tools.git(path, "update-index", "--assume-unchanged", "pkg/b.py")


def _staged(path, tools):
    (path / "pkg/other.py").write_text("mine\n")
    tools.git(path, "add", "pkg/other.py")


def _collision(path, tools):
    (path / "pkg/new").mkdir()
    (path / "pkg/new/d.py").write_text("mine\n")


def _blocked(path, tools):
    (path / "pkg/new").write_text("a file where the series needs a folder\n")


def _linked(path, tools):
    (path / "elsewhere").mkdir()
    (path / "pkg/new").symlink_to("../elsewhere")


def _nested(path, tools):
    (path / "pkg/new").mkdir()
    tools.git(path / "pkg/new", "init", "-q")


def _am_session(path, tools):
    (path / ".git/rebase-apply").mkdir()


def _merge(path, tools):
    head = tools.git(path, "rev-parse", "HEAD")
    (path / ".git/MERGE_HEAD").write_text(head)


def _index_lock(path, tools):
    (path / ".git/index.lock").write_text("")


def _own_branch(path, tools):
    tools.git(path, "commit", "-q", "--allow-empty", "-m", "mine")
    tools.git(path, "branch", f"patchseries/{tools.tree}")
    tools.git(path, "reset", "-q", "--hard", "HEAD~")


def _other_version(path, tools):
    (path / "pkg/a.py").write_text("other\n" * 40)
    tools.git(path, "commit", "-q", "-am", "other version")


@pytest.mark.parametrize(
    "code, prepare",
    [
        ("dirty-file", _touched),
        ("hidden-file", _same_size_and_time),
        ("staged-changes", _staged),
        ("untracked-collision", _collision),
        ("path-blocked", _blocked),
        ("path-blocked", _linked),
        ("nested-repository", _nested),
        ("operation-in-progress", _am_session),
        ("operation-in-progress", _merge),
        ("index-locked", _index_lock),
        ("branch-exists", _own_branch),
        ("wrong-base", _other_version),
    ],
)
def test_refused_and_untouched(toy, checkout, tools, refused, code, prepare):
    prepare(checkout, tools)
    before = tools.git_picture(checkout)
    error = refused(code, toy.apply, checkout)
    assert error.advice or code == "path-blocked"
    assert tools.git_picture(checkout) == before


def test_conflict_tries_every_patch(toy, checkout, tools, refused):
    (checkout / "pkg/a.py").write_text("other\n" * 40)
    tools.git(checkout, "commit", "-q", "-am", "drift")
    refused("wrong-base", toy.apply, checkout, three_way=True)
    assert outcomes(toy, checkout) == ["conflict", "exact", "blocked"]


def test_file_missing(toy, checkout, tools):
    tools.git(checkout, "rm", "-q", "pkg/b.py")
    tools.git(checkout, "commit", "-q", "-m", "drift")
    assert outcomes(toy, checkout) == ["exact", "file-missing", "exact"]


def test_moved_lines_need_consent(toy, checkout, tools, refused):
    (checkout / "pkg/a.py").write_text("more\n" * 9 + "".join(tools.lines))
    tools.git(checkout, "commit", "-q", "-am", "drift")
    assert outcomes(toy, checkout) == ["offset", "exact", "offset"]
    assert "--3way" in refused("wrong-base", toy.apply, checkout).advice
    toy.apply(checkout, three_way=True)
    text = (checkout / "pkg/a.py").read_text()
    assert text.startswith("more\n" * 9) and "line ten\nline eleven\n" in text


def test_three_way_without_the_blobs(toy, checkout, tmp_path, tools):
    """The target never had the files that the series was written for."""
    text = "".join(tools.lines).replace("line 8\n", "drift\n")
    (checkout / "pkg/a.py").write_text(text)
    tools.git(checkout, "checkout", "-q", "--orphan", "fresh")
    tools.git(checkout, "commit", "-q", "-am", "a fresh history")
    shallow = tmp_path / "shallow"
    url = f"file://{checkout}"
    tools.git(tmp_path, "clone", "-q", "--depth=1", url, str(shallow))
    assert outcomes(toy, shallow) == ["three-way", "exact", "three-way"]
    before = tools.git_picture(shallow)
    toy.apply(shallow, three_way=True)
    assert (
        "drift\nline 9\nline ten\nline eleven\n" in (shallow / "pkg/a.py").read_text()
    )
    unapply(toy.project, shallow, None)
    assert tools.git_picture(shallow) == before


def test_merged_upstream_is_recognised(toy, checkout, tools):
    tools.edit(checkout, {"pkg/a.py": {10: "line ten\n", 30: "and more\n"}})
    tools.git(checkout, "commit", "-q", "-m", "merged upstream, with more")
    assert outcomes(toy, checkout) == ["upstreamed", "exact", "offset"]
    toy.apply(checkout, three_way=True)
    titles = tools.git(checkout, "log", "--reverse", "--format=%s", "main..HEAD")
    assert [title[:6] for title in titles.splitlines()] == ["[Core]", "[Bugfi"]


def test_not_top_level(toy, checkout, tmp_path, tools, refused):
    refused("not-top-level", toy.apply, checkout / "pkg")
    tools.git(tmp_path, "init", "-q", "empty")
    refused("no-commit", toy.apply, tmp_path / "empty")
    refused("no-such-folder", toy.apply, tmp_path / "nowhere")
    (tmp_path / "foreign").mkdir()
    refused("foreign-directory", toy.apply, tmp_path / "foreign")


HOSTILE_CONFIG = """
[core]
    autocrlf = input
    hooksPath = {hooks}
    quotePath = true
    attributesFile = {hooks}/attributes
[commit]
    gpgSign = true
[gpg]
    program = false
[diff]
    noprefix = true
    renames = copies
    context = 9
    algorithm = patience
[format]
    signOff = true
    subjectPrefix = HACK
    attach = true
    pretty = oneline
[apply]
    whitespace = fix
[init]
    templateDir = {hooks}
[user]
    name = Tester
    email = tester@x.invalid
[merge]
    conflictStyle = diff3
"""


def test_same_commits_whatever_the_configuration(
    toy, checkout, tmp_path, tools, hermetic, monkeypatch
):
    toy.apply(checkout)
    expected = tools.git(checkout, "rev-parse", "HEAD")
    other = toy.clone(tmp_path / "other")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "post-checkout", "reference-transaction", "commit-msg"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    (hooks / "attributes").write_text("*.py diff=python\n")
    (hermetic / ".gitconfig").write_text(HOSTILE_CONFIG.format(hooks=hooks))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "someone")
    toy.apply(other)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name)
    assert tools.git(other, "rev-parse", "HEAD") == expected


def test_line_ends_of_a_users_checkout_are_kept(toy, tmp_path, tools, hermetic):
    with (hermetic / ".gitconfig").open("a") as config:
        config.write("[core]\nautocrlf = true\n")
    path = tmp_path / "crlf"
    tools.git(tmp_path, "clone", "-q", str(toy.pristine), str(path))
    assert b"\r\n" in (path / "pkg/a.py").read_bytes()
    before = tools.picture(path)
    toy.apply(path)
    assert b"line ten\r\nline eleven\r\n" in (path / "pkg/a.py").read_bytes()
    assert tools.git(path, "status", "--porcelain") == ""
    unapply(toy.project, path, None)
    after = tools.picture(path)
    assert {n: v[:2] for n, v in before.items()} == {n: v[:2] for n, v in after.items()}


def test_signoff_uses_the_callers_identity(toy, checkout, tools):
    toy.apply(checkout, signoff=True)
    log = tools.git(checkout, "log", "-1", "--format=%an <%ae>%n%B")
    assert log.startswith("Tester <tester@x.invalid>\n")
    assert log.endswith(".py\nSigned-off-by: Tester <tester@x.invalid>")


def test_commits_on_top_are_not_lost(toy, checkout, tools, refused):
    toy.apply(checkout)
    (checkout / "pkg/b.py").write_text("B = 3\n")
    tools.git(checkout, "commit", "-q", "-am", "mine")
    before = tools.git_picture(checkout)
    refused("not-as-applied", unapply, toy.project, checkout, None)
    assert status(toy.project, checkout, None).state == "edited"
    assert tools.git_picture(checkout) == before


def test_a_changed_series_replaces_the_one_applied(toy, checkout, tools):
    before = tools.git_picture(checkout)
    toy.apply(checkout)
    work = toy.project.root / "work"
    tools.git(work, "reset", "-q", "--hard", "HEAD~2")
    tools.edit(work, {"pkg/a.py": {20: "line twenty\n"}, "pkg/x/y.py": "Y = 1\n"})
    tools.git(work, "commit", "-q", "-m", "[Core] Another\n\nWhy: so.")
    from patchseries.apply.refresh import refresh

    refresh(toy.project, work, None, None, ["second-file", "third-neighbour"])
    assert status(toy.project, checkout, None).state == "applied-old"
    toy.apply(checkout)
    assert status(toy.project, checkout, None).state == "applied"
    assert (checkout / "pkg/gone.py").exists(), "what left the series is back"
    assert not (checkout / "pkg/new").exists()
    assert "line twenty" in (checkout / "pkg/a.py").read_text()
    unapply(toy.project, checkout, None)
    assert tools.git_picture(checkout) == before


def test_linked_worktree(toy, checkout, tmp_path, tools):
    linked = tmp_path / "linked"
    tools.git(checkout, "worktree", "add", "-q", "-b", "other", str(linked))
    before = tools.picture(linked)
    toy.apply(linked)
    assert (linked / "pkg/new/d.py").exists() and not (checkout / "pkg/new").exists()
    unapply(toy.project, linked, None)
    assert {n: v[0] for n, v in tools.picture(linked).items()} == {
        n: v[0] for n, v in before.items()
    }


def test_receipt_alone_proves_nothing(toy, checkout, tools):
    toy.apply(checkout)
    tools.git(checkout, "reset", "-q", "--hard", "main")
    assert outcomes(toy, checkout) == ["exact"] * 3
    tools.git(checkout, "checkout", "-q", "main")
    tools.git(checkout, "branch", "-D", f"patchseries/{tools.tree}")
    assert "3 patches applied" in toy.apply(checkout)[0]


def test_objects_reach_the_target_only_on_success(toy, checkout, refused, tools):
    (checkout / "pkg/a.py").write_text("mine\n" + "".join(tools.lines))
    before = Git(checkout)("count-objects", "-v")
    refused("dirty-file", toy.apply, checkout)
    status(toy.project, checkout, None)
    assert Git(checkout)("count-objects", "-v") == before


def test_every_edited_file_is_named_whole(toy, checkout, refused):
    """git's list starts with a space where an edit is not staged."""
    for name in ("pkg/a.py", "pkg/b.py"):
        (checkout / name).write_text("mine\n")
    error = refused("dirty-file", toy.apply, checkout)
    assert error.args[0].endswith(": pkg/a.py, pkg/b.py")
    reason = status(toy.project, checkout, None).reason
    assert reason.endswith(": pkg/a.py, pkg/b.py")


def test_staged_names_are_shown_as_they_are(toy, checkout, tools, refused):
    (checkout / "line\nend").write_text("mine\n")
    tools.git(checkout, "add", "-A")
    assert "line\nend" in str(refused("staged-changes", toy.apply, checkout))


def test_exit_codes_and_messages(toy, checkout, tools):
    def run(*args):
        command = [sys.executable, "-m", "patchseries", "--project", toy.project.root]
        env = os.environ | {"PYTHONPATH": str(Path(patchseries.__file__).parents[1])}
        return subprocess.run(
            [*command, *args], capture_output=True, text=True, env=env
        )

    assert run("apply", "--onto", checkout).returncode == 0
    assert run("apply", "--onto", checkout).returncode == 0
    (checkout / "pkg/a.py").write_text("mine\n")
    done = run("unapply", "--onto", checkout)
    assert done.returncode == 2
    assert "dirty-file" in done.stderr and "Traceback" not in done.stderr
    assert run("status", "--onto", checkout, "--json").returncode == 0
