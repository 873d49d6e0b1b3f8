# SPDX-License-Identifier: Apache-2.0
"""Edited commits back to patch files: the one writer of `patches/`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from patchseries.apply.apply import choose_series, held
from patchseries.apply.derive import derive, origins
from patchseries.apply.losses import require_no_loss
from patchseries.errors import PatchseriesError
from patchseries.git import Git
from patchseries.pins.sources import Archive, read_sources
from patchseries.project import Project
from patchseries.scratch import scratch
from patchseries.series.export import Commit, commits_after, export, patch_id
from patchseries.series.folder import (
    file_digests,
    read_lines,
    read_series,
    series_names,
)
from patchseries.series.patch import Patch, parse_patch, slug_of, split_trailers
from patchseries.series.series import Series, SeriesLine, format_series_file
from patchseries.series.tables import expected_files
from patchseries.tree.project_files import ProjectFiles, held_files
from patchseries.tree.receipt import Receipt, read_receipt, write_receipt
from patchseries.tree.switch import recover
from patchseries.tree.target import GitTarget


def refresh(
    project: Project,
    path: Path,
    name: str | None,
    base: str | None,
    drop: Sequence[str] = (),
) -> list[str]:
    """Write the commits of a patched tree as the series.

    Args:
        base: the commit before the series; found by itself when None.
        drop: slugs of patches that the tree lacks because they are meant to go.

    Returns:
        What changed, one line each.
    """
    with held(path) as target, held_files(project) as own:
        if not isinstance(target, GitTarget):
            raise PatchseriesError(
                "not-git", f"{path} has no git of its own", "edit in vllm_src/patched/"
            )
        recover(target)
        target.require_no_session()
        _require_committed(target)
        name = name or _recognise(project, target)
        _require_own(project, name)
        start = find_base(project, target, name, base)
        commits = _commits_after(target, start, name)
        with scratch(*target.objects) as git:
            patches = _as_patches(project, git, name, commits, start)
            old, receipt = _patches_there(project, name), _receipt_of(target, name)
            ids = partial(patch_id, git)
            require_no_loss(target, receipt, old, patches, drop, ids)
            written = Series(name, tuple(patches))
            made = [written, *_merged_from(project, written)]
            changes = write_series(project, own, git, made)
            if receipt:
                contents = file_digests(patches)
                write_receipt(target, replace(receipt, contents=contents))
            return changes


def _merged_from(project: Project, series: Series) -> Iterator[Series]:
    """The series of other trees that are made from this one."""
    for name, origin in origins(project).items():
        if origin == series.name:
            yield Series(name, tuple(derive(project, name, series)))


def _require_own(project: Project, name: str) -> None:
    if origin := origins(project).get(name):
        raise PatchseriesError(
            "derived-series",
            f"{name} is merged from {origin}, and written with it",
            f"edit and refresh {project.patched / origin}",
        )


def _commits_after(target: GitTarget, start: str, name: str) -> list[Commit]:
    commits = commits_after(target.git, start, target.head)
    if not commits:
        raise PatchseriesError(
            "no-commits",
            f"{target.root} has no commit after {start[:12]}",
            f"`patchseries apply --series {name}` puts the series there",
        )
    return commits


def _recognise(project: Project, target: GitTarget) -> str:
    """The series that a tree's commits are: by its base, else by its files."""
    receipt = read_receipt(target)
    if receipt:
        return receipt.series
    trees = set(target.git("log", "--first-parent", "--format=%T", "HEAD").split())
    for name, source in read_sources(project.pins).items():
        if trees & {archive.tree for archive in source.archives}:
            return name
    return choose_series(project, target, None, None).name


def find_base(
    project: Project, target: GitTarget, name: str, given: str | None = None
) -> str:
    """The commit that the series starts from.

    Raises:
        PatchseriesError: neither given, nor in a receipt, nor recognised by its tree.
    """
    if given:
        found = target.git.maybe("rev-parse", "-q", "--verify", f"{given}^{{commit}}")
        if found is None:
            where = target.root
            raise PatchseriesError("no-base", f"{given!r} is no commit of {where}")
        return found
    if receipt := _receipt_of(target, name):
        return receipt.base
    trees = {archive.tree for archive in _archives(project, name)}
    log = target.git("log", "--first-parent", "--format=%H %T", target.head)
    for line in log.splitlines():
        commit, tree = line.split()
        if tree in trees:
            return commit
    raise PatchseriesError(
        "no-base",
        f"no commit of {target.root} holds the pristine tree of {name}",
        "say where the series starts: --base COMMIT",
    )


def _receipt_of(target: GitTarget, name: str) -> Receipt | None:
    """The receipt, where the tree's commits come from this series."""
    receipt = read_receipt(target)
    if receipt and receipt.series == name and target.descends_from(receipt.base):
        return receipt
    return None


