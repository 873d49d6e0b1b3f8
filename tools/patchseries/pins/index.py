# SPDX-License-Identifier: Apache-2.0
"""Where a pinned file can be downloaded: the user's own package indexes.

Only looks up; the hash decides later, so any mirror that lists the file will do.
"""

from __future__ import annotations

import ast
import hashlib
import logging
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from unearth import PackageFinder
from unearth.auth import MultiDomainBasicAuth
from unearth.fetchers.sync import PyPIClient

from patchseries.errors import PatchseriesError
from patchseries.pins.sources import Archive, Source
from patchseries.pins.versions import closest, in_order

_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
_EXTRA = ("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_LINKS = ("UV_FIND_LINKS", "PIP_FIND_LINKS")


@dataclass
class Settings:
    """What the user's pip and uv are told about indexes.

    Attributes:
        index: empty for the finder's own default.
    """

    index: str = ""
    extra: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    trusted: list[str] = field(default_factory=list)
    no_index: bool = False
    certificates: str = ""
    timeout_s: float = 30.0


def read_settings() -> Settings:
    """Environment first, then `pip config`, as pip itself ranks them."""
    env, pip = os.environ, _pip_config()

    def words(names: tuple[str, ...], key: str) -> list[str]:
        found = [w for name in names for w in env.get(name, "").split()]
        found = found or pip.get(key, "").split()
        return [w.partition("=")[2] if _is_named(w) else w for w in found]

    index = words(_INDEX, "index-url")
    return Settings(
        index=index[0] if index else "",
        extra=words(_EXTRA, "extra-index-url"),
        links=words(_LINKS, "find-links"),
        trusted=words(("PIP_TRUSTED_HOST",), "trusted-host"),
        no_index=(env.get("PIP_NO_INDEX") or pip.get("no-index", ""))
        in ("1", "true", "on", "yes"),
        certificates=env.get("SSL_CERT_FILE") or env.get("PIP_CERT") or "",
        timeout_s=float(env.get("PIP_DEFAULT_TIMEOUT") or 30),
    )


def _is_named(word: str) -> bool:
    """uv writes `name=url`."""
    name, equals, rest = word.partition("=")
    return bool(equals) and name.replace("-", "").isalnum() and "://" in rest


def _pip_config() -> dict[str, str]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True
        )
        if done.returncode:
            done = subprocess.run(["pip", "config", "list"], capture_output=True)
    except OSError:
        return {}
    values = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        key, equals, value = line.partition("=")
        section, _, name = key.partition(".")
        if equals and section in ("global", "download", "install"):
            values[name] = str(ast.literal_eval(value))
    return values


def make_client(settings: Settings) -> PyPIClient:
    """The HTTP client for index pages and files, with the user's credentials."""
    verify: ssl.SSLContext | bool = True
    if settings.certificates:
        verify = ssl.create_default_context(cafile=settings.certificates)
    client = PyPIClient(
        trusted_hosts=settings.trusted, verify=verify, timeout=settings.timeout_s
    )
    urls = [url for url in [settings.index, *settings.extra] if url]
    client.auth = MultiDomainBasicAuth(prompting=False, index_urls=urls)
    return client


def find_urls(
    source: Source, archive: Archive, client: PyPIClient, settings: Settings
) -> list[str]:
    """Every place that offers the file, local ones first.

    Raises:
        PatchseriesError: no place offers it; says what each one answered.
    """
    logging.getLogger("unearth").setLevel(logging.ERROR)
    urls, answers = [], []
    for shown, finder in _finders(client, settings):
        try:
            found = [
                package.link
                for package in finder.find_all_packages(source.name)
                if package.link.filename == archive.file
            ]
        except (httpx2.HTTPError, OSError, ValueError) as error:
            answers.append(f"{shown}: {error}")
            continue
        urls += [
            link.url_without_fragment
            for link in found
            if (link.hash_option or {}).get("sha256", [archive.sha256])
            == [archive.sha256]
        ]
        if not found:
            answers.append(f"{shown}: does not list it")
    if not urls:
        raise PatchseriesError(
            "not-found",
            f"no index offers {archive.file}\n     " + "\n     ".join(answers),
            "check the network, PIP_INDEX_URL / UV_INDEX_URL, or point PIP_FIND_LINKS"
            " at a folder that holds the file",
        )
    return list(dict.fromkeys(urls))


def find_sdist(name: str, version: str) -> tuple[str, str]:
    """File name and sha256 of a release's source archive.

    Raises:
        PatchseriesError: no index has it, or none says its hash.
    """
    logging.getLogger("unearth").setLevel(logging.ERROR)
    settings, known = read_settings(), set()
    with make_client(settings) as client:
        for _, finder in _finders(client, settings):
            try:
                packages = list(finder.find_all_packages(name))
            except (httpx2.HTTPError, OSError, ValueError):
                continue
            packages = [one for one in packages if not one.link.is_wheel]
            known |= {package.version or "" for package in packages}
            for package in packages:
                link = package.link
                if package.version != version:
                    continue
                if sha256 := (link.hash_option or {}).get("sha256", [""])[0]:
                    return link.filename, sha256
                if link.is_file:
                    content = link.file_path.read_bytes()
                    return link.filename, hashlib.sha256(content).hexdigest()
    shown = ", ".join(in_order(known)[-8:]) or "none"
    near = closest(version, known - {version})
    raise PatchseriesError(
        "not-found",
        f"no index offers the source of {name} {version} with a hash; found: {shown}"
        + (f". Closest: {near}" if near else ""),
        "check the version and the network, or give the folder of a checkout",
    )


def _finders(client: Any, settings: Settings) -> Iterator[tuple[str, PackageFinder]]:
    finder = partial(PackageFinder, client, ignore_compatibility=True)
    for place in settings.links:
        if "://" in place or Path(place).exists():
            yield place, finder(find_links=[place])
    if settings.no_index:
        return
    index = [settings.index] if settings.index else []
    yield "the package index", finder(index_urls=index)
    for url in settings.extra:
        yield "an extra index", finder(index_urls=[url])
