# SPDX-License-Identifier: Apache-2.0
"""Make the locks: ``requirements/*.txt`` from ``requirements/*.in``."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

from setup_command import SetupError, status_of
from setup_environment import ENVIRONMENTS, find_links
from setup_extras import EXTRAS
from setup_venv import LOCKS, ROOT, find_uv, run

# What only torch brings; a machine with its own torch brings its own of these too.
TORCH_FAMILY = re.compile(r"(torch|torchvision|triton|(nvidia|cuda)-[a-z0-9-]+)==")
ALONE = ("trained",)
"""Extras without what their packages need: only files of these are read."""
NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)


def lock_file(name: str) -> Path:
    """``requirements/<name>.txt``."""
    return ROOT / f"requirements/{name}.txt"


def compile_lock(
    uv: str, names: list[str], upgrade: bool, *flags: str | Path
) -> list[str]:
    """Resolve ``requirements/<names>.in``; one entry per locked package.

    The present locks are uv's preferences, so that nothing moves unasked.
    """
    output = ROOT / "build/lock.txt"
    output.parent.mkdir(exist_ok=True)
    files = [file for file in map(lock_file, names) if file.exists()]
    present = [file.read_text() for file in files]
    output.write_text("" if upgrade else "".join(present))
    oldest = () if "--python-version" in flags else ("--python-version", "3.10")
    run(
        *(uv, "pip", "compile", "--quiet", "--universal", *oldest),
        *("--generate-hashes", "--no-header", "--no-annotate", "-o", output, *flags),
        *(f"requirements/{name}.in" for name in names),
        failed="The requirements could not be resolved (the reason is above).",
    )
    return re.findall(r"^\S.*\n(?:[ ].*\n)*", output.read_text(), re.MULTILINE)


def write_lock(name: str, entries: list[str]) -> None:
    """Write ``requirements/<name>.txt``."""
    header = "# Made by `make lock` from requirements/*.in; do not edit.\n"
    lock_file(name).write_text(header + "".join(entries))
    print(f"requirements/{name}.txt: {len(entries)} entries")


def lock_venv(upgrade: bool) -> None:
    """One resolution for all but the lint tools, written as base and torch."""
    uv = find_uv()
    entries = compile_lock(uv, ["base", "torch"], upgrade)
    torch = [entry for entry in entries if TORCH_FAMILY.match(entry)]
    base = [entry for entry in entries if not TORCH_FAMILY.match(entry)]
    write_lock("base", base)
    write_lock("torch", torch)
    # All three go into one environment: what they share has one version.
    constraint = ("--constraint", "requirements/base.txt")
    write_lock("lint", compile_lock(uv, ["lint"], upgrade, *constraint))
    # One folder beside .venv: all that these two need is there.
    write_lock("engine", compile_lock(uv, ["engine"], upgrade, "--no-deps"))


def lock_environment(name: str, upgrade: bool) -> None:
    """One resolution, written without torch's family, with it, and its CPU build.

    The CPU build has hashes for the files that the indexes in use offer; where they
    have none, its lock stays as it is.
    """
    uv, python = find_uv(), ("--python-version", "3.11")
    entries = compile_lock(uv, [name, f"{name}-torch"], upgrade, *python)
    write_lock(name, [e for e in entries if not TORCH_FAMILY.match(e)])
    write_lock(f"{name}-torch", [e for e in entries if TORCH_FAMILY.match(e)])
    cpu = ("--no-deps", "--no-build", *find_links())
    try:
        entries = compile_lock(uv, [f"{name}-cpu"], upgrade, *python, *cpu)
        write_lock(f"{name}-cpu", [_hashed(entry) for entry in entries])
    except SetupError as error:
        print(f"requirements/{name}-cpu.txt stays as it is: {error}")


def _hashed(entry: str) -> str:
    """With the hashes of files in a folder, which uv leaves out."""
    if "--hash" in entry:
        return entry
    name, _, version = entry.strip().partition("==")
    found = [
        hashlib.sha256(file.read_bytes()).hexdigest()
        for place in find_links()[1::2]
        for file in sorted(Path(place).glob(f"{name}-{version}-*.whl"))
    ]
    if not found:
        raise SetupError(f"no hash is known of {entry.strip()}")
    return (
        " \\\n    ".join([entry.strip(), *(f"--hash=sha256:{h}" for h in found)]) + "\n"
    )


def pins() -> list[str]:
    """What ``.venv`` has, with markers: ``name==version ; marker``."""
    text = "".join(LOCKS[name].read_text() for name in ("base", "torch"))
    return [
        line.removesuffix("\\").strip()
        for line in text.splitlines()
        if NAME.match(line)
    ]


def lock_extra(name: str, upgrade: bool) -> None:
    """Resolve one extra against what ``.venv`` has, and keep the rest of it.

    A package that ``requirements/<name>.in`` names may differ from ``.venv``'s.
    """
    asked = (ROOT / f"requirements/{name}.in").read_text()
    free = {found.lower().replace("_", "-") for found in NAME.findall(asked)}
    constraints = ROOT / "build/constraints.txt"
    constraints.parent.mkdir(exist_ok=True)
    kept = [pin for pin in pins() if pin.partition("==")[0] not in free]
    constraints.write_text("\n".join(kept) + "\n")
    flags = ("--no-deps",) if name in ALONE else ()
    limits = ("--constraint", constraints)
    entries = compile_lock(find_uv(), [name], upgrade, *limits, *flags)
    # A pin with a marker may be for other machines than the extra's.
    present = set(pins())
    rest = [e for e in entries if not present & {_first_line(e), _pin(e)}]
    write_lock(name, rest)


def _first_line(entry: str) -> str:
    return entry.splitlines()[0].removesuffix("\\").strip()


def _pin(entry: str) -> str:
    return _first_line(entry).partition(" ;")[0]


def lock_all(upgrade: bool) -> None:
    """Make every lock, in the order in which one takes versions of another."""
    lock_venv(upgrade)
    for name in EXTRAS:
        lock_extra(name, upgrade)
    for name in ENVIRONMENTS:
        lock_environment(name, upgrade)


def main() -> int:
    """Parse the arguments; 0 done, 2 could not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="move every pin")
    upgrade = parser.parse_args().upgrade
    return status_of(lambda: lock_all(upgrade))


if __name__ == "__main__":
    sys.exit(main())