def _archives(project: Project, name: str) -> Sequence[Archive]:
    source = read_sources(project.pins).get(name)
    return source.archives if source else ()


def _patches_there(project: Project, name: str) -> tuple[Patch, ...]:
    return read_series(project, name).patches if name in series_names(project) else ()


def _as_patches(
    project: Project, git: Git, name: str, commits: Sequence[Commit], start: str
) -> list[Patch]:
    files = export(git, start, commits)
    old = _patches_there(project, name)
    slugs = choose_slugs(commits, files, old, partial(patch_id, git))
    patches = [parse_patch(slug, data) for slug, data in zip(slugs, files, strict=True)]
    Series(name, tuple(patches)).chains()
    return patches


def write_series(
    project: Project, files: ProjectFiles, git: Git, written: Sequence[Series]
) -> list[str]:
    """Bring the folders of some series, and the tables, to exactly their patches."""
    goal: dict[Path, bytes | None] = {}
    changes: list[str] = []
    for series in written:
        there = _patches_there(project, series.name)
        prefix = f"{series.name}: " if series is not written[0] else ""
        changes += [prefix + line for line in _describe(git, there, series.patches)]
        goal |= _folder_files(project, series)
    tables = expected_files(project, origins(project), written)
    goal |= {path: text.encode() for path, text in tables.items()}
    paths = files.write(
        {str(p.relative_to(project.root)): data for p, data in goal.items()}
    )
    changes += [f"wrote {p}" for p in paths if project.root / p in tables]
    count = len(written[0].patches)
    return changes or [f"{written[0].name}: {count} patches, nothing changed"]


def _folder_files(project: Project, series: Series) -> dict[Path, bytes | None]:
    """What the folder of a series is to hold, None for what is to go."""
    folder = project.patches / series.name
    lines, rest = read_lines(folder) if (folder / "series").exists() else ([], ())
    comments = {line.slug: line.comments for line in lines}
    new_lines = [SeriesLine(p.slug, comments.get(p.slug, ())) for p in series.patches]
    goal: dict[Path, bytes | None] = dict.fromkeys(folder.glob("*.patch"))
    goal |= {folder / f"{p.slug}.patch": p.data for p in series.patches}
    goal[folder / "series"] = format_series_file(new_lines, rest).encode()
    return goal


def choose_slugs(
    commits: Sequence[Commit],
    files: Sequence[bytes],
    old: Sequence[Patch],
    content_id: Callable[[bytes], str],
) -> list[str]:
    """A file name per commit: its own trailer, the name it had, or one from its title.

    A patch keeps its name when its title or its content is the same as before.
    """
    by_subject = {patch.subject: patch.slug for patch in old}
    by_content = {content_id(patch.data): patch.slug for patch in old}
    chosen: list[str] = []
    for commit, data in zip(commits, files, strict=True):
        subject = " ".join(commit.message.partition("\n\n")[0].splitlines())
        own = dict(split_trailers(commit.message)[1]).get("Patch-Slug", "")
        slug = own.removesuffix(".patch") or by_subject.get(subject)
        slug = slug or by_content.get(content_id(data)) or slug_of(subject)
        if slug in chosen:
            raise PatchseriesError(
                "same-slug",
                f"two commits would be {slug}.patch, one of them {commit.id[:12]}",
                "give one another title, or a `Patch-Slug:` trailer",
            )
        chosen.append(slug)
    return chosen


def _describe(git: Git, old: Sequence[Patch], new: Sequence[Patch]) -> list[str]:
    before = {patch.slug: patch for patch in old}
    lines = []
    for patch in new:
        earlier = before.pop(patch.slug, None)
        if earlier is None:
            lines.append(f"new        {patch.slug}")
        elif earlier.data != patch.data:
            same = patch_id(git, earlier.data) == patch_id(git, patch.data)
            kind = "positions" if same else "content"
            if same and earlier.message != patch.message:
                kind = "message"
            lines.append(f"{kind:10} {patch.slug}")
    lines += [f"removed    {slug}" for slug in before]
    kept = [p.slug for p in old if p.slug not in before]
    if kept != [p.slug for p in new if p.slug in kept]:
        lines.append("order      changed")
    return lines


def _require_committed(target: GitTarget) -> None:
    status = target.git.records(
        "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all",
        "--ignore-submodules=all",
    )  # fmt: skip
    if status:
        raise PatchseriesError(
            "uncommitted",
            f"{target.root} has changes that are in no commit:\n     "
            + "\n     ".join(status[:6]),
            "commit them into the patch they belong to (`git commit --fixup`, then"
            " `git rebase -i --autosquash`), or remove them",
        )
