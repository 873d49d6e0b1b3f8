# SPDX-License-Identifier: Apache-2.0
"""Where a side can run and in which dtypes, and whether this machine has the device."""

from __future__ import annotations

import ctypes
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mmparity.errors import MmparityError

if TYPE_CHECKING:
    from mmparity.workload.implementations import Implementation


ORACLE_DTYPES = ("float64",)
DTYPES = ("float32", "bfloat16", "float16")
SHORT_NAMES = {
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "float": "float32",
    "fp64": "float64",
    "double": "float64",
}
"""What people write for a dtype -> what torch calls it."""
INSTALLED = (
    "torch_npu is installed on this machine, so its operators are not emulated. Run "
    "with --device npu, or uninstall torch_npu."
)


def check_side(implementation: Implementation, device: str) -> None:
    """Refuses a device that an implementation does not run on."""
    name = implementation.name
    if device == "cuda" and implementation.ascend:
        raise MmparityError(f"{name} runs on cpu (emulated) or npu, not on cuda.")
    if implementation.emulates and device == "cpu" and has_torch_npu():
        raise MmparityError(f"{name} on a cpu: {INSTALLED}")


def check_dtype(
    implementation: Implementation, dtype: str, device: str = "cpu"
) -> None:
    """Refuses a dtype that an implementation does not run in on a device."""
    if device == "npu" and dtype == "float32" and implementation.float32_attention:
        raise MmparityError(
            f"{implementation.name} calls the NPU's attention operator, which has no "
            "float32. Give --dtype bfloat16, or run float32 with --device cpu, where "
            "native attention stands in."
        )
    allowed = (*DTYPES, *ORACLE_DTYPES) if implementation.oracle else DTYPES
    if dtype not in allowed:
        meant = SHORT_NAMES.get(dtype.lower())
        hint = f" In torch it is {meant!r}." if meant else ""
        raise MmparityError(
            f"{implementation.name} does not run in {dtype!r}.{hint} "
            f"Allowed: {', '.join(allowed)}"
        )


def check_present(device: str, ranks: int = 1) -> None:
    """Refuses a device that is not there, or is there too few times.

    Imports torch, unless it is ``cpu``.
    """
    if device == "cpu":
        return
    import torch

    if device == "npu":
        try:
            import torch_npu  # noqa: F401
        except ImportError as error:
            raise MmparityError(
                f"--device npu: torch_npu cannot be imported ({error}). Install it and "
                "source CANN's set_env.sh; see docs/running-on-npu.md."
            ) from error
    if not getattr(torch, device).is_available():
        raise MmparityError(
            f"--device {device}: torch {torch.__version__} finds no such device. "
            "`mmparity doctor` says what this machine can run."
        )
    check_enough(device, ranks, getattr(torch, device).device_count())


def check_enough(device: str, ranks: int, found: int) -> None:
    """Refuses ranks that have no device each, where they need one."""
    if device == "npu" and ranks > found:
        raise MmparityError(
            f"--tp {ranks} --device npu: hccl wants a device for each rank, and this "
            f"process sees {found}. Set ASCEND_RT_VISIBLE_DEVICES to {ranks} of "
            f"them, or give --tp {found}."
        )


def has_torch_npu() -> bool:
    """Whether the real one can be imported; an emulated one has no loader."""
    spec = importlib.util.find_spec("torch_npu")
    return spec is not None and spec.loader is not None


def available_memory() -> int:
    """Bytes that a new process can take, inside this container."""
    meminfo = Path("/proc/meminfo").read_text()
    found = re.search(r"^MemAvailable: +(\d+) kB", meminfo, re.MULTILINE)
    available = int(found[1]) * 1024 if found else 0
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        available = min(available, int(limit.read_text()) - int(used.read_text()))
    return available


def cuda_devices() -> list[str]:
    """Names of the CUDA devices, asked of the driver itself."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    names = []
    for index in range(count.value):
        name = ctypes.create_string_buffer(128)
        driver.cuDeviceGetName(name, len(name), index)
        names.append(name.value.decode(errors="replace"))
    return names
