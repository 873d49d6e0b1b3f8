# SPDX-License-Identifier: Apache-2.0
"""A checkpoint named by its id on a hub: the files of its vision tower, in a folder.

Hugging Face's hub, or ModelScope where VLLM_USE_MODELSCOPE says so, as in vLLM. What
was fetched stays in the hub's own cache, which goes on where a download was cut off.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from mmparity.errors import MmparityError
from mmparity.files import make_folder
from mmparity.project import ROOT
from mmparity.stored_json import first_line, read_json
from mmparity.workload.checkpoint_files import DESCRIPTION, INDEX
from mmparity.workload.models import FAMILIES

Fetch = Callable[[str], "Path | None"]
"""Name of a file -> where it is now; None where the hub has none of that name."""
FOLDERS = ROOT / "build" / "checkpoints" / "hub"
WHOLE = "model.safetensors"
_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")


def local_folder(given: Path) -> Path:
    """The folder that is given, or one with the tower of the model of that id.

    Args:
        given: a folder, or ``OWNER/NAME``, with ``@REVISION`` for another than the
            newest; a folder of that name goes first.

    Raises MmparityError where the hub cannot be reached, or has no such model.
    """
    asked = _ID.fullmatch(str(given))
    if asked is None or given.exists():
        return given
    name, revision = asked[1], asked[2]
    fetch = _from_modelscope if _wants_modelscope() else _from_hugging_face
    try:
        return _tower(name, fetch(name, revision))
    except (OSError, ValueError) as error:
        raise MmparityError(
            f"there is no folder {given}, and the hub gave no model of that id: "
            f"{first_line(error).rstrip('.')}. Without a network, copy its folder here "
            "and name that; what was fetched so far is kept."
        ) from error


def _wants_modelscope() -> bool:
    return os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true")


def _tower(name: str, fetch: Fetch) -> Path:
    """A folder of links into the hub's cache, with an index of what it has."""
    config = _needed(name, "config.json", fetch)
    index = fetch(INDEX)
    weights = _tower_weights(name, index) if index else {}
    shards = sorted(set(weights.values())) or [WHOLE]
    files = {shard: _needed(name, shard, fetch) for shard in shards}
    files["config.json"] = config
    if quantized := fetch(DESCRIPTION):
        files[DESCRIPTION] = quantized
    folder = FOLDERS / f"{name.replace('/', '--')}-{config.parent.name[:12]}"

    def write(place: Path) -> None:
        for file, source in files.items():
            (place / file).symlink_to(source.absolute())
        if weights:
            text = json.dumps({"weight_map": weights})
            (place / INDEX).write_text(text, encoding="utf-8")

    make_folder(folder, lambda: all((folder / file).is_file() for file in files), write)
    return folder


def _needed(name: str, file: str, fetch: Fetch) -> Path:
    found = fetch(file)
    if found is None:
        raise MmparityError(f"{name} has no {file} on the hub: is it a model's id?")
    return found


def _tower_weights(name: str, index: Path) -> dict[str, str]:
    """Every tensor of the files that hold some of the tower -> its file."""
    raw = read_json(index)
    listed = raw.get("weight_map") if isinstance(raw, dict) else None
    if not isinstance(listed, dict):
        raise MmparityError(f"the {INDEX} of {name} has no weight_map.")
    starts = tuple({one for fam in FAMILIES.values() for one in fam.prefixes if one})
    shards = {file for tensor, file in listed.items() if tensor.startswith(starts)}
    if not shards:
        raise MmparityError(
            f"{name} has no vision tower that is known here: no tensor of its index "
            f"starts with {', '.join(sorted(starts))}."
        )
    return {tensor: file for tensor, file in listed.items() if file in shards}


def _from_hugging_face(name: str, revision: str | None) -> Fetch:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def fetch(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(name, file, revision=revision))
        except LocalEntryNotFoundError:  # not reached, which is not "not there"
            raise
        except EntryNotFoundError:
            return None

    return fetch


def _from_modelscope(name: str, revision: str | None) -> Fetch:
    try:
        from modelscope.hub.errors import NotExistError
        from modelscope.hub.file_download import model_file_download
    except ImportError as error:
        raise MmparityError(
            f"VLLM_USE_MODELSCOPE is set, and this Python has no modelscope ({error}): "
            "install it, or unset the variable for Hugging Face's hub."
        ) from error

    def fetch(file: str) -> Path | None:
        try:
            return Path(model_file_download(name, file, revision=revision))
        except NotExistError:
            return None
        except Exception as error:  # what it raises has no type in common
            raise OSError(first_line(error)) from error

    return fetch
