# SPDX-License-Identifier: Apache-2.0
"""The data of a comparison of endpoints, as frozen dataclasses. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mmparity.types.verdict import Verdict

SERVING_VERSION = 1

Detail = Literal["token ids", "token texts", "text"]
"""What an answer can be compared by, best first."""
DETAILS: tuple[Detail, ...] = ("token ids", "token texts", "text")

AnswerVerdict = Literal["same", "near tie", "differ", "error"]


@dataclass(frozen=True)
class Question:
    """One chat completion: an image and a prompt."""

    number: int
    image: str
    prompt: str
    uri: str = field(repr=False, metadata={"key": None})


@dataclass(frozen=True)
class Token:
    """A generated token: its id or text, its logprob, those of the likeliest."""

    name: str
    logprob: float
    top: dict[str, float]


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered to one question.

    Attributes:
        text: the message.
        tokens: empty where the endpoint offers no logprobs.
        finish: why it ended (``stop``, ``length``).
        prompt_tokens: of the question, its image's among them, if it was said.
        completion_tokens: of the answer, if it was said.
        first_seconds: until the first token, of a streamed answer.
        seconds: until the last; of the attempt that was answered.
        retries: attempts before it that failed.
        error: why there is no answer; else empty.
    """

    text: str = ""
    tokens: tuple[Token, ...] = field(default=(), metadata={"key": None})
    finish: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_seconds: float | None = None
    seconds: float = 0.0
    retries: int = 0
    error: str = ""


@dataclass(frozen=True)
class Settings:
    """How the endpoints are asked, and what counts as the same.

    Attributes:
        requests: to each endpoint.
        concurrency: requests in flight at a time.
        stream: whether answers are streamed.
        top_logprobs: likeliest tokens asked for at each position.
        max_tokens: of an answer.
        system: the system message; none if empty.
        retries: more attempts after a failure that may pass.
        timeout: seconds of one attempt.
        near_tie: logprob gap at which either of two tokens may win.
        tolerance: allowed difference of a token's logprob.
    """

    requests: int = 64
    concurrency: int = 8
    stream: bool = True
    top_logprobs: int = 20
    max_tokens: int = 32
    system: str = "You are a helpful assistant."
    retries: int = 2
    timeout: float = 300.0
    near_tie: float = 0.125
    tolerance: float = 0.25


@dataclass(frozen=True)
class Measured:
    """All answers of one endpoint, and the seconds in which it was asked."""

    url: str
    model: str
    detail: Detail
    limit: str
    answers: dict[int, Answer]
    seconds: float


@dataclass(frozen=True)
class Judged:
    """Two answers to one question, compared.

    Attributes:
        question: asked.
        old: its answer.
        new: its answer.
        verdict: ``near tie`` counts as the same.
        reason: what differs or failed.
        first_difference: the first token that differs, from 0.
        gaps: logprob of the token chosen over the other side's token there, of old
            and of new.
        compared_tokens: tokens whose logprobs were compared.
        largest_logprob_difference: of a chosen token.
        largest_top_logprob_difference: the same over all tokens that are among the
            likeliest on both.
    """

    question: Question = field(metadata={"key": None})
    old: Answer
    new: Answer
    verdict: AnswerVerdict = "same"
    reason: str = ""
    first_difference: int | None = None
    gaps: tuple[float, float] | None = None
    compared_tokens: int = 0
    largest_logprob_difference: float | None = None
    largest_top_logprob_difference: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Both endpoints' answers, compared."""

    settings: Settings
    detail: Detail
    old: Measured
    new: Measured
    judged: tuple[Judged, ...]
    interrupted: bool = False


@dataclass(frozen=True)
class Percentiles:
    """Of seconds: their mean and percentiles."""

    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class EndpointFigures:
    """What was measured of an endpoint; null where there is no figure.

    Attributes:
        url: where it is.
        model: the name it serves.
        compared_by: how much of an answer it shows.
        limit: why it shows no more; else empty.
        asked: requests.
        answered: those that came to an answer.
        errors: the others.
        retries: attempts before an answer that failed.
        seconds: in which it was asked.
        first_token_seconds: of streamed answers.
        per_token_seconds: of streamed answers, between tokens after the first.
        total_seconds: of whole answers.
    """

    url: str
    model: str
    compared_by: Detail
    limit: str
    asked: int
    answered: int
    errors: int
    retries: int
    seconds: float
    requests_per_second: float | None
    tokens_per_second: float | None
    first_token_seconds: Percentiles | None
    per_token_seconds: Percentiles | None
    total_seconds: Percentiles | None


@dataclass(frozen=True)
class ServingSummary:
    """Answers by verdict, and what stands behind them."""

    same: int
    near_tie: int = field(metadata={"key": "near tie"})
    differ: int
    error: int
    compared: int
    asked: int
    distinct_questions: int
    distinct_answers: int
    compared_tokens: int
    largest_logprob_difference: float | None
    largest_top_logprob_difference: float | None


@dataclass(frozen=True)
class ServingResult:
    """What `serving.json` holds: two endpoints, asked the same."""

    verdict: Verdict
    reason: str
    compared_by: Detail
    interrupted: bool
    settings: Settings
    summary: ServingSummary
    sides: dict[str, EndpointFigures]
    answers: tuple[Judged, ...] = field(metadata={"key": None})
    schema_version: int = SERVING_VERSION


@dataclass(frozen=True)
class StreamVerdict:
    """Of what `mmparity serve` does, a part that has nothing but a verdict."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class BenchSide:
    """What `vllm bench serve` measured of a side; ``figures`` by a reader's name.

    Attributes:
        completed: requests.
        failed: requests.
        seconds: of all.
        figures: what a reader wants to know -> the figure.
        answers: text and number of tokens of each.
    """

    completed: int
    failed: int
    seconds: float
    figures: dict[str, float | None]
    answers: tuple[tuple[str, int], ...] = field(default=(), metadata={"key": None})


@dataclass(frozen=True)
class BenchResult:
    """`vllm bench serve` of both sides; of none where it did not finish."""

    verdict: Verdict
    reason: str
    same: int
    sides: dict[str, BenchSide]


@dataclass(frozen=True)
class ServeResult:
    """What `serve.json` holds.

    Attributes:
        old: a side, or the python of an environment.
        new: likewise.
        model: that both serve.
        runs: ``streamed`` and ``not streamed`` -> what came of them.
        across: side -> whether it answers the same in both runs.
        bench: null where it did not run.
        verdict: the worst of the parts.
        reason: of that part; all reasons where they pass.
    """

    old: str
    new: str
    model: str
    runs: dict[str, ServingResult] = field(default_factory=dict, metadata={"key": None})
    across: dict[str, StreamVerdict] = field(
        default_factory=dict, metadata={"key": "streamed against not"}
    )
    bench: BenchResult | None = None
    verdict: Verdict = "error"
    reason: str = "nothing was asked"
    schema_version: int = SERVING_VERSION
