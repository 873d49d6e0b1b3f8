# SPDX-License-Identifier: Apache-2.0
"""The only module that runs git.

Knows nothing of series or pins. Every call is cut off from the caller's git
environment, configuration, hooks, signing and outer repositories: the result
depends on the arguments alone.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from patchseries.errors import GitError, PatchseriesError
from patchseries.locks import inherited

OLDEST_GIT = (2, 32)  # the first with GIT_CONFIG_GLOBAL

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "core.compression": "1",
    "commit.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "apply.whitespace": "nowarn",
    "apply.ignoreWhitespace": "no",
    "rerere.enabled": "false",
    "submodule.recurse": "false",
    "protocol.allow": "never",
    "protocol.file.allow": "always",
}
# What a user's own checkout was written with, or is trusted by, is kept.
_KEPT_USER_SETTINGS = (
    r"^(safe\.directory|core\.(autocrlf|eol|attributesfile)|filter\..*)$"
)

State = tuple[str, str] | None
"""What a path holds: (mode, blob id), or None when it does not exist."""

Snapshot = dict[str, State]
"""What several paths hold."""


def blob_id(content: bytes) -> str:
    """The id that git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def bare_environment(ceiling: Path) -> dict[str, str]:
    """The caller's environment without anything that steers git."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return env | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "XDG_CONFIG_HOME": os.devnull,
        "GIT_CEILING_DIRECTORIES": str(ceiling),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "false",
        "LC_ALL": "C",
        "TZ": "UTC",
    }


class Git:
    """git in one directory, with extra environment and settings fixed."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str] | None = None,
        settings: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        if settings is None:  # a repository of our own, whoever owns the files now
            settings = [("safe.directory", str(self.folder))]
        self.env = bare_environment(self.folder.parent) | dict(env or {})
        self.settings = [*_SETTINGS.items(), *settings]

    def with_env(self, **env: str) -> Git:
        """The same git with more environment."""
        new = Git(self.folder)
        new.env, new.settings = self.env | env, self.settings
        return new

    def raw(
        self, *args: str, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git and hand back the finished process, whatever its status."""
        options = [o for k, v in self.settings for o in ("-c", f"{k}={v}")]
        try:
            return subprocess.run(
                ["git", *options, *args],
                cwd=self.folder,
                env=self.env,
                input=b"" if stdin is None else stdin,
                capture_output=True,
                pass_fds=inherited(),
            )
        except FileNotFoundError:
            raise PatchseriesError(
                "no-git", "git was not found on the PATH", "install git 2.32 or newer"
            ) from None

    def output(self, *args: str, stdin: bytes | None = None) -> bytes:
        """Standard output of a git command that must succeed."""
        done = self.raw(*args, stdin=stdin)
        if done.returncode:
            stderr = done.stderr.decode(errors="replace")
            raise GitError(["git", *args], stderr, done.returncode)
        return done.stdout

    def __call__(self, *args: str, stdin: bytes | None = None) -> str:
        return os.fsdecode(self.output(*args, stdin=stdin)).strip()

    def records(self, *args: str, stdin: bytes | None = None) -> list[str]:
        """What a command lists with `-z`: every byte kept, also those at the ends."""
        output = os.fsdecode(self.output(*args, stdin=stdin))
        return [record for record in output.split("\0") if record]

    def path(self, *args: str) -> Path:
        """The path that a command prints, whatever characters it has."""
        return Path(os.fsdecode(self.output(*args).removesuffix(b"\n")))

    def ok(self, *args: str, stdin: bytes | None = None) -> bool:
        """Whether a git command ends with status 0."""
        return self.raw(*args, stdin=stdin).returncode == 0

    def maybe(self, *args: str) -> str | None:
        """Standard output, or None when the command fails."""
        done = self.raw(*args)
        return None if done.returncode else os.fsdecode(done.stdout).strip()

    def states(self, tree: str, paths: Sequence[str]) -> dict[str, State]:
        """What `tree` holds at each of `paths`."""
        found: dict[str, State] = dict.fromkeys(paths)
        if not paths:
            return found
        listing = self.records(
            "--literal-pathspecs", "ls-tree", "-z", "--full-tree", tree, "--", *paths
        )
        for record in listing:
            meta, _, path = record.partition("\t")
            mode, _, object_id = meta.split()
            if path in found:
                found[path] = (mode, object_id)
        return found

    def set_index(self, states: Mapping[str, State]) -> None:
        """Write `states` into the index, leaving every other entry alone."""
        lines = [
            f"{mode} {object_id}\t{path}\0"
            for path, state in states.items()
            for mode, object_id in [state or ("0", "0" * 40)]
        ]
        self("update-index", "-z", "--index-info", stdin=os.fsencode("".join(lines)))

    def index(self) -> dict[str, State]:
        """Every merged entry of the index."""
        entries: dict[str, State] = {}
        for record in self.records("ls-files", "-sz"):
            meta, _, path = record.partition("\t")
            mode, object_id, _ = meta.split()
            entries[path] = (mode, object_id)
        return entries

    def add_blobs(self, contents: Iterable[bytes]) -> None:
        """Store many blobs as one pack."""
        self.fast_import(
            b"".join(b"blob\ndata %d\n%b\n" % (len(c), c) for c in contents)
        )

    def fast_import(self, stream: bytes) -> None:
        """Write objects and commits in one go, as one pack."""
        self(
            "-c", "fastimport.unpackLimit=1", "fast-import", "--quiet", "--done",
            "--force", "--date-format=rfc2822", stdin=stream + b"done\n",
        )  # fmt: skip

    def commit(
        self, tree: str, parent: str | None, message: str, author: str, date: str
    ) -> str:
        """A commit whose id depends on these arguments alone.

        Args:
            author: `Name <mail>`, committer as well.
            date: in any form that git reads, with its time zone.
        """
        name, _, mail = author.rstrip(">").partition(" <")
        who: dict[str, str] = {}
        for role in ("AUTHOR", "COMMITTER"):
            who |= {
                f"GIT_{role}_NAME": name,
                f"GIT_{role}_EMAIL": mail,
                f"GIT_{role}_DATE": date,
            }
        parents = ["-p", parent] if parent else []
        return self.with_env(**who)(
            "commit-tree", tree, *parents, stdin=message.encode()
        )


@cache
def require_recent_git() -> None:
    """Refuse a git that lacks what this tool asks of it."""
    words = Git(Path("/"))("version").split()
    version = tuple(int(n) for n in words[2].split(".")[:2])
    if version < OLDEST_GIT:
        raise PatchseriesError(
            "old-git", f"git {words[2]} is too old", "install git 2.32 or newer"
        )


def write_alternates(objects: Path, others: Iterable[Path]) -> None:
    """Have an object folder read from others, whatever characters their paths have."""
    special = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
    lines = [
        '"' + "".join(special.get(c, c) for c in str(path)) + '"\n'
        for path in others
        if path.is_dir()
    ]
    (objects / "info/alternates").write_bytes(os.fsencode("".join(lines)))


def user_git(folder: Path) -> Git:
    """git in a user's own checkout, keeping what describes its files."""
    folder = folder.resolve()
    kept = list(_kept_settings(folder))
    if "core.attributesfile" not in dict(kept):
        base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        kept.append(("core.attributesFile", f"{base}/git/attributes"))
    no_system = os.environ.get("GIT_ATTR_NOSYSTEM", "0")
    return Git(folder, {"GIT_ATTR_NOSYSTEM": no_system}, kept)


@cache
def _kept_settings(folder: Path) -> tuple[tuple[str, str], ...]:
    return tuple(read_user_config(folder, _KEPT_USER_SETTINGS))


def read_user_config(folder: Path, pattern: str) -> list[tuple[str, str]]:
    """What the caller's own git would use: (key, value), the last of a key counts."""
    steering = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
    env = {k: v for k, v in os.environ.items() if k not in steering}
    try:
        done = subprocess.run(
            ["git", "config", "-z", "--get-regexp", pattern],
            cwd=folder.resolve(),
            env=env,
            capture_output=True,
        )
    except FileNotFoundError:
        return []
    records = [r for r in os.fsdecode(done.stdout).split("\0") if r]
    # A key without a value is true.
    split = [record.partition("\n") for record in records]
    return [(key, value if sign else "true") for key, sign, value in split]
