# SPDX-License-Identifier: Apache-2.0
"""A config.json is read where it can be right, and refused by name where it cannot."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmparity.errors import MmparityError
from mmparity.workload.models import FAMILIES, MODELS
from mmparity.workload.seeded import vision_config
from mmparity.workload.tower_config import CONFIG, read_vision_config
from mmparity.workload.towers import TOWERS

TOWER: dict[str, Any] = {
    "depth": 4,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 48,
    "out_hidden_size": 24,
    "fullatt_block_indexes": [1, 3],
}
COUNTS = [name for name in TOWER if name != "fullatt_block_indexes"]
COUNTS += ["in_channels", "patch_size", "spatial_merge_size", "temporal_patch_size"]


def write(folder: Path, content: Any) -> Path:
    (folder / CONFIG).write_text(json.dumps(content))
    return folder


def read(folder: Path, family: str = "qwen2_5_vl", **fields: Any) -> Any:
    whole = {"model_type": family, "vision_config": {**TOWER, **fields}}
    return read_vision_config(write(folder, whole))


def refused(folder: Path, reason: str, **fields: Any) -> None:
    with pytest.raises(MmparityError, match=reason) as caught:
        read(folder, **fields)
    assert str(caught.value).startswith(str(folder / CONFIG))


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", ["3", 0, -1, None, True, 2.0, [3], {}, 10**9])
def test_a_count_is_a_whole_number_above_0(
    tmp_path: Path, name: str, value: object
) -> None:
    refused(tmp_path, f"{name} is .*; a whole number from 1 to ", **{name: value})


def test_a_depth_that_would_be_built_for_hours_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "depth is 100000; a whole number from 1 to 1024", depth=10**5)


@pytest.mark.parametrize("value", ["gelu_of_mine", "relu", None, 3, ["silu"], "SiLU"])
def test_an_activation_that_a_tower_cannot_have_is_refused(
    tmp_path: Path, value: object
) -> None:
    refused(tmp_path, "hidden_act is .*; this tower runs with silu", hidden_act=value)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"num_heads": 3}, "32 channels in 3 heads"),
        ({"num_heads": 16}, "32 channels in 16 heads"),
        ({"fullatt_block_indexes": [-1]}, "a list of numbers of blocks"),
        ({"fullatt_block_indexes": "all"}, "a list of numbers of blocks"),
        ({"fullatt_block_indexes": None}, "a list of numbers of blocks"),
        ({"window_size": 27}, "less than a merged patch of 28"),
        ({"model_type": "clip"}, "model_type is 'clip'; expected 'qwen2_5_vl'"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    refused(tmp_path, reason, **fields)


def test_deepstack_after_a_block_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MmparityError, match="names block 4, but depth is 4"):
        read(tmp_path, "qwen3_vl", deepstack_visual_indexes=[0, 4])


@pytest.mark.parametrize("value", [None, "qwen", 3, [], True])
def test_a_vision_config_that_is_no_object_is_refused(
    tmp_path: Path, value: object
) -> None:
    write(tmp_path, {"model_type": "qwen2_5_vl", "vision_config": value})
    with pytest.raises(MmparityError, match=r"vision_config is .*, and not an object"):
        read_vision_config(tmp_path)


@pytest.mark.parametrize(
    "whole",
    [
        {"model_type": "qwen2_5_vl", "vocab_size": 9},
        {"model_type": "qwen3_vl", "text_config": {}},
        {"model_type": "qwen2_5_omni", "thinker_config": {}},
    ],
)
def test_a_whole_model_without_a_tower_is_refused(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    with pytest.raises(MmparityError, match=r"a whole model's and has no .*config"):
        read_vision_config(write(tmp_path, whole))


QUANTIZED = {
    "gptq": ({"quant_method": "gptq", "bits": 4}, False),
    "awq, but for the tower": (
        {"quant_method": "awq", "modules_to_not_convert": ["visual"]},
        True,
    ),
    "compressed, but for the tower": (
        {"quant_method": "compressed-tensors", "ignore": ["re:.*visual.*", "lm_head"]},
        True,
    ),
    "fp8, but for the head": ({"quant_method": "fp8", "ignore": ["lm_head"]}, False),
    "of vllm-ascend": ({"quant_method": "ascend"}, True),
    "without a method": ({"bits": 4}, False),
    "a word": ("gptq", False),
    "null": (None, True),
}


@pytest.mark.parametrize("name", QUANTIZED)
def test_a_tower_that_is_quantised_in_an_unknown_way_is_refused(
    tmp_path: Path, name: str
) -> None:
    found, read_anyway = QUANTIZED[name]
    whole = {"model_type": "qwen2_5_vl", "vision_config": TOWER}
    write(tmp_path, {**whole, "quantization_config": found})
    if read_anyway:
        assert read_vision_config(tmp_path).depth == 4
    else:
        with pytest.raises(MmparityError, match="does not leave the vision tower as"):
            read_vision_config(tmp_path)


@pytest.mark.parametrize("name", ["quantization_config", "compression_config"])
@pytest.mark.parametrize("of_the_tower", [True, False])
def test_a_method_is_found_wherever_it_is_said(
    tmp_path: Path, name: str, of_the_tower: bool
) -> None:
    said = {name: {"quant_method": "gptq"}}
    whole = {"model_type": "qwen2_5_vl", "vision_config": dict(TOWER)}
    (whole["vision_config"] if of_the_tower else whole).update(said)
    with pytest.raises(MmparityError, match=f"{name} is of 'gptq' and does not leave"):
        read_vision_config(write(tmp_path, whole))


@pytest.mark.parametrize("model", [name for name in MODELS if name not in TOWERS])
def test_every_known_model_is_read_as_it_is_written(tmp_path: Path, model: str) -> None:
    config = vision_config(model)
    raw: dict[str, Any] = config.to_dict()
    for name in reversed(FAMILIES[MODELS[model].family].path):
        raw = {name: raw}
    write(tmp_path, {**raw, "model_type": MODELS[model].family})
    assert read_vision_config(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize("model", TOWERS)
def test_every_described_tower_is_read_as_it_is_written(
    tmp_path: Path, model: str
) -> None:
    config = vision_config(model)
    config.save_pretrained(tmp_path)
    assert read_vision_config(tmp_path) == config


def test_a_tower_that_was_saved_alone_is_read(tmp_path: Path) -> None:
    write(tmp_path, {**TOWER, "model_type": "qwen2_5_vl", "architectures": ["x"]})
    assert read_vision_config(tmp_path).fullatt_block_indexes == [1, 3]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(string.ascii_letters, max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    place=st.sampled_from(["", "vision_config", "thinker_config"]),
    field=st.sampled_from([*TOWER, "hidden_act", "model_type", "vision_config",
                           "thinker_config", "quantization_config", "text_config"]),
    value=ANY,
)  # fmt: skip
def test_whatever_a_field_is_it_is_read_or_refused(
    tmp_path: Path, family: str, place: str, field: str, value: Any
) -> None:
    whole: dict[str, Any] = {"model_type": family, "vision_config": dict(TOWER)}
    holder = whole.setdefault(place, {}) if place else whole
    holder[field] = value
    try:
        config = read_vision_config(write(tmp_path, whole))
    except MmparityError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
    else:
        assert 1 <= config.depth <= 1024


def test_an_unknown_family_is_told_with_the_known_ones_and_a_next_step(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(MmparityError) as caught:
        read_vision_config(tmp_path)
    assert "is 'llava'; known: qwen2_5_omni, qwen2_5_vl, qwen2_vl" in str(caught.value)
    assert "docs/adding-an-encoder.md" in str(caught.value)


def test_a_folder_without_a_configuration_is_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MmparityError, match=f"{tmp_path}/config.json is not there"):
        read_vision_config(Path())
