# SPDX-License-Identifier: Apache-2.0
"""Two answers to one question -> the same, a near tie, or a difference.

Greedy decoding takes the likeliest token. Where two tokens are about as likely,
rounding decides, and everything after it differs by right: answers are compared up
to there, and the gap says whether it was such a place.
"""

from __future__ import annotations

from dataclasses import replace

from mmparity.engine.online.types import (
    Answer,
    Detail,
    Judged,
    Question,
    Settings,
    Token,
)


def judge(
    question: Question, old: Answer, new: Answer, settings: Settings, detail: Detail
) -> Judged:
    """Compares by ``detail``: what both endpoints show of an answer."""
    found = Judged(question, old, new)
    failed = [
        f"{name}: {answer.error or 'the answer is empty'}"
        for name, answer in (("old", old), ("new", new))
        if answer.error or not (answer.text or answer.tokens)
    ]
    if failed:
        return replace(found, verdict="error", reason="; ".join(failed))
    if old.prompt_tokens != new.prompt_tokens:
        reason = f"the prompt has {old.prompt_tokens} and {new.prompt_tokens} tokens"
        return replace(found, verdict="differ", reason=reason)
    if detail == "text":
        return _judge_text(found)
    return _judge_tokens(found, settings)


def _judge_text(found: Judged) -> Judged:
    old, new = found.old, found.new
    if old.text == new.text and old.finish == new.finish:
        return found
    place = next(
        (i for i, (a, b) in enumerate(zip(old.text, new.text, strict=False)) if a != b),
        min(len(old.text), len(new.text)),
    )
    reason = f"texts differ from character {place}"
    if old.text == new.text:
        reason = f"ended by {old.finish} and {new.finish}"
    return replace(found, verdict="differ", reason=reason)


def _judge_tokens(found: Judged, settings: Settings) -> Judged:
    old, new = found.old, found.new
    if not (old.tokens and new.tokens):
        side = "new" if old.tokens else "old"
        reason = f"{side}: this answer came without logprobs"
        return replace(found, verdict="error", reason=reason)
    names = [[token.name for token in answer.tokens] for answer in (old, new)]
    shared = _common(*names)
    pairs = list(zip(old.tokens[:shared], new.tokens[:shared], strict=True))
    differences = [abs(a.logprob - b.logprob) for a, b in pairs]
    of_top = (_top_difference(*pair) for pair in pairs)
    found = replace(
        found,
        compared_tokens=shared,
        largest_logprob_difference=max(differences, default=None),
        largest_top_logprob_difference=max(of_top, default=None),
    )
    over = [i for i, value in enumerate(differences) if not value <= settings.tolerance]
    if over:
        reason = (
            f"logprob of token {over[0]} differs by {differences[over[0]]:.3g}, "
            f"allowed {settings.tolerance:g}"
        )
        found = replace(found, first_difference=over[0])
    elif names[0] != names[1]:
        return _judge_place(found, shared, settings)
    elif old.text != new.text or old.finish != new.finish:
        reason = f"same tokens, but texts differ or ended by {old.finish}, {new.finish}"
    else:
        return found
    return replace(found, verdict="differ", reason=reason)


def _judge_place(found: Judged, place: int, settings: Settings) -> Judged:
    """What the first differing token, at ``place``, means."""
    old, new = found.old, found.new
    found = replace(found, verdict="differ", first_difference=place)
    if place >= min(len(old.tokens), len(new.tokens)):
        reason = f"one answer ends after {place} tokens ({old.finish}, {new.finish})"
        return replace(found, reason=reason)
    one, two = old.tokens[place], new.tokens[place]
    gaps = (_gap(one, two.name), _gap(two, one.name))
    if gaps[0] is None or gaps[1] is None:
        reason = f"token {place} is not among the likeliest of the other side"
        return replace(found, reason=reason)
    both = (gaps[0], gaps[1])
    if all(abs(gap) <= settings.near_tie for gap in both):
        found = replace(found, verdict="near tie")
    reason = f"token {place}: gaps {gaps[0]:.3g} (old), {gaps[1]:.3g} (new)"
    return replace(found, gaps=both, reason=reason)


def _common(one: list[str], two: list[str]) -> int:
    shared = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        shared += 1
    return shared


def _gap(token: Token, other: str) -> float | None:
    value = token.top.get(other)
    return None if value is None else token.logprob - value


def _top_difference(one: Token, two: Token) -> float:
    both = one.top.keys() & two.top.keys()
    return max((abs(one.top[name] - two.top[name]) for name in both), default=0.0)
