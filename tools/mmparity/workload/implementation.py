# SPDX-License-Identifier: Apache-2.0
"""What an implementation is: its trees, its classes, and whose Python runs it."""

from __future__ import annotations

from dataclasses import dataclass, field

BASE = "base"
"""The environment of this process: .venv."""
TODAY = "today"
FLOAT32_NOTE = "no float32 on a device: native attention stands in"
"""Of the NPU's attention operator, where an implementation calls it in float32."""

OMNI_UNSPLIT = {
    "qwen2_5_omni": "Omni before vLLM 0.33 hands given embeddings on unsplit, or raises"
}
"""Of a tree that does not split them: vLLM does from 0.33.0 on, and the patch
embeddings-without-tower makes it."""


@dataclass(frozen=True)
class Classes:
    """Where one family's vision tower is in a tree.

    Attributes:
        module: where the classes are.
        tower: class of the vision tower.
        model: class of the model around it, whose input processing is run.
    """

    module: str
    tower: str
    model: str


@dataclass(frozen=True)
class Implementation:
    """One encoder that can be run.

    Attributes:
        name: what the command line calls it.
        title: one line that says what runs.
        hook_maps: the module with its hook points, in ``mmparity.encoders`` unless it
            has a dot; empty for that of the file that adds the implementation.
        classes: family of models -> its classes; no entry, no such encoder.
        trees: source -> its folder inside the folder of source trees.
        ascend: vllm-ascend's operators are registered before it is built.
        oracle: it runs in float64, whatever dtype is asked for.
        pad_weights: the operator says that heads are padded in the weights.
        float32_attention: it calls the NPU's attention operator in float32 as well,
            which no device has: emulated, native attention stands in.
        runtime: the module that builds it, where that is not vLLM's or the oracle's.
        environment: whose Python runs it; ``make setup ENV=...`` makes those that are
            not ``base``.
        torch_npu: the release whose schemas the emulated operators have.
        optional: it needs more than `make setup` and `make sources` bring.
        installed: its packages are those that its Python imports, not pinned trees.
        no_given: family -> why the model around its tower takes no embeddings in place
            of pixels; no entry where it does.
        after: the implementation that it came after, of the same line of releases, or
            that a series makes it from.
    """

    name: str
    title: str
    hook_maps: str
    classes: dict[str, Classes]
    trees: dict[str, str] = field(default_factory=dict)
    ascend: bool = False
    oracle: bool = False
    pad_weights: bool = False
    float32_attention: bool = False
    runtime: str = ""
    environment: str = BASE
    torch_npu: str = "2.9.0"
    optional: bool = False
    installed: bool = False
    no_given: dict[str, str] = field(default_factory=dict)
    after: str = ""

    @property
    def emulates(self) -> bool:
        """torch_npu's operators are emulated when it runs without an NPU."""
        return self.ascend
