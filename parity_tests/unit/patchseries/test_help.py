# SPDX-License-Identifier: Apache-2.0
"""The help of every command has examples that a clone with its trees can run."""

import shlex

import click
import pytest
from click.testing import CliRunner

from patchseries.cli import main
from patchseries.project import Project
from patchseries.proof.prbody import find_patch
from patchseries.series.folder import series_names


def _commands(group: click.Group, path: tuple[str, ...] = ()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def _examples(path: tuple[str, ...]) -> list[list[str]]:
    """The words after the command in each line of its help that calls it."""
    done = CliRunner().invoke(main, [*path, "--help"])
    assert done.exit_code == 0, done.output
    start, found = ["patchseries", *path], []
    for line in done.output.splitlines():
        words = [] if line.startswith("Usage") else shlex.split(line.replace("'", ""))
        while words and "=" in words[0]:  # a variable of the environment
            words.pop(0)
        if words[: len(start)] == start:
            found.append(words[len(start) :])
    return found


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*x, id=" ".join(x[0])) for x in _commands(main)]
)
def test_the_help_of_each_command_has_examples_that_it_takes(path, command):
    examples = _examples(path)
    assert examples, f"no example in `patchseries {' '.join(path)} --help`"
    for words in examples:
        given = command.make_context(path[-1], list(words)).params
        if given.get("name"):
            assert given["name"] in series_names(Project.here())
        if given.get("slug"):
            assert find_patch(Project.here(), given["slug"])
