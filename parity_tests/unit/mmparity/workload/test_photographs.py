# SPDX-License-Identifier: Apache-2.0
"""The photographs are those of scikit-learn, which is not imported for them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from mmparity.errors import MmparityError
from mmparity.workload.photographs import photograph


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_pixels_are_those_that_scikit_learn_reads(name: str) -> None:
    assert np.array_equal(photograph(name), load_sample_image(name))


def test_scikit_learn_is_not_imported() -> None:
    code = (
        "import sys; from mmparity.workload.photographs import photograph; "
        "photograph('china.jpg'); assert 'sklearn' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_photograph_that_is_not_there_is_named() -> None:
    with pytest.raises(MmparityError, match=r"absent\.jpg is not there"):
        photograph("absent.jpg")
