# SPDX-License-Identifier: Apache-2.0
"""Requests as vLLM takes them: real photographs, seeded noise, the chat template."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image as Pictures

from mmparity.engine.offline.scenarios import Clip, Image, Request
from mmparity.workload.photographs import photograph

_FPS = 2.0


def prompt_of(request: Request, tokenizer: Any, shift: int = 0) -> dict[str, object]:
    """What ``LLM.generate`` takes; media are marked by the model's own template.

    With ``shift``, other pictures of the same sizes: no cache knows them.
    """
    content = [{"type": _kind(item)} for item in request.media]
    messages = [
        {"role": "user", "content": [*content, {"type": "text", "text": request.text}]}
    ]
    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    data: dict[str, list[Any]] = {}
    for item in request.media:
        made = clip(item, shift) if isinstance(item, Clip) else picture(item, shift)
        data.setdefault(_kind(item), []).append(made)
    return {"prompt": text, "multi_modal_data": data} if data else {"prompt": text}


def picture(image: Image, shift: int = 0) -> Pictures.Image:
    """A piece from the middle of the photograph, or noise."""
    height, width = image.height, image.width
    if image.source == "noise":
        noise = np.random.RandomState(image.seed + shift).randint(
            0, 256, (height, width, 3)
        )
        return Pictures.fromarray(noise.astype(np.uint8))
    whole = _photograph(image.source)
    top, left = (whole.shape[0] - height) // 2, (whole.shape[1] - width) // 2 - shift
    return Pictures.fromarray(whole[top : top + height, left : left + width])


def clip(given: Clip, shift: int = 0) -> tuple[np.ndarray[Any, Any], dict[str, object]]:
    """Frames, and what a video reader would say of them."""
    whole = _photograph(given.source)
    room = whole.shape[1] - given.width
    frames = np.stack(
        [
            whole[: given.height, start : start + given.width]
            for start in np.linspace(shift, room, given.frames).astype(int)
        ]
    )
    about = {
        "fps": _FPS,
        "duration": given.frames / _FPS,
        "total_num_frames": given.frames,
        "frames_indices": list(range(given.frames)),
        "video_backend": "opencv",
        "do_sample_frames": False,
    }
    return frames, about


def _kind(item: Image | Clip) -> str:
    return "video" if isinstance(item, Clip) else "image"


@cache
def _photograph(name: str) -> np.ndarray[Any, Any]:
    return photograph(name)
