# SPDX-License-Identifier: Apache-2.0
"""Rounds of a killed command, the next one, and a look at what is there then."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from patchseries.errors import PatchseriesError
from patchseries_checks.kills.command import KILLS, MOMENTS, Death, Run, run
from patchseries_checks.kills.sites import Move, Picture, Site

LATEST_S = 0.012
_RECOVERED = 40  # steps within which a command takes care of an interrupted one


class Rounds:
    """Rounds on some sites, counted by site, kill and step of the journal.

    Attributes:
        sites: those that no round has left broken.
        moments: the step of the journal at each step of an unharmed command, by the
            state before it.
    """

    def __init__(self, sites: list[Site], scratch: Path) -> None:
        self.sites = sites
        self.scratch = scratch
        self.moments: dict[tuple[str, Move], tuple[str, ...]] = {}
        self.killed: Counter[tuple[str, str, str]] = Counter()
        self.broken: Counter[tuple[str, str, str]] = Counter()

    def learn(self) -> None:
        """Go every way once unharmed: what each state looks like, and its steps.

        Raises:
            PatchseriesError: a command fails, or does not always end alike.
        """
        for site in self.sites:
            first = site.state
            site.pictures[first] = site.picture()
            for state, moves in list(site.moves.items()):
                for move in moves:
                    self._lead(site, state)
                    self._go(site, move)
            self._lead(site, first)

    def _lead(self, site: Site, state: str) -> None:
        while site.state != state:
            moves = site.moves[site.state]
            direct = (move for move in moves if move.goal == state)
            self._go(site, next(direct, site.way_out or moves[0]))

    def _go(self, site: Site, move: Move) -> None:
        site.prepare(move)
        done = run(move.words, site.stage)
        if done.code:
            raise PatchseriesError("unfit", f"unharmed, {move} ended with {done}")
        self.moments[site.state, move] = done.moments
        seen = site.picture()
        if wrong := differences(site.pictures.setdefault(move.goal, seen), seen):
            raise PatchseriesError(
                "unfit", f"{move} does not always end alike: {wrong}"
            )
        site.state = move.goal

    def play(self, chance: random.Random, exact: bool = False) -> str:
        """One round by chance; returns what is broken, empty when nothing is.

        Args:
            exact: kill at steps alone, never a while after one: the same every time.
        """
        site = chance.choice(self.sites)
        move = chance.choice(site.moves[site.state])
        moments = self.moments[site.state, move]
        moment = chance.choice([m for m in MOMENTS if m in moments])
        steps = [number for number, m in enumerate(moments, 1) if m == moment]
        death = _death(chance, chance.choice(steps), exact)
        following = site.way_out if site.way_out and chance.random() < 0.5 else move
        again = None
        if chance.random() < 0.25:
            last = chance.choice((_RECOVERED, len(moments)))
            again = _death(chance, chance.randint(1, last), exact)
        return self.round(site, move, death, following, again)

    def round(
        self,
        site: Site,
        move: Move,
        death: Death,
        following: Move,
        again: Death | None = None,
    ) -> str:
        """Kill `move`, then `following` where asked for, and let that end.

        Returns:
            What is broken, empty when nothing is.
        """
        site.prepare(move)
        first = run(move.words, site.stage, death)
        story = [f"{site.kind}: {site.state}; {move}; {death}"]
        if not first.hit:
            site.state = move.goal
            return self._judge(site, first, story)
        moments = self.moments[site.state, move]
        moment = moments[min(death.step, len(moments)) - 1]
        self.killed[site.kind, death.kill, moment] += 1
        if again:
            run(following.words, site.stage, again)
            story.append(f"{following}; {again}")
        shown = run(following.on("status").words, site.stage)
        last = run(following.words, site.stage)
        story.append(str(following))
        site.state = following.goal
        if shown.code:
            story.append(f"status ended with {shown.code}: {shown.output}")
        problem = self._judge(site, last, story, bool(shown.code))
        if problem:
            self.broken[site.kind, death.kill, moment] += 1
            self.sites.remove(site)  # whatever comes after would be broken as well
        return problem

    def _judge(
        self, site: Site, last: Run, story: list[str], failed: bool = False
    ) -> str:
        wrong = differences(site.pictures[site.state], site.picture())
        wrong += [f"left {path}" for path in self.scratch.iterdir()]
        if last.code:
            wrong.append(f"exit status {last.code}: {last.output[-600:]}")
        return "\n    ".join([*story, *wrong]) if wrong or failed else ""


def _death(chance: random.Random, step: int, exact: bool) -> Death:
    late = 0.0 if exact or chance.random() < 0.5 else chance.uniform(0.0005, LATEST_S)
    return Death(step, late, chance.choice(list(KILLS)))


def differences(expected: Picture, seen: Picture) -> list[str]:
    """What two pictures do not share, at most twelve of it."""
    names = sorted({*expected, *seen})
    found = [name for name in names if expected.get(name) != seen.get(name)]
    return [
        f"{name}: {expected.get(name, 'not there')} -> {seen.get(name, 'gone')}"
        for name in found[:12]
    ]
