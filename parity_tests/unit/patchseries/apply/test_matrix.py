# SPDX-License-Identifier: Apache-2.0
"""What applying does in each state of a tree: the table in docs/applying.md.

`UPDATE_MATRIX=1 pytest <this file>` writes it. The columns of stock tools depend on
git's version, which the table names; ours is held on any machine.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from patchseries.apply.apply import Options, apply
from patchseries.errors import PatchseriesError
from patchseries.project import Project

PAGE = Project.here().root / "docs/applying.md"
BEGIN, END = "<!-- matrix:begin -->", "<!-- matrix:end -->"
STOCK = {
    "`git apply`": ["git", "apply"],
    "`git apply -3`": ["git", "apply", "--3way"],
    "`git am`": ["git", "am", "-q", "--keep-non-patch"],
    "`git am -3`": ["git", "am", "-q", "-3", "--keep-non-patch"],
}
OURS = {"`apply`": False, "`apply --3way`": True}


def edited(name, line, text):
    def prepare(tree, tools, patches):
        tools.edit(tree, {name: {line: text}})

    return prepare


def committed(edits):
    def prepare(tree, tools, patches):
        tools.edit(tree, edits)
        tools.git(tree, "commit", "-q", "-m", "theirs")

    return prepare


def unstaged(name, line, text):
    def prepare(tree, tools, patches):
        edited(name, line, text)(tree, tools, patches)
        tools.git(tree, "reset", "-q")

    return prepare


def mailed(count):
    def prepare(tree, tools, patches):
        tools.git(tree, "am", "-q", *map(str, patches[:count]))

    return prepare


def in_the_way(tree, tools, patches):
    (tree / "pkg/new").mkdir()
    (tree / "pkg/new/d.py").write_text("mine\n")


def in_a_session(tree, tools, patches):
    committed({"pkg/b.py": "B = 3\n"})(tree, tools, patches)
    subprocess.run(["git", "am", "-q", str(patches[1])], cwd=tree, capture_output=True)


def without_git(tree, tools, patches):
    shutil.rmtree(tree / ".git")


def inside_another(tree, tools, patches):
    without_git(tree, tools, patches)
    tools.git(tree.parent, "init", "-q")
    (tree.parent / "outer.txt").write_text("outer\n")
    tools.git(tree.parent, "add", "outer.txt")
    tools.git(tree.parent, "commit", "-q", "-m", "outer")


MOVED = "".join(["# one\n", "# two\n", *[f"line {n}\n" for n in range(40)]])
STATES = {
    "clean": lambda *_: None,
    "whole series there, by `git am`": mailed(3),
    "patch 1 there, by `git am`": mailed(1),
    "unrelated file edited": unstaged("pkg/other.py", 3, "mine\n"),
    "touched file edited": unstaged("pkg/a.py", 30, "mine\n"),
    "unrelated file staged": edited("pkg/other.py", 3, "mine\n"),
    "conflict in patch 2": committed({"pkg/b.py": "B = 3\n"}),
    "untracked file in the way": in_the_way,
    "patch 2 merged upstream": committed(
        {"pkg/b.py": "B = 2\n", "pkg/new/d.py": "D = 1\n"}
    ),
    "lines moved": committed({"pkg/a.py": MOVED}),
    "context drifted, mergeable": committed({"pkg/a.py": {8: "theirs\n"}}),
    "`git am` in progress": in_a_session,
    "no git": without_git,
    "no git, inside another repository": inside_another,
}


def present(tree: Path) -> str:
    """How many of the patches the files have, and what else is to be seen."""
    text = (tree / "pkg/a.py").read_text()
    added = tree / "pkg/new/d.py"
    there = [
        "line ten\n" in text,
        (tree / "pkg/b.py").read_text() == "B = 2\n"
        and added.exists()
        and added.read_text() == "D = 1\n",
        "line eleven\n" in text and not (tree / "pkg/gone.py").exists(),
    ]
    words = [f"{sum(there)}/3"]
    if any("<<<<<<<" in p.read_text() for p in (tree / "pkg").rglob("*.py")):
        words.append("markers")
    return ", ".join(words)


def session(tree: Path) -> bool:
    folders = [tree / ".git", tree.parent / ".git"]
    return any((folder / "rebase-apply").exists() for folder in folders)


def run_stock(words, tree, patches):
    before = session(tree)
    command = [*words, *map(str, patches)]
    status = subprocess.run(command, cwd=tree, capture_output=True).returncode
    left = ", session left" if session(tree) and not before else ""
    return f"{status}: {present(tree)}{left}"


def run_ours(toy, three_way, tree, tools):
    """The cell, after holding what every refusal promises."""
    before = tools.picture(tree), (tree / ".git").exists() and tools.git_picture(tree)
    try:
        said = apply(toy.project, tree, tools.tree, Options(three_way=three_way))
    except PatchseriesError as error:
        after = tools.picture(tree), before[1] and tools.git_picture(tree)
        assert after == before, "a refusal changes nothing"
        assert error.advice or error.code in ("path-blocked",)
        return f"2: {present(tree)}, {error.code}"
    assert not session(tree)
    note = ", already applied" if "already applied" in said[-1] else ""
    return f"0: {present(tree)}{note}"


def matrix(toy, tools, folder):
    patches = [toy.folder / f"{slug}.patch" for slug in tools.patches]
    rows = {}
    base = toy.clone(folder / "base")
    for number, (state, prepare) in enumerate(STATES.items()):
        prepared = folder / str(number) / "tree"
        shutil.copytree(base, prepared)
        prepare(prepared, tools, patches)
        cells = {}
        for column, words in [*STOCK.items(), *OURS.items()]:
            around = folder / f"{number}-run"
            shutil.copytree(prepared.parent, around)
            tree = around / "tree"
            if (tree / ".git").exists():  # the copy's times are not those of the index
                tools.git(tree, "status")
            if column in STOCK:
                cells[column] = run_stock(words, tree, patches)
            else:
                cells[column] = run_ours(toy, words, tree, tools)
            shutil.rmtree(around)
        rows[state] = cells
    return rows


def as_text(rows, version):
    columns = [*STOCK, *OURS]
    lines = [
        f"Exit status, patches in the files afterwards, what else is left; {version}.",
        "",
        f"| state before | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for state, cells in rows.items():
        lines.append(f"| {state} | {' | '.join(cells[c] for c in columns)} |")
    return "\n" + "\n".join(lines) + "\n\n"


def test_matrix_is_what_the_documentation_says(toy, tools, tmp_path):
    version = " ".join(tools.git(tmp_path, "version").split()[:3])
    rows = matrix(toy, tools, tmp_path)
    for state in ("clean", "unrelated file edited", "no git"):
        assert rows[state]["`apply`"] == "0: 3/3"
    for state in ("lines moved", "context drifted, mergeable"):
        assert rows[state]["`apply --3way`"] == "0: 3/3"
    text = as_text(rows, version)
    page = PAGE.read_text()
    if os.environ.get("UPDATE_MATRIX"):
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(before + BEGIN + "\n" + text + END + rest.partition(END)[2])
        return
    written = re.search(f"{BEGIN}\n(.*){END}", page, re.DOTALL)[1]
    if version in written:
        assert text == written
    ours = len(OURS)
    cells = [line.split(" | ")[-ours:] for line in written.splitlines() if "/3" in line]
    expected = [line.split(" | ")[-ours:] for line in text.splitlines() if "/3" in line]
    assert cells == expected
