# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import io
import math
from dataclasses import replace

import numpy as np
import pytest

from mmparity.report import tokens
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.row import TokenMap


def pixels(uri: str) -> np.ndarray:
    from PIL import Image

    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture
def case(failing: ComparisonResult) -> CaseComparison:
    return replace(failing.cases[1], grid_thw=((1, 2, 4), (2, 2, 2)), pictures=())


def view(case: CaseComparison, item: TokenMap) -> tokens.TokensView:
    (found,) = tokens.views(replace(case, token_maps=(item,)))
    return found


def test_a_token_is_drawn_where_its_patch_is(case: CaseComparison) -> None:
    errors = [0.0] * 16
    errors[3] = 0.5
    places = list(range(16))
    places[3], places[6] = 6, 3  # the fourth token is the patch in row 1, column 2
    found = view(case, TokenMap("blocks.0", tuple(errors), tuple(places)))
    first, clip = (pixels(image.heat) for image in found.images)
    dark = np.argwhere((first == tokens.DARK).all(axis=2))
    assert dark.tolist() == [[1, 2]]
    assert first.shape == (2, 4, 3) and (first != tokens.EXACT).any(axis=2).sum() == 1
    assert clip.shape == (2, 4, 3) and (clip == tokens.EXACT).all()
    assert "image 0, row 1, column 2" in found.summary
    assert "1 of 16 tokens differ; worst token 3" in found.summary
    strip = pixels(found.strip)
    assert strip.shape == (1, 16, 3) and (strip[0, 3] == tokens.DARK).all()


def test_frames_of_a_clip_stand_side_by_side(case: CaseComparison) -> None:
    errors = [0.0] * 15 + [1.0]
    found = view(case, TokenMap("blocks.0", tuple(errors), tuple(range(16))))
    clip = pixels(found.images[1].heat)
    assert np.argwhere((clip == tokens.DARK).all(axis=2)).tolist() == [[1, 3]]
    assert "image 1, frame 1, row 1, column 1" in found.summary


def test_merged_tokens_have_a_quarter_of_the_places(case: CaseComparison) -> None:
    found = view(case, TokenMap("merger.mlp.2", (1.0, 0, 0, 0), (1, 0, 2, 3)))
    assert pixels(found.images[0].heat).shape == (1, 2, 3)
    assert "image 0, row 0, column 1" in found.summary


@pytest.mark.parametrize("places", [(), (0,) * 16, tuple(range(1, 17))])
def test_unknown_places_leave_the_strip(
    case: CaseComparison, places: tuple[int, ...]
) -> None:
    found = view(case, TokenMap("x", (math.nan, *[0.1] * 15), places))
    assert found.images == () and "worst token 0: nan" in found.summary.lower()
    assert (pixels(found.strip)[0, 0] == tokens.DARK).all()


@pytest.mark.parametrize(
    "uri", ["", "https://example.com/x.jpg", "data:text/html;base64,AAAA", "x" * 90_000]
)
def test_no_other_picture_than_a_small_jpeg_is_shown(
    case: CaseComparison, uri: str
) -> None:
    item = TokenMap("x", (1.0,) * 16, tuple(range(16)))
    found = view(replace(case, pictures=(uri, uri)), item)
    assert [image.picture for image in found.images] == ["", ""]
