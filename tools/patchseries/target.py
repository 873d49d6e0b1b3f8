# SPDX-License-Identifier: Apache-2.0
"""A tree that a series is applied to, and the reasons to keep hands off it.

Two kinds: the top of a git work tree, and a plain tree with no git of its own.
Reads only; what changes a target is in switch.py.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from patchseries.classify import Snapshot
from patchseries.errors import GitError, PatchseriesError
from patchseries.git import Git, State, blob_id, user_git

_SESSIONS = {
    "rebase-merge": "a rebase",
    "rebase-apply": "`git am` or a rebase",
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "sequencer": "a cherry-pick or revert of several commits",
    "BISECT_LOG": "a bisection",
}
LOCK_MARK = b"patchseries\n"
_SOURCE_FILES = ("pyproject.toml", "setup.py")


class Target:
    """What both kinds share: files under a root, and a private folder."""

    kind = "plain"

    def __init__(self, root: Path, private: Path) -> None:
        self.root = root
        self.private = private

    @property
    def objects(self) -> list[Path]:
        return []

    @property
    def place(self) -> Path:
        """The folder as it is given on the command line."""
        return self.root

    def snapshot(self, paths: Sequence[str]) -> Snapshot:
        """What the target holds at `paths` now."""
        return {path: self.file_state(path) for path in paths}

    def load(self, scratch: Git, snapshot: Snapshot) -> None:
        """Make the blobs of a snapshot readable in `scratch`."""
        paths = [p for p, state in snapshot.items() if state and state[0][:3] == "100"]
        if paths:
            scratch.add_blobs((self.root / path).read_bytes() for path in paths)

    def file_state(self, path: str) -> State:
        """Mode and id of a file's bytes on disk."""
        full = self.root / path
        try:
            info = full.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(info.st_mode):
            return ("120000", blob_id(os.fsencode(full.readlink())))
        if not stat.S_ISREG(info.st_mode):
            return ("other", "")
        mode = "100755" if info.st_mode & 0o100 else "100644"
        return (mode, blob_id(full.read_bytes()))

    def require_ready(self, before: Snapshot, after: Mapping[str, State]) -> None:
        """Refuse by name what would lose work or leave a mixture.

        Args:
            before: what the touched paths hold by the target's own account.
            after: what they shall hold.
        """
        for path in after:
            self._require_free_parents(path)
        for path, state in after.items():
            exists = os.path.lexists(self.root / path)
            if state is not None and before.get(path) is None and exists:
                raise PatchseriesError(
                    "untracked-collision",
                    f"{self.root / path} exists, and the series adds that file",
                    "move it away",
                )

    def _require_free_parents(self, path: str) -> None:
        for parent in list(Path(path).parents)[:-1]:
            full = self.root / parent
            if full.is_symlink() or (full.exists() and not full.is_dir()):
                raise PatchseriesError(
                    "path-blocked", f"{full} is not a folder of this tree"
                )
            if (full / ".git").exists():
                raise PatchseriesError(
                    "nested-repository",
                    f"{full} is a repository of its own, and the series touches {path}",
                    f"move {full / '.git'} away, or give another checkout",
                )


