# SPDX-License-Identifier: Apache-2.0
"""Whether files, commits, headers and tables agree, and what each patch is worth.

Writes nothing but `build/checks/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from patchseries.apply.classify import Classification, classify
from patchseries.apply.commits import build_commits
from patchseries.apply.derive import derive, origins
from patchseries.errors import PatchseriesError
from patchseries.files import read_utf8
from patchseries.git import Git
from patchseries.pins.fetch import require_pristine
from patchseries.pins.sources import read_sources
from patchseries.project import Project
from patchseries.proof.gates import Say, check_gates
from patchseries.proof.independence import check_independence
from patchseries.proof.red_green import check_red_green
from patchseries.proof.walk import walk
from patchseries.scratch import scratch
from patchseries.series.export import commits_after, export
from patchseries.series.folder import read_lines, read_series, series_names
from patchseries.series.lint import Finding, lint_content, lint_series
from patchseries.series.removal import check_removal
from patchseries.series.series import Series
from patchseries.series.tables import expected_files
from patchseries.tree.places import open_target
from patchseries.tree.receipt import read_receipt
from patchseries.tree.target import GitTarget

_SPDX_HOOK = "tools/pre_commit/check_spdx_header.py"


def check(project: Project, name: str) -> list[Finding]:
    """Every finding about one series, empty when all is well.

    Raises:
        PatchseriesError: a check could not be run, which is no pass.
    """
    inventory = list(_inventory(project, name))
    if any(finding.kind == "missing" for finding in inventory):
        return inventory
    series = read_series(project, name)
    source = read_sources(project.pins).get(name)
    if source is None:
        raise PatchseriesError("unknown-source", f"{name} is no pinned tree")
    pristine = require_pristine(project, source)
    with scratch(project.objects(name)) as git:
        base = Git(pristine)("rev-parse", "HEAD")
        before = Git(pristine).states(base, series.paths)
        result = classify(git, series, before)
        headers = lint_series(series, _others(project, name))
        findings = [*inventory, *headers, *_applies(result)]
        if result.state == "not-applied":
            findings += _exported(git, base, result)
            findings += _content(git, base, result)
    findings += _edited(project, series)
    return [*findings, *_merged(project, series)]


def check_patches(
    project: Project, name: str, red_green: bool, jobs: int, say: Say
) -> list[Finding]:
    """Findings about each patch for itself: what it needs, and what upstream asks.

    Args:
        red_green: run the patches' tests too, those of `jobs` patches at a time.
    """
    with walk(project, name) as one:
        base = one.git.states(one.base, one.series.paths)
        findings = list(check_independence(one.git, one.series, base))
        for step in one.steps:
            reads = [partial(one.read, t) for t in (one.base, step.tree_after)]
            findings += check_removal(name, step.patch, *reads)
        findings += check_gates(project, one, say)
        if red_green:
            findings += check_red_green(project, one, jobs, say)
        return findings


def check_tables(project: Project) -> list[Finding]:
    """Findings about the generated tables of every series."""
    return [
        Finding(path.parent.name, str(path.relative_to(project.root)), "table", "stale")
        for path, text in expected_files(project, origins(project)).items()
        if not path.exists() or read_utf8(path) != text
    ]


def _inventory(project: Project, name: str) -> Iterator[Finding]:
    folder = project.patches / name
    if name not in series_names(project):
        read_series(project, name)  # says what is wrong
    listed = [line.slug for line in read_lines(folder)[0]]
    present = {path.stem for path in folder.glob("*.patch")}
    for slug in listed:
        if slug not in present:
            yield Finding(name, slug, "missing", "is listed in `series`, not there")
    for slug in sorted(present - set(listed)):
        yield Finding(name, slug, "extra", "is not listed in `series`")
    for path in folder.iterdir():
        if path.suffix != ".patch" and path.name not in ("series", "README.md"):
            yield Finding(name, path.name, "extra", "belongs to no series")


def _others(project: Project, name: str) -> list[str]:
    return [
        f"{other}/{line.slug}"
        for other in series_names(project)
        if other != name
        for line in read_lines(project.patches / other)[0]
    ]


def _applies(result: Classification) -> Iterator[Finding]:
    for verdict in result.verdicts:
        if verdict.outcome != "exact":
            detail = f"on the pristine tree: {verdict.outcome} {verdict.detail}"
            yield Finding(result.series.name, verdict.slug, "content", detail)


def _exported(git: Git, base: str, result: Classification) -> Iterator[Finding]:
    tip = build_commits(git, base, result)
    files = export(git, base, commits_after(git, base, tip))
    for patch, data in zip(result.series.patches, files, strict=True):
        if patch.data != data:
            detail = "is not, byte for byte, what `refresh` writes for its commit"
            yield Finding(result.series.name, patch.slug, "content", detail)


def _content(git: Git, base: str, result: Classification) -> Iterator[Finding]:
    """Upstream's own rules, where the tree has the hook for them."""
    if git.states(base, [_SPDX_HOOK])[_SPDX_HOOK] is None:
        return
    for patch in result.series.patches:
        files = {
            change.path: git.output("cat-file", "blob", change.new[1])
            for change in patch.changes
            if change.new is not None
        }
        for text in lint_content(patch, files):
            yield Finding(result.series.name, patch.slug, "gate", text)


def _merged(project: Project, series: Series) -> Iterator[Finding]:
    """Differences from what the series is made of, where it is merged from another."""
    origin = origins(project).get(series.name)
    if origin is None:
        return
    made = {patch.slug: patch.data for patch in derive(project, series.name)}
    there = {patch.slug: patch.data for patch in series.patches}
    for slug in made.keys() | there.keys():
        if made.get(slug) != there.get(slug):
            detail = f"is not what {origin} makes of it: `patchseries refresh` there"
            yield Finding(series.name, slug, "content", detail)


def _edited(project: Project, series: Series) -> Iterator[Finding]:
    """Commits in `vllm_src/patched/` that are not what the files say."""
    path = project.patched / series.name
    if not (path / ".git").is_dir():
        return
    target = open_target(path)
    receipt = read_receipt(target)
    if not isinstance(target, GitTarget) or receipt is None:
        return
    on_branch = target.head_ref == receipt.branch
    if receipt.series != series.name or not on_branch:
        return
    commits = commits_after(target.git, receipt.base, target.head)
    with scratch(*target.objects) as git:
        files = export(git, receipt.base, commits)
    if files != [patch.data for patch in series.patches]:
        yield Finding(
            series.name, "(commits)", "content",
            f"{path} holds other commits than the files: `patchseries refresh` exports "
            "them, `patchseries apply` brings the tree up",
        )  # fmt: skip
