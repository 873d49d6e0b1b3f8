# SPDX-License-Identifier: Apache-2.0
"""A model named by its id on a hub; the hub is a server of this machine's."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from mmparity.errors import MmparityError
from mmparity.workload import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "owner/tiny-vl"
SHARDS = {
    "model-1.safetensors": ("model.layers.0.weight",),
    "model-2.safetensors": ("model.layers.1.weight", "visual.blocks.0.weight"),
}


def files(**more: bytes) -> dict[str, bytes]:
    found = {
        shard: save({name: torch.ones(3) for name in names})
        for shard, names in SHARDS.items()
    }
    listed = {name: shard for shard, names in SHARDS.items() for name in names}
    found[hub.INDEX] = json.dumps({"weight_map": listed}).encode()
    found["config.json"] = b"{}"
    return {**found, **more}


@dataclass
class Hub:
    files: dict[str, bytes]
    address: str = ""
    asked: list[str] = field(default_factory=list)
    cut: int = 0
    """So many answers end in the middle of a shard."""


@pytest.fixture
def served() -> Iterator[Hub]:
    state = Hub(files())

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            file = self.path.rpartition("/")[2]
            content = state.files.get(file)
            if content is None or not self.path.startswith(f"/{NAME}/resolve/"):
                self.send_response(404)
                missing = "EntryNotFound" if NAME in self.path else "RepoNotFound"
                self.send_header("X-Error-Code", missing)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            if asked := self.headers.get("Range"):
                start = int(asked.removeprefix("bytes=").partition("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("ETag", hashlib.sha256(content).hexdigest())
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if body:
                state.asked.append(f"{file} {start}")
                part = content[start:]
                if state.cut and file.endswith(".safetensors"):
                    state.cut -= 1
                    part = part[: len(part) // 2]
                self.wfile.write(part)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


ASK = """
import sys
from pathlib import Path
from mmparity.workload import hub
from mmparity.workload.checkpoint_files import stored_tensors
hub.FOLDERS = Path(sys.argv[2])
folder = hub.local_folder(Path(sys.argv[1]))
print(*sorted(p.name for p in folder.iterdir()))
print(*sorted(stored_tensors(folder)))
"""


def ask(name: str, address: str, home: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the library reads its settings when it is imported."""
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(home / "hf")}
    return subprocess.run(
        [sys.executable, "-c", ASK, name, str(home / "folders")],
        capture_output=True,
        text=True,
        env={**os.environ, **settings, "HF_HUB_DISABLE_XET": "1"},
    )


def test_the_shards_of_the_tower_are_fetched_once_and_no_others(
    served: Hub, tmp_path: Path
) -> None:
    first = ask(NAME, served.address, tmp_path)
    assert first.returncode == 0, first.stderr
    names, tensors = first.stdout.splitlines()
    assert names.split() == ["config.json", "model-2.safetensors", hub.INDEX]
    assert tensors.split() == ["model.layers.1.weight", "visual.blocks.0.weight"]
    assert not any(one.startswith("model-1.") for one in served.asked)
    served.asked.clear()
    assert ask(NAME, served.address, tmp_path).stdout == first.stdout
    assert served.asked == []


def test_after_a_cut_off_download_only_the_rest_is_fetched(
    served: Hub, tmp_path: Path
) -> None:
    served.cut = 100
    assert ask(NAME, served.address, tmp_path).returncode == 1
    assert not any((tmp_path / "folders").glob("*/*"))
    served.cut = 0
    served.asked.clear()
    assert ask(NAME, served.address, tmp_path).returncode == 0
    assert {one.split()[0] for one in served.asked} == {"model-2.safetensors"}


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("owner/other", {}, "the hub gave no model of that id"),
        (NAME, {"config.json": None}, "has no config.json on the hub"),
        (NAME, {hub.INDEX: b'{"weight_map": {"a": "b"}}'}, "has no vision tower"),
    ],
)
def test_what_is_no_such_model_is_one_clear_error(
    served: Hub, tmp_path: Path, name: str, changed: dict[str, Any], said: str
) -> None:
    served.files = {k: v for k, v in {**served.files, **changed}.items() if v}
    done = ask(name, served.address, tmp_path)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    done = ask(NAME, "http://127.0.0.1:9", tmp_path)
    last = done.stderr.splitlines()[-1]
    assert "MmparityError" in last and "copy its folder here" in last


def test_a_folder_goes_first_and_a_path_is_no_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner/tiny-vl").mkdir(parents=True)
    for text in (NAME, "/some/folder", "a/b/c", "folder"):
        assert hub.local_folder(Path(text)) == Path(text)


def test_modelscope_is_asked_where_vllm_would_ask_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_USE_MODELSCOPE", "true")
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(MmparityError, match="has no modelscope"):
        hub.local_folder(Path("owner/not-here"))