class GitTarget(Target):
    """The top of a work tree."""

    kind = "git"

    def __init__(self, root: Path) -> None:
        self.git = user_git(root)
        words = ("rev-parse", "--absolute-git-dir", "--show-object-format")
        folder, _, self.object_format = str(self.git.path(*words)).rpartition("\n")
        self.git_dir = Path(folder)
        super().__init__(root, self.git_dir / "patchseries")
        if self.object_format != "sha1":
            here, files = _quoted(root), _quoted(root.with_name(root.name + "-files"))
            raise PatchseriesError(
                "object-format",
                f"{root} names its objects by {self.object_format}, the series by sha1",
                f"`mkdir {files} && git -C {here} archive HEAD | tar -x -C {files}`,"
                f" then `--onto {files}`; or, in {here}, `git am --keep-non-patch` of"
                " the patch files",
            )
        head = self.git.maybe("rev-parse", "--verify", "-q", "HEAD^{commit}")
        if head is None:
            raise PatchseriesError(
                "no-commit",
                f"{root} has no commit yet",
                "commit the unpacked tree first (`git add -f . && git commit`)",
            )
        self.head = head

    @property
    def objects(self) -> list[Path]:
        path = self.git.path("rev-parse", "--git-path", "objects")
        return [(self.root / path).resolve()]

    @property
    def head_ref(self) -> str | None:
        """The branch that HEAD names, None when it is detached."""
        return self.git.maybe("symbolic-ref", "-q", "HEAD")

    def descends_from(self, commit: str) -> bool:
        """Whether HEAD is that commit or comes after it."""
        return self.git.ok("merge-base", "--is-ancestor", commit, "HEAD")

    @staticmethod
    def git_dir_of(root: Path) -> Path | None:
        """The private git folder of another worktree, None where that is gone."""
        found = root.is_dir() and user_git(root).maybe(
            "rev-parse", "--absolute-git-dir"
        )
        return Path(found) if found else None

    @property
    def common_dir(self) -> Path:
        """The repository that all its worktrees share."""
        found = self.git.path("rev-parse", "--git-common-dir")
        return (self.root / found).resolve()

    @property
    def suffix(self) -> str:
        """What tells branches of this worktree from those of the repository's first."""
        linked = self.git_dir.parent == self.common_dir / "worktrees"
        return f"@{self.git_dir.name}" if linked else ""

    @property
    def index_lock(self) -> Path:
        return self.git_dir / "index.lock"

    def snapshot(self, paths: Sequence[str], commit: str = "") -> Snapshot:
        return self.git.states(commit or self.head, paths)

    def load(self, scratch: Git, snapshot: Snapshot) -> None:
        """Committed blobs are read through the scratch's alternates."""

    def require_ready(self, before: Snapshot, after: Mapping[str, State]) -> None:
        self.require_no_session()
        if not self.git.ok("diff-index", "--cached", "--quiet", "HEAD", "--"):
            options = ("--cached", "--name-only", "-z")
            names = self.git.records("diff-index", *options, "HEAD", "--")
            raise PatchseriesError(
                "staged-changes",
                f"{self.root} has staged changes: {_first(names)}",
                "commit or unstage them (`git restore --staged .`); unstaged edits of "
                "files that the series does not touch may stay",
            )
        tracked = [path for path in after if before.get(path) is not None]
        self._require_clean(tracked)
        super().require_ready(before, after)

    def require_no_session(self) -> None:
        """Refuse while git itself is in the middle of something, or was cut off."""
        for name, shown in _SESSIONS.items():
            if (self.git_dir / name).exists():
                raise PatchseriesError(
                    "operation-in-progress",
                    f"{self.root} is in the middle of {shown}",
                    "finish or abort it first",
                )
        if self.index_lock.exists() and self.index_lock.read_bytes() != LOCK_MARK:
            raise PatchseriesError(
                "index-locked",
                f"{self.index_lock} exists: another git command runs, or was killed",
                "wait for it; if none runs, remove that file",
            )

    def _require_clean(self, paths: Sequence[str]) -> None:
        if not paths:
            return
        git = self.git.with_env(GIT_LITERAL_PATHSPECS="1")
        listed = git.records("ls-files", "-vz", "--", *paths)
        skipped = [record[2:] for record in listed if record[0] in "Ss"]
        assumed = [record[2:] for record in listed if record[0].islower()]
        if skipped or assumed:
            raise PatchseriesError(
                "hidden-file",
                f"marked skip-worktree or assume-unchanged, and touched by the series: "
                f"{_first([*skipped, *assumed])}",
                f"in {self.root}: `{self._show(skipped, assumed)}`",
            )
        status = git.records(
            "status", "--porcelain", "-z", "--no-renames", "--untracked-files=no",
            "--ignore-submodules=all", "--", *paths,
        )  # fmt: skip
        if status:
            edited = _first(line[3:] for line in status)
            raise PatchseriesError(
                "dirty-file",
                f"edited, and touched by the series: {edited}",
                f"in {self.root}: `git stash` (or `git commit -a`)",
            )

    def _show(self, skipped: Sequence[str], assumed: Sequence[str]) -> str:
        """The commands after which git looks at these files again."""
        sparse = self.git.maybe("config", "--type=bool", "core.sparseCheckout")
        cone = self.git.maybe("config", "--type=bool", "core.sparseCheckoutCone")
        parts = []
        if assumed:
            parts.append(
                ["git", "update-index", "--no-assume-unchanged", "--", *assumed]
            )
        if skipped and sparse == "true":
            shown = {str(Path(path).parent) for path in skipped if "/" in path}
            if cone != "true":
                shown = {f"/{path}" for path in skipped}
            parts.append(["git", "sparse-checkout", "add", *sorted(shown)])
        elif skipped:
            parts.append(["git", "update-index", "--no-skip-worktree", "--", *skipped])
        return " && ".join(map(shlex.join, parts))

    def require_room(self, branch: str) -> None:
        """Refuse while git cannot make `branch`: a name is a branch or a folder."""
        parents = [str(p) for p in list(Path(branch).parents)[:-3]]
        found = self.git("for-each-ref", "--format=%(refname)", *parents, f"{branch}/")
        for ref in found.splitlines():
            if ref in parents or ref.startswith(f"{branch}/"):
                short = ref.removeprefix("refs/heads/")
                raise PatchseriesError(
                    "branch-exists",
                    f"{self.root} has a branch {short}, so that git cannot make"
                    f" {branch.removeprefix('refs/heads/')}",
                    f"give it another name: `git branch -m {short} NEW`",
                )


class PackageTarget(Target):
    """The folder of one package in site-packages.

    What the tool keeps lies within the package: another package beside it may have a
    series of its own.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder.parent, folder / ".patchseries")
        self.package = folder.name

    @property
    def place(self) -> Path:
        return self.root / self.package


def is_package(folder: Path) -> bool:
    """Whether a folder is a whole package outside of a source tree."""
    above = ("__init__.py", *_SOURCE_FILES, ".git")
    inner = any((folder.parent / name).exists() for name in above)
    return (folder / "__init__.py").is_file() and not inner


def open_target(path: Path) -> Target:
    """The target at `path`, refused when that is no top of a tree."""
    if not path.is_dir():
        raise PatchseriesError("no-such-folder", f"{path} is not a folder")
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
        raise PatchseriesError("not-top-level", message, f"`--onto {_quoted(top)}`")
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
            f"`--onto {_quoted(tops[0])}`; where a package alone is vendored, the"
            " folder of that package (with its __init__.py)",
        )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _first(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
