# SPDX-License-Identifier: Apache-2.0
"""Whether the nodes of a Ray cluster can serve one model together.

Each node is asked what it has; what must be alike and is not, or what an engine would
only notice after minutes, is a problem with the node's name.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmparity.errors import MmparityError
from mmparity.extras import import_extra

PACKAGES = ("vllm", "vllm-ascend", "torch", "torch-npu", "transformers", "ray")
INTERFACES = {
    "NPU": ("HCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"),
    "GPU": ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"),
}
"""Ray's name of a device -> variables that choose the network between nodes."""
VARIABLES = (*dict.fromkeys(v for names in INTERFACES.values() for v in names),
             "TP_SOCKET_IFNAME", "HCCL_IF_IP", "VLLM_HOST_IP")  # fmt: skip
READ_BYTES = 1 << 20
"""Larger files are compared by name and size."""
WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Node:
    """What one node answered.

    Attributes:
        name: its address.
        devices: Ray's name of its devices -> how many.
        error: why it could not be asked.
    """

    name: str
    devices: dict[str, int]
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    interfaces: dict[str, list[str]] = field(default_factory=dict)
    error: str = ""


def probe(name: str, devices: dict[str, int], paths: Sequence[str]) -> Node:
    """Runs on the node that has this name and these devices."""
    import psutil

    packages = {}
    for package in PACKAGES:
        try:
            packages[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            packages[package] = "none"
    addresses = {
        interface: [a.address for a in found if a.family.name == "AF_INET"]
        for interface, found in psutil.net_if_addrs().items()
    }
    return Node(
        name,
        devices,
        python=platform.python_version(),
        packages=packages,
        paths={path: content(Path(path)) for path in paths},
        variables={variable: os.environ.get(variable, "") for variable in VARIABLES},
        interfaces={key: found for key, found in addresses.items() if found},
    )


def content(folder: Path) -> str:
    """Digest of a folder's names, sizes and small files; empty if there is none."""
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if (
            file.is_file()
            and "__pycache__" not in file.parts
            and ".git" not in file.parts
        ):
            size = file.stat().st_size
            digest.update(f"{file.relative_to(folder)} {size}\n".encode())
            if size <= READ_BYTES:
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def ask(address: str, paths: Sequence[str]) -> list[Node]:
    """Asks every node of the cluster.

    Raises:
        MmparityError: there is no ray, or no cluster at the address.
    """
    ray = import_extra("machines", "ray")
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise MmparityError(
            f"no Ray cluster at {address}: {error}. Start one: `ray start --head` "
            "there, `ray start --address HEAD:6379` on the others."
        ) from error
    try:
        return [_ask_node(ray, node, paths) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def problems(
    nodes: Sequence[Node], expected: int, tp: int, pp: int, heads: Mapping[str, int]
) -> list[str]:
    """What will not work, each with the node and what to do.

    ``heads``: numbers that ``tp`` must divide, by their names in the configuration.
    """
    found = [f"{node.name}: {node.error}" for node in nodes if node.error]
    if len(nodes) < expected:
        found.append(
            f"{len(nodes)} of {expected} nodes are in the cluster: run `ray start "
            "--address HEAD:6379` on the others; is port 6379 open?"
        )
    asked = [node for node in nodes if not node.error]
    found += _unlike(asked, "Python", lambda node: {"Python": node.python})
    found += _unlike(asked, "package", lambda node: node.packages)
    found += _unlike(asked, "content of", lambda node: node.paths)
    for node in asked:
        found += [
            f"{node.name}: {path} is not there: every node needs it at the same path"
            for path, digest in node.paths.items()
            if not digest
        ]
        found += _network(node, many=len(nodes) > 1)
    hosts = [node.variables["VLLM_HOST_IP"] for node in asked]
    if len(set(filter(None, hosts))) < len(list(filter(None, hosts))):
        found.append("VLLM_HOST_IP is the same on two nodes: give each its own address")
    return [*found, *_shapes(nodes, tp, pp, heads)]


def read_heads(model: str) -> dict[str, int]:
    """Numbers of attention heads in the checkpoint's config.json, by their names.

    Raises:
        MmparityError: it cannot be read here.
    """
    file = Path(model) / "config.json"
    try:
        config = json.loads(file.read_text())
        text = config.get("text_config") or config
        vision = config.get("vision_config") or {}
        heads = {
            "num_attention_heads": text.get("num_attention_heads"),
            "vision_config.num_heads": vision.get("num_heads"),
        }
        return {name: int(number) for name, number in heads.items() if number}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MmparityError(
            f"--model {model}: {file.name} cannot be read ({error}). Give the folder "
            "of a checkpoint that this machine has."
        ) from error


def _ask_node(ray: Any, node: Mapping[str, Any], paths: Sequence[str]) -> Node:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    devices = {
        name: int(node["Resources"][name])
        for name in INTERFACES
        if node["Resources"].get(name)
    }
    name = node["NodeManagerAddress"] + f" ({node['NodeID'][:6]})"
    here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(probe).options(num_cpus=0, scheduling_strategy=here)
    try:
        asked = task.remote(name, devices, paths)
        answered: Node = ray.get(asked, timeout=WAIT_SECONDS)
        return answered
    except Exception as error:
        reason = " ".join(str(error).split())[-300:]
        return Node(name, devices, error=f"could not be asked: {reason}")


def _unlike(nodes: Sequence[Node], what: str, values: Any) -> Iterable[str]:
    """Keys whose values are not the same on all nodes; a missing path is told apart."""
    if not nodes:
        return
    for key in values(nodes[0]):
        said = {node.name: values(node).get(key, "") for node in nodes}
        if len(set(filter(None, said.values()))) > 1:
            listed = ", ".join(f"{value or 'none'} on {name}" for name, value in
                               said.items())  # fmt: skip
            name = what if what == key else f"{what} {key}"
            yield f"{name} differs: {listed}"


def _network(node: Node, many: bool) -> Iterable[str]:
    for device in node.devices:
        for name in INTERFACES[device]:
            given = node.variables[name]
            if not given and many:
                yield (
                    f"{node.name}: {name} is not set: set it before `ray start`, to "
                    f"one of {', '.join(node.interfaces)}"
                )
    for name, given in node.variables.items():
        names = given.lstrip("^=").split(",") if given else []
        missing = [one for one in names if not _has(node, one)]
        if name.endswith("_IFNAME") and missing and not given.startswith("^"):
            yield (
                f"{node.name}: {name}={given}, but its interfaces are "
                f"{', '.join(node.interfaces)}"
            )
    host = node.variables["VLLM_HOST_IP"]
    addresses = {a for found in node.interfaces.values() for a in found}
    if host and host not in addresses:
        yield f"{node.name}: VLLM_HOST_IP={host} is none of its addresses"
    if host.startswith("127.") and many:
        yield f"{node.name}: VLLM_HOST_IP={host} cannot be reached by the others"


def _has(node: Node, name: str) -> bool:
    """Libraries take the beginning of an interface's name, too."""
    return any(one.startswith(name) for one in node.interfaces)


def _shapes(
    nodes: Sequence[Node], tp: int, pp: int, heads: Mapping[str, int]
) -> Iterable[str]:
    devices = sum(sum(node.devices.values()) for node in nodes)
    if tp * pp > devices:
        yield f"--tp {tp} times --pp {pp} needs {tp * pp} devices; there are {devices}"
    for name, number in heads.items():
        if number % tp:
            allowed = [n for n in range(1, number + 1) if number % n == 0]
            way = " or --mm-encoder-tp-mode data" if "vision" in name else ""
            yield (
                f"{name} {number} is not divisible by --tp {tp}: vLLM will refuse. "
                f"Allowed: {', '.join(map(str, allowed))}{way}"
            )
