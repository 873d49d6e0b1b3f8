# SPDX-License-Identifier: Apache-2.0
"""What `check` finds out about each patch: gates, independence, removal, red-green.

Each check is shown a series that it must refuse beside one that it must pass.
"""

import json
import os
import pickle

import pytest
from click.testing import CliRunner

from patchseries.cli import main
from patchseries.errors import GitError, PatchseriesError
from patchseries.proof.red_green import _side_by_side
from patchseries.proof.walk import walk
from patchseries.series.patch import Patch
from patchseries.series.removal import landed

HOOK = """
import subprocess, sys
names = ["git", "diff", "--cached", "--name-only"]
for name in subprocess.check_output(names, text=True).split():
    if "import" " bad" in open(name).read():
        print(f"{name}:1: no bad imports")
        sys.exit(1)
"""
STAGED = """
[[source.gate]]
name = "staged"
needs = []
command = "python hook.py"
"""
RUFF = """
[[source.gate]]
name = "ruff check"
needs = ["ruff"]
command = "ruff check --isolated --no-cache --output-format concise"
files = '.py$'
"""
TESTS = "[source.tests]\noptions = ['--import-mode=importlib']\n"
FUNCTION = "def two():\n    return 2\n"
TEST = "from pkg import b\n\n\ndef test_two():\n    assert b.two() == 2\n"


@pytest.fixture
def run(toy):
    def call(*args):
        words = ["--project", str(toy.project.root), "check", "--json", *args]
        result = CliRunner().invoke(main, words)
        findings = json.loads(result.stdout) if result.exit_code < 2 else []
        return result, [(f["patch"], f["kind"], f["detail"]) for f in findings]

    return call


def absent(slug):
    return {slug: {"Remove-when": rf"pkg/{slug}.py: \A."}}


def test_gate_sees_the_patch_staged(run, series, pins):
    """A hook that looks at staged files alone would pass on a commit."""
    pins(STAGED)
    edits = (
        {"hook.py": HOOK},
        {"pkg/bad.py": "import bad\n"},
        {"pkg/good.py": "G = 1\n"},
    )
    names = ("hook", "bad", "good")
    whens = (
        {"hook": {"Remove-when": "hook.py: subprocess, sys"}}
        | absent("bad")
        | absent("good")
    )
    series(dict(zip(names, edits, strict=True)), whens)
    result, found = run()
    assert result.exit_code == 1
    ((patch, kind, detail),) = found
    assert (patch, kind) == ("bad", "gate") and "pkg/bad.py:1: no bad" in detail


def test_gate_is_not_run_again_until_something_changes(run, toy, series, pins):
    pins(RUFF)
    series({"new": {"pkg/new.py": "import os\n"}}, absent("new"))
    first, found = run()
    assert found[0][:2] == ("new", "gate") and "F401" in found[0][2]
    assert "ruff check" in first.stderr
    again, same = run()
    assert same == found and "ruff check" not in again.stderr
    series({"new": {"pkg/new.py": "N = 1\n"}}, absent("new"))
    third, clean = run()
    assert clean == [] and third.exit_code == 0 and "ruff check" in third.stderr


def test_gate_judges_the_change_and_not_the_file(run, toy, series, pins, tools):
    """What a tool said of the file before is no finding; one more of it is."""
    pins(RUFF)
    series(
        {
            "base": {"pkg/base.py": "import os\n"},
            "moved": {"pkg/base.py": "# a line\nimport os\n"},
            "worse": {"pkg/base.py": "# a line\nimport os\nimport re\n"},
        },
        absent("base")
        | {
            "moved": {"Remove-when": "pkg/base.py: line", "Depends-on": "base"},
            "worse": {"Remove-when": "pkg/base.py: re", "Depends-on": "moved"},
        },
    )
    assert [f[0] for f in run()[1]] == ["base", "worse"]


@pytest.mark.parametrize(
    "gate, why",
    [
        (RUFF.replace('"ruff"]', '"ruff==0.0.1"]'), "needed is 0.0.1"),
        (RUFF.replace('"ruff"]', '"no-such-tool"]'), "is not installed"),
        (RUFF.replace('"ruff check', '"no-such-program'), "no program"),
        (STAGED.replace("hook.py", "not-there.py"), "no not-there.py"),
        (STAGED.replace("hook.py", "-c 'import nothing_of_this'"), "could not run"),
    ],
)
def test_gate_that_cannot_run_is_a_finding_each_time(run, series, pins, gate, why):
    pins(gate)
    series({"new": {"pkg/new.py": "N = 1\n"}}, absent("new"))
    for _ in range(2):
        result, found = run()
        assert result.exit_code == 1 and "could not run" in found[0][2]
        assert why in found[0][2]


