# SPDX-License-Identifier: Apache-2.0
"""Another environment beside ``.venv``: ``.venv-<name>`` from its own locks.

``base`` is ``.venv`` itself. The implementations of today's releases run in ``today``.
Its torch is a CPU build where an index or a folder that uv or pip is told of has one;
elsewhere it is the usual build of the same release, which brings CUDA's libraries.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from setup_command import SetupError, forget_environment, status_of
from setup_venv import ROOT, choose_python, find_uv, read_stamp, remove_venv, run, setup

ENVIRONMENTS = ("today",)
"""Those beside ``.venv``, of which each has locks of its own."""
GIGABYTES = {"cpu": 3, "torch": 9}
"""What is installed with each build of torch, rounded up."""
OLDEST = (3, 11)
"""vLLM 0.33.0 needs it."""


def venv_folder(name: str) -> Path:
    """Where an environment lies."""
    return ROOT / f".venv-{name}"


def find_links() -> list[str]:
    """Where pip is told to look beside its index; uv reads its own settings itself."""
    places = os.environ.get("PIP_FIND_LINKS", "").split()
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in done.stdout.splitlines() if not places else ():
        key, _, value = line.partition("=")
        if key in ("global.find-links", "install.find-links"):
            places += str(ast.literal_eval(value)).split()
    known = [place for place in places if "://" in place or Path(place).exists()]
    return [word for place in known for word in ("--find-links", place)]


def lock_files(name: str, build: str) -> list[Path]:
    """The locks of an environment whose torch is of this build."""
    return [ROOT / f"requirements/{one}.txt" for one in (name, f"{name}-{build}")]


def fingerprint(name: str) -> str:
    """Digest of everything that an environment is made from."""
    digest = hashlib.sha256(str(ROOT).encode())
    locks = {path for build in GIGABYTES for path in lock_files(name, build)}
    for path in (*sorted(locks), ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(name: str) -> bool:
    """Whether it was finished from exactly these locks, and its Python still starts."""
    folder = venv_folder(name)
    if read_stamp(folder / "setup.json").get("digest") != fingerprint(name):
        return False
    try:
        python = [folder / "bin/python", "-c", "import mmparity, numpy"]
        return subprocess.run(python, capture_output=True).returncode == 0
    except OSError:
        return False


def choose_build(uv: str, name: str, python: Path) -> str:
    """``cpu`` where that build of torch can be had for this Python, else ``torch``."""
    command = [uv, "pip", "install", "--quiet", "--dry-run", "--no-deps"]
    lock = lock_files(name, "cpu")[1]
    command += ["--require-hashes", "--python", str(python), *find_links()]
    done = subprocess.run(
        [*command, "-r", str(lock)], cwd=ROOT, capture_output=True, text=True
    )
    return "torch" if done.returncode else "cpu"


def require_space(folder: Path, build: str) -> None:
    """Says what will be used, and refuses where the disk has less."""
    needed, free = GIGABYTES[build], shutil.disk_usage(ROOT).free / 1e9
    said = {
        "cpu": "a CPU build of torch",
        "torch": "the usual build of torch, for no index in use has a CPU build of it",
    }
    print(f"{folder.name} takes {needed} GB of {free:.0f} GB free: {said[build]}.")
    if free < needed:
        raise SetupError(
            f"{folder} needs {needed} GB and the disk has {free:.1f} GB left. "
            "Free some, then run the command again."
        )


def build_environment(uv: str, name: str, asked: str | None) -> str:
    """Makes an environment from nothing; returns its build of torch."""
    folder = venv_folder(name)
    python = choose_python(uv, asked, OLDEST)
    remove_venv(folder)
    run(
        *(uv, "venv", "--quiet", "--no-project", "--python", python, folder),
        failed=f"No Python for {name} was found, nor could one be installed. Install "
        f"3.11 or 3.12, or run `make setup ENV={name} PYTHON=/path/to/python`.",
    )
    venv_python = folder / "bin/python"
    build = choose_build(uv, name, venv_python)
    require_space(folder, build)
    locks = [path.relative_to(ROOT) for path in lock_files(name, build)]
    run(
        *(uv, "pip", "sync", "--quiet", "--require-hashes", *find_links()),
        *("--python", venv_python, *locks),
        failed=f"The packages of {name} could not be installed (the reason is above). "
        "Check the network and uv's index settings (UV_DEFAULT_INDEX or uv.toml), then "
        f"run `make setup ENV={name}` again.",
    )
    run(
        *(uv, "pip", "install", "--quiet", "--offline", "--no-deps"),
        *("--no-build-isolation", "--python", venv_python, "--editable", ROOT),
        failed=f"The project itself could not be installed into {folder.name}.",
    )
    return build


def set_up_beside(name: str, asked: str | None) -> None:
    """Makes ``.venv-<name>`` unless it is already what it would become."""
    started = time.monotonic()
    if is_current(name):
        print(f".venv-{name} is up to date.")
        return
    build = build_environment(find_uv(), name, asked)
    stamp = {"digest": fingerprint(name), "build": build}
    (venv_folder(name) / "setup.json").write_text(json.dumps(stamp))
    print(f".venv-{name} is ready, {time.monotonic() - started:.0f} s.")


MAKERS: dict[str, Callable[[str | None], None]] = {
    "base": partial(setup, None),
    **{name: partial(set_up_beside, name) for name in ENVIRONMENTS},
}
"""Name -> what makes it, of the Python that is asked for."""


def install(name: str, asked: str | None) -> None:
    """Makes an environment unless it is already what it would become."""
    if name not in MAKERS:
        raise SetupError(
            f"there is no environment {name!r}; allowed: {', '.join(MAKERS)}. "
            "`make setup` makes base, which is .venv; `make setup ENV=today` makes "
            "today beside it."
        )
    MAKERS[name](asked)


def main() -> int:
    """Parse the arguments; 0 done, 2 could not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", metavar="NAME", help=", ".join(MAKERS))
    parser.add_argument("--python", help="version or path (default: 3.11, else 3.12)")
    args = parser.parse_args()
    forget_environment()
    return status_of(lambda: install(args.name, args.python or None))


if __name__ == "__main__":
    sys.exit(main())
