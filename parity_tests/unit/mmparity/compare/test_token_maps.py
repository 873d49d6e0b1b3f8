# SPDX-License-Identifier: Apache-2.0
"""A token's error is shown at the place where its patch is on the image."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmparity.compare.token_maps import MOST_ROWS, token_maps
from mmparity.workload.cases import Case, Noise, Photograph
from mmparity.workload.inputs import write_inputs
from mmparity.workload.pictures import pictures

GRID = (1, 4, 8)
PATCHES = 32
# Two windows of 2 x 2 cells, the right one first.
WINDOWS = torch.tensor([2, 3, 6, 7, 0, 1, 4, 5])


class Trace(dict[str, torch.Tensor]):
    meta = SimpleNamespace(grid_thw=(GRID,), hyper_parameters={})
    measured = ()

    def read(self, name: str) -> torch.Tensor:
        return self[name]


def failing(name: str, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    return SimpleNamespace(
        hook_point=name, shape=shape, verdict="fail", metrics=True, old_dtype=dtype
    )


def processors_order() -> torch.Tensor:
    """The place of each patch as transformers' processors list them."""
    t, h, w = GRID
    places = torch.arange(PATCHES).view(t, h // 2, 2, w // 2, 2)
    return places.permute(0, 1, 3, 2, 4).flatten()


@pytest.mark.parametrize(
    ("name", "tokens", "order"),
    [
        ("patch_embed", PATCHES, processors_order()),
        ("blocks.0.norm1", PATCHES, processors_order().view(-1, 4)[WINDOWS].flatten()),
        ("merger.mlp.0", PATCHES // 4, WINDOWS),
        ("last_hidden_state", PATCHES // 4, torch.arange(PATCHES // 4)),
    ],
)
def test_each_order_of_tokens_leads_back_to_the_image(
    name: str, tokens: int, order: torch.Tensor
) -> None:
    old = torch.ones(tokens, 4)
    new = old.clone()
    new[3] += 0.5
    traces = [Trace({name: side, "window_index": WINDOWS}) for side in (old, new)]
    (found,) = token_maps([failing(name, (tokens, 4))], *traces)  # type: ignore[arg-type]
    assert found.places == tuple(order.tolist())
    assert found.errors[3] == 0.5 and sum(found.errors) == 0.5


def test_rows_without_tokens_have_no_map_and_only_the_first_have_one() -> None:
    x = torch.zeros(PATCHES, 2)
    trace = Trace({f"blocks.{i}": x for i in range(MOST_ROWS + 1)})
    rows = [failing("blocks.0.seqlens", (3,), "int64"), failing("window_index", (8,))]
    rows += [failing(f"blocks.{i}", (PATCHES, 2)) for i in range(MOST_ROWS + 1)]
    found = token_maps(rows, trace, trace)  # type: ignore[arg-type]
    assert [item.hook_point for item in found] == [
        f"blocks.{i}" for i in range(MOST_ROWS)
    ]


def test_tokens_of_unknown_number_have_no_place() -> None:
    trace = Trace({"blocks.0": torch.zeros(7, 2)})
    (found,) = token_maps([failing("blocks.0", (7, 2))], trace, trace)  # type: ignore[arg-type]
    assert found.places == () and len(found.errors) == 7


def test_picture_shows_the_photograph_that_the_encoder_got(tmp_path: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_sample_image

    photo = Photograph("flower.jpg", rows=20, columns=28, left=60, top=40)
    case = Case("two", "", (photo, Noise((1, 4, 4), seed=1)))
    uris = pictures(write_inputs(case, tmp_path))
    assert len(uris) == 2
    head, _, data = uris[0].partition(",")
    assert head == "data:image/jpeg;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(data))).convert("L")
    whole = Image.fromarray(load_sample_image(photo.file)).convert("L")
    right, below = photo.left + 28 * 14 + 5, photo.top + 20 * 14 + 5
    expected = whole.crop((photo.left, photo.top, right, below)).resize(shown.size)
    sides = [torch.tensor(np.asarray(x)).float().flatten() for x in (shown, expected)]
    assert torch.corrcoef(torch.stack(sides))[0, 1] > 0.97


def test_worst_elements_and_statistics_are_of_both_sides() -> None:
    old = torch.zeros(PATCHES, 4)
    new = old.clone()
    new[3, 1], new[30, 2] = 0.5, -2.0
    sides = [Trace({"blocks.0.norm1": side}) for side in (old, new)]
    for side in sides:
        side["window_index"] = WINDOWS
    (found,) = token_maps([failing("blocks.0.norm1", old.shape)], *sides)
    assert [(e.index, e.old, e.new) for e in found.elements[:2]] == [
        ((30, 2), 0.0, -2.0),
        ((3, 1), 0.0, 0.5),
    ]
    assert len(found.elements) == 10
    assert found.statistics["smallest"] == (0.0, -2.0)
    assert found.statistics["mean"] == (0.0, pytest.approx(-1.5 / old.numel()))
