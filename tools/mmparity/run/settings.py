# SPDX-License-Identifier: Apache-2.0
"""What may change the bits of a forward beyond what a trace says of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from mmparity import provenance
from mmparity.capture.finished import first_difference
from mmparity.capture.job import Job

ENVIRONMENT = (
    *("VLLM_", "ASCEND_", "TORCH", "PYTORCH_", "ATEN_", "PYTHONPATH", "CUDA_"),
    *("CUBLAS_", "CUDNN_", "NVIDIA_", "OMP_", "MKL_", "KMP_", "DNNL_", "ONEDNN_"),
)
"""Starts of the names of variables that may change what an encoder computes."""
NO_MATTER = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")
"""scikit-learn sets them where it is imported, which is not in every run."""
OF_RAY = ("PYTHONPATH", "CUDA_VISIBLE_DEVICES")
"""Ray sets them for each task; versions and GPUs are compared themselves."""


@dataclass(frozen=True)
class MachineSettings:
    """What of a machine and a process may change the bits of a job's forwards.

    Attributes:
        data_parallel: as the job says; ``threads`` likewise.
        machine: architecture, processor, number of CPUs.
        devices: the driver's version and the kinds of GPUs; empty on a CPU.
        environment: name of a variable -> digest of its value, which may be a secret.
    """

    data_parallel: bool
    threads: int | None
    machine: list[str | int]
    devices: list[str]
    environment: dict[str, str]


def settings_of(job: Job) -> MachineSettings:
    """Those of this process."""
    machine = provenance.machine()
    names = set(os.environ).difference(NO_MATTER)
    here = sorted(name for name in names if name.startswith(ENVIRONMENT))
    return MachineSettings(
        data_parallel=job.data_parallel,
        threads=job.threads,
        machine=[machine.architecture, machine.processor, machine.cpus],
        devices=_devices() if job.device == "cuda" else [],
        environment={
            name: blake3(os.environ[name].encode()).hexdigest(8) for name in here
        },
    )


def _devices() -> list[str]:
    """The driver's version and the kinds of GPUs; which of a kind runs is no matter."""
    from mmparity.encoders.devices import cuda_devices

    driver = Path("/proc/driver/nvidia/version")
    version = driver.read_text() if driver.is_file() else "unknown"
    return [version, *dict.fromkeys(cuda_devices())]


def other_than_here(there: MachineSettings, job: Job) -> str | None:
    """What of the settings of another machine is not as here; None where all is."""
    return first_difference(_without_rays(there), _without_rays(settings_of(job)))


def _without_rays(of: MachineSettings) -> dict[str, object]:
    kept = {name: v for name, v in of.environment.items() if name not in OF_RAY}
    return {**vars(of), "environment": kept}