def test_undeclared_dependency(run, series):
    edits = {
        "one": {"pkg/a.py": {10: "ten\n"}},
        "two": {"pkg/a.py": {11: "eleven\n"}},
        "three": {"pkg/a.py": {12: "twelve\n"}},
        "far": {"pkg/a.py": {30: "thirty\n"}},
    }
    lines = dict(zip(edits, ("ten", "eleven", "twelve", "thirty"), strict=True))
    whens = {s: {"Remove-when": f"pkg/a.py: ^{text}$"} for s, text in lines.items()}
    series(edits, whens)
    found = run()[1]
    assert [f[:2] for f in found] == [("two", "depends"), ("three", "depends")]
    assert "lacks one:" in found[0][2]
    assert "lacks two:" in found[1][2], "what follows from another is left out"
    for slug, needs in (("two", "one"), ("three", "two"), ("far", "one")):
        whens[slug]["Depends-on"] = needs
    series(edits, whens)
    assert run()[1] == [], "one that text does not show may be declared"


@pytest.mark.parametrize(
    "marker, says",
    [
        ("pkg/a.py: never there", "does not hold in the patched tree"),
        ("pkg/a.py: ^line 20$", "holds in the unpatched tree"),
        ("absent pkg/b.py", "does not hold"),
        ("pkg/a.py: ten", "holds by 4 lines of pkg/a.py"),
        ("pkg/a.py", "is neither"),
        ("pkg/a.py: (", "missing )"),
    ],
)
def test_removal_condition_must_tell_the_trees_apart(run, series, marker, says):
    edits = {"one": {"pkg/a.py": {line: "ten\n" for line in range(10, 14)}}}
    series(edits, {"one": {"Remove-when": marker}})
    ((_, kind, detail),) = run()[1]
    assert kind == "header" and says in detail


def test_every_removal_condition_must_hold():
    message = "t\n\nWhy.\n\nRemove-when: a: x\nRemove-when: absent b\n"
    patch = Patch("p", b"", message, ())
    tree = {"a": b"x"}
    assert landed(patch, tree.get)
    assert not landed(patch, {**tree, "b": b""}.get)
    assert not landed(patch, {"a": b"y"}.get)


def red_green(run):
    return run("--red-green")


@pytest.mark.parametrize(
    "test, says",
    [
        (TEST, ""),
        (TEST.replace("b.two() == 2", "b.B == 1"), "do not test the patch"),
        (TEST.replace("== 2", "== 3"), "with the patch, pytest ends with 1"),
        ("import pytest\npytest.skip('x', allow_module_level=True)\n", "0 passed"),
        ("T = 1\n", "pytest ends with 5"),
    ],
)
def test_red_green(run, series, pins, test, says):
    pins(TESTS)
    edits = {"pkg/b.py": "B = 1\n\n\n" + FUNCTION, "tests/test_two.py": test}
    series({"two": edits}, {"two": {"Remove-when": "pkg/b.py: def two"}})
    result, found = red_green(run)
    if not says:
        assert found == [] and result.exit_code == 0, found
        assert "without its code" in result.stderr
        assert "without its code" not in red_green(run)[0].stderr, "kept"
    else:
        ((_, kind, detail),) = found
        assert kind == "gate" and says in detail


def test_red_green_is_not_left_out_silently(run):
    result, _ = run("--fast", "--red-green")
    assert result.exit_code == 2 and "--fast runs no test" in result.stderr


def test_red_green_that_cannot_run_is_a_finding(run, series, pins):
    pins(TESTS + "plugins = ['no_such_plugin']\n")
    edits = {"pkg/b.py": "B = 1\n\n\n" + FUNCTION, "tests/test_two.py": TEST}
    series({"two": edits}, {"two": {"Remove-when": "pkg/b.py: def two"}})
    for _ in range(2):
        result, found = red_green(run)
        assert result.exit_code == 1 and "could not run" in found[0][2]


