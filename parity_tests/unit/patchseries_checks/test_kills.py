# SPDX-License-Identifier: Apache-2.0
"""A few rounds of `make kills`, and planted faults that it has to find."""

from __future__ import annotations

import os
import random
import tempfile

import pytest
from click.testing import CliRunner

from patchseries.tree import journal, switch
from patchseries_checks.kills.__main__ import folders, main
from patchseries_checks.kills.command import Death, run
from patchseries_checks.kills.rounds import Rounds
from patchseries_checks.kills.sites import made_sites


@pytest.fixture(autouse=True)
def bare_git(monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)


@pytest.fixture
def rounds_on(monkeypatch):
    """Rounds on sites of some kinds, every command known."""
    with folders() as (folder, _):

        def make(*kinds):
            sites = [s for s in made_sites(folder, None) if s.kind in kinds]
            rounds = Rounds(sites, folder / "scratch")
            rounds.scratch.mkdir()
            monkeypatch.setattr(tempfile, "tempdir", str(rounds.scratch))
            rounds.learn()
            return rounds

        yield make


def test_rounds_leave_nothing_broken(rounds_on):
    rounds = rounds_on("git", "plain", "refresh")
    for seed in range(14):
        assert not rounds.play(random.Random(seed), exact=True)
    assert rounds.killed.total() > 11 and not rounds.broken
    sites, kills, moments = map(set, zip(*rounds.killed, strict=True))
    assert len(sites) == 3 and len(kills) == 3 and len(moments) > 3


@pytest.mark.parametrize("planted", ["", "no entry for refs", "scratch folders stay"])
def test_finds_a_planted_fault(rounds_on, monkeypatch, planted):
    """A step that the journal doesn't say, and what a killed command had for itself."""
    step, moment = switch.enter_step, "refs"

    def forgetful(folder, name):
        return name if name == journal.REFS else step(folder, name)

    rounds = rounds_on("git")
    (site,) = rounds.sites
    move = site.moves["before"][0]
    if planted == "no entry for refs":
        monkeypatch.setattr(switch, "enter_step", forgetful)
    if planted == "scratch folders stay":
        moment = "before"
        monkeypatch.setattr("patchseries.apply.apply.drop_abandoned", lambda: None)
        monkeypatch.setattr("patchseries.scratch.drop_abandoned", lambda: None)
    moments = rounds.moments[site.state, move]
    steps = [n for n, m in enumerate(moments, 1) if m == moment]
    found = ""
    for number in steps[-9::2]:
        if rounds.sites and site.state == "before":
            found = rounds.round(
                site, move, Death(number, 0.0, "process"), site.way_out
            )
    assert bool(found) == bool(planted) == bool(rounds.broken), found
    assert "left " in found or planted != "scratch folders stay"


def test_ctrl_c_after_the_end_stays_in_the_child(monkeypatch, tmp_path):
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("patchseries_checks.kills.command.json.dumps", interrupted)
    assert run(("--help",), tmp_path).code == 0


@pytest.mark.parametrize("planted", [False, True])
def test_exit_status_says_whether_anything_is_broken(monkeypatch, planted):
    if planted:  # files that had changed places stay where they are
        monkeypatch.setattr(switch, "_flipped", lambda *given: [])
    # A kill a while after a step hits another one in every run; the first find ends it.
    kills = "300" if planted else "8"
    done = CliRunner().invoke(main, [kills, "--only", "plain"])
    assert done.exit_code == planted, done.output
    assert ("broken in round" in done.output) == planted
    assert f", {int(planted)} broken outcomes, " in done.output
