# SPDX-License-Identifier: Apache-2.0
"""What is said where vLLM cannot be imported: whose fault it is, and what next."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mmparity.errors import MmparityError
from mmparity.project import remedy
from mmparity.workload.implementation import Implementation

_OF_VLLM = ("vllm", "vllm_ascend")
_LIBRARY = re.compile(r"site-packages/(\w+)/\S*\.so\b")
"""The package of a shared library, in what a loader says of it."""


@contextmanager
def importing(
    implementation: Implementation, trees: Mapping[str, str]
) -> Iterator[None]:
    """Raises MmparityError where what is imported inside cannot be."""
    try:
        yield
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        if not _is_of_import(error):
            raise
        if implementation.installed:
            raise MmparityError(_of_installed(error)) from error
        places = " and ".join(trees[source] for source in implementation.trees)
        raise MmparityError(
            f"{implementation.name} cannot be imported from {places}: {error}. It is "
            f"made of {' and '.join(implementation.trees.values())} and of the "
            f"packages that `{remedy('make setup')}` installs."
        ) from error


def _is_of_import(error: Exception) -> bool:
    """Whether it tells of a module, a name of vLLM's or a shared library."""
    told = isinstance(error, ImportError) or _lacks(error)
    return told or _package_of(error) is not None


def _of_installed(error: Exception) -> str:
    python = sys.executable
    if _lacks(error):
        return (
            f"{python} imports a vLLM without what is looked for: {error}. Releases "
            "from 0.11 to 0.33 have it: install one of them."
        )
    package = _package_of(error)
    if package is not None and package not in ("torch", *_OF_VLLM):
        words = shlex.join(["uv", "pip", "uninstall", "--python", python, package])
        return (
            f"{python} cannot import its own vLLM: {error}. {package} does not load "
            f"there: remove it (`{words}`) or install the one built for its torch."
        )
    return (
        f"{python} cannot import its own vLLM: {error}. Try "
        f"`{shlex.quote(python)} -c 'import vllm'`, and mend or reinstall it."
    )


def _lacks(error: Exception) -> bool:
    """Whether a module or name of vLLM's is not there; a library may be, and fail."""
    if isinstance(error, AttributeError):
        name = getattr(error.obj, "__name__", "")
    else:
        name = getattr(error, "name", None) or ""
    library = str(getattr(error, "path", None) or "").endswith(".so")
    return name.partition(".")[0] in _OF_VLLM and not library


def _package_of(error: BaseException) -> str | None:
    """The package whose shared library did not load, also where that is the cause."""
    found = _LIBRARY.search(f"{error} {getattr(error, 'path', None)}")
    if found:
        return found[1]
    return None if error.__cause__ is None else _package_of(error.__cause__)
