# SPDX-License-Identifier: Apache-2.0
"""What keeps the nodes of a cluster from serving one model is named before they try."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmparity.engine.online.machines import (
    VARIABLES,
    Node,
    content,
    problems,
    read_heads,
)
from mmparity.errors import MmparityError
from mmparity.extras import EXTRAS

INTERFACES = {"lo": ["127.0.0.1"], "eth0": ["10.0.0.1"], "eth1": ["10.1.0.1"]}
HEADS = {"num_attention_heads": 28, "vision_config.num_heads": 16}


def node(number: int, **variables: str) -> Node:
    given = {"HCCL_SOCKET_IFNAME": "eth0", "GLOO_SOCKET_IFNAME": "eth0", **variables}
    return Node(
        f"10.0.0.{number}",
        {"NPU": 8},
        "3.11.9",
        {"vllm": "0.12.0", "torch-npu": "2.8.0"},
        {"/models/m": "abc"},
        {name: given.get(name, "") for name in VARIABLES},
        INTERFACES,
    )


def found(*nodes: Node, expected: int = 2, tp: int = 4, pp: int = 2) -> list[str]:
    return problems(nodes, expected, tp, pp, HEADS)


def test_two_alike_have_no_problem() -> None:
    assert found(node(1), node(2)) == []
    assert found(node(1), node(2, GLOO_SOCKET_IFNAME="eth")) == []
    assert found(node(1), node(2, GLOO_SOCKET_IFNAME="^docker")) == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            replace(node(2), packages={"vllm": "0.11.0", "torch-npu": "2.8.0"}),
            "package vllm differs: 0.12.0 on 10.0.0.1, 0.11.0 on 10.0.0.2",
        ),
        (replace(node(2), python="3.10.1"), "Python differs: "),
        (replace(node(2), paths={"/models/m": "xyz"}), "content of /models/m differs"),
        (
            replace(node(2), paths={"/models/m": ""}),
            "10.0.0.2: /models/m is not there",
        ),
        (
            node(2, HCCL_SOCKET_IFNAME=""),
            "10.0.0.2: HCCL_SOCKET_IFNAME is not set: set it before `ray start`",
        ),
        (
            node(2, GLOO_SOCKET_IFNAME="ib0"),
            "GLOO_SOCKET_IFNAME=ib0, but its interfaces are lo, eth0, eth1",
        ),
        (node(2, VLLM_HOST_IP="10.9.9.9"), "VLLM_HOST_IP=10.9.9.9 is none of its"),
        (node(2, VLLM_HOST_IP="127.0.0.1"), "cannot be reached by the others"),
        (replace(node(2), error="could not be asked: no module"), "no module"),
    ],
)
def test_what_is_not_alike_is_named(other: Node, message: str) -> None:
    (only,) = found(node(1), other)
    assert message in only


def test_nodes_and_devices_that_are_missing_are_counted() -> None:
    (missing,) = found(node(1), expected=2)
    assert missing.startswith("1 of 2 nodes are in the cluster")
    (devices,) = found(node(1), node(2), pp=8)
    assert devices == "--tp 4 times --pp 8 needs 32 devices; there are 16"


def test_two_nodes_with_one_address() -> None:
    same = {"VLLM_HOST_IP": "10.0.0.1"}
    assert found(node(1, **same), node(2, **same)) == [
        "VLLM_HOST_IP is the same on two nodes: give each its own address"
    ]


def test_heads_that_do_not_divide() -> None:
    text, vision = found(node(1), node(2), tp=3)
    assert "num_attention_heads 28 is not divisible by --tp 3" in text
    assert "vision_config.num_heads 16" in vision and "1, 2, 4, 8, 16" in vision


def test_heads_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    text, vision = {"num_attention_heads": 28}, {"num_heads": 16}
    file.write_text(json.dumps({"text_config": text, "vision_config": vision}))
    assert read_heads(str(tmp_path)) == HEADS
    file.write_text(json.dumps(text))
    assert read_heads(str(tmp_path)) == text


@pytest.mark.parametrize("wrong", ["[1]", "{", '{"num_attention_heads": "many"}'])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "config.json").write_text(wrong)
    with pytest.raises(MmparityError, match="cannot be read"):
        read_heads(str(tmp_path))


def test_content_depends_on_names_sizes_and_small_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    first = content(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    second = content(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(bytes(2 << 20))
    assert len({first, second, content(tmp_path)}) == 3
    assert content(tmp_path / "nowhere") == ""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Two Ray nodes on this machine, each with an NPU by name; the address."""
    monkeypatch.syspath_prepend(str(EXTRAS / "machines"))
    pytest.importorskip("ray", reason="needs ray (make setup EXTRA=machines)")
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(EXTRAS / "machines"), *sys.path])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("HCCL_SOCKET_IFNAME", "lo")
    options = {"num_cpus": 1, "resources": {"NPU": 2}, "include_dashboard": False}
    memory = {"object_store_memory": 80 << 20}
    local = Cluster(initialize_head=True, head_node_args={**options, **memory})
    monkeypatch.setenv("HCCL_SOCKET_IFNAME", "no_such_interface")
    local.add_node(**options, **memory)
    yield local.address
    local.shutdown()


@pytest.mark.slow
def test_a_real_cluster_of_two_nodes(cluster: str, tmp_path: Path) -> None:
    heads: dict[str, Any] = {"num_attention_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps(heads))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mmparity", "machines", "--address", cluster),
            *("--nodes", "2", "--model", str(tmp_path), "--tp", "2", "--pp", "2"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    asked = [line for line in done.stdout.splitlines() if "2 NPU" in line]
    wrong = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM")]
    assert len(asked) == 2
    assert len(wrong) == 1 and "HCCL_SOCKET_IFNAME=no_such_interface" in wrong[0]
