# SPDX-License-Identifier: Apache-2.0
"""Which tree a path is, and which one was meant where it is none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from patchseries.errors import GitError, PatchseriesError
from patchseries.git import user_git
from patchseries.series.series import Series
from patchseries.tree.target import GitTarget, PackageTarget, Target
from patchseries.tree.ways_out import quoted

_SOURCE_FILES = ("pyproject.toml", "setup.py")
_SITES = ("site-packages", "dist-packages")


def is_package(folder: Path) -> bool:
    """Whether a folder is a whole package outside of a source tree."""
    above = ("__init__.py", *_SOURCE_FILES, ".git")
    inner = any((folder.parent / name).exists() for name in above)
    return (folder / "__init__.py").is_file() and not inner


def open_target(path: Path) -> Target:
    """The target at `path`, refused when that is no top of a tree."""
    if not path.is_dir():
        raise PatchseriesError(
            "no-such-folder", f"{path} is not a folder", "give the top of a source tree"
        )
    root = path.resolve()
    if (root / ".git").exists():
        try:
            top = user_git(root).path("rev-parse", "--show-toplevel").resolve()
        except GitError as error:
            raise PatchseriesError(
                "not-a-work-tree",
                f"{root}/.git is not usable: {error.stderr.strip()}",
            ) from None
        if top == root:
            return GitTarget(root)
        message = f"{root} belongs to {top}"
        raise PatchseriesError("not-top-level", message, f"`--onto {quoted(top)}`")
    if is_package(root):
        return PackageTarget(root)
    if not any((root / name).is_file() for name in _SOURCE_FILES):
        _require_untracked(root)
    return Target(root, root / ".patchseries")


def _require_untracked(root: Path) -> None:
    """Refuse a folder of a checkout; a source tree vendored in one is a tree."""
    outer = next((p for p in root.parents if (p / ".git").exists()), None)
    if outer is None:
        return
    git = user_git(outer).with_env(GIT_LITERAL_PATHSPECS="1")
    if git.maybe("ls-files", "--", f"{root.relative_to(outer)}/"):
        marks = (*_SOURCE_FILES, ".git")
        tops = [p for p in root.parents if any((p / name).exists() for name in marks)]
        raise PatchseriesError(
            "not-top-level",
            f"{root} is a folder within the repository {outer}",
            f"`--onto {quoted(tops[0])}`; where a package alone is vendored, the"
            " folder of that package (with its __init__.py)",
        )


def require_package(series: Series, target: Target) -> None:
    """Refuse a folder of installed packages in favour of the one that is meant."""
    packages = target.root.name in _SITES or any(target.root.glob("*.dist-info"))
    if type(target) is not Target or not packages:
        return
    names = Counter(path.partition("/")[0] for path in series.paths)
    there = [n for n, _ in names.most_common() if (target.root / n).is_dir()]
    raise PatchseriesError(
        "installed-packages",
        f"{target.root} holds installed packages and is no source tree",
        f"`--onto {quoted(target.root / there[0])}`"
        if there
        else f"none of them is what {series.name} is for",
    )
