# SPDX-License-Identifier: Apache-2.0
"""The real patches on the real pins: there, back, and by stock tools.

No pristine tree or no patch is a failure, with the command that mends it; series for
optional trees are tried where these were fetched.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from patchseries.apply.apply import Options, apply
from patchseries.apply.refresh import refresh
from patchseries.apply.unapply import unapply
from patchseries.git import Git
from patchseries.pins.fetch import require_pristine
from patchseries.pins.sources import read_sources
from patchseries.project import Project
from patchseries.proof.check import check, check_tables
from patchseries.proof.prbody import pr_body
from patchseries.series.folder import read_series, series_names

PROJECT = Project.here()
EVERY = (
    "vllm-0.33.0",
    "vllm-0.30.0",
    "vllm-ascend-0.30.0rc2",
    "vllm-0.12.0",
    "vllm-ascend-0.12.0rc1",
)
SOURCES = read_sources(PROJECT.pins)
NAMES = [n for n in EVERY if not SOURCES[n].optional or PROJECT.pristine(n).exists()]
# Hooks in Python of vLLM that are about its CI, images and locks, never about a patch.
ABOUT_OTHER_FILES = {
    "format-torch-nightly-test",
    "check-label-rules",
    "check-agent-files",
    "check-buildkite-step-keys",
    "validate-docker-versions",
    "check-dockerignore-tracked",
}


@pytest.fixture(autouse=True)
def no_user_configuration(tmp_path, monkeypatch):
    """The stock tools are compared without anyone's settings."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def pristine(name):
    return require_pristine(PROJECT, read_sources(PROJECT.pins)[name])


def pictures(root: Path) -> dict[str, tuple]:
    """Bytes, mode and time of every file, `.git` left out."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root)
        if path.is_file() and name.parts[0] != ".git":
            info = path.stat()
            found[str(name)] = (path.read_bytes(), info.st_mode, info.st_mtime_ns)
    return found


def checkout(pristine: Path, folder: Path) -> Path:
    Git(pristine)("clone", "-q", "--no-hardlinks", ".", str(folder))
    Git(folder)("config", "user.name", "Tester")
    Git(folder)("config", "user.email", "tester@x.invalid")
    return folder


def stock_git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_series_is_there():
    assert tuple(series_names(PROJECT)) == EVERY


def test_make_trees_needs_no_optional_tree():
    """The README's commands fetch and patch what they need, and nothing more."""
    kept = {name for name in EVERY if not SOURCES[name].optional}
    assert kept == {"vllm-0.12.0", "vllm-ascend-0.12.0rc1"}


def test_check_is_clean(name):
    assert check(PROJECT, name) == []
    assert [f for f in check_tables(PROJECT) if f.series in (name, "")] == []


def test_hooks_of_the_tree_are_gates(name, pristine):
    """mypy among them, in the version that the tree's own configuration pins."""
    if SOURCES[name].derived_from:
        pytest.skip("its patches pass the gates of the series that it is merged from")
    configuration = yaml.safe_load((pristine / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in configuration["repos"] for hook in repo["hooks"]]
    gates = {tuple(shlex.split(gate.command)): gate for gate in SOURCES[name].gates}
    for hook in hooks:
        program, *arguments = shlex.split(hook.get("entry", "bash"))
        stages = hook.get("stages", ["pre-commit"])
        if program not in ("python", "python3") or "pre-commit" not in stages:
            continue
        if hook["id"] not in ABOUT_OTHER_FILES:
            needs = gates[("python", *arguments)].needs
            tools = hook.get("additional_dependencies", ())
            assert {tool for tool in tools if tool.startswith("mypy==")} <= set(needs)


def test_git_checkout_there_and_back(name, pristine, tmp_path):
    target = checkout(pristine, tmp_path / "checkout")
    before, head = pictures(target), stock_git(target, "rev-parse", "HEAD")
    apply(PROJECT, target, None, Options())
    count = len(read_series(PROJECT, name).patches)
    assert stock_git(target, "rev-list", "--count", f"{head}..HEAD") == str(count)
    assert stock_git(target, "status", "--porcelain", "--ignored") == ""
    assert "already applied" in apply(PROJECT, target, None, Options())[0]
    unapply(PROJECT, target, None)
    assert stock_git(target, "rev-parse", "HEAD") == head
    after = pictures(target)
    assert {n: v[:2] for n, v in after.items()} == {n: v[:2] for n, v in before.items()}


def test_unpacked_sdist_there_and_back(name, pristine, tmp_path):
    target = tmp_path / "unpacked"
    shutil.copytree(pristine, target, ignore=shutil.ignore_patterns(".git"))
    before = pictures(target)
    apply(PROJECT, target, None, Options())
    changed = {
        n for n, v in pictures(target).items() if before.get(n, (None,))[0] != v[0]
    }
    touched = set(read_series(PROJECT, name).paths)
    assert {n for n in changed if not n.startswith(".patchseries/")} <= touched
    unapply(PROJECT, target, None)
    assert pictures(target) == before, "bytes, modes and times"


def test_stock_tools_give_the_same_tree(name, pristine, tmp_path):
    ours = checkout(pristine, tmp_path / "ours")
    apply(PROJECT, ours, None, Options())
    tree = stock_git(ours, "rev-parse", "HEAD^{tree}")
    titles = stock_git(ours, "log", "--format=%s")
    folder = PROJECT.patches / name
    quilt = checkout(pristine, tmp_path / "quilt")
    stock_git(quilt, "quiltimport", "--keep-non-patch", "--patches", str(folder))
    assert stock_git(quilt, "rev-parse", "HEAD^{tree}") == tree
    assert stock_git(quilt, "log", "--format=%s") == titles
    mail = checkout(pristine, tmp_path / "am")
    files = [f"{folder}/{p.slug}.patch" for p in read_series(PROJECT, name).patches]
    stock_git(mail, "am", "--keep-non-patch", *files)
    assert stock_git(mail, "rev-parse", "HEAD^{tree}") == tree


def test_refresh_is_byte_stable(name, pristine, tmp_path):
    project = Project(tmp_path / "project")
    shutil.copytree(PROJECT.patches / name, project.patches / name)
    project.trees.mkdir()
    pins = PROJECT.pins.read_text().replace("derived_from", "from")  # as if its own
    project.pins.write_text(re.sub("(?m)^(from|without) = .*$", "", pins))
    target = checkout(pristine, tmp_path / "checkout")
    apply(project, target, None, Options())
    (said,) = refresh(project, target, None, None)
    merged = SOURCES[name].derived_from  # which its page says, and this refresh cannot
    assert (
        said == f"wrote patches/{name}/README.md"
        if merged
        else "nothing changed" in said
    )
    for path in (PROJECT.patches / name).iterdir():
        if path.name == "README.md" and merged:
            continue
        assert (project.patches / name / path.name).read_bytes() == path.read_bytes()


def test_every_patch_has_a_pull_request_text(name):
    series = read_series(PROJECT, name)
    for patch in series.patches:
        text = pr_body(series, patch)
        assert patch.explanation.split()[0] in text
        assert "None stated" not in text, f"{patch.slug} has no Test-Plan"
