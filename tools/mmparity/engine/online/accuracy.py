# SPDX-License-Identifier: Apache-2.0
"""lm_eval on each side; accuracies compared with each other and with the published."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from mmparity.engine.offline.checkpoints import served_checkpoint
from mmparity.engine.offline.run import Say
from mmparity.engine.online import report
from mmparity.engine.online.runners import Runner, run, runner, with_extra
from mmparity.engine.online.serve import CHECKPOINTS, SMALL_MODEL
from mmparity.errors import MmparityError
from mmparity.files import write_text
from mmparity.stored_json import to_json
from mmparity.types.verdict import Verdict

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
class Beside(Accuracy):
    """An accuracy that the new one is held against.

    Attributes:
        name: ``old`` or ``published``.
        difference: new's less this.
        allowed: the most that chance explains.
        same: whether it is no more.
    """

    name: str
    difference: float
    allowed: float
    same: bool


@dataclass(frozen=True)
class AnswerCounts:
    """Questions that both sides answered, and those they answered alike."""

    compared: int
    equal: int


@dataclass(frozen=True)
class AccuracyResult:
    """What `accuracy.json` holds; ``answers`` is null where one side ran."""

    verdict: Verdict
    reason: str
    new: Accuracy
    beside: tuple[Beside, ...]
    answers: AnswerCounts | None
    task: str
    model: str
    schema_version: int = 1


@dataclass(frozen=True)
class AccuracyOptions:
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


def measure(options: AccuracyOptions, say: Say) -> AccuracyResult:
    """Runs each side; returns and writes what `accuracy.json` holds."""
    small = not options.model
    model = options.model or str(served_checkpoint(CHECKPOINTS, SMALL_MODEL))
    task = options.task or (SMALL_TASK if small else TASK)
    arguments = options.arguments or (SMALL_ARGUMENTS if small else ARGUMENTS)
    measured, answers = {}, {}
    sides = {
        name: with_extra(runner(given), "accuracy", "lm_eval")
        for name, given in (("old", options.old), ("new", options.new))
        if given
    }
    for name, side in sides.items():
        say(f"lm_eval of {task} on {side.name}")
        folder = options.out / name
        _run(side, model, task, arguments, options.limit, folder)
        measured[name] = read(side.name, task, folder)
        answers[name] = _answers(folder)
    published = None
    if task == TASK and not options.limit:
        published = PUBLISHED.get(model.rstrip("/").rpartition("/")[2])
    name = options.model or SMALL_MODEL
    found = compared(task, name, measured, answers, published)
    write_text(options.out / FILE, to_json(found))
    write_text(options.out / PAGE, markdown(found))
    return found


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
    task: str,
    model: str,
    measured: dict[str, Accuracy],
    answers: dict[str, dict[str, str]],
    published: Accuracy | None,
) -> AccuracyResult:
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
            who = (other.who, other.value, other.error)
            beside.append(Beside(*who, name, difference, allowed, same))
    verdict: Verdict = "pass" if beside else "error"
    reason = "within what chance explains"
    if not beside:
        reason = "nothing to compare with: give --old"
    for row in beside:
        if not row.same:
            verdict = "fail"
            reason = f"{row.difference:+.4f} from {row.name}, allowed {row.allowed:.4f}"
    both = answers.get("old", {}).keys() & answers.get("new", {}).keys()
    equal = sum(answers["old"][key] == answers["new"][key] for key in both)
    counts = AnswerCounts(len(both), equal) if both else None
    return AccuracyResult(verdict, reason, new, tuple(beside), counts, task, model)


def markdown(result: AccuracyResult) -> str:
    """All of it as a page."""
    new = result.new
    word = report.WORDS[result.verdict]
    rows = [("new", new.who, f"{new.value:.4f}", f"{new.error:.4f}", "", "")]
    rows += [
        (row.name, row.who, f"{row.value:.4f}", f"{row.error:.4f}",
         f"{row.difference:+.4f}", f"{row.allowed:.4f}")
        for row in result.beside
    ]  # fmt: skip
    head = ("", "", "accuracy", "standard error", "new against it", "allowed")
    lines = [f"## {result.task} of {result.model}: {word}", "", f"{result.reason}."]
    lines += ["", *report.table(head, rows)]
    if result.answers:
        found = result.answers
        lines += ["", f"{found.equal} of {found.compared} answers are equal."]
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
