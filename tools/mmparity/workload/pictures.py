# SPDX-License-Identifier: Apache-2.0
"""The images of an input file, as a report shows them."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

from mmparity.workload.inputs import read_inputs

PICTURE_WIDTH = 256


def pictures(file: Path) -> tuple[str, ...]:
    """The images of an input file as data URIs: what the encoder got, made visible.

    One JPEG file for each entry of grid_thw, the frames of a clip side by side; each
    is scaled to its own range and is at most ``PICTURE_WIDTH`` pixels wide.
    """
    from PIL import Image

    inputs = read_inputs(file)
    merge, temporal = inputs.merge_size, inputs.temporal_patch_size
    found, start = [], 0
    if inputs.channels != 3:  # it is sound
        return ()
    for t, h, w in inputs.grid_thw:
        patches = inputs.pixel_values[start : start + t * h * w]
        start += t * h * w
        size = math.isqrt(patches.shape[1] // (3 * temporal))
        rows, columns = h // merge, w // merge
        cells = patches.view(t, rows, columns, merge, merge, 3, temporal, size, size)
        frames = cells[:, :, :, :, :, :, 0].permute(1, 3, 6, 0, 2, 4, 7, 5)
        shown = frames.reshape(h * size, t * w * size, 3)
        low, high = shown.min(), shown.max()
        scaled = (shown - low) / (high - low).clamp(min=1e-9) * 255
        image = Image.fromarray(scaled.byte().numpy())
        image.thumbnail((PICTURE_WIDTH, PICTURE_WIDTH))
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=50)
        data = base64.b64encode(stream.getvalue()).decode()
        found.append(f"data:image/jpeg;base64,{data}")
    return tuple(found)