def test_patches_are_tested_side_by_side(run, series, pins, toy):
    """Each job tests some of them, and what it found is told and kept."""
    pins(TESTS)
    test = "from pkg import {0}\n\n\ndef test_it():\n    assert {0}.N == {1}\n"
    edits = {
        name: {f"pkg/{name}.py": "N = 1\n", f"tests/test_{name}.py": made}
        for name, made in (
            ("good", test.format("good", 1)),
            ("bad", test.format("bad", 2)),
            ("kind", test.format("kind", 1)),
        )
    }
    series(edits, absent("good") | absent("bad") | absent("kind"))
    result, found = run("--red-green", "--jobs", "2")
    assert result.exit_code == 1
    ((patch, _, detail),) = [f for f in found if f[1] == "gate"]
    assert patch == "bad" and "with the patch, pytest ends with 1" in detail
    kept = toy.project.root / "build/checks/toy-1.0"
    assert {path.stem for path in kept.glob("*.json")} == set(edits)
    assert red_green(run)[1] == found


def test_a_job_that_dies_is_no_pass(toy, series, pins, monkeypatch):
    pins(TESTS)
    monkeypatch.setattr("patchseries.proof.red_green._some", os._exit)
    with pytest.raises(PatchseriesError, match="ended without an answer"):
        _side_by_side(toy.project, "toy-1.0", ["a", "b"], 2, print)


def test_a_refusal_of_another_process_says_the_same():
    error = GitError(["git", "add"], "No space left on device", 128)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.code) == (str(error), error.code)


def test_patch_without_tests_is_a_finding(run, pins):
    pins(TESTS)
    found = red_green(run)[1]
    assert len(found) == 3 and "changes nothing below tests/" in found[0][2]


def test_no_test_setup_is_no_pass(run):
    assert red_green(run)[0].exit_code == 2


@pytest.fixture
def body(toy):
    def call(slug):
        words = ["--project", str(toy.project.root), "pr-body", slug]
        return CliRunner().invoke(main, words)

    return call


def test_pull_request_shows_results_of_this_very_patch(run, body, toy, series, pins):
    pins(RUFF, TESTS)
    code = "B = 1\n\n\n" + FUNCTION
    edits = {"pkg/b.py": code, "tests/test_two.py": TEST}
    when = {"two": {"Remove-when": "pkg/b.py: def two"}}
    series({"two": edits}, when)
    assert body("two").exit_code == 2 and "no-result" in body("two").stderr
    assert red_green(run)[0].exit_code == 0
    assert "no-parity-run" in body("two").stderr
    with walk(toy.project, "toy-1.0") as one:
        tree = one.tip_tree
    provenance = {
        "trees": {"new": {"toy": tree}},
        "command": "run it",
        "created": "now",
    }
    summary = {"passed": 3, "total": 4, "failed": 0, "unmatched": 1}
    case = {"old": "a", "new": "new"}
    result = {"verdict": "pass", "summary": summary, "provenance": provenance}
    path = toy.project.root / "build/parity/comparison.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result | {"cases": [case]}))
    assert "no-report" in body("two").stderr
    report = path.with_name("report.md")
    rows = "".join(f"| row {n} |\n" for n in range(9000))
    report.write_text("## PASS: old\n")
    assert "of another run" in body("two").stderr
    tail = "\n<details><summary>Provenance</summary>\n\ncreated now\n"
    report.write_text(f"## PASS: same\n\n### Cases\n\n{rows}{tail}")
    cut = body("two").stdout
    assert len(cut) < 65_536 and "more lines are in report.md" in cut
    report.write_text(f"## PASS: same\n\n### Cases\n{tail}")
    text = body("two")
    assert text.exit_code == 0, text.output
    for part in (
        "$ pytest tests/test_two.py\n1 passed with the patch; 1 failed without",
        "$ ruff check --isolated --no-cache --output-format concise pkg/b.py tests",
        "$ run it\npass: 3 of 4 comparisons passed, 0 failed, 1 without a pair",
        "- a against new",
        "\n#### PASS: same\n\n#### Cases\n",
        "- [x] The test results",
    ):
        assert part in text.stdout
    series({"two": edits | {"pkg/b.py": code + "# a line\n"}}, when)
    assert body("two").exit_code == 2 and "no-result" in body("two").stderr
    assert red_green(run)[0].exit_code == 0
    assert "old-parity-run" in body("two").stderr
