# SPDX-License-Identifier: Apache-2.0
"""Results made by hand, with numbers that look like a real encoder's."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest

from mmparity.compare.precision import precision_verdicts
from mmparity.compare.result import with_cases
from mmparity.trace.hook_points import block_number, expand
from mmparity.types.comparison import (
    CaseComparison,
    ComparisonResult,
    Coverage,
    FirstDivergence,
    StructuralDifference,
    Summary,
)
from mmparity.types.engine import (
    EngineFigures,
    EngineMemory,
    EnginePoint,
    EngineResult,
    EngineRow,
    EngineSpeed,
    EngineSummary,
)
from mmparity.types.evidence import (
    CaseSince,
    CodeAt,
    FileChange,
    PatchText,
    ReplacedCode,
    Reuse,
    ReusedTrace,
    Since,
    TreeChanges,
)
from mmparity.types.provenance import Machine, Provenance, Source
from mmparity.types.row import (
    Fault,
    Grafted,
    LayerComparison,
    Metrics,
    TokenMap,
    Tolerance,
    WorstElement,
)
from mmparity.types.stages import Stages, WorkerSeconds
from mmparity.types.trace import Costs, Counts, PerBlock, TraceMeta, Unmatched

NOISE = {"bfloat16": 2.6e-3, "float32": 2.1e-7}
PICTURE = "data:image/jpeg;base64," + (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZ"
    "lo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6/+b9//j/2wBDASstLTw1PHZBQXb4pYyl"
    "+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj/wAAR"
    "CAAEAAgDASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAA"
    "AgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkK"
    "FhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWG"
    "h4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl"
    "5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREA"
    "AgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYk"
    "NOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOE"
    "hYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk"
    "5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwCKiiisiT//2Q=="
)
"""Eight by four pixels of green."""
COSTS = Costs(
    grid=(1, 48, 48),
    seconds=0.81,
    per_block=PerBlock(reads=163.5, pads=0, cats=2, dispatches=340),
    sizes=100,
    kept_bytes=17 << 20,
    items=8,
    entry_bytes=7 << 20,
    pinned_bytes=56 << 20,
)
EMULATED = ("npu_rotary_mul", "_npu_flash_attention_unpad", "npu_format_cast")


def make_metrics(rng: random.Random, error: float, noise: float) -> Metrics:
    equal = error == 0
    old = rng.uniform(-2, 2)
    return Metrics(
        numel=432 * 1280,
        bit_equal=equal,
        max_abs_diff=error * 9.3,
        mean_abs_diff=error * 0.4,
        normalized_l2_error=error,
        cosine_similarity=1 - error**2,
        min_token_cosine=1 - 4 * error**2,
        min_token_cosine_index=rng.randrange(432),
        max_token_error=error * 2.5,
        max_token_error_index=rng.randrange(432),
        worst_index=(rng.randrange(432), rng.randrange(1280)),
        old_at_worst=old,
        new_at_worst=old + error * 9.3,
        max_element_error=error * 3,
        old_max_abs=7.25,
        old_oracle_error=noise,
        new_oracle_error=math.hypot(noise, error) if error > noise else noise * 1.02,
        old_oracle_max_token_error=noise * 3,
        new_oracle_max_token_error=noise * 3.1,
        old_oracle_max_abs_diff=noise * 11,
        new_oracle_max_abs_diff=noise * 11.4,
    )


def make_layer(
    rng: random.Random, order: int, name: str, dtype: str, bad: float
) -> LayerComparison:
    exact = name.endswith(("window_index", "seqlens"))
    block = block_number(name)
    growth = 1.0 + 2.2 * (order // 5 and 32 if block is None else block) / 32
    kind = 0.35 + 0.8 * ((order * 7) % 13) / 13
    noise = NOISE[dtype] * growth * kind * rng.uniform(0.9, 1.1)
    near = noise * 0.3 if order % 3 else 0.0
    error = 0.0 if exact else bad or near
    tolerance = Tolerance(
        normalized_l2_error=NOISE[dtype] * 4 * growth,
        max_token_error=NOISE[dtype] * 12 * growth,
        max_element_error=NOISE[dtype] * 40 * growth,
        oracle_error=NOISE[dtype] * 8 * growth,
        oracle_factor=1.5,
        exact=exact,
        reason=f"{dtype}: 4 times the noise floor of this block",
    )
    failed = error > 0 and bool(bad)
    return LayerComparison(
        hook_point=name,
        order=order,
        block=block,
        verdict="fail" if failed else "pass",
        old_path=f"visual.{name}",
        new_path=f"visual.{name.replace('attn.', 'attn.attn.')}",
        old_transforms=("split_qkv[q]", "unpad_head[128→80]") if "attn" in name else (),
        new_transforms=(),
        shape=(432, 16, 80) if "attn" in name else (432, 1280),
        old_dtype=dtype,
        new_dtype=dtype,
        metrics=make_metrics(rng, error, 0.0 if exact else noise),
        tolerance=tolerance,
        reason=(
            f"normalized L2 error {error:.3g} is more than the "
            f"{tolerance.normalized_l2_error:.3g} allowed"
            if failed
            else ""
        ),
        exceeded="normalized_l2_error" if failed else None,
        value=error if failed else None,
        allowed=tolerance.normalized_l2_error if failed else None,
    )


def make_meta(implementation: str, case: str, dtype: str, depth: int) -> TraceMeta:
    ascend = implementation.startswith("ascend")
    return TraceMeta(
        model="qwen2.5-vl-7b",
        implementation=implementation,
        case=case,
        dtype=dtype,
        device="cpu",
        weights_digest="5f1d" * 16,
        pixels_digest="a07c" * 16,
        grid_thw=((1, 24, 18),),
        depth=depth,
        emulated=EMULATED if ascend else (),
        seconds=8.4 if ascend else 6.9,
        sources={"vllm": ("b41e" if ascend else "90cc") * 10},
        versions={"torch": "2.9.1", "vllm": "0.11.0" if ascend else "0.12.0"},
        counts=Counts(4210, 64, 96, 33, 91_226_112)
        if ascend
        else Counts(2890, 1, 0, 33, 60_817_408),
        costs=COSTS if case == "video" else None,
    )


STRUCTURE = (
    StructuralDifference(
        part="parameters",
        kind="changed",
        path="blocks.{i}.attn.qkv.weight",
        blocks=(0, 1),
        old="6144 x 1280 bfloat16",
        new="3840 x 1280 bfloat16",
        verdict="intended",
        patch="padded-vit-weights",
        why="Heads are padded around attention and not in the weights.",
    ),
    StructuralDifference(
        part="modules",
        kind="only in old",
        path="rotary_pos_emb",
        blocks=(),
        old="Qwen2_5_VisionRotaryEmbedding",
        new="",
        verdict="intended",
        patch="upstream",
        why="vLLM keeps the tables in a function.",
    ),
)
UNDECLARED = StructuralDifference(
    part="signatures",
    kind="changed",
    path="blocks.{i}.attn",
    blocks=(1,),
    old="(x, cu_seqlens)",
    new="(x, cu_seqlens, max_seqlen=None)",
    verdict="undeclared",
)


def make_case(
    name: str,
    dtype: str,
    pair: tuple[str, str],
    depth: int,
    fault: int | None,
    seed: int,
    points: tuple[str, ...] | None = None,
) -> CaseComparison:
    rng = random.Random(seed)
    layers = []
    for order, point in enumerate(points or expand(depth)):
        bad = 0.0
        if fault is not None and order >= fault:
            bad = min(0.9, 0.04 * 1.006 ** (order - fault)) * rng.uniform(0.5, 1)
        layers.append(make_layer(rng, order, point, dtype, bad))
    failed = sum(layer.verdict != "pass" for layer in layers)
    case_id = f"{name}/{dtype}/{pair[0]}:{pair[1]}"
    return CaseComparison(
        id=case_id,
        name=name,
        dtype=dtype,
        old=pair[0],
        new=pair[1],
        oracle="hf",
        verdict="fail" if failed else "pass",
        reason=f"{failed} of {len(layers)} rows failed" if failed else "",
        description="one photograph, 24x18 patches",
        grid_thw=((1, 24, 18),),
        layers=tuple(layers),
        unmatched=(
            Unmatched("visual.rotary_pos_emb", "old", "computed before the blocks"),
        ),
        structure=STRUCTURE,
        old_meta=make_meta(pair[0], name, dtype, depth),
        new_meta=make_meta(pair[1], name, dtype, depth),
        repeat=f"mmparity run --case {name} --dtype {dtype} "
        f"--old {pair[0]} --new {pair[1]}",
        coverage=Coverage(126, 88, 24, 14, 0, 100.0, ()),
    )


def first_divergence(cases: list[CaseComparison]) -> FirstDivergence | None:
    for case in cases:
        for n, layer in enumerate(case.layers):
            if layer.verdict == "pass":
                continue
            later = case.layers[n + 1 :]
            m = layer.metrics
            return FirstDivergence(
                case=case.id,
                hook_point=layer.hook_point,
                reason=layer.reason,
                exceeded=layer.exceeded,
                value=layer.value,
                allowed=layer.allowed,
                worst_index=m.worst_index if m else None,
                old_at_worst=m.old_at_worst if m else None,
                new_at_worst=m.new_at_worst if m else None,
                last_passing=case.layers[n - 1].hook_point if n else None,
                later_failing=sum(row.verdict != "pass" for row in later),
                later_total=len(later),
            )
    return None


def assemble(
    cases: list[CaseComparison], errors: tuple[str, ...] = ()
) -> ComparisonResult:
    layers = [layer for case in cases for layer in case.layers]
    items = [item for case in cases for item in case.unmatched]
    passed = sum(layer.verdict == "pass" for layer in layers)
    undeclared = sum(not item.explained for item in items)
    verdicts = {case.verdict for case in cases}
    verdict = next((v for v in ("error", "fail") if v in verdicts), "pass")
    return ComparisonResult(
        verdict=verdict if cases else "error",
        summary=Summary(
            passed=passed,
            failed=len(layers) - passed + undeclared,
            unmatched=len(items) - undeclared,
            total=len(layers) + len(items),
        ),
        first_divergence=first_divergence(cases),
        cases=tuple(cases),
        stages=Stages(
            {
                "prepare": 2.31,
                "import": 14.2,
                "build": 31.07,
                "oracle": 81.2,
                "capture": 52.4,
                "compare": 28.02,
                "report": 2.2,
            },
            {
                "hf": WorkerSeconds(6.1, 40.2, 41.0),
                "unified": WorkerSeconds(19.4, 12.3, 27.8),
            },
        ),
        provenance=Provenance(
            created="2025-12-01T10:00:00Z",
            command="mmparity run",
            seconds=211.4,
            seconds_by_implementation={"hf": 81.2, "unified": 40.1},
            peak_memory_by_process={"hf": 5_012_193_280, "unified": 2_147_483_648},
            peak_memory_bytes=6_442_450_944,
            machine=Machine(
                "Linux 6.1", "x86_64", "AMD EPYC", cpus=2, memory_bytes=25_769_803_776
            ),
            versions={"torch": "2.9.1", "transformers": "4.57.6"},
            sources={
                "vllm-0.12.0": Source(
                    version="0.12.0",
                    sha256="dc2863be" * 8,
                    tree="90cc" * 10,
                    patches={
                        "mm-encoder-attention.patch": "5f1d" * 16,
                        "apply-rotary-emb.patch": "a07c" * 16,
                    },
                )
            },
            emulated={"ascend-0.11.0": EMULATED},
            errors=errors,
        ),
        precision=precision_verdicts(cases),
    )


PAIRS = (
    ("ascend-0.11.0", "unified"),
    ("ascend-0.12.0rc1", "unified-ascend"),
    ("vllm-0.12.0", "unified"),
)
NAMES = ("image", "two-images", "video", "ragged")


def synthetic(
    names: tuple[str, ...] = ("image",),
    dtypes: tuple[str, ...] = ("bfloat16",),
    pairs: tuple[tuple[str, str], ...] = PAIRS[:1],
    depth: int = 32,
    faults: dict[int, int] | None = None,
) -> ComparisonResult:
    """A result of names x dtypes x pairs cases; `faults`: case -> first bad row."""
    cases: list[CaseComparison] = []
    for name in names:
        for dtype in dtypes:
            for pair in pairs:
                number = len(cases)
                fault = (faults or {}).get(number)
                cases.append(make_case(name, dtype, pair, depth, fault, number))
    return assemble(cases)


def errored() -> ComparisonResult:
    """One case that could not run, and nothing else."""
    ran = make_case("image", "bfloat16", PAIRS[0], 1, None, 0)
    reason = "ascend-0.11.0 stopped: missing operator npu_rotary_mul"
    fields = {
        **ran.__dict__,
        "verdict": "error",
        "reason": reason,
        "layers": (),
        "unmatched": (),
        "structure": (),
        "old_meta": None,
        "coverage": None,
    }
    return assemble([CaseComparison(**fields)], errors=(reason,))


@pytest.fixture
def failing_engine() -> EngineResult:
    return make_engine("fail")


@pytest.fixture(scope="session")
def make() -> Callable[..., ComparisonResult]:
    return synthetic


@pytest.fixture(scope="session")
def parts() -> tuple[Callable[..., CaseComparison], Callable[..., ComparisonResult]]:
    """What makes a case, and a result of cases."""
    return make_case, assemble


def make_engine(verdict: Literal["pass", "fail"] = "pass") -> EngineResult:
    """What a run of the engine on two sides writes, in small."""
    pair = ("vllm-0.12.0", "unified")
    row = EngineRow(
        "qwen2-vl", "one image", *pair, "pass", "", True, 16, 320, 1, 0.0, 0.0
    )
    rows = [row, replace(row, scenario="speculation", verdict="cannot run")]
    if verdict == "fail":
        said = "a logprob differs by 0.2 (0 allowed)"
        rows[0] = replace(
            row, verdict="fail", reason=said, exact=False, logprob_difference=0.2
        )
    moments = ("before serving", "after 500 images", "after reset_encoder_cache")
    held = {
        name: {
            "entries": 0 if i != 1 else 63,
            "entry_bytes": 0 if i != 1 else 3_000_000,
            "held_bytes": 0 if i != 1 else 3_000_000,
            "tensor_bytes": 20_000_000,
            "resident_bytes": 512_000_000 + i * 1_000_000,
        }
        for i, name in enumerate(moments)
    }
    memory = []
    for side, grows in zip(pair, (60_000, 40), strict=True):
        points = tuple(
            EnginePoint(n * 25, 512_000_000 + n * grows) for n in range(1, 81)
        )
        kept = held if side == "unified" else dict(list(held.items())[:2])
        figures = EngineFigures(side, "qwen2-vl", 500, kept, points, 61.5)
        judged = side == "unified"
        memory.append(
            EngineMemory(
                figures,
                80 * grows / 512_000_000,
                0.02 if judged else None,
                "pass" if judged else "shown",
            )
        )
    counts = (1, 0, 0, 1) if verdict == "pass" else (0, 1, 0, 1)
    return EngineResult(
        verdict=verdict,
        summary=EngineSummary(*counts, total=2),
        rows=tuple(rows),
        memory=tuple(memory),
        runs={"unified": ("cpu, Qwen2VisionTransformer, MMEncoderAttention",)},
        errors=(),
        provenance=Provenance(command="mmparity engine"),
        speed=tuple(
            EngineSpeed(side, "qwen2-vl", 64, 12.5, 400.0, 0.081, 0.0125)
            for side in pair
        ),
    )


@pytest.fixture(scope="session")
def passing() -> ComparisonResult:
    return replace(synthetic(depth=2), engine=make_engine())


def with_evidence(result: ComparisonResult) -> ComparisonResult:
    """Token maps of the failing case, a picture, and what the code replaced."""
    passing, failing = result.cases
    patches = sum(math.prod(grid) for grid in failing.grid_thw)
    bad = [layer.hook_point for layer in failing.layers if layer.verdict != "pass"]
    errors = tuple(0.0 if i % 5 else (i + 1) / patches for i in range(patches))
    maps = (
        TokenMap(
            bad[0],
            errors,
            tuple(range(patches)),
            (WorstElement((81, 852), 1.66870525, 1.89451841),),
            {"mean": (0.0125, 0.0131), "largest": (7.25, math.nan)},
        ),
        TokenMap(bad[1], (*errors[:-1], math.nan), ()),
        TokenMap(bad[2], errors, ()),
    )
    assert passing.new_meta is not None
    pair = f"{passing.new_meta.model} {passing.old}:{passing.new}"
    row = ReplacedCode(
        row="A1",
        title="attention of its own",
        overrides=("0.11.0 qwen2_5_vl.py AscendQwen2_5_VisionAttention.forward",),
        patches=("mm-encoder-attention", "upstream"),
        proofs=(
            f"{pair} blocks.{{i}}.attn.q",
            f"{pair} blocks.{{i}}.attn.proj",
            "qwen2-vl-7b ascend-0.11.0:unified merger.mlp.0 --tp 2",
        ),
    )
    diff = "diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a<b\n+a>b\n"
    patch = PatchText("mm-encoder-attention", "vllm-0.12.0", "[Core] One <op>", diff)
    case = replace(
        failing,
        token_maps=maps,
        pictures=(PICTURE,),
        structure=(*failing.structure, UNDECLARED),
        code=(
            CodeAt("old", "blocks.0.attn", "pkg/old.py", 40, 41, "def f(x):\n    x<1"),
            CodeAt("new", "blocks.0.attn", "pkg/x.py", 7, 7, "    return a>b"),
        ),
    )
    other = FileChange(
        "pkg/a.py", "--- a/pkg/a.py\n+++ b/pkg/a.py\n@@ -1 +1 @@\n-1\n+2\n"
    )
    suspect = FileChange(
        "pkg/x.py", "--- a/pkg/x.py\n+++ b/pkg/x.py\n@@ -7 +7 @@\n-a\n+b\n"
    )
    changes = TreeChanges(
        "unified:vllm", "fork", "patched/vllm-0.12.0", 25, (other, suspect), 2
    )
    broken = CaseSince(case.id, "pass", "fail", 26, 0, "blocks.0.attn.proj")
    since = Since("2025-11-30T18:00:00Z", "pass", 2, 84, 0, (broken,))
    old = ReusedTrace(passing.old, "image", "float32", "5f" * 16, "2026-02-03T04:05:06")
    captured = {f"{passing.new}: other sources: vllm": 2}
    return replace(
        result,
        cases=(passing, case),
        replaced=(row,),
        patches=(patch,),
        since=since,
        changes=(changes,),
        reuse=Reuse((old, replace(old, case="video")), 2, captured, 123_456_789),
    )


@pytest.fixture(scope="session")
def failing() -> ComparisonResult:
    fault = expand(2).index("blocks.0.attn.proj")
    return with_evidence(
        synthetic(names=("image", "video"), depth=2, faults={1: fault})
    )


@pytest.fixture(scope="session")
def error() -> ComparisonResult:
    return errored()


@pytest.fixture(scope="session")
def complete() -> ComparisonResult:
    """A result with something in every field, and few rows."""
    result = with_evidence(synthetic(("image", "video"), depth=1, faults={1: 2}))
    passing, failing = map(_few_rows, result.cases)
    first, *others = failing.layers
    grafted = Grafted("fail", "differs by itself", first.metrics, ("patch_embed",))
    first = replace(first, grafted=grafted, null_floor=1e-6, margin=2.0)
    fault = Fault(first.hook_point, first.hook_point, (first.hook_point,), "the code")
    failing = replace(
        failing,
        layers=(first, *others),
        faults=(fault,),
        not_grafted={"merger": "no input"},
    )
    wide = replace(passing, id=f"{passing.id} in float32", dtype="float32")
    engine = make_engine("fail")
    return with_cases(replace(result, engine=engine), (passing, failing, wide))


def _few_rows(case: CaseComparison) -> CaseComparison:
    failing = [layer for layer in case.layers if layer.verdict != "pass"][:3]
    passing = [layer for layer in case.layers if layer.verdict == "pass"][:2]
    return replace(case, layers=(*failing, *passing))
