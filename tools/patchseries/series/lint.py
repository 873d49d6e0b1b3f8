# SPDX-License-Identifier: Apache-2.0
"""Rules for a patch as it will be read upstream: header, size and cheap content gates.

Pure: text in, findings out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from patchseries.series.patch import Patch
from patchseries.series.series import Series

TRAILERS = ("Upstream-Status", "Related", "Remove-when", "Depends-on", "Test-Plan")
MAX_SUBJECT = 72
RFC_LINES = 500  # vLLM asks for an RFC issue above this, tests not counted

_TITLE = re.compile(r"(\[[^\]]+\])+ \S")
_STATUS = re.compile(
    r"Pending$|(Submitted|Backport|Denied|Inappropriate) \[[^\]]+\]$"
    r"|Inactive-Upstream \[[^\]]+\]$"
)
_RELATED = re.compile(r"[\w.-]+/[\w.-]+#\d+|none, \S|https://\S")
_BREAKS_MAIL = re.compile(r"^(---|diff -|Index: |>From )", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be.

    Attributes:
        kind: order, missing, extra, content, header, depends, gate or table.
        patch: slug, or a file name.
    """

    series: str
    patch: str
    kind: str
    detail: str


def lint_series(series: Series, others: Sequence[str] = ()) -> list[Finding]:
    """Every finding in headers and dependencies.

    Args:
        others: patches of other series, as `<series>/<slug>`.
    """
    findings = []
    earlier = list(others)
    for patch in series.patches:
        findings += [
            Finding(series.name, patch.slug, "header", text)
            for text in (*_header(patch), *_depends(patch, earlier))
        ]
        earlier.append(patch.slug)
    return findings


def _header(patch: Patch) -> Iterator[str]:
    if not _TITLE.match(patch.subject):
        yield f"title {patch.subject!r} does not start with [Tag]s and a space"
    if len(patch.subject) > MAX_SUBJECT:
        yield f"title has {len(patch.subject)} characters, at most {MAX_SUBJECT}"
    if patch.subject.endswith("."):
        yield "title ends with a full stop"
    yield from _explanation(patch)
    yield from _trailers(patch)
    size = sum(c.added for c in patch.changes if not c.path.startswith("tests/"))
    if size > RFC_LINES:
        yield f"adds {size} lines outside of tests/, at most {RFC_LINES}"


def _explanation(patch: Patch) -> Iterator[str]:
    explanation = patch.explanation
    if len(explanation.split()) < 15:
        yield "explains neither why nor how (fewer than 15 words)"
    for word in ("Why", "How"):
        if not re.search(rf"^{word}\b", explanation, re.MULTILINE):
            yield f"has no paragraph headed {word}"
    if match := _BREAKS_MAIL.search(patch.message):
        yield f"a line starts with {match[0]!r}, where `git am` would cut the message"


def _trailers(patch: Patch) -> Iterator[str]:
    for key in TRAILERS:
        if not patch.trailer(key):
            yield f"has no {key}: trailer"
    status = patch.trailer("Upstream-Status")
    if status and not _STATUS.match(status):
        yield f"Upstream-Status: {status!r} is not Pending, Submitted [URL], ..."
    related = patch.trailer("Related")
    if related and not _RELATED.search(related):
        yield f"Related: {related!r} is neither owner/repo#N nor `none, <why>`"
    if patch.trailer("Signed-off-by"):
        yield "is signed off: whoever sends it signs it (`apply --signoff`)"


def depends_on(patch: Patch) -> list[str]:
    """The slugs in `Depends-on`."""
    words = re.split(r"[,;\s]+", patch.trailer("Depends-on"))
    return [w.removesuffix(".patch") for w in words if w and w != "none"]


def _depends(patch: Patch, earlier: Sequence[str]) -> Iterator[str]:
    for slug in depends_on(patch):
        if slug not in earlier:
            yield f"Depends-on: {slug} is neither an earlier patch nor <series>/<slug>"


def lint_content(patch: Patch, files: dict[str, bytes]) -> Iterator[str]:
    """Upstream's gates that need only the files after the patch.

    Args:
        files: content of each path that the patch leaves behind.
    """
    added = _added_lines(patch)
    for path, content in files.items():
        if path.endswith(".py") and content.strip():
            if b"# SPDX-License-Identifier: Apache-2.0" not in content:
                yield f"{path}: no SPDX licence line"
            for line, why in _FORBIDDEN:
                if any(line.search(text) for text in added.get(path, [])):
                    yield f"{path}: {why}"
        for text in added.get(path, []):
            if text.rstrip(b"\r\n") != text.rstrip() and not path.endswith(".md"):
                yield f"{path}: white space at the end of {text.strip()[:40]!r}"
                break


_FORBIDDEN = (
    (re.compile(rb"^\s*(import re$|import re\s|from re import)"), "import regex as re"),
    (re.compile(rb"^\s*(import|from) triton\b"), "import from vllm.triton_utils"),
    (re.compile(rb"^\s*(import|from) (cloud)?pickle\b"), "pickle is not allowed"),
    (re.compile(rb"\blogger?\.\w+\(\s*f[\"']"), "f-string in a logging call (G004)"),
)


def _added_lines(patch: Patch) -> dict[str, list[bytes]]:
    lines: dict[str, list[bytes]] = {}
    path = ""
    for line in patch.data.split(b"\n"):
        if line.startswith(b"+++ b/"):
            path = line[6:].decode(errors="replace")
        elif line.startswith(b"+") and path:
            lines.setdefault(path, []).append(line[1:])
    return lines
