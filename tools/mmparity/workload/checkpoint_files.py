# SPDX-License-Identifier: Apache-2.0
"""Which file of a checkpoint folder holds which tensor, by the folder's own index.

vLLM and transformers load the files that the index lists and no others; a file that
was left behind, or an index of other files, must not decide what is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from mmparity.errors import MmparityError
from mmparity.stored_json import first_line, read_json

INDEX = "model.safetensors.index.json"
DESCRIPTION = "quant_model_description.json"
_FILE = re.compile(r"[^/\\\0]+\.safetensors")


def stored_tensors(directory: Path) -> dict[str, Path]:
    """Name of each tensor -> the file that holds it.

    Raises MmparityError where the index and the files do not agree, and where two
    files have a tensor of one name.
    """
    directory = Path(directory)
    index = _index(directory)
    listed = _weight_map(index) if index else {}
    files = sorted(directory.glob("*.safetensors"))
    if index:
        files = sorted({directory / name for name in listed.values()})
    if not files:
        raise MmparityError(f"{directory} has no *.safetensors file.")
    places: dict[str, Path] = {}
    for file in files:
        for name in _names(file):
            if name in places:
                raise MmparityError(
                    f"{name} is in {places[name].name} and in {file.name} of "
                    f"{directory}: which of them is meant cannot be told. Remove the "
                    f"file that does not belong there, or give it an {INDEX}."
                )
            places[name] = file
    if index:
        _check_agree(index, listed, places)
    return places


def open_file(file: Path) -> Any:
    """A safetensors file, opened; MmparityError where it is none."""
    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise MmparityError(
            f"{file} is not a safetensors file: {first_line(error)}"
        ) from error


def _index(directory: Path) -> Path | None:
    """The index that vLLM reads, or the only one of another name."""
    if (directory / INDEX).exists():
        return directory / INDEX
    found = sorted(directory.glob("*.safetensors.index.json"))
    if len(found) > 1:
        raise MmparityError(
            f"{directory} has {len(found)} indexes, {found[0].name} and "
            f"{found[1].name}: leave the one that counts."
        )
    return found[0] if found else None


def _weight_map(index: Path) -> dict[str, str]:
    raw = read_json(index)
    found = raw.get("weight_map") if isinstance(raw, dict) else None
    if not isinstance(found, dict) or not found:
        raise MmparityError(f"{index} has no weight_map of tensors and files.")
    for name, file in found.items():
        if not isinstance(file, str) or not _FILE.fullmatch(file):
            raise MmparityError(
                f"{index}: {str(file)[:80]!r}, given for {name[:80]}, is no name of a "
                "*.safetensors file beside it."
            )
        if not (index.parent / file).is_file():
            raise MmparityError(f"{index} lists {file}, which is not there.")
    return found


def _check_agree(index: Path, listed: dict[str, str], places: dict[str, Path]) -> None:
    for name, file in listed.items():
        if name not in places or places[name].name != file:
            at = f"{places[name].name} has it" if name in places else "no file has it"
            raise MmparityError(
                f"{index} says that {name} is in {file}, but {at}: the index is of "
                "other files. Save the checkpoint again, or fetch it anew."
            )
    unlisted = sorted(places.keys() - listed.keys())
    if unlisted:
        raise MmparityError(
            f"{index} does not list {unlisted[0]}, which {places[unlisted[0]].name} "
            f"has ({len(unlisted)} in all): vLLM would load it, transformers not. "
            "Save the checkpoint again, or fetch it anew."
        )


def _names(file: Path) -> Iterator[str]:
    with open_file(file) as tensors:
        yield from tensors.keys()
