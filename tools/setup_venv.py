# SPDX-License-Identifier: Apache-2.0
"""Make ``.venv`` from the locks in ``requirements/``.

Runs on a bare python3 with pip, so it imports the standard library only. Names
no package index: uv's own settings choose it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from setup_command import SetupError as SetupError
from setup_command import forget_environment, status_of

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "setup.json"
LOCKS = {
    name: ROOT / f"requirements/{name}.txt"
    for name in ("base", "torch", "lint", "engine")
}
ALLOWED = ((3, 10), (3, 12))
DEFAULT = "3.11"
ENGINE_PACKAGES = ROOT / "build/engine/packages"
NEEDED_MODULES = {
    "cuda": ("torch", "torchvision"),
    "npu": ("torch", "torchvision", "torch_npu"),
}
# Run by the machine's python: what it is and which of the modules it can see.
PROBE = """
import importlib.metadata as metadata, importlib.util, json, sys, sysconfig
modules = {}
for name in sys.argv[1:]:
    if importlib.util.find_spec(name):
        modules[name] = metadata.version(name)
print(json.dumps({
    "executable": sys.executable, "version": sys.version_info[:2], "modules": modules,
    "site": sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}),
}))
"""
CUDA_CHECK = "import sys, torch, torchvision; sys.exit(torch.version.cuda is None)"
NPU_CHECK = "import torch, torchvision, torch_npu; torch.npu"


def run(*command: str | Path, failed: str) -> None:
    """Run a command with its output shown; raise ``SetupError(failed)``."""
    shown = " ".join(str(part) for part in command)
    print(f"+ {shown}", flush=True)
    if subprocess.run([str(part) for part in command], cwd=ROOT).returncode:
        raise SetupError(f"{failed}\n  command: {shown}")


def find_uv() -> str:
    """The uv on PATH, else one of the project's own in ``build/uv``."""
    own = ROOT / "build/uv/bin/uv"
    for candidate in (shutil.which("uv"), own if own.exists() else None):
        if (
            candidate
            and not subprocess.run(
                [str(candidate), "--version"], capture_output=True
            ).returncode
        ):
            return str(candidate)
    run(
        *(sys.executable, "-m", "pip", "install", "-qq", "--upgrade"),
        *("--target", ROOT / "build/uv", "uv"),
        failed="uv is missing and pip could not install it. "
        "Install pip (for example `apt-get install python3-pip`) or uv itself, "
        "then run `make setup` again.",
    )
    return str(own)


def check_version(
    version: tuple[int, ...], where: str, oldest: tuple[int, int] = ALLOWED[0]
) -> None:
    """Refuse a Python that the locks were not made for."""
    if not oldest <= tuple(version) <= ALLOWED[1]:
        raise SetupError(
            f"{where} is Python {'.'.join(map(str, version))}; allowed: "
            f"3.{oldest[1]} to 3.12. Run the command with PYTHON=3.11 (or a path to "
            "such a python)."
        )


