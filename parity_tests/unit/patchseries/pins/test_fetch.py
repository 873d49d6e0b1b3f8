# SPDX-License-Identifier: Apache-2.0
"""From a pin to a pristine tree: real downloads from a server on this machine."""

import errno
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from patchseries.git import Git
from patchseries.pins import download, index
from patchseries.pins.fetch import differences


class Server(BaseHTTPRequestHandler):
    """A simple index with one file; `faults` says how it misbehaves."""

    content = b""
    name = ""
    faults: ClassVar[list[str]] = []
    requests: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self):
        cls = type(self)
        cls.requests.append((self.path, self.headers.get("Range", "")))
        if self.path.startswith("/simple/"):
            page = f'<a href="/files/{cls.name}">{cls.name}</a>'.encode()
            return self.answer(200, page, "text/html")
        fault = cls.faults.pop(0) if cls.faults else ""
        start = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        if fault == "wrong":
            return self.answer(200, b"something else", "application/gzip")
        if fault == "404":
            return self.answer(404, b"", "text/plain")
        if fault == "no ranges":
            start = 0
        body = cls.content[start:]
        cut = len(body) // 2 if fault == "cut" else len(body)
        self.answer(206 if start else 200, body, "application/gzip", cut)

    def answer(self, code, body, kind, cut=None):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(bare_toy, tools, monkeypatch):
    Server.content = (bare_toy.index / f"{tools.tree}.tar.gz").read_bytes()
    Server.name, Server.faults, Server.requests = f"{tools.tree}.tar.gz", [], []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    url = f"http://127.0.0.1:{http.server_port}/simple/"
    monkeypatch.setenv("PIP_INDEX_URL", url)
    yield Server
    http.shutdown()
    http.server_close()


def no_half_tree(toy):
    assert [p.name for p in toy.project.trees.iterdir()] == ["sources.toml"]


def test_fetch_gives_the_released_files(bare_toy, tools):
    assert bare_toy.fetch() == ["toy-1.0: fetched and verified"]
    files = {
        n: v[0] for n, v in tools.picture(bare_toy.pristine).items() if len(v) == 3
    }
    assert files == {name: text.encode() for name, text in tools.files.items()}
    assert os.access(bare_toy.pristine / "run.sh", os.X_OK)
    assert tools.git(bare_toy.pristine, "status", "--porcelain", "--ignored") == ""
    assert bare_toy.fetch() == ["toy-1.0: unchanged"]


def test_same_commit_on_every_machine(bare_toy, tools, hermetic, tmp_path):
    bare_toy.fetch()
    head = tools.git(bare_toy.pristine, "rev-parse", "HEAD")
    bare_toy.pristine.rename(tmp_path / "first")
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-commit").write_text("#!/bin/sh\nexit 1\n")
    (hermetic / ".gitconfig").write_text(
        f"[init]\ntemplateDir = {hooks.parent}\ndefaultBranch = x\n"
        "[commit]\ngpgSign = true\n[core]\nautocrlf = true\nfileMode = false\n"
        f"excludesFile = {tmp_path / 'excludes'}\n"
    )
    (tmp_path / "excludes").write_text("*.py\n")
    mask = os.umask(0o077)
    try:
        bare_toy.fetch()
    finally:
        os.umask(mask)
    assert tools.git(bare_toy.pristine, "rev-parse", "HEAD") == head
    assert not (bare_toy.pristine / ".git/hooks").exists()


def test_a_changed_tree_is_named_and_repaired(bare_toy, refused):
    bare_toy.fetch()
    cache = bare_toy.pristine / "pkg/__pycache__"
    cache.mkdir()
    (cache / "a.cpython-311.pyc").write_bytes(b"")
    assert bare_toy.fetch() == ["toy-1.0: unchanged"], "byte code is no change"
    (bare_toy.pristine / "pkg/b.py").write_text("edited\n")
    (bare_toy.pristine / "lib/extra.so").write_bytes(b"ignored by .gitignore")
    error = refused("tree-changed", bare_toy.fetch)
    assert "pkg/b.py" in str(error) and "lib/extra.so" in str(error)
    assert "--repair" in error.advice
    bare_toy.fetch(repair=True)
    assert (bare_toy.pristine / "pkg/b.py").read_text() == "B = 1\n"


