# SPDX-License-Identifier: Apache-2.0
"""Kills patchseries at random moments and looks for what is broken: `make kills`.

Each round runs `apply`, `unapply` or `refresh` and kills it, the process alone or its
whole group with every git in it, or sends Ctrl-C. Then comes the next command: the
same, or the one that takes the series out, in every fourth round killed as well. After
that the tree has to be exactly as that command leaves it: bytes, modes, branches, HEAD
and index, the edits of a user, and nothing of ours besides.

A moment is a step of the command, chosen by the seed: its n-th change of the file
system or start of git, and up to some milliseconds later, so that git is killed too.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kill_sites import Move, Picture, Site, made_sites, real_sites
from rich.console import Console
from rich.table import Table

from patchseries.cli import main as patchseries

CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod",
           "ctypes.dlsym", "subprocess.Popen")  # fmt: skip
KILLS = {
    "process": (signal.SIGKILL, False),
    "group": (signal.SIGKILL, True),
    "Ctrl-C": (signal.SIGINT, True),
}
MOMENTS = ("before", "moving", "refs", "done", "undone", "after")
LATEST_S, PATIENCE_S = 0.012, 120.0


@dataclass(frozen=True)
class Death:
    """When and how a command ends: at a step, or a while after it."""

    step: int
    delay_s: float
    kill: str


@dataclass(frozen=True)
class Run:
    """How a command ended.

    Attributes:
        hit: whether the signal came before its end.
        steps: that it made, when it came to its end.
    """

    code: int
    hit: bool
    steps: int
    output: str


def run(words: tuple[str, ...], death: Death | None = None) -> Run:
    """Run a command in a process group of its own, killed as asked for."""
    reads, writes = os.pipe()
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if not child:
            os.close(reads)
            _command(words, death, writes, output.fileno())
        os.close(writes)
        hit = False
        if death:
            hit = _await(reads, child, death)
        code = _wait(child)
        told = int(os.read(reads, 100).decode().strip("!") or 0)
        os.close(reads)
        output.seek(0)
        exact = death is not None and not death.delay_s and told >= death.step
        return Run(code, hit or exact or code < 0, told, output.read())


def _command(words: tuple[str, ...], death: Death | None, pipe: int, out: int) -> None:
    """The child: it tells the parent when it is at the step, or its number of steps."""
    os.setsid()
    os.dup2(out, 1)
    os.dup2(out, 2)
    done = 0

    def watch(event: str, details: tuple) -> None:
        nonlocal done
        writes = event == "open" and isinstance(details[2], int) and details[2] & 3
        if not writes and event not in CHANGES:
            return
        done += 1
        if death and done == death.step:
            number, group = KILLS[death.kill]
            if death.delay_s:
                os.write(pipe, b"!")
            else:
                (os.killpg if group else os.kill)(os.getpid(), number)

    sys.addaudithook(watch)
    code = 70
    try:
        patchseries(list(words), standalone_mode=False)
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os.write(pipe, str(done).encode())
        os._exit(code)


def _await(pipe: int, child: int, death: Death) -> bool:
    """Kill the child once it says that it is where it shall be killed."""
    if not death.delay_s:
        return False
    ready, _, _ = select.select([pipe], [], [], PATIENCE_S)
    if not ready or os.read(pipe, 1) != b"!":
        return False
    time.sleep(death.delay_s)
    if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        return False
    number, group = KILLS[death.kill]
    (os.killpg if group else os.kill)(child, number)
    return True


def _wait(child: int) -> int:
    """The exit status; a command that hangs is killed, which is a broken outcome."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 99


