# SPDX-License-Identifier: Apache-2.0
"""What a trace says of itself: its tensors, what has no hook point, its origin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

TRACE_VERSION = 2
UNKNOWN = ""
"""In place of a digest that a dump lacks: such a case does not pass."""
ASSUMED = "assumed"
"""In place of a digest that a dump lacks, where the user vouches for it."""

Side = Literal["old", "new", "oracle"]


@dataclass(frozen=True)
class TensorRecord:
    """One captured tensor of a trace, on its canonical name and layout.

    Attributes:
        hook_point: canonical name, for example ``blocks.0.attn.q``.
        order: position in the order of execution, from 0.
        shape: canonical shape, tokens first.
        dtype: torch's name without the prefix, for example ``bfloat16``.
        file: name of the safetensors file that holds it, inside the trace.
        digest: blake3 of the canonical bytes.
        path: where it came from in the implementation (module path or operator).
        transforms: the layout transforms applied to reach the canonical layout.
        error: why the tensor is not usable (a padded lane that is not zero, an
            empty output); a record with an error never passes.
    """

    hook_point: str
    order: int
    shape: tuple[int, ...]
    dtype: str
    file: str
    digest: str
    path: str
    transforms: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Unmatched:
    """A module or tensor that has no partner, with the reason."""

    path: str
    side: Side
    reason: str
    explained: bool = True
    """False: nobody declared it, so the case fails."""


@dataclass(frozen=True)
class Counts:
    """What one forward calls, as the profiler of its device's host sees it.

    Attributes:
        dispatches: operator calls; an emulated operator is one, with all that it calls.
        host_reads: reads of a tensor's values by the host, where a device waits.
        pads: calls that pad a tensor.
        concatenations: calls that concatenate tensors.
        peak_bytes: the most that tensors made by the forward held at a time.
    """

    dispatches: int
    host_reads: int
    pads: int
    concatenations: int
    peak_bytes: int


@dataclass(frozen=True)
class PerBlock:
    """Calls of one block of a forward, as ``Counts`` has them."""

    reads: float
    pads: float
    cats: float
    dispatches: float = 0.0


@dataclass(frozen=True)
class Costs:
    """What an encoder costs over many forwards, in the dtype of its trace.

    Attributes:
        grid: of the image that was timed and counted, (t, h, w) in patches.
        seconds: the least wall time of its forward; emulated operators included.
        per_block: what one block of it calls, the mean of the second half of them.
        sizes: number of image sizes.
        kept_bytes: tensors that stay after forwards of images of so many sizes.
        items: images of a batch.
        entry_bytes: embeddings of one of them, as the model runner caches them.
        pinned_bytes: what that entry keeps alive once the others are gone.
        missing: field -> why it is None.
    """

    grid: tuple[int, int, int]
    seconds: float | None
    per_block: PerBlock | None
    sizes: int
    kept_bytes: int | None
    items: int
    entry_bytes: int | None
    pinned_bytes: int | None
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TraceMeta:
    """What a trace is a trace of; two traces compare only where these agree.

    Attributes:
        implementation: one of ``mmparity list implementations``.
        case: name of the case.
        dtype: dtype the encoder ran in.
        device: ``cpu``, ``cuda`` or ``npu``.
        weights_digest: sha256 over the checkpoint's tensors that were loaded.
        pixels_digest: sha256 over the pixel values.
        grid_thw: patch grid of each image or clip, (t, h, w) in patches.
        depth: number of blocks that ran.
        emulated: names of the emulated operators that were called.
        seconds: wall time of the forward, without what recording it took.
        sources: name of each source tree -> its git tree id.
        versions: name of each package -> version.
        parameters: parameter name -> [shape, dtype], as loaded.
        hyper_parameters: attention class, head size, scale, backend and so on.
        model: whose vision tower it is; empty for a checkpoint of the user's.
        quantization: how its linear layers are quantised; empty where they are not.
        tensor_parallel: number of ranks that the encoder was spread over.
        proven_weights: number of loaded parameters that are the checkpoint's, bit for
            bit, once un-padded, split and put together; None where padded lanes alone
            were looked at.
        not_grafted: of a grafted trace, hook points that could not be fed the other
            side's tensor, with the reason.
        modules: path of each module -> name of its class. Empty in a result, and
            where a trace says nothing about structure.
        buffers: buffer name -> [shape, dtype].
        signatures: path of each module -> names and defaults of its forward's
            parameters.
        state_dict: name of a tensor -> what its round trip through the state dict
            lost; empty where nothing.
        code: path of each module -> file, first and last line of what its forward
            runs, from the root of its tree; empty where there is no source.
        counts: of one forward of the smallest case.
        costs: of one dtype, where they were asked for.
        images: of the trace of one rank among which images are spread, the numbers of
            those it took, in its order; None elsewhere.
        raised: the module that raised an error, and which; there is nothing of what
            would have come after it. Empty where none did.
    """

    implementation: str
    case: str
    dtype: str
    device: str
    weights_digest: str
    pixels_digest: str
    grid_thw: tuple[tuple[int, int, int], ...]
    depth: int
    emulated: tuple[str, ...] = ()
    seconds: float | None = None
    sources: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, list[Any]] = field(default_factory=dict)
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    tensor_parallel: int = 1
    proven_weights: int | None = None
    not_grafted: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    buffers: dict[str, list[Any]] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    state_dict: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    counts: Counts | None = None
    costs: Costs | None = None
    quantization: str = ""
    images: tuple[int, ...] | None = None
    raised: str = ""
    trace_version: int = TRACE_VERSION


@dataclass(frozen=True)
class Statistics:
    """Says of a trace that it holds statistics per token in place of tensors.

    Attributes:
        command: that makes this capture again, without its last options.
        projections: number of products with random vectors that a token has.
        seed: of these vectors.
        reduced: hook point -> dtype and shape that were captured there. What is not
            in it was kept as it was.
    """

    command: str
    projections: int
    seed: int
    reduced: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)


NAME_LIMIT = 1000


def unprintable(
    meta: TraceMeta, records: Iterable[TensorRecord], others: Iterable[str]
) -> str | None:
    """A name that is too long, or that would do something to a terminal."""
    names = [meta.implementation, meta.case, meta.dtype, meta.device, meta.model]
    names += [text for item in records for text in (item.hook_point, item.path)]
    for name in (*names, *others):
        if len(name) > NAME_LIMIT or not name.isprintable():
            return name[:80]
    return None
