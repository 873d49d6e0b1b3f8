# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible endpoint that answers as a test says; also a program.

As a program it is what `python` of an environment with vLLM and lm_eval would be, and
does as much of them as the tests need: `serve`, `bench serve`, `-m lm_eval`, `-c`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """Answered first, one for each request that is measured."""
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
    cut = fake.cut_streams > 0 and asked["max_tokens"] > 2
    fake.cut_streams -= cut
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


def application(fake: Fake) -> Any:
    # Here, as only a server needs it: an environment is asked many small things.
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def models(_: Any) -> JSONResponse:
        model = {"id": "small", "object": "model", "created": 0, "owned_by": "test"}
        return JSONResponse({"object": "list", "data": [model]})

    async def health(_: Any) -> JSONResponse:
        return JSONResponse({})

    async def complete(request: Any) -> Any:
        asked = await request.json()
        fake.asked.append(asked)
        if fake.refused and fake.refused in asked:
            error = {"message": f"{fake.refused} is not offered", "type": "bad"}
            return JSONResponse({"error": error}, 400)
        if fake.statuses and asked["max_tokens"] > 2:
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

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/chat/completions", complete, methods=["POST"]),
        ]
    )


def serve(port: int) -> None:
    import uvicorn

    if os.environ.get("FAKE") == "broken server":
        sys.exit("no such device")
    fake = Fake()
    if os.environ.get("FAKE") == "other answers":
        fake.words = lambda prompt: [("no", -0.5), ("thing", -0.5)]
    uvicorn.run(application(fake), host="127.0.0.1", port=port, log_level="error")


def bench(folder: Path, name: str, requests: int) -> None:
    if os.environ.get("FAKE") == "no benchmark":
        sys.exit("no such dataset")
    if os.environ.get("FAKE") == "endless benchmark":
        (folder / "started").touch()
        time.sleep(600)
    failed = int(os.environ.get("FAKE") == "failed benchmark")
    result: dict[str, Any] = {
        "completed": requests - failed,
        "failed": failed,
        "duration": 1.0,
        "request_throughput": float(requests),
        "output_throughput": 16.0 * requests,
        "generated_texts": ["", *["some text"] * (requests - 1)],
        "output_lens": [2] * requests,
    }
    if os.environ.get("FAKE") == "no tokens":
        result["output_lens"][0] = 0
    for metric in ("ttft", "tpot", "e2el"):
        result |= {f"p{p}_{metric}_ms": float(p) for p in (50, 95, 99)}
    (folder / name).write_text(json.dumps(result))


def evaluate(folder: Path, task: str) -> None:
    accuracy = 0.3 if os.environ.get("FAKE") == "less accurate" else 0.54
    row = {"acc,none": accuracy, "acc_stderr,none": 0.016}
    if os.environ.get("FAKE") == "no accuracy":
        row = {"bleu,none": 1.0}
    inner = folder / "some__model"
    inner.mkdir()
    (inner / "results_2026.json").write_text(json.dumps({"results": {task: row}}))
    lines = [
        json.dumps(
            {"doc_id": number, "filtered_resps": [str(accuracy > 0.5 or number)]}
        )
        for number in range(4)
    ]
    (inner / f"samples_{task}_2026.jsonl").write_text("\n".join(lines) + "\n")


def value(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def main() -> None:
    if sys.argv[1] == "-c":
        sys.exit(int(os.environ.get("FAKE") == "nothing installed"))
    if sys.argv[2] == "lm_eval":
        evaluate(Path(value("--output_path")), value("--tasks"))
    elif sys.argv[3] == "serve":
        serve(int(value("--port")))
    else:
        requests = int(value("--num-prompts"))
        bench(Path(value("--result-dir")), value("--result-filename"), requests)


if __name__ == "__main__":
    main()
