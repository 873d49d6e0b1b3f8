# SPDX-License-Identifier: Apache-2.0
"""Questions: each image of a folder with each prompt of a file."""

from __future__ import annotations

import base64
import mimetypes
from pathlib import Path

from mmparity.engine.online.types import Question
from mmparity.errors import MmparityError

IMAGES = (".jpeg", ".jpg", ".png", ".webp")


def data_uri(image: Path) -> str:
    """The file as it is, in a form that an endpoint takes without reading a disk."""
    kind = mimetypes.guess_type(image.name)[0] or "image/webp"
    return f"data:{kind};base64,{base64.b64encode(image.read_bytes()).decode()}"


def questions(images: Path, prompts: Path, number: int) -> tuple[Question, ...]:
    """``number`` questions; pairs come again when all were asked.

    Raises:
        MmparityError: no image, no prompt, or not readable.
    """
    files = _images(images)
    texts = _prompts(prompts)
    uris = [data_uri(file) for file in files]
    asked = []
    for index in range(number):
        place = index % len(files)
        prompt = texts[index // len(files) % len(texts)]
        asked.append(Question(index, files[place].name, prompt, uris[place]))
    return tuple(asked)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise MmparityError(f"--images {folder}: no such folder.")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGES)
    if not files:
        raise MmparityError(
            f"--images {folder}: no image in it. Allowed: {', '.join(IMAGES)}"
        )
    return files


def _prompts(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MmparityError(
            f"--prompts {file}: cannot be read as UTF-8 text ({error})."
        ) from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise MmparityError(f"--prompts {file}: empty. Write one prompt on each line.")
    return texts
