# SPDX-License-Identifier: Apache-2.0
"""Optional packages beside ``.venv``: ``.venv/extras/<name>`` from its own lock.

An extra holds only what ``.venv`` has not, or has in another version, so that what
is compared keeps running on what is locked for it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import sys

from setup_venv import (
    LOCKS,
    ROOT,
    VENV,
    SetupError,
    compile_lock,
    find_uv,
    run,
    write_lock,
)

EXTRAS = ("accuracy", "demo", "machines", "peers")
NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)


def pins() -> list[str]:
    """What ``.venv`` has, with markers: ``name==version ; marker``."""
    text = "".join(LOCKS[name].read_text() for name in ("base", "torch"))
    return [
        line.removesuffix("\\").strip()
        for line in text.splitlines()
        if NAME.match(line)
    ]


def lock(name: str, upgrade: bool) -> None:
    """Resolve one extra against what ``.venv`` has, and keep the rest of it.

    A package that ``requirements/<name>.in`` names may differ from ``.venv``'s.
    """
    asked = (ROOT / f"requirements/{name}.in").read_text()
    free = {found.lower().replace("_", "-") for found in NAME.findall(asked)}
    constraints = ROOT / "build/constraints.txt"
    constraints.parent.mkdir(exist_ok=True)
    kept = [pin for pin in pins() if pin.partition("==")[0] not in free]
    constraints.write_text("\n".join(kept) + "\n")
    entries = compile_lock(find_uv(), [name], upgrade, "--constraint", constraints)
    # A pin with a marker may be for other machines than the extra's.
    present = set(pins())
    rest = [e for e in entries if not present & {_first_line(e), _pin(e)}]
    write_lock(name, rest)


def _first_line(entry: str) -> str:
    return entry.splitlines()[0].removesuffix("\\").strip()


def _pin(entry: str) -> str:
    return _first_line(entry).partition(" ;")[0]


def install(name: str) -> None:
    """Into its folder, unless it is there from the same lock."""
    folder, text = VENV / "extras" / name, (ROOT / f"requirements/{name}.txt")
    stamp = folder / "lock.sha256"
    digest = hashlib.sha256(text.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        print(f"{name} is up to date.")
        return
    if not (VENV / "bin/python").exists():
        raise SetupError(".venv is not there: run `make setup` first.")
    shutil.rmtree(folder, ignore_errors=True)
    run(
        *(find_uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
        *("--python", VENV / "bin/python", "--target", folder),
        *("--requirements", text.relative_to(ROOT)),
        failed=f"The packages of {name} could not be installed (the reason is above). "
        "Check the network and the disk, then run the command again.",
    )
    stamp.write_text(digest)


def main() -> int:
    """Parse the arguments; 0 done, 2 could not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXTRAS))
    parser.add_argument("--lock", action="store_true", help="compile the locks")
    parser.add_argument("--upgrade", action="store_true", help="with --lock: newest")
    args = parser.parse_args()
    names = args.names or (EXTRAS if args.lock else ())
    try:
        for name in names:
            if name not in EXTRAS:
                raise SetupError(f"no extra {name!r}; allowed: {', '.join(EXTRAS)}")
            if args.lock:
                lock(name, args.upgrade)
            else:
                install(name)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
