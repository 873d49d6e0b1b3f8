# SPDX-License-Identifier: Apache-2.0
"""What the engines are asked, as data: engines, requests and the steps between them."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmparity.project import known

DTYPE = "float16"
"""Of the two that the NPU's attention operator has, the one with smaller roundings: in
float32, which it has not, vllm-ascend's operators go to native attention."""
EngineArguments = dict[str, object]
"""Of vLLM's ``LLM``, by their names."""
COMMON: EngineArguments = {
    "dtype": DTYPE,
    "seed": 0,
    "enforce_eager": True,
    "max_model_len": 2048,
    "max_num_batched_tokens": 2048,
    "max_num_seqs": 8,
    "num_gpu_blocks_override": 136,  # some 50 MiB; else a GiB for each engine
    "enable_prefix_caching": False,
    "limit_mm_per_prompt": {"image": 3, "video": 1},
}
"""What every engine has."""
TOKENS = 12
"""Generated for each request, greedily, whatever comes."""
LOGPROBS = 20


@dataclass(frozen=True)
class Image:
    """A piece of a photograph, or seeded noise where ``source`` is ``noise``."""

    source: str
    height: int
    width: int
    seed: int = 0


@dataclass(frozen=True)
class Clip:
    """Pieces of a photograph, each a little further right: a pan over it."""

    source: str
    frames: int
    height: int
    width: int


@dataclass(frozen=True)
class Request:
    """One prompt; its media come before the text, in this order."""

    text: str
    media: tuple[Image | Clip, ...] = ()


@dataclass(frozen=True)
class Generate:
    """A batch of requests, in one call."""

    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Call:
    """A method of ``LLM``; ``worker`` says that it is the workers'."""

    method: str
    worker: bool = False


@dataclass(frozen=True)
class Engine:
    """How an engine is started; one that cannot be says so with ``refusals``.

    Attributes:
        options: over ``COMMON``.
        refusals: side, or "*" for all -> pattern of the error that is its answer.
        models: all, or only these.
    """

    name: str
    about: str
    options: EngineArguments = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """What one engine is asked.

    Attributes:
        refusals: as of its engine.
        same: steps of equal number whose answers must be equal on each side: a step
            that may not change anything lies between them.
    """

    name: str
    engine: str
    steps: tuple[Generate | Call, ...]
    same: tuple[int, int] | None = None
    refusals: dict[str, str] = field(default_factory=dict)


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("plain", "one process, no prefix caching"),
        Engine("prefix", "prefix caching", {"enable_prefix_caching": True}),
        Engine(
            "chunked",
            "prompts prefilled 48 tokens at a time",
            {"max_num_batched_tokens": 48, "enable_chunked_prefill": True},
        ),
        Engine(
            "tp2",
            "two tensor-parallel ranks",
            {"tensor_parallel_size": 2},
            models=("qwen2.5-vl",),
        ),
        Engine(
            "tp2-data",
            "two ranks, images spread over them",
            {"tensor_parallel_size": 2, "mm_encoder_tp_mode": "data"},
            # Its tower sums over ranks that have other images; gloo ends the rank.
            {"ascend-0.11.0": "^RuntimeError: cancelled"},
            models=("qwen3-vl",),
        ),
        Engine(
            "sleep",
            "sleep mode",
            {"enable_sleep_mode": True},
            {"*": "[Ss]leep mode is not supported"},
            ("qwen2.5-vl",),
        ),
        Engine(
            "tower-lora",
            "LoRA on the vision tower",
            {"enable_lora": True, "enable_tower_connector_lora": True},
            {"*": "unexpected keyword argument 'enable_tower_connector_lora'"},
            ("qwen2.5-vl",),
        ),
    )
}

_CHINA = Image("china.jpg", 224, 336)
_FLOWER = Image("flower.jpg", 280, 196)
_NOISE = Image("noise", 168, 140)
_WIDE = Image("china.jpg", 196, 448)
_PAN = Clip("flower.jpg", 6, 168, 224)
_DESCRIBE = Request("Describe the image in detail, please.", (_CHINA,))
_COUNT = Request("Name three colours that you see and count the objects.", (_CHINA,))
_COMPARE = Request(
    "What differs between the first and the second image?", (_CHINA, _FLOWER, _NOISE)
)
_WATCH = Request("What happens in the video, and in which order?", (_PAN,))
_TEXT = Request("Answer in one short sentence: what is two and two?")
_FIND = Request("Is there a flower, a temple or a person in the picture?", (_WIDE,))

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("one image", "plain", (Generate((_DESCRIBE,)),)),
        Scenario("several images", "plain", (Generate((_COMPARE,)),)),
        Scenario("video", "plain", (Generate((_WATCH,)),)),
        Scenario(
            "mixed batch",
            "plain",
            (Generate((_FIND, _TEXT, _COMPARE, _WATCH, _TEXT)),),
        ),
        Scenario(
            "second load of weights",
            "plain",
            (
                Generate((_DESCRIBE,)),
                Call("reload_weights", worker=True),
                Generate((_DESCRIBE,)),
            ),
            same=(0, 1),
            # Its loader pads the weights' names that it finds, padded ones too.
            refusals={"ascend-0.11.0": r"exceeds dimension size|size of tensor"},
        ),
        Scenario(
            "prefix caching",
            "prefix",
            (Generate((_DESCRIBE,)), Generate((_COUNT,)), Generate((_DESCRIBE,))),
            same=(0, 2),
        ),
        Scenario(
            "chunked prefill", "chunked", (Generate((_COMPARE, _TEXT, _DESCRIBE)),)
        ),
        Scenario("two ranks", "tp2", (Generate((_DESCRIBE, _COMPARE)),)),
        Scenario(
            "data-parallel vision", "tp2-data", (Generate((_DESCRIBE, _COMPARE)),)
        ),
        Scenario(
            "sleep and wake",
            "sleep",
            (
                Generate((_DESCRIBE,)),
                Call("sleep"),
                Call("wake_up"),
                Generate((_DESCRIBE,)),
            ),
            same=(0, 1),
        ),
        Scenario("LoRA on the tower", "tower-lora", (Generate((_DESCRIBE,)),)),
    )
}


def get(name: str) -> Scenario:
    """The scenario of that name."""
    return known("scenario", name, SCENARIOS)


def of_model(model: str, names: tuple[str, ...] = ()) -> list[Scenario]:
    """The scenarios that a model is asked, those of one engine together."""
    chosen = [get(name) for name in names] or list(SCENARIOS.values())
    order = list(ENGINES)
    served = [
        item for item in chosen if model in (ENGINES[item.engine].models or (model,))
    ]
    return sorted(served, key=lambda item: order.index(item.engine))
