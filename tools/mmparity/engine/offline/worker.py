# SPDX-License-Identifier: Apache-2.0
"""The process of one side: starts vLLM's engines, one at a time, and asks them.

``python -m mmparity.engine.offline.worker JOB.json`` under ``overlay.environment``.
Lines of its standard output that start with ``#`` say how far it is; everything else
that is printed goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from mmparity.encoders.npu_emulation.operators import ATTENTION
from mmparity.engine.offline import (
    checkpoints,
    growth,
    media,
    outcomes,
    scenarios,
    sides,
)
from mmparity.engine.offline.job import EngineJob
from mmparity.engine.offline.llm import start, stop
from mmparity.engine.offline.outcomes import Answer, ScenarioResult
from mmparity.engine.offline.probe import ask
from mmparity.engine.offline.scenarios import ENGINES, Call, Engine, Generate, Scenario
from mmparity.processes import answering


def main(arguments: list[str]) -> int:
    """Does what the job file says; what an engine answers is in its outcomes."""
    job = EngineJob.read(Path(arguments[0]))
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    with answering() as stream:
        say = partial(_say, stream)
        for model, checkpoint in job.checkpoints.items():
            if job.growth:
                growth.measure(job, model, checkpoint, say)
                continue
            chosen = scenarios.of_model(model, job.scenarios)
            for engine, group in groupby(chosen, key=lambda item: item.engine):
                run_engine(job, model, ENGINES[engine], list(group), say)
    return 0


def run_engine(
    job: EngineJob, model: str, engine: Engine, group: list[Scenario], say: Any
) -> None:
    """Starts one engine, runs its scenarios, and takes it down."""
    folder, llm = Path(job.out), None
    try:
        for scenario in group:
            say(f"{model}: {scenario.name}")
            started = time.monotonic()
            outcome = ScenarioResult(job.side, model, scenario.name)
            embeddings: list[Any] = []
            try:
                if llm is None:
                    options = {**checkpoints.get(model).options, **engine.options}
                    llm = start(job.checkpoints[model], options)
                outcome, embeddings = run(llm, outcome, scenario)
            except Exception as error:
                traceback.print_exc()
                outcome = replace(outcome, error=_in_one_line(error))
                if llm is not None:  # it may still hold the requests
                    stop(llm)
                llm = None
            seconds = round(time.monotonic() - started, 2)
            outcomes.write(replace(outcome, seconds=seconds), embeddings, folder)
    finally:
        if llm is not None:
            stop(llm)


def run(
    llm: Any, outcome: ScenarioResult, scenario: Scenario
) -> tuple[ScenarioResult, list[Any]]:
    """One scenario's steps on a running engine."""
    import torch

    ask(llm, "probe_record")
    shift = list(scenarios.SCENARIOS).index(scenario.name)
    answers, embedded, agree = [], [], True
    embeddings: list[Any] = []
    for step in scenario.steps:
        if isinstance(step, Call):
            _call(llm, step)
            continue
        answers.append(generate(llm, step, shift))
        ranks = ask(llm, "probe_take")
        agree &= all(
            len(rank) == len(ranks[0])
            and all(torch.equal(a, b) for a, b in zip(rank, ranks[0], strict=True))
            for rank in ranks[1:]
        )
        embedded.append(len(ranks[0]))
        embeddings += ranks[0]
    runs = ask(llm, "probe_runs")
    if sides.get(outcome.side).implementation.ascend:
        check_operator(runs)
    made = replace(
        outcome,
        runs=" | ".join(dict.fromkeys(runs)),
        answers=tuple(answers),
        embedded=tuple(embedded),
        ranks_agree=agree,
    )
    return made, embeddings


def check_operator(runs: list[str]) -> None:
    """Raises where a rank did not call the NPU's attention operator."""
    for rank, names in enumerate(runs):
        called = names.partition("; ")[2].split(", ")
        if ATTENTION not in called:
            raise RuntimeError(
                f"rank {rank} did not call {ATTENTION}, which an NPU attends with: "
                f"{names}"
            )


def generate(llm: Any, step: Generate, shift: int) -> tuple[Answer, ...]:
    """One batch, greedily; each answer has the same number of tokens."""
    from vllm import SamplingParams

    parameters = SamplingParams(
        temperature=0.0,
        max_tokens=scenarios.TOKENS,
        ignore_eos=True,
        logprobs=scenarios.LOGPROBS,
    )
    tokenizer = llm.get_tokenizer()
    prompts = [media.prompt_of(request, tokenizer, shift) for request in step.requests]
    made = llm.generate(prompts, parameters, use_tqdm=False)
    return tuple(
        Answer(
            len(item.prompt_token_ids),
            tuple(item.outputs[0].token_ids),
            tuple(
                {token: float(entry.logprob) for token, entry in position.items()}
                for position in item.outputs[0].logprobs
            ),
        )
        for item in made
    )


def _call(llm: Any, step: Call) -> None:
    if step.worker:
        llm.collective_rpc(step.method)
    else:
        getattr(llm, step.method)()


def _in_one_line(error: BaseException) -> str:
    """The error and what caused it, the innermost reason included."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(parts) < 3:
        parts.append(f"{type(seen).__name__}: {' '.join(str(seen).split())[:400]}")
        seen = seen.__cause__
    return " <- ".join(parts)


def _say(stream: TextIO, text: str) -> None:
    stream.write(f"#{json.dumps(text)}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
