# SPDX-License-Identifier: Apache-2.0
"""What ``--help`` says of every command: its examples, and the names it takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

import click
import pytest
from click.testing import CliRunner

from mmparity.cli import main
from mmparity.commands.grouped import GROUPS
from mmparity.encoders.devices import DTYPES
from mmparity.engine.offline.checkpoints import SERVED
from mmparity.engine.offline.scenarios import SCENARIOS
from mmparity.engine.offline.sides import SIDES
from mmparity.workload.cases import CASES
from mmparity.workload.implementations import IMPLEMENTATIONS as KNOWN
from mmparity.workload.models import MODELS


def help_of(command: str) -> str:
    return CliRunner().invoke(main, [command, "--help"]).stdout


@pytest.mark.parametrize("command", ["run", "watch", "capture"])
def test_help_has_its_options_in_groups_and_names_the_choices(command: str) -> None:
    text = help_of(command)
    heads = [line for line in text.splitlines() if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert heads == ["What:", "Where:", "How much:", "Output:", "Other:"]
    assert text.split("Other:")[1].split("\n\n")[0].split() == [
        *("--help", "Show", "this", "message", "and", "exit.")
    ]
    unbroken = re.sub(r"-\n +", "-", text)
    for names in (CASES, MODELS, DTYPES):
        assert all(name in unbroken for name in names)


def test_the_groups_of_the_help_end_with_their_examples() -> None:
    text = " ".join(help_of("run").split())
    for example in GROUPS.values():
        assert f"Example: {example}" in text


def options_of(command: str) -> dict[str, str]:
    """Option -> what the help of a command says of it."""
    given = main.commands[command].params
    records = [item.get_help_record(click.Context(main)) for item in given]
    return {names.split()[0]: text for names, text in filter(None, records)}


@pytest.mark.parametrize("command", list(main.commands))
def test_every_command_has_an_example_in_its_help_that_parses(command: str) -> None:
    shown = re.sub(r"\\\n +", "", help_of(command))
    found = re.findall(rf"^ +(?:Example: )?mmparity {command}\b(?!-)(.*)", shown, re.M)
    assert found, shown
    for example in found:
        words = shlex.split(example.split("   ")[0])
        main.commands[command].make_context(command, words)


@pytest.mark.parametrize(
    ("command", "option", "names"),
    [
        ("year", "--impl", [name for name, item in KNOWN.items() if not item.oracle]),
        ("year", "--case", CASES),
        ("year", "--dtype", DTYPES),
        ("engine", "--side", SIDES),
        ("engine", "--model", SERVED),
        ("engine", "--scenario", SCENARIOS),
    ],
)
def test_help_of_an_option_has_the_names_that_it_takes(
    command: str, option: str, names: Iterable[str]
) -> None:
    assert ", ".join(names) in options_of(command)[option]


@pytest.mark.parametrize("option", ["--tree", "--python"])
def test_an_option_of_several_commands_is_said_alike(option: str) -> None:
    found = [options_of(name).get(option) for name in main.commands]
    assert len(set(filter(None, found))) == 1
    assert sum(text is not None for text in found) >= 4