def choose_python(
    uv: str, asked: str | None, oldest: tuple[int, int] = ALLOWED[0]
) -> str:
    """Prefer an installed 3.11, then an installed 3.12 or 3.10, then uv's own."""
    usual = (DEFAULT, "3.12", "3.10") if oldest == ALLOWED[0] else (DEFAULT, "3.12")
    for request in (asked,) if asked else usual:
        found = subprocess.run(
            [uv, "python", "find", "--system", "--no-python-downloads", request],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        if found.returncode == 0:
            python = found.stdout.strip()
            command = [python, "-c", "import sys; print(*sys.version_info[:2])"]
            version = subprocess.run(command, capture_output=True, text=True).stdout
            check_version(tuple(map(int, version.split())), python, oldest)
            return python
    if asked and re.fullmatch(r"\d+\.\d+(\.\d+)?", asked):
        version = tuple(map(int, asked.split(".")[:2]))
        check_version(version, f"PYTHON={asked}", oldest)
    elif asked:
        raise SetupError(f"PYTHON={asked} is not there; give a version or a path.")
    return asked or DEFAULT


def probe_machine(device: str, asked: str | None) -> dict:
    """What the machine's own python is, with the modules that ``device`` needs."""
    python = shutil.which(asked or "python3") or shutil.which(f"python{asked}")
    if python is None:
        raise SetupError(
            f"python {asked or 'python3'!r} is not on PATH. "
            f"Run `make setup DEVICE={device} PYTHON=/path/to/python`."
        )
    probed = subprocess.run(
        [python, "-c", PROBE, *NEEDED_MODULES[device]], capture_output=True, text=True
    )
    if probed.returncode:
        raise SetupError(f"{python} does not run:\n{probed.stderr.strip()}")
    machine = json.loads(probed.stdout)
    check_version(machine["version"], python)
    missing = [
        name for name in NEEDED_MODULES[device] if name not in machine["modules"]
    ]
    if missing:
        raise SetupError(
            f"DEVICE={device} builds on the machine's own torch, but {python} has no "
            f"{', '.join(missing)}. Install what the machine's vendor supplies, or "
            f"name the python that has it: `make setup DEVICE={device} "
            "PYTHON=/path/to/python`. Without an accelerator: `make setup`."
        )
    return machine


def fingerprint(device: str, asked: str | None, machine: dict | None) -> str:
    """Digest of everything that ``.venv`` is made from."""
    digest = hashlib.sha256()
    locks = [LOCKS[name] for name in ("base", "torch", "lint")]
    for path in (*locks, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    state = [str(ROOT), device, asked, machine]
    digest.update(json.dumps(state, sort_keys=True).encode())
    return digest.hexdigest()


def read_stamp(file: Path) -> dict:
    """How an environment was made; empty when it was not finished."""
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def is_current(stamp: dict) -> bool:
    """Whether ``.venv`` was finished from exactly this, and still runs."""
    if read_stamp(STAMP) != stamp:
        return False
    try:
        command = [VENV / "bin/python", "-c", "import click, numpy"]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def remove_venv(folder: Path) -> None:
    """Remove what an earlier or interrupted setup left."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def use_machine_packages(device: str, machine: dict) -> None:
    """Let ``.venv`` see the machine's torch, then prove that it works.

    A machine's torch often lives in a virtual environment of its own, which
    ``--system-site-packages`` does not reach: its folders are added last, so
    that the lock's packages win.
    """
    python = VENV / "bin/python"
    site = next((VENV / "lib").glob("python*/site-packages"))
    (site / "machine_packages.pth").write_text("\n".join(machine["site"]) + "\n")
    check, hint = {
        "cuda": (CUDA_CHECK, "a torch built for CUDA (torch.version.cuda is set)"),
        "npu": (NPU_CHECK, "CANN's environment (source its set_env.sh) and a matching "
                "torch and torch-npu"),
    }[device]  # fmt: skip
    run(
        *(python, "-c", check),
        failed=f"The machine's torch does not serve DEVICE={device}; needed: {hint}.",
    )
    found = ", ".join(f"{name} {v}" for name, v in machine["modules"].items())
    print(f"building on this machine's {found}")


def build(uv: str, device: str, asked: str | None, machine: dict | None) -> None:
    """Make ``.venv`` from nothing."""
    python = machine["executable"] if machine else choose_python(uv, asked)
    remove_venv(VENV)
    flags = ["--system-site-packages"] if machine else []
    run(
        *(uv, "venv", "--quiet", "--no-project", "--python", python, *flags, VENV),
        failed="No Python 3.10 to 3.12 was found, nor could one be installed. Install "
        "one, or run `make setup PYTHON=/path/to/python`.",
    )
    venv_python = VENV / "bin/python"
    names = ("base", "lint") if machine else ("base", "torch", "lint")
    run(
        *(uv, "pip", "sync", "--quiet", "--require-hashes", "--python", venv_python),
        *(LOCKS[name].relative_to(ROOT) for name in names),
        failed="The packages could not be installed (the reason is above). Check the "
        "network, the disk (8 GB) and uv's index settings (UV_DEFAULT_INDEX or "
        "uv.toml), then run `make setup` again.",
    )
    if machine:
        use_machine_packages(device, machine)
    run(
        *(uv, "pip", "install", "--quiet", "--offline", "--no-deps"),
        *("--no-build-isolation", "--python", venv_python, "--editable", ROOT),
        failed="The project itself could not be installed into .venv.",
    )


def setup(device: str | None, asked: str | None) -> None:
    """Make ``.venv`` unless it is already what it would become.

    What is not asked for stays as it was: `make test` after `make setup
    DEVICE=npu` must not rebuild it for the CPU.
    """
    started = time.monotonic()
    before = read_stamp(STAMP)
    if device is None:
        device, asked = before.get("device", "cpu"), asked or before.get("python")
    machine = None if device == "cpu" else probe_machine(device, asked)
    digest = fingerprint(device, asked, machine)
    stamp = {"device": device, "python": asked, "digest": digest}
    if is_current(stamp):
        print(f".venv is up to date ({device}).")
        return
    build(find_uv(), device, asked, machine)
    STAMP.write_text(json.dumps(stamp))
    print(f".venv is ready ({device}), {time.monotonic() - started:.0f} s.")


def setup_engine() -> None:
    """The other torch that the 0.11.0 side of `make engine` needs, beside .venv."""
    digest = hashlib.sha256(
        LOCKS["engine"].read_bytes() + str(VENV).encode()
    ).hexdigest()
    stamp = ENGINE_PACKAGES / "setup.txt"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    shutil.rmtree(ENGINE_PACKAGES, ignore_errors=True)
    run(
        *(find_uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
        *("--python", VENV / "bin/python", "--target", ENGINE_PACKAGES),
        *("-r", LOCKS["engine"].relative_to(ROOT)),
        failed="The packages of the engine's 0.11.0 side could not be installed (the "
        "reason is above). Check the network and the disk (2 GB), then run it again.",
    )
    stamp.write_text(digest)


def main() -> int:
    """Parse the arguments; 0 done, 2 could not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda", "npu", ""), default="")
    parser.add_argument("--python", help="version or path (default: 3.11, else any)")
    parser.add_argument(
        "--engine", action="store_true", help="what `make engine` needs beside .venv"
    )
    args = parser.parse_args()
    forget_environment()
    if args.engine:
        return status_of(setup_engine)
    return status_of(lambda: setup(args.device or None, args.python or None))


if __name__ == "__main__":
    sys.exit(main())
