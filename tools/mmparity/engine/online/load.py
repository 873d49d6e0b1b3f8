# SPDX-License-Identifier: Apache-2.0
"""Photographs and prompts for a load: vllm-ascend's tutorial's question first."""

from __future__ import annotations

import shutil
from pathlib import Path

from mmparity.engine.online.questions import questions
from mmparity.engine.online.types import Question
from mmparity.workload.photographs import photograph

PROMPTS = (
    "What is the text in the illustrate?",
    "Describe the image in detail, please.",
    "Name three colours that you see.",
    "Is there a person in the picture?",
    "Answer in one short sentence: what is this?",
)
PIECES = 40
_PHOTOGRAPHS = ("china.jpg", "flower.jpg")


def write_load(folder: Path) -> tuple[Path, Path]:
    """A folder of images and a file of prompts: 200 pairs, none twice.

    The first image is a whole photograph; the others are pieces of it and of another,
    each of a size of its own.
    """
    from PIL import Image

    images, prompts = folder / "images", folder / "prompts.txt"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir(parents=True)
    photographs = [Image.fromarray(photograph(name)) for name in _PHOTOGRAPHS]
    photographs[0].save(images / "00-china.png")
    for number in range(1, PIECES):
        whole = photographs[number % len(photographs)]
        width, height = 120 + 7 * number, 100 + 5 * number
        left, top = 3 * number, 2 * number
        piece = whole.crop((left, top, left + width, top + height))
        piece.save(images / f"{number:02}-{width}x{height}.png")
    prompts.write_text("\n".join(PROMPTS) + "\n")
    return images, prompts


def load(folder: Path, number: int) -> tuple[Question, ...]:
    """So many questions about them."""
    return questions(*write_load(folder), number)
