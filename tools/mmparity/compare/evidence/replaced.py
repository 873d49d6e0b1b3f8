# SPDX-License-Identifier: Apache-2.0
"""Old code -> new code: what was overridden, the patches in its place, their diffs."""

from __future__ import annotations

import email
import email.policy
import re
from pathlib import Path

from mmparity.compare.evidence.overrides import DATA, UPSTREAM, describe, read_map
from mmparity.errors import MmparityError
from mmparity.types.evidence import PatchText, ReplacedCode

TESTS = "diff --git a/tests/"
_FILE = re.compile(r"^diff --git ", re.MULTILINE)
_END = re.compile(r"^-- \n.*\Z", re.MULTILINE | re.DOTALL)


def replaced_code(
    data: Path = DATA,
) -> tuple[tuple[ReplacedCode, ...], tuple[PatchText, ...]]:
    """Every row of ``overrides.toml``, and the patches that the rows name."""
    known = read_map(data)
    rows = tuple(
        ReplacedCode(
            row=name,
            title=row.title,
            overrides=tuple(
                describe(item) for item, names in known.overrides.items()
                if name in names
            ),
            patches=row.patches,
            proofs=row.proofs,
        )
        for name, row in known.rows.items()
    )  # fmt: skip
    named = dict.fromkeys(slug for row in rows for slug in row.patches)
    slugs = [slug for slug in named if slug != UPSTREAM]
    return rows, tuple(_patch(data.parent, slug) for slug in slugs)


def _patch(folder: Path, slug: str) -> PatchText:
    files = sorted(folder.glob(f"*/{slug}.patch"))
    if len(files) != 1:
        raise MmparityError(
            f"{folder} holds {len(files)} patches {slug!r}; overrides.toml names one."
        )
    data = files[0].read_bytes()
    subject = email.message_from_bytes(data, policy=email.policy.default)["Subject"]
    text = data.decode(errors="replace")
    starts = [match.start() for match in _FILE.finditer(text)]
    pieces = [text[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    code = "".join(
        piece for piece in pieces if not piece.startswith("diff --git a/tests/")
    )
    return PatchText(
        slug=slug,
        series=files[0].parent.name,
        title=" ".join(str(subject).split()),
        diff=_END.sub("", code),
    )
