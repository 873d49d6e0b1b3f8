# SPDX-License-Identifier: Apache-2.0
"""The ways in which a command ends other than well."""

from __future__ import annotations

import errno
import re


class PatchseriesError(Exception):
    """Something the user can mend; nothing was changed.

    Attributes:
        code: stable reason code, for scripts and for `--json`.
        advice: the next command or step.
    """

    def __init__(self, code: str, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.advice = advice

    def __reduce__(self) -> tuple[type, tuple[str, ...]]:
        """Another process is told the same."""
        return PatchseriesError, (self.code, self.args[0], self.advice)

    def __str__(self) -> str:
        text = f"{self.code}: {self.args[0]}"
        return f"{text}\n  -> {self.advice}" if self.advice else text


class GitError(PatchseriesError):
    """A git command failed where it had to succeed."""

    def __init__(self, command: list[str], stderr: str, returncode: int) -> None:
        shown = " ".join(command)
        reason = stderr.strip() or f"exit status {returncode}"
        code, advice = _known_cause(reason)
        super().__init__(code, f"`{shown}` failed: {reason}", advice)
        self.stderr = stderr


def _known_cause(reason: str) -> tuple[str, str]:
    """What git's words mean, as far as there is something to be done about it."""
    if "No space left on device" in reason or "Disk quota exceeded" in reason:
        return "disk-full", "free some space, then run the command again"
    lock = re.search(r"Unable to create '(.+\.lock)': File exists", reason)
    if lock:
        return "locked", (
            f"{lock[1]} is there while a git command runs, and stays when one is"
            " killed: wait; if none runs, remove that file, then run the command again"
        )
    return "git-failed", ""


def as_refusal(error: BaseException) -> PatchseriesError:
    """What a command says of an error that nothing nearer to it could explain."""
    if isinstance(error, PatchseriesError):
        return error
    if isinstance(error, KeyboardInterrupt):
        advice = "run it again; what was left half-way is finished or undone first"
        return PatchseriesError("interrupted", "stopped by you", advice)
    if isinstance(error, UnicodeError):
        message = f"text in another encoding: {error}"
        return PatchseriesError("not-utf8", message, "give it in UTF-8")
    number = getattr(error, "errno", None) or 0
    code = _SYSTEM_CODES.get(number, "system-error")
    advice = _SYSTEM_ADVICE.get(number, "mend that, then run it again")
    return PatchseriesError(code, str(error), advice)


_SYSTEM_CODES = {
    errno.ENOSPC: "disk-full",
    errno.EDQUOT: "disk-full",
    errno.EACCES: "no-permission",
    errno.EPERM: "no-permission",
    errno.EROFS: "read-only",
    errno.ENAMETOOLONG: "name-too-long",
    errno.EXDEV: "other-file-system",
    errno.EEXIST: "untracked-collision",
}
_SYSTEM_ADVICE = {
    errno.EXDEV: "run it where the whole tree is on one file system, or unmount that",
    errno.EEXIST: "it appeared meanwhile: move it away, then run it again",
}
