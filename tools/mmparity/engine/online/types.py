# SPDX-License-Identifier: Apache-2.0
"""The data of a comparison of endpoints, as frozen dataclasses. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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
    uri: str = field(repr=False)


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
    tokens: tuple[Token, ...] = ()
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
        position: the first token that differs, from 0.
        gaps: logprob of the token chosen over the other side's token there, of old
            and of new.
        compared: tokens whose logprobs were compared.
        largest: largest difference of a chosen token's logprob.
        largest_top: the same over all tokens that are among the likeliest on both.
    """

    question: Question
    old: Answer
    new: Answer
    verdict: AnswerVerdict
    reason: str = ""
    position: int | None = None
    gaps: tuple[float, float] | None = None
    compared: int = 0
    largest: float | None = None
    largest_top: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Both endpoints' answers, compared."""

    settings: Settings
    detail: Detail
    old: Measured
    new: Measured
    judged: tuple[Judged, ...]
    interrupted: bool = False
