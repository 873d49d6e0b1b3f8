# SPDX-License-Identifier: Apache-2.0
"""A tree that a series is applied to, and the reasons to keep hands off it.

Two kinds: the top of a git work tree, and a plain tree with no git of its own.
Reads only; what changes a target is in switch.py.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from patchseries.errors import PatchseriesError
from patchseries.git import Git, Snapshot, State, blob_id, user_git
from patchseries.tree.ways_out import aside, hidden_files, quoted, session

LOCK_MARK = b"patchseries\n"


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
                    aside(self.root / path),
                )

    def _require_free_parents(self, path: str) -> None:
        for parent in list(Path(path).parents)[:-1]:
            full = self.root / parent
            if full.is_symlink() or (full.exists() and not full.is_dir()):
                raise PatchseriesError(
                    "path-blocked",
                    f"{full} is no folder of this tree, and the series touches {path}",
                    aside(full),
                )
            if (full / ".git").exists():
                raise PatchseriesError(
                    "nested-repository",
                    f"{full} is a repository of its own, and the series touches {path}",
                    f"{aside(full / '.git')}, or give another checkout",
                )


def on_disk(root: Path, paths: Iterable[str]) -> Snapshot:
    """Bytes on disk, whatever git thinks of them."""
    return Target(root, root).snapshot(list(paths))


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
            here, files = quoted(root), quoted(root.with_name(root.name + "-files"))
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
                "commit the unpacked tree: `git add -f . && git commit -m unpacked`",
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
        if found := session(self.git_dir):
            raise PatchseriesError(
                "operation-in-progress",
                f"{self.root} is in the middle of {found[0]}",
                f"finish it, or `{found[1]}`",
            )
        if self.index_lock.exists() and self.index_lock.read_bytes() != LOCK_MARK:
            raise PatchseriesError(
                "index-locked",
                f"{self.index_lock} exists: another git command runs, or was killed",
                f"wait for it; if none runs, `rm {quoted(self.index_lock)}`",
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
                f"in {self.root}: `{hidden_files(git, skipped, assumed)}`",
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


def _first(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
