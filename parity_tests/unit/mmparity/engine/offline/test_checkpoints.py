# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mmparity.engine.offline import checkpoints, media
from mmparity.engine.offline.scenarios import Clip, Image, Request

REQUEST = Request(
    "What is this?", (Image("noise", 112, 112), Clip("china.jpg", 4, 112, 112))
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.served_checkpoint(tmp_path_factory.mktemp("served"), "qwen3-vl")


def test_the_template_has_a_place_for_each_medium(folder: Path) -> None:
    from transformers import AutoTokenizer

    prompt = media.prompt_of(REQUEST, AutoTokenizer.from_pretrained(folder))
    for placeholder in ("<|image_pad|>", "<|video_pad|>"):
        assert prompt["prompt"].count(placeholder) == 1
    assert prompt["prompt"].endswith("<|im_start|>assistant\n")
    frames, about = prompt["multi_modal_data"]["video"][0]
    assert len(frames) == about["total_num_frames"] == 4


def test_the_processor_makes_what_the_tower_takes(folder: Path) -> None:
    from transformers import AutoConfig, AutoProcessor

    config = AutoConfig.from_pretrained(folder)
    made = AutoProcessor.from_pretrained(folder)(
        images=[media.picture(Image("noise", 128, 160))],
        text=["<|vision_start|><|image_pad|><|vision_end|>"],
        return_tensors="pt",
    )
    assert made["image_grid_thw"].tolist() == [[1, 8, 10]]
    assert int((made["input_ids"] == config.image_token_id).sum()) == 20


def test_the_same_weights_again_and_a_cut_write_is_not_taken(
    folder: Path, tmp_path: Path
) -> None:
    cut = tmp_path / folder.name
    shutil.copytree(folder, cut)
    (cut / checkpoints.MARKER).unlink()
    (cut / "model.safetensors").write_bytes(b"cut")
    again = checkpoints.served_checkpoint(tmp_path, "qwen3-vl")
    assert again == cut
    first, second = (load_file(f / "model.safetensors") for f in (folder, again))
    assert first.keys() == second.keys()
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_shifted_pictures_are_others_of_the_same_size() -> None:
    image = Image("china.jpg", 112, 112)
    first, other = media.picture(image), media.picture(image, 1)
    assert first.size == other.size and first.tobytes() != other.tobytes()
    assert first.tobytes() == media.picture(image).tobytes()
