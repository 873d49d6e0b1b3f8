# SPDX-License-Identifier: Apache-2.0
"""Random series, target states and interruptions: old, new, or an instruction.

Whatever a tree looked like and wherever the command died, afterwards the tree is as
before, as patched, or the next command says what to do; nobody's edit is lost.
"""

import shutil
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchseries.apply.apply import Options, apply
from patchseries.apply.refresh import refresh
from patchseries.apply.status import status
from patchseries.apply.unapply import unapply
from patchseries.errors import PatchseriesError

TOUCHED = ("pkg/a.py", "pkg/b.py", "pkg/gone.py", "pkg/new/d.py", "pkg/new/e.py")
OTHER = "pkg/other.py"
SETTINGS = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

lines = st.integers(0, 39)
texts = st.text("abcdef", min_size=1, max_size=4).map(lambda text: f"{text}\n")
edits = st.one_of(
    st.builds(lambda n, t: {"pkg/a.py": {n: t}}, lines, texts),
    st.builds(lambda t: {"pkg/b.py": f"B = 1\n{t}"}, texts),
    st.builds(lambda t: {"pkg/new/d.py": t}, texts),
    st.builds(lambda t: {"pkg/new/e.py": t}, texts),
    st.just({"pkg/gone.py": None}),
)


@dataclass(frozen=True)
class State:
    """What a user did to the tree before."""

    plain: bool
    edit: str | None  # the file
    staged: bool
    committed: bool


states = st.builds(
    State,
    plain=st.booleans(),
    edit=st.sampled_from([None, None, OTHER, *TOUCHED]),
    staged=st.booleans(),
    committed=st.booleans(),
)


def make_series(toy, tools, patches, folder):
    work = toy.clone(folder / "work")
    made = 0
    for number, edit in enumerate(patches):
        if edit == {"pkg/gone.py": None} and not (work / "pkg/gone.py").exists():
            continue
        tools.edit(work, edit)
        if not tools.git(work, "status", "--porcelain"):
            continue
        tools.git(work, "commit", "-q", "-m", f"[Core] Number {number}\n\nWhy: so.\n")
        made += 1
    if made:
        shutil.rmtree(toy.folder, ignore_errors=True)
        refresh(toy.project, work, tools.tree, None)
    return made


def make_target(toy, tools, state, folder):
    make = toy.plain if state.plain else toy.clone
    target = make(folder / "target")
    if state.edit:
        path = target / state.edit
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine\n")
        if not state.plain and (state.staged or state.committed):
            tools.git(target, "add", "-f", state.edit)
            if state.committed:
                tools.git(target, "commit", "-q", "-m", "mine")
    return target


def files(tree, tools):
    seen = tools.picture(tree, (".patchseries",))
    return {name: entry[:2] for name, entry in seen.items() if len(entry) > 1}


def look(tree, tools):
    refs = tools.git_picture(tree)[1:4] if (tree / ".git").exists() else None
    return files(tree, tools), refs


def outcome(function):
    """The refusal's code, None when it went through."""
    try:
        function()
    except PatchseriesError as error:
        assert error.advice, f"{error.code} says nothing about what to do"
        return error.code
    return None


@SETTINGS
@given(patches=st.lists(edits, min_size=1, max_size=4), state=states)
def test_all_or_nothing_and_back(toy, tools, tmp_path_factory, patches, state):
    folder = tmp_path_factory.mktemp("any")
    if not make_series(toy, tools, patches, folder):
        return
    target = make_target(toy, tools, state, folder)
    before = look(target, tools)
    code = outcome(lambda: apply(toy.project, target, tools.tree, Options()))
    if code:
        assert look(target, tools) == before, code
        return
    after = look(target, tools)
    assert state.edit is None or (target / state.edit).read_text() == "mine\n"
    assert outcome(lambda: apply(toy.project, target, tools.tree, Options())) is None
    assert look(target, tools) == after, "a second apply changes nothing"
    unapply(toy.project, target, None)
    assert look(target, tools) == before


@SETTINGS
@given(
    patches=st.lists(edits, min_size=1, max_size=3),
    plain=st.booleans(),
    deaths=st.lists(st.integers(30, 90), min_size=1, max_size=3),
    edit=st.sampled_from([None, OTHER, *TOUCHED]),
)
def test_killed_again_and_again(
    toy, tools, tmp_path_factory, patches, plain, deaths, edit
):
    """Several deaths, then an edit: it survives, and without one a way leads out."""
    folder = tmp_path_factory.mktemp("any")
    if not make_series(toy, tools, patches, folder):
        return
    target = make_target(toy, tools, State(plain, None, False, False), folder)
    old = files(target, tools)
    for step in deaths:
        tools.die_at(step, lambda: toy.apply(target, tools.tree), target)
    if edit:
        mine = target / edit
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine\n")
    code = outcome(lambda: apply(toy.project, target, tools.tree, Options()))
    if edit:
        assert (target / edit).read_text() == "mine\n", "an edit is never lost"
        return
    assert code is None and status(toy.project, target, tools.tree).state == "applied"
    unapply(toy.project, target, None)
    assert files(target, tools) == old
