# SPDX-License-Identifier: Apache-2.0
"""Optional packages beside ``.venv``: ``.venv/extras/<name>`` from its own lock.

An extra holds only what ``.venv`` has not, or has in another version, so that what
is compared keeps running on what is locked for it.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys

from setup_command import SetupError, status_of
from setup_venv import ROOT, VENV, find_uv, run

EXTRAS = ("accuracy", "demo", "machines", "peers", "trained")


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


def install_all(names: list[str], *, optional: bool) -> None:
    """Install the extras one after the other; what is optional may fail."""
    for name in names:
        if name not in EXTRAS:
            raise SetupError(f"no extra {name!r}; allowed: {', '.join(EXTRAS)}")
        try:
            install(name)
        except SetupError as error:
            if not optional:
                raise
            print(f"{name} is left out: {error}", file=sys.stderr)


def main() -> int:
    """Parse the arguments; 0 done, 2 could not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXTRAS))
    parser.add_argument("--optional", action="store_true", help="go on without them")
    args = parser.parse_args()
    return status_of(lambda: install_all(args.names, optional=args.optional))


if __name__ == "__main__":
    sys.exit(main())
