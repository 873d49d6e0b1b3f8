# SPDX-License-Identifier: Apache-2.0
"""lm_eval on each side; accuracies compared with each other and with the published."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmparity.engine.offline.checkpoints import served_checkpoint
from mmparity.engine.online import report
from mmparity.engine.online.runners import Runner, run, runner, with_extra
from mmparity.engine.online.serve import CHECKPOINTS, SMALL_MODEL, Say
from mmparity.errors import MmparityError
from mmparity.files import write_text

FILE, PAGE = "accuracy.json", "accuracy.md"
TASKS = Path(__file__).parent / "tasks"
SMALL_TASK, TASK = "photographs", "mmmu_val"
SMALL_ARGUMENTS = "dtype=float32,max_model_len=2048,enforce_eager=True"
ARGUMENTS = "max_model_len=8192"
ERRORS = 2.0
"""Standard errors of a difference that are no difference."""


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers."""

    who: str
    value: float
    error: float


PUBLISHED = {
    "Qwen3-VL-8B-Instruct": Accuracy("vllm-ascend 0.11.0rc3", 0.5389, 0.0159),
    "Qwen2.5-VL-32B-Instruct": Accuracy("vllm-ascend 0.11.0rc3", 0.5744, 0.0158),
}
"""mmmu_val as vllm-ascend's tutorial gives it, by the last part of the model's name."""


@dataclass(frozen=True)
class Order:
    """What `mmparity accuracy` was asked for.

    Attributes:
        old: a side, or a python that has vLLM and lm_eval; none if empty.
        new: likewise; never empty.
        model: checkpoint; empty for the project's small one and its task.
        task: of lm_eval; empty for mmmu_val.
        arguments: of vLLM, as lm_eval takes them.
        limit: questions of each task; all if 0.
    """

    old: str
    new: str
    model: str
    task: str
    arguments: str
    limit: int
    out: Path


def measure(order: Order, say: Say) -> dict[str, Any]:
    """Runs each side; returns and writes what `accuracy.json` holds."""
    small = not order.model
    model = order.model or str(served_checkpoint(CHECKPOINTS, SMALL_MODEL))
    task = order.task or (SMALL_TASK if small else TASK)
    arguments = order.arguments or (SMALL_ARGUMENTS if small else ARGUMENTS)
    measured, answers = {}, {}
    sides = {
        name: with_extra(runner(given), "accuracy", "lm_eval")
        for name, given in (("old", order.old), ("new", order.new))
        if given
    }
    for name, side in sides.items():
        say(f"lm_eval of {task} on {side.name}")
        folder = order.out / name
        _run(side, model, task, arguments, order.limit, folder)
        measured[name] = read(side.name, task, folder)
        answers[name] = _answers(folder)
    published = None
    if task == TASK and not order.limit:
        published = PUBLISHED.get(model.rstrip("/").rpartition("/")[2])
    data = compared(measured, answers, published)
    data |= {"task": task, "model": order.model or SMALL_MODEL}
    write_text(order.out / FILE, json.dumps(data, indent=1) + "\n")
    write_text(order.out / PAGE, markdown(data))
    return data


def _run(
    side: Runner, model: str, task: str, arguments: str, limit: int, folder: Path
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [
        *(side.python, "-m", "lm_eval", "--model", "vllm-vlm"),
        *("--model_args", f"pretrained={model},{arguments}", "--tasks", task),
        *("--batch_size", "auto", "--apply_chat_template", "--log_samples"),
        *("--include_path", str(TASKS), "--output_path", str(folder.resolve())),
        *(("--limit", str(limit)) if limit else ()),
    ]
    run(command, side.environment, folder / "lm_eval.log", f"lm_eval on {side.name}")


def read(who: str, task: str, folder: Path) -> Accuracy:
    """What lm_eval wrote."""
    files = sorted(folder.rglob("results_*.json"))
    try:
        row = json.loads(files[-1].read_text())["results"][task]
        found = Accuracy(who, float(row["acc,none"]), float(row["acc_stderr,none"]))
    except (IndexError, OSError, ValueError, KeyError) as error:
        raise MmparityError(
            f"lm_eval left no accuracy of {task} in {folder} ({error!r}). Allowed: a "
            f"task that has the metric acc. Its log: {folder / 'lm_eval.log'}"
        ) from error
    if not math.isfinite(found.value) or not math.isfinite(found.error):
        raise MmparityError(f"lm_eval of {task} on {who} is not a number: {found}")
    return found


def compared(
    measured: dict[str, Accuracy],
    answers: dict[str, dict[str, str]],
    published: Accuracy | None,
) -> dict[str, Any]:
    """The new accuracy beside the old and the published one.

    Different answers to a few questions are expected where arithmetic differs; they
    are counted, and the accuracies decide.
    """
    new, beside = measured["new"], []
    for name, other in (("old", measured.get("old")), ("published", published)):
        if other is not None:
            allowed = ERRORS * math.hypot(new.error, other.error)
            difference = new.value - other.value
            same = abs(difference) <= allowed
            beside.append((name, other, difference, allowed, same))
    rows = [
        {"name": name, **asdict(other), "difference": d, "allowed": a, "same": same}
        for name, other, d, a, same in beside
    ]
    verdict, reason = "pass", "within what chance explains"
    if not rows:
        verdict, reason = "error", "nothing to compare with: give --old"
    for name, _, difference, allowed, same in beside:
        if not same:
            verdict = "fail"
            reason = f"{difference:+.4f} from {name}, allowed {allowed:.4f}"
    both = answers.get("old", {}).keys() & answers.get("new", {}).keys()
    equal = sum(answers["old"][key] == answers["new"][key] for key in both)
    return {
        "schema_version": 1,
        "verdict": verdict,
        "reason": reason,
        "new": asdict(new),
        "beside": rows,
        "answers": {"compared": len(both), "equal": equal} if both else None,
    }


def markdown(data: dict[str, Any]) -> str:
    """All of it as a page."""
    new = data["new"]
    word = report.WORDS[data["verdict"]]
    rows = [("new", new["who"], f"{new['value']:.4f}", f"{new['error']:.4f}", "", "")]
    rows += [
        (row["name"], row["who"], f"{row['value']:.4f}", f"{row['error']:.4f}",
         f"{row['difference']:+.4f}", f"{row['allowed']:.4f}")
        for row in data["beside"]
    ]  # fmt: skip
    head = ("", "", "accuracy", "standard error", "new against it", "allowed")
    lines = [f"## {data['task']} of {data['model']}: {word}", "", f"{data['reason']}."]
    lines += ["", *report.table(head, rows)]
    if data["answers"]:
        found = data["answers"]
        lines += ["", f"{found['equal']} of {found['compared']} answers are equal."]
    return "\n".join(lines) + "\n"


def _answers(folder: Path) -> dict[str, str]:
    """Question -> answer, from lm_eval's samples."""
    found = {}
    for file in sorted(folder.rglob("samples_*.jsonl")):
        task = file.name.rpartition("_")[0]
        for line in file.read_text().splitlines():
            row = json.loads(line)
            found[f"{task} {row['doc_id']}"] = json.dumps(row["filtered_resps"])
    return found