def test_a_commit_on_the_pristine_tree_is_seen(bare_toy, tools, refused):
    bare_toy.fetch()
    (bare_toy.pristine / "pkg/b.py").write_text("edited\n")
    tools.git(bare_toy.pristine, "commit", "-q", "-am", "mine")
    refused("tree-changed", bare_toy.fetch)


def test_wrong_hash(server, bare_toy, refused):
    server.faults = ["wrong"]
    error = refused("wrong-hash", bare_toy.fetch)
    assert bare_toy.source.archives[0].sha256 in str(error)
    no_half_tree(bare_toy)
    bare_toy.fetch()


def test_a_cut_download_goes_on_where_it_stopped(server, bare_toy):
    server.faults = ["cut", "cut"]
    bare_toy.fetch()
    ranges = [asked for path, asked in server.requests if path.startswith("/files/")]
    half = len(server.content) // 2
    assert ranges[:2] == ["", f"bytes={half}-"] and len(ranges) == 3


def test_a_download_that_never_ends_whole(server, bare_toy, refused, monkeypatch):
    server.faults = ["cut"] * 4
    refused("download-cut-off", bare_toy.fetch)
    no_half_tree(bare_toy)
    server.requests.clear()
    bare_toy.fetch()
    assert server.requests[-1][1].startswith("bytes="), "the next run resumes"


def test_a_damaged_part_starts_anew(server, bare_toy):
    folder = download.cache_folder() / bare_toy.source.archives[0].sha256[:16]
    folder.mkdir(parents=True)
    (folder / f"{server.name}.part").write_bytes(b"not the beginning")
    bare_toy.fetch()


def test_a_server_without_ranges(server, bare_toy):
    server.faults = ["cut", "no ranges"]
    bare_toy.fetch()


def test_a_missing_file(server, bare_toy, refused):
    server.faults = ["404"]
    assert "404" in str(refused("download-failed", bare_toy.fetch))
    no_half_tree(bare_toy)


def test_no_network(bare_toy, refused, monkeypatch):
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    error = refused("not-found", bare_toy.fetch)
    assert "toy-1.0.tar.gz" in str(error) and "network" in error.advice
    no_half_tree(bare_toy)


def test_full_disk_while_unpacking(bare_toy, refused, monkeypatch):
    from patchseries.pins import fetch

    def full(*args):
        (args[1] / "half").write_text("a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "unpack_sdist", full)
    refused("disk-full", bare_toy.fetch)
    no_half_tree(bare_toy)


def test_full_disk_while_downloading(server, bare_toy, refused, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    refused("disk-full", bare_toy.fetch)
    no_half_tree(bare_toy)


def test_a_killed_fetch_leaves_nothing_in_the_way(bare_toy):
    partial = bare_toy.project.trees / "toy-1.0.partial"
    partial.mkdir()
    (partial / "half").write_text("of a killed run")
    bare_toy.fetch()
    assert not partial.exists()


def test_two_at_once(bare_toy, capfd):
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                bare_toy.fetch()
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
    assert differences(bare_toy.pristine, bare_toy.source.archives[0]) == []


def test_a_pin_that_unpacks_to_another_tree(bare_toy, refused):
    text = bare_toy.project.pins.read_text()
    tree = bare_toy.source.archives[0].tree
    bare_toy.project.pins.write_text(text.replace(tree, "0" * 40))
    assert tree in str(refused("wrong-tree", bare_toy.fetch))
    no_half_tree(bare_toy)


def test_the_users_index_settings(monkeypatch, hermetic):
    monkeypatch.setattr(index, "_pip_config", lambda: {"index-url": "http://pip/s"})
    assert index.read_settings().index == "http://pip/s"
    monkeypatch.setenv("PIP_INDEX_URL", "http://env/s")
    assert index.read_settings().index == "http://env/s"
    monkeypatch.setenv("UV_INDEX_URL", "http://uv/s")
    monkeypatch.setenv("UV_INDEX", "mine=http://one/s http://two/s?a=b")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more")
    settings = index.read_settings()
    assert settings.index == "http://uv/s"
    assert settings.extra == ["http://one/s", "http://two/s?a=b"]
    assert settings.links == ["/wheels", "/more"] and settings.no_index


def test_pristine_repository_keeps_every_byte(bare_toy):
    bare_toy.fetch()
    git = Git(bare_toy.pristine)
    assert git("config", "core.autocrlf") == "false"
    assert git("check-attr", "text", "pkg/a.py").endswith("unset")
