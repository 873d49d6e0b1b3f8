# SPDX-License-Identifier: Apache-2.0
"""The two ways in which a command ends other than well."""

from __future__ import annotations


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

    def __str__(self) -> str:
        text = f"{self.code}: {self.args[0]}"
        return f"{text}\n  -> {self.advice}" if self.advice else text


class GitError(PatchseriesError):
    """A git command failed where it had to succeed."""

    def __init__(self, command: list[str], stderr: str, returncode: int) -> None:
        shown = " ".join(command)
        reason = stderr.strip() or f"exit status {returncode}"
        super().__init__("git-failed", f"`{shown}` failed: {reason}")
        self.stderr = stderr
