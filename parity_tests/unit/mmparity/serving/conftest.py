# SPDX-License-Identifier: Apache-2.0
"""Small OpenAI-compatible endpoints that answer as a test says."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image

Words = list[tuple[str, float]]
"""An answer: its tokens, each with its logprob."""


def runner_up(logprob: float) -> dict[str, float]:
    return {" or": logprob - 1.0, " and": logprob - 2.0}


@dataclass
class Fake:
    """An endpoint; what it does can be changed while it runs."""

    url: str = ""
    words: Callable[[str], Words] = lambda prompt: [
        (word, -0.5) for word in prompt.split()
    ]
    others: Callable[[float], dict[str, float]] = runner_up
    refused: str = ""
    """A field of requests that it refuses."""
    statuses: list[int] = field(default_factory=list)
    """Answered first, one for each request after the models were listed."""
    cut_streams: int = 0
    prompt_tokens: int = 100
    delay: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0


def logprobs(fake: Fake, words: Words) -> dict[str, Any]:
    content = []
    for word, logprob in words:
        top = {word: logprob, **fake.others(logprob)}
        rows = [{"token": t, "logprob": p, "bytes": None} for t, p in top.items()]
        content.append({**rows[0], "top_logprobs": rows})
    return {"content": content, "refusal": None}


def body_of(fake: Fake, asked: dict[str, Any]) -> dict[str, Any]:
    prompt = asked["messages"][-1]["content"][-1]["text"]
    words = fake.words(prompt)[: asked["max_tokens"]]
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": asked["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": "length",
                "message": {
                    "role": "assistant",
                    "content": "".join(w for w, _ in words),
                },
                "logprobs": logprobs(fake, words) if asked.get("logprobs") else None,
            }
        ],
        "usage": {
            "prompt_tokens": fake.prompt_tokens,
            "completion_tokens": len(words),
            "total_tokens": fake.prompt_tokens + len(words),
        },
    }


async def streamed(fake: Fake, asked: dict[str, Any]) -> AsyncIterator[str]:
    """One event for each token; cut before the last where the test says so."""
    body = body_of(fake, asked)
    words = fake.words(asked["messages"][-1]["content"][-1]["text"])
    words = words[: asked["max_tokens"]]
    cut, fake.cut_streams = fake.cut_streams > 0, max(0, fake.cut_streams - 1)
    for place, word in enumerate(words):
        last = place == len(words) - 1
        if last and cut:
            return
        choice = {
            "index": 0,
            "delta": {"role": "assistant", "content": word[0]},
            "finish_reason": "length" if last else None,
            "logprobs": logprobs(fake, [word]) if asked.get("logprobs") else None,
        }
        chunk = {**body, "object": "chat.completion.chunk", "choices": [choice]}
        yield f"data: {json.dumps({**chunk, 'usage': None})}\n\n"
    chunk = {**body, "object": "chat.completion.chunk", "choices": []}
    yield f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"


def application(fake: Fake) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        model = {"id": "small", "object": "model", "created": 0, "owned_by": "test"}
        return {"object": "list", "data": [model]}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        asked = await request.json()
        fake.asked.append(asked)
        if fake.refused and fake.refused in asked:
            error = {"message": f"{fake.refused} is not offered", "type": "bad"}
            return JSONResponse({"error": error}, 400)
        if fake.statuses:
            error = {"message": "not now", "type": "busy"}
            return JSONResponse({"error": error}, fake.statuses.pop(0))
        fake.busy += 1
        fake.busiest = max(fake.busiest, fake.busy)
        try:
            await asyncio.sleep(fake.delay)
        finally:
            fake.busy -= 1
        if asked.get("stream"):
            return StreamingResponse(
                streamed(fake, asked), media_type="text/event-stream"
            )
        return JSONResponse(body_of(fake, asked))

    return app


@pytest.fixture
def endpoints() -> Iterator[tuple[Fake, Fake]]:
    """Two that answer alike."""
    servers, threads, fakes = [], [], (Fake(), Fake())
    for fake in fakes:
        listening = socket.create_server(("127.0.0.1", 0))
        fake.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(application(fake), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        servers.append(server)
        threads.append(thread)
    end = time.monotonic() + 10
    while not all(server.started for server in servers) and time.monotonic() < end:
        time.sleep(0.01)
    yield fakes
    for server in servers:
        server.should_exit = server.force_exit = True
    for thread in threads:
        thread.join(10)


@pytest.fixture
def material(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of two images, and a file of two prompts."""
    images, prompts = tmp_path / "images", tmp_path / "prompts.txt"
    images.mkdir()
    for name, color in (("red.png", "red"), ("blue.jpg", "blue")):
        Image.new("RGB", (8, 8), color).save(images / name)
    prompts.write_text(" What is this?\n\n Which colour has it?\n")
    return images, prompts
