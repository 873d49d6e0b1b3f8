# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmparity.engine.offline import overlay, sides
from mmparity.errors import MmparityError

PRINT = """
import importlib.metadata as metadata, vllm, vllm.part
print(vllm.part.VALUE, metadata.version("vllm"))
print([e.value for e in metadata.entry_points(group="vllm.platform_plugins")
       if e.name == "mmparity-npu-on-cpu"])
"""


@pytest.fixture
def trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Trees of one module each, and a compiled library of no content."""
    monkeypatch.setattr(overlay, "SOURCES", tmp_path / "fetched")
    monkeypatch.setattr(overlay, "PACKAGES", tmp_path / "packages")
    (tmp_path / "packages" / "torch").mkdir(parents=True)
    for side in sides.SIDES.values():
        library = tmp_path / "fetched" / side.kernels / overlay.LIBRARY
        library.parent.mkdir(parents=True, exist_ok=True)
        library.touch()
    for package in ("vllm", "vllm_ascend"):
        folder = tmp_path / "tree" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "part.py").write_text("VALUE = 1\n")
    tree = str(tmp_path / "tree")
    return {"vllm": tree, "vllm-ascend": tree}


def in_process(name: str, folder: Path) -> list[str]:
    environment = overlay.environment(sides.get(name), folder)
    done = subprocess.run(
        [sys.executable, "-c", PRINT], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_process_finds_the_trees_modules_as_vllm_for_cpus(
    trees: dict[str, str], tmp_path: Path
) -> None:
    folder = overlay.make(sides.get("unified"), {"vllm": trees["vllm"]}, tmp_path / "o")
    assert in_process("unified", folder) == ["1 0.12.0+cpu", "[]"]
    assert (folder / overlay.LIBRARY).exists()


def test_an_ascend_side_has_the_plugin(trees: dict[str, str], tmp_path: Path) -> None:
    folder = overlay.make(sides.get("ascend-0.11.0"), trees, tmp_path / "o")
    version, plugin = in_process("ascend-0.11.0", folder)
    assert version == "1 0.11.0+cpu"
    assert plugin == "['mmparity.engine.offline.plugin:platform']"


def test_nothing_is_written_into_a_tree(trees: dict[str, str], tmp_path: Path) -> None:
    before = sorted((tmp_path / "tree").rglob("*"))
    folder = overlay.make(sides.get("unified-ascend"), trees, tmp_path / "o")
    in_process("unified-ascend", folder)
    assert sorted((tmp_path / "tree").rglob("*")) == before


def test_a_folder_in_use_is_kept_and_another_tree_gets_its_own(
    trees: dict[str, str], tmp_path: Path
) -> None:
    side, folders = sides.get("unified"), tmp_path / "o"
    first = overlay.make(side, {"vllm": trees["vllm"]}, folders)
    inode = (first / "vllm").stat().st_ino
    assert overlay.make(side, {"vllm": trees["vllm"]}, folders) == first
    assert (first / "vllm").stat().st_ino == inode
    (tmp_path / "tree/vllm/more.py").touch()
    assert overlay.make(side, {"vllm": trees["vllm"]}, folders) != first
    assert len(list(folders.iterdir())) == 2


def test_a_missing_library_is_an_error_with_the_next_command(
    trees: dict[str, str], tmp_path: Path
) -> None:
    side = sides.get("unified")
    (tmp_path / "fetched" / side.kernels / overlay.LIBRARY).unlink()
    with pytest.raises(MmparityError, match=f"patchseries fetch {side.kernels}"):
        overlay.make(side, {"vllm": trees["vllm"]}, tmp_path / "o")


def test_a_side_with_another_torch_finds_it_before_ours(
    trees: dict[str, str], tmp_path: Path
) -> None:
    side = sides.get("ascend-0.11.0")
    folder = overlay.make(side, trees, tmp_path / "o")
    paths = overlay.environment(side, folder)["PYTHONPATH"].split(":")
    assert paths[:2] == [str(folder), str(tmp_path / "packages")]
    unified = overlay.environment(sides.get("unified"), folder)["PYTHONPATH"]
    assert "packages" not in unified.removeprefix(str(folder)).split(":")[1]
    (tmp_path / "packages" / "torch").rmdir()
    with pytest.raises(MmparityError, match=r"setup_venv\.py --engine"):
        overlay.make(side, trees, tmp_path / "o")


def test_a_tree_with_a_build_of_its_own_is_refused(
    trees: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tree" / overlay.LIBRARY).touch()
    with pytest.raises(MmparityError, match="without a build of its own"):
        overlay.make(sides.get("unified"), {"vllm": trees["vllm"]}, tmp_path / "o")
