# SPDX-License-Identifier: Apache-2.0
"""Which folders an interpreter takes packages from, itself and in workers it spawns."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from patchseries.errors import PatchseriesError
from patchseries.scratch import scratch_folder
from patchseries.tree.ways_out import quoted

_PATIENCE_S = 120

# A file, so that the folder of the caller is not on the path as with `-c`. Nothing is
# imported: what counts is which files an import would run.
_ASK = """\
import importlib.util, json, multiprocessing, sys


def where(names):
    found = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or ()) if spec else ()
        found[name] = places[0] if places else None
    return found


if __name__ == "__main__":
    names = sys.argv[1:]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(json.dumps([where(names), pool.apply(where, (names,))]))
"""


def imported_folders(python: Path, packages: Sequence[str]) -> dict[str, Path | None]:
    """The folder of each package as `python` imports it, None where it has none.

    Raises:
        PatchseriesError: it cannot be run, or its workers import another folder.
    """
    own, workers = _answers(python, packages)
    for package in packages:
        if own[package] != workers[package]:
            raise PatchseriesError(
                "two-packages",
                f"{python} imports {package} from {own[package]}, and the workers that"
                f" it spawns from {workers[package]}",
                "look at PYTHONPATH and sys.path: both must find the same one",
            )
    return {name: Path(folder) if folder else None for name, folder in own.items()}


def _answers(python: Path, packages: Sequence[str]) -> list[dict[str, str | None]]:
    if python.is_dir():
        raise _refused(python, "is a folder and no interpreter")
    with scratch_folder() as folder:
        script = folder / "where_from.py"
        script.write_text(_ASK)
        try:
            done = subprocess.run(
                [str(python), str(script), *packages],
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
            )
        except subprocess.TimeoutExpired:
            raise _refused(python, f"did not answer in {_PATIENCE_S} s") from None
        except OSError as error:
            raise _refused(python, error.strerror or str(error)) from None
    last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
    if done.returncode:
        raise _refused(python, f"ended with {done.returncode}: {last}")
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise _refused(python, "is no Python that answers") from None


def _refused(python: Path, why: str) -> PatchseriesError:
    inner = python / "bin/python"
    advice = "give the interpreter that runs vLLM, as its venv's bin/python"
    if inner.is_file():
        advice = f"patchseries verify {quoted(inner)}"
    return PatchseriesError("no-python", f"{python} {why}", advice)
