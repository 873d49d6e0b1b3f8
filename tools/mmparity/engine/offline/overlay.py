# SPDX-License-Identifier: Apache-2.0
"""The folder and the environment that one side's engine is started with.

The folder holds links into the side's trees, so nothing is written there: vLLM with
the compiled library beside its sources, the installed version that makes vLLM choose
its CPU platform, and for Ascend sides a plugin that vLLM loads in each of its
processes, as it loads vllm-ascend on an NPU. Whatever runs under `environment` finds
that vLLM: the worker of this folder, `vllm serve` and all their children.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from mmparity.engine.offline.sides import Side
from mmparity.errors import MmparityError
from mmparity.files import make_folder
from mmparity.project import ROOT, SOURCES, user_cache

TOOLS = Path(__file__).resolve().parents[3]
FOLDERS = ROOT / "build" / "engine"
PACKAGES = FOLDERS / "packages"
"""Where `make engine` installs requirements/engine.in."""
PLUGIN = "mmparity-npu-on-cpu"
SIDE_VARIABLE = "MMPARITY_ENGINE_SIDE"
LIBRARY = "vllm/_C.abi3.so"
_PACKAGES = {"vllm": "vllm", "vllm-ascend": "vllm_ascend"}
_ENTRY_POINTS = f"""\
[vllm.platform_plugins]
{PLUGIN} = mmparity.engine.offline.plugin:platform
[vllm.general_plugins]
{PLUGIN} = mmparity.engine.offline.plugin:register
"""


def kernels(side: Side) -> Path:
    """The compiled library, or an error that says how to get it or why not."""
    library = SOURCES / side.kernels / LIBRARY
    if side.packages and not (PACKAGES / "torch").is_dir():
        raise MmparityError(
            f"{side.name} needs the packages of requirements/engine.in in {PACKAGES}. "
            "Run `python3 tools/setup_venv.py --engine`, as `make engine` does."
        )
    if library.is_file():
        return library
    raise MmparityError(
        f"{side.name} needs vLLM's compiled library {library}, which is not there. "
        f"Run `patchseries fetch {side.kernels}`; it exists for Python 3.10 to 3.12 on "
        "x86_64 and aarch64 Linux."
    )


def make(side: Side, trees: dict[str, str], folders: Path = FOLDERS) -> Path:
    """The side's folder; named by what is in it, so one in use is never changed.

    Args:
        side: whose.
        trees: source (``vllm``, ``vllm-ascend``) -> its tree, as of ``find_trees``.
        folders: where it goes.
    """
    links = {LIBRARY: kernels(side)}
    for source, tree in trees.items():
        for entry in _entries(Path(tree).resolve() / _PACKAGES[source]):
            name = f"{_PACKAGES[source]}/{entry.name}"
            if name in links:
                raise MmparityError(
                    f"{entry} is in the tree already. Give a tree as it comes from "
                    "`patchseries fetch` or a checkout, without a build of its own."
                )
            links[name] = entry
    files = _distribution("vllm", f"{side.vllm}+cpu")
    if side.implementation.ascend:
        files |= _distribution(PLUGIN, "1", _ENTRY_POINTS)
    content = json.dumps([sorted((k, str(v)) for k, v in links.items()), files])
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    folder = folders / f"{side.name}-{digest}"
    make_folder(folder, folder.is_dir, lambda partial: _write(partial, links, files))
    return folder


def environment(
    side: Side, folder: Path, threads: int = 1, cache_gib: int = 1
) -> dict[str, str]:
    """What a process needs to run the side's engine: all of its environment.

    Args:
        side: whose.
        folder: what ``make`` returned.
        threads: of each process; one makes sums come out the same.
        cache_gib: room for the KV cache.
    """
    packages = str(PACKAGES) if side.packages else None
    paths = (str(folder), packages, str(TOOLS), os.environ.get("PYTHONPATH"))
    return {
        **os.environ,
        SIDE_VARIABLE: side.name,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONPYCACHEPREFIX": str(user_cache() / "pycache"),
        "VLLM_PLUGINS": PLUGIN if side.implementation.ascend else "",
        "VLLM_NO_USAGE_STATS": "1",
        # What vLLM remembers of a model's class belongs to one tree.
        "VLLM_CACHE_ROOT": str(folder.parent / "cache" / folder.name),
        "VLLM_CPU_KVCACHE_SPACE": str(cache_gib),
        "VLLM_CPU_OMP_THREADS_BIND": side.unbound,
        "OMP_NUM_THREADS": str(threads),
        "GLOO_SOCKET_IFNAME": "lo",
        "VLLM_HOST_IP": "127.0.0.1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHDYNAMO_DISABLE": "1",  # the sampler would wait for a C++ compiler
    }


def _entries(package: Path) -> list[Path]:
    if not package.is_dir():
        raise MmparityError(f"{package} is not there: is {package.parent} its tree?")
    return [entry for entry in package.iterdir() if entry.name != "__pycache__"]


def _distribution(name: str, version: str, entry_points: str = "") -> dict[str, str]:
    """What importlib.metadata sees of an installed package."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {f"{info}/METADATA": metadata}
    return files | ({f"{info}/entry_points.txt": entry_points} if entry_points else {})


def _write(folder: Path, links: dict[str, Path], files: dict[str, str]) -> None:
    for name, target in links.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(target)
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
