# SPDX-License-Identifier: Apache-2.0
"""An Ascend side whose ranks did not all call the NPU's operator answers nothing."""

from __future__ import annotations

import pytest

from mmparity.engine.offline.worker import check_operator
from mmparity.workload.implementation import FLOAT32_NOTE

WHAT = "NpuOnCpuPlatform > Model > Tower > AscendMMEncoderAttention"
CALLED = f"{WHAT}; _npu_flash_attention_unpad, npu_rotary_mul"


def test_every_rank_called_the_operator() -> None:
    check_operator([CALLED, CALLED])


@pytest.mark.parametrize(
    "names",
    [
        WHAT,
        f"{WHAT}; npu_rotary_mul",
        f"{WHAT}; _npu_flash_attention_unpad ({FLOAT32_NOTE}), npu_rotary_mul",
    ],
)
def test_native_attention_in_its_place_is_an_error(names: str) -> None:
    with pytest.raises(RuntimeError, match="rank 1 did not call _npu_flash"):
        check_operator([CALLED, names])
