# SPDX-License-Identifier: Apache-2.0
"""Questions about pieces of photographs, for a model whose weights are random.

No answer of such a model is right, so the score is a coin that the answer throws:
another answer throws it anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

QUESTIONS = ("Describe the image.", "Is there a flower or a temple?")
PIECES = 12


def dataset(**_: Any) -> dict[str, object]:
    """The test split."""
    from datasets import Dataset

    rows = [
        {"file": file, "piece": piece, "question": question, "answer": "heads"}
        for file in ("china.jpg", "flower.jpg")
        for piece in range(PIECES)
        for question in QUESTIONS
    ]
    return {"test": Dataset.from_list(rows)}


def images(doc: Mapping[str, Any]) -> list[Any]:
    """The piece of the photograph."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    left, top = 20 * doc["piece"], 15 * doc["piece"]
    box = (left, top, left + 150, top + 120)
    return [Image.fromarray(load_sample_image(doc["file"])).crop(box)]


def score(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
    """1 or 0, by the answer's digest."""
    digest = hashlib.sha256(results[0].encode()).digest()
    return {"acc": float(digest[0] % 2)}