class Rounds:
    """Rounds on some sites, counted by site, kill and moment."""

    def __init__(self, sites: list[Site], scratch: Path) -> None:
        self.sites = sites
        self.scratch = scratch
        self.steps: dict[Move, int] = {}
        self.killed: Counter[tuple[str, str, str]] = Counter()
        self.broken: Counter[tuple[str, str, str]] = Counter()

    def learn(self) -> None:
        """Go every way once unharmed: what each state looks like, and its steps."""
        for site in self.sites:
            site.pictures[site.state] = site.picture()
            first = site.state
            for goal, moves in list(site.moves.items()):
                for move in moves:
                    self._lead(site, goal)
                    self._go(site, move)
            self._lead(site, first)

    def _lead(self, site: Site, state: str) -> None:
        while site.state != state:
            moves = site.moves[site.state]
            direct = (move for move in moves if move.goal == state)
            self._go(site, next(direct, site.way_out or moves[0]))

    def _go(self, site: Site, move: Move) -> None:
        site.prepare(move)
        done = run(move.words)
        if done.code:
            sys.exit(f"error: {' '.join(move.words)} ended with {done.output}")
        self.steps[move] = done.steps
        seen = site.picture()
        if wrong := _differences(site.pictures.setdefault(move.goal, seen), seen):
            sys.exit(
                f"error: {' '.join(move.words)} does not always end alike: {wrong}"
            )
        site.state = move.goal

    def play(self, chance: random.Random) -> str:
        """One round; returns what is broken, empty when nothing is."""
        site, kill = chance.choice(self.sites), chance.choice(list(KILLS))
        move = chance.choice(site.moves[site.state])
        site.prepare(move)
        words = [" ".join(move.words[2:3])]
        death = self._death(chance, move, kill)
        first = run(move.words, death)
        moment = self._moment(site, first)
        if not first.hit:
            site.state = move.goal
            return self._judge(site, first, words)
        key = (site.kind, kill, moment)
        self.killed[key] += 1
        words.append(f"{kill} at step {death.step} +{death.delay_s * 1000:.1f} ms")
        following = site.way_out if site.way_out and chance.random() < 0.5 else move
        if chance.random() < 0.25:
            again = self._death(chance, following, chance.choice(list(KILLS)))
            run(following.words, again)
            words.append(f"{following.words[2]} {again.kill} at step {again.step}")
        if chance.random() < 0.3:
            shown = run((*following.words[:2], "status", *following.words[3:5]))
            if shown.code:
                words.append(f"status ended with {shown.code}: {shown.output}")
        last = run(following.words)
        words.append(following.words[2])
        site.state = following.goal
        problem = self._judge(site, last, words)
        self.broken[key] += bool(problem)
        if problem:
            self.sites.remove(site)  # whatever comes after would be broken as well
        return problem and f"{site.kind}, {moment}: {problem}"

    def _death(self, chance: random.Random, move: Move, kill: str) -> Death:
        step = chance.randint(1, self.steps.get(move, 60))
        late = chance.uniform(0.0005, LATEST_S) if chance.random() < 0.5 else 0.0
        return Death(step, late, kill)

    def _moment(self, site: Site, first: Run) -> str:
        for step in MOMENTS[1:-1]:
            if (site.stage / f"{step}.json").exists():
                return step
        return "before" if first.code < 0 or first.code == 2 else "after"

    def _judge(self, site: Site, last: Run, words: list[str]) -> str:
        wrong = _differences(site.pictures[site.state], site.picture())
        wrong += [f"left {path}" for path in self.scratch.iterdir()]
        if last.code:
            wrong.append(f"exit status {last.code}: {last.output[-600:]}")
        wrong += [word for word in words if word.startswith("status ended")]
        return "\n    ".join(["; ".join(words), *wrong]) if wrong else ""


def _differences(expected: Picture, seen: Picture) -> list[str]:
    names = sorted({*expected, *seen})
    found = [name for name in names if expected.get(name) != seen.get(name)]
    return [
        f"{name}: {'' if name in seen else 'gone '}{'' if name in expected else 'new '}"
        f"{str(expected.get(name))[:80]} -> {str(seen.get(name))[:80]}"
        for name in found[:12]
    ]


def table(rounds: Rounds) -> Table:
    """One row for each site and kill: kills by the step that they hit, and broken."""
    shown = Table(title="kills by the step of the journal that they found")
    for name in ("target", "kill", *MOMENTS, "all", "broken"):
        shown.add_column(
            name, justify="left" if name in ("target", "kill") else "right"
        )
    for kind, kill in sorted({key[:2] for key in rounds.killed}):
        counts = [rounds.killed[kind, kill, moment] for moment in MOMENTS]
        broken = sum(rounds.broken[kind, kill, moment] for moment in MOMENTS)
        cells = (str(count or "") for count in counts)
        shown.add_row(kind, kill, *cells, str(sum(counts)), str(broken))
    return shown


def play(rounds: Rounds, kills: int, seed: int, say: Console) -> None:
    """Rounds until there were that many kills, or no site is whole any more."""
    number, told = 0, 0
    while (done := rounds.killed.total()) < kills and rounds.sites:
        if problem := rounds.play(random.Random(f"{seed}/{number}")):
            say.print(f"round {number}: {problem}", markup=False)
        number += 1
        if done >= told:
            broken = rounds.broken.total()
            say.print(f"{done} of {kills} kills, {broken} broken outcomes")
            told += max(10, kills // 20)


def main() -> int:
    """The exit status: 1 when anything is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("kills", nargs="?", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--real", action="store_true", help="the project's own series and trees (slow)"
    )
    chosen = parser.parse_args()
    os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
    say, out = (
        Console(stderr=True, highlight=False),
        Console(highlight=False, width=100),
    )
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name).resolve()
        with _apart(folder) as apart:
            sites = real_sites(folder) if chosen.real else made_sites(folder, apart)
            rounds = Rounds(list(sites), folder / "scratch")
            rounds.scratch.mkdir()
            tempfile.tempdir = str(rounds.scratch)
            say.print(f"{len(rounds.sites)} targets; every command once unharmed")
            rounds.learn()
            play(rounds, chosen.kills, chosen.seed, say)
            tempfile.tempdir = None
    out.print(table(rounds))
    broken = rounds.broken.total()
    out.print(f"{rounds.killed.total()} kills, {broken} broken outcomes")
    return 1 if broken else 0


@contextmanager
def _apart(folder: Path) -> Iterator[Path | None]:
    """A folder in memory, where that is another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == folder.stat().st_dev:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="kills-", dir=memory) as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
