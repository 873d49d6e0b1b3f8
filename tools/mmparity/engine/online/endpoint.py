# SPDX-License-Identifier: Apache-2.0
"""One OpenAI-compatible endpoint: asks, retries what may pass, and times it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import openai

from mmparity.engine.online.types import (
    DETAILS,
    Answer,
    Detail,
    Question,
    Settings,
    Token,
)
from mmparity.errors import MmparityError

RETRIED_STATUS = {408, 409, 425, 429}
PAUSE_SECONDS = 0.5
WARM_UP_TOKENS = 2
_NOT_OF_THE_API = (AttributeError, IndexError, TypeError, ValueError)
"""What the client and the reading of its objects raise at other JSON, or none."""


@dataclass
class _Reply:
    """What has come of an answer so far."""

    text: str = ""
    finish: str = ""
    tokens: tuple[Token, ...] = ()
    usage: Any = None
    first: float | None = None


class EndedEarly(Exception):
    """What the endpoint sent is no whole answer."""


class Endpoint:
    """Asks one endpoint; an async context manager."""

    def __init__(self, url: str, settings: Settings, model: str = "") -> None:
        """``url`` is what a client is given: with or without ``/v1`` at its end."""
        if not url.startswith(("http://", "https://")):
            raise MmparityError(
                f"{url!r} is no endpoint's address; for example http://127.0.0.1:8000"
            )
        base = url.rstrip("/")
        self.url = base if base.endswith("/v1") else f"{base}/v1"
        self.model = model
        self.detail: Detail = DETAILS[0]
        self.limit = ""
        self._settings = settings
        self._client = openai.AsyncOpenAI(
            base_url=self.url,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            max_retries=0,
            timeout=settings.timeout,
        )

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def prepare(self, question: Question) -> None:
        """Finds the model and how much of an answer the endpoint shows.

        Raises:
            MmparityError: it cannot be reached, or does not answer the question.
        """
        try:
            served = [model.id async for model in self._client.models.list()]
        except openai.OpenAIError as error:
            raise MmparityError(
                f"{self.url} does not answer: {_message(error)}. Is it running?"
            ) from error
        except _NOT_OF_THE_API as error:
            raise MmparityError(
                f"{self.url}/models is no list of models: {_message(error)}. Give the "
                "address of an OpenAI-compatible server."
            ) from error
        if self.model and self.model not in served:
            raise MmparityError(
                f"{self.url} does not serve {self.model!r}. Allowed: "
                f"{', '.join(served) or 'none'}"
            )
        self.model = self.model or (served[0] if served else "")
        refused = ""
        for detail in DETAILS:
            self.detail = detail
            try:
                reply = await self._attempt(question, WARM_UP_TOKENS)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refused = _message(error)
                continue
            except (openai.OpenAIError, EndedEarly) as error:
                raise MmparityError(f"{self.url}: {_message(error)}") from error
            if detail == "text" or reply.tokens:
                self.limit = refused
                return
            refused = "answers came without logprobs"
        raise MmparityError(f"{self.url} refuses the question: {refused}")

    async def warm_up(self, question: Question, times: int) -> None:
        """Lets it do what it does once; errors show when it is measured."""
        waiting = (self._attempt(question, WARM_UP_TOKENS) for _ in range(times))
        await asyncio.gather(*waiting, return_exceptions=True)

    async def ask(self, question: Question) -> Answer:
        """The answer, or the reason why there is none after all retries."""
        answer = Answer()
        for attempt in range(self._settings.retries + 1):
            if attempt:
                await asyncio.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            started = time.perf_counter()
            try:
                reply = await self._attempt(question, self._settings.max_tokens)
            except (openai.OpenAIError, EndedEarly) as error:
                answer = Answer(error=_message(error), retries=attempt)
                if not _may_pass(error):
                    break
            else:
                answer = _answer(reply, started)
                return replace(answer, retries=attempt)
        return answer

    async def _attempt(self, question: Question, max_tokens: int) -> _Reply:
        try:
            return await self._answered(question, max_tokens)
        except _NOT_OF_THE_API as error:
            raise EndedEarly(f"that is no chat completion: {error!r}") from error

    async def _answered(self, question: Question, max_tokens: int) -> _Reply:
        request = self._request(question, max_tokens)
        create: Any = self._client.chat.completions.create
        if not self._settings.stream:
            done = await create(**request)
            choice = done.choices[0]
            reply = _Reply(choice.message.content or "", choice.finish_reason or "")
            reply.tokens = tuple(_tokens(choice.logprobs))
            reply.usage = done.usage
            return reply
        options = {"include_usage": True}
        stream = await create(**request, stream=True, stream_options=options)
        async with stream:
            return await _read(stream)

    def _request(self, question: Question, max_tokens: int) -> dict[str, object]:
        system = self._settings.system
        messages: list[dict[str, object]] = []
        if system:
            messages.append({"role": "system", "content": system})
        content = [
            {"type": "image_url", "image_url": {"url": question.uri}},
            {"type": "text", "text": question.prompt},
        ]
        messages.append({"role": "user", "content": content})
        request: dict[str, object] = {
            "model": self.model,
            "messages": messages,
            "temperature": 0.0,
            "seed": 0,
            "max_tokens": max_tokens,
        }
        if self.detail != "text":
            request |= {"logprobs": True, "top_logprobs": self._settings.top_logprobs}
        if self.detail == "token ids":  # vLLM's; others ignore or refuse it
            request["extra_body"] = {"return_tokens_as_token_ids": True}
        return request


async def _read(stream: Any) -> _Reply:
    reply, tokens = _Reply(), []
    async for chunk in stream:
        reply.usage = chunk.usage or reply.usage
        for choice in chunk.choices:
            new = list(_tokens(choice.logprobs))
            content = choice.delta.content or ""
            if reply.first is None and (new or content):
                reply.first = time.perf_counter()
            tokens += new
            reply.text += content
            reply.finish = choice.finish_reason or reply.finish
    if not reply.finish:
        raise EndedEarly("the stream ended before the answer did")
    reply.tokens = tuple(tokens)
    return reply


def _tokens(logprobs: Any) -> Iterable[Token]:
    for token in (logprobs.content if logprobs else None) or ():
        top: dict[str, float] = {}
        for one in token.top_logprobs or ():
            top[one.token] = max(one.logprob, top.get(one.token, one.logprob))
        yield Token(token.token, token.logprob, top)


def _answer(reply: _Reply, started: float) -> Answer:
    usage = reply.usage
    return Answer(
        text=reply.text,
        tokens=reply.tokens,
        finish=reply.finish,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        first_seconds=None if reply.first is None else reply.first - started,
        seconds=time.perf_counter() - started,
    )


def _may_pass(error: Exception) -> bool:
    if isinstance(error, openai.APIStatusError):
        return error.status_code >= 500 or error.status_code in RETRIED_STATUS
    return isinstance(error, openai.APIConnectionError | EndedEarly)


def _message(error: Exception) -> str:
    """One line; the cause where the package's own words say nothing."""
    text = str(error)
    if isinstance(error, openai.APIConnectionError) and error.__cause__:
        text = f"{text} {type(error.__cause__).__name__}: {error.__cause__}"
    return " ".join(text.split())[:400]
