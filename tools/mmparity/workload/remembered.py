# SPDX-License-Identifier: Apache-2.0
"""The digest of a checkpoint's weights, taken once while its files stay as they are.

To read and hash a tower takes seconds, and every process of a run asks. A file counts
as the same by its path, size and time, as git's index has it.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.project import user_cache
from mmparity.provenance import own_code
from mmparity.workload.checkpoint import weights_digest

if TYPE_CHECKING:
    from transformers import PretrainedConfig

MOST = 1000
"""So many digests are kept, the newest."""
SETTLED_SECONDS = 2.0
"""A file that was written later may be written again within one tick of its clock."""


def remembered_digest(directory: Path, config: PretrainedConfig) -> str:
    """``checkpoint.weights_digest``, from the user's cache where it is known there."""
    files = sorted(
        (file.name, stat.st_size, stat.st_mtime_ns)
        for pattern in ("*.json", "*.safetensors")
        for file in Path(directory).glob(pattern)
        if (stat := file.stat())
    )
    newest = max((time_ns for *_, time_ns in files), default=0)
    # Also why it may be refused: a digest says that the tensors were checked.
    about = [str(Path(directory).resolve()), files, config.to_dict(), own_code()]
    key = blake3(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest(16)
    kept = user_cache() / "weights" / key
    with contextlib.suppress(OSError, UnicodeError):
        digest = kept.read_text()
        if len(digest) == 64:
            return digest
    digest = weights_digest(directory, config)
    if time.time_ns() - newest > SETTLED_SECONDS * 1e9:
        # A full disk, no home, or the ranks of one tower that write it at once.
        with contextlib.suppress(OSError, MmparityError):
            write_text(kept, digest)
            _forget_oldest(kept.parent)
    return digest


def _forget_oldest(folder: Path) -> None:
    ages = sorted((file.stat().st_mtime, file) for file in folder.iterdir())
    for _, file in ages[:-MOST]:
        file.unlink(missing_ok=True)
