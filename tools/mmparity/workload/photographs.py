# SPDX-License-Identifier: Apache-2.0
"""The real photographs that scikit-learn's package carries; it is not imported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmparity.errors import MmparityError
from mmparity.project import remedy

if TYPE_CHECKING:
    import numpy as np


def photograph(name: str) -> np.ndarray[Any, Any]:
    """The pixels of ``china.jpg`` or ``flower.jpg``: uint8, [427, 640, 3], RGB.

    Raises MmparityError where scikit-learn or the file is not there. Importing
    scikit-learn for it takes longer than all else that prepares a run.
    """
    import numpy as np
    from PIL import Image

    package = find_spec("sklearn")
    if package is None or package.origin is None:
        setup = remedy("make setup")
        raise MmparityError(f"scikit-learn carries the photographs: run `{setup}`.")
    file = Path(package.origin).parent / "datasets" / "images" / name
    if not file.is_file():
        raise MmparityError(f"{file} is not there: run `make setup` again.")
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))
