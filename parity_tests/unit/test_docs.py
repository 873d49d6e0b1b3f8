# SPDX-License-Identifier: Apache-2.0
"""The pages: short, in the index, with links that lead and commands that are tried."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mmparity.cli import main as mmparity
from patchseries.cli import main as patchseries

MAKE = "unit/test_makefile.py"
ENCODER = (
    "vision/test_adding_an_encoder.py::test_one_file_adds_an_implementation_and_a_model"
)
ONLINE = "unit/mmparity/engine/online"
TWO_PLACES = (
    "vision/test_two_places.py::test_the_recipe_of_the_guide_compares_what_was_moved"
)
STATISTICS = (
    "unit/mmparity/compare/test_statistics.py::test_exit_codes_and_words_of_the_command"
)
HUNT = "vision/test_find_the_layer.py::test_the_hunt_goes_as_the_page_says"
DUMPS = (
    "unit/mmparity/capture/dumps/test_other_tools.py"
    "::test_both_tools_dumps_of_one_tower_are_the_same"
)
CLI = "unit/mmparity/test_cli.py"
REJUDGE = "unit/mmparity/compare/test_rejudge.py::test_commands"

YEAR = "vision/test_year.py::test_a_year_of_two_says_what_the_series_changes"
RUN = {
    "eval *": "unit/test_docs.py::test_a_shell_completes_commands_and_options",
    "cp -r *": HUNT,
    "sed -i *": HUNT,
    "*run --old ascend-0.12.0rc1 *": HUNT,
    "git -C build/fork checkout *": HUNT,
    "make parity": f"{MAKE}::test_parity_fetches_applies_runs",
    "make parity [FME]*=*": f"{MAKE}::test_parity_fetches_applies_runs",
    "make apply VLLM=*": f"{MAKE}::test_apply_onto_checkouts_signed_off",
    "make year*": YEAR,
    "mmparity year*": YEAR,
    "make test": f"{MAKE}::test_tests_run_in_as_many_processes_as_asked",
    "make test-?pu": f"{MAKE}::test_device_tests_name_their_device",
    "make sources apply": f"{MAKE}::test_apply_works_on_the_projects_trees",
    "make serve-bench *": f"{MAKE}::test_serving_targets_name_model_and_environments",
    "make accuracy *": f"{MAKE}::test_serving_targets_name_model_and_environments",
    "make engine": "engine/test_engine.py"
    "::test_one_image_gives_the_same_bits_and_on_ascend_the_npus_operator_runs",
    "*mmparity engine --side*": "engine/test_engine.py"
    "::test_one_image_gives_the_same_bits_and_on_ascend_the_npus_operator_runs",
    "*--encoder layers.py*": ENCODER,
    "*capture * --fast --statistics *": STATISTICS,
    "*compare build/old build/new": STATISTICS,
    "*capture ascend-0.11.0 --device npu*": TWO_PLACES,
    "*capture unified-ascend --dtype*": TWO_PLACES,
    "*capture hf --out*": TWO_PLACES,
    "*compare build/on-npu build/here*": TWO_PLACES,
    "tar *": TWO_PLACES,
    "*compare OLD_DUMP *": DUMPS,
    "*floors --measure *": "unit/mmparity/run/test_null_pairs.py"
    "::test_one_command_measures_a_floor_from_three_null_pairs",
    "*mmparity doctor": "unit/mmparity/commands/test_doctor.py"
    "::test_ready_machine_exits_zero",
    "*mmparity serve-compare *": f"{ONLINE}/test_serve_compare.py"
    "::test_equal_endpoints_are_the_same",
    "*mmparity machines *": f"{ONLINE}/test_machines.py"
    "::test_a_real_cluster_of_two_nodes",
    "*mmparity list *": f"{CLI}::test_the_name_map_of_an_implementation_is_listed",
    "*mmparity report *": f"{CLI}::test_report_renders_again_and_keeps_the_verdict",
    "*mmparity rejudge *": REJUDGE,
    "*mmparity diff *": REJUDGE,
    "*mmparity floors RESULT*": REJUDGE,
    "*mmparity run --floors *": "unit/mmparity/run/test_null_pairs.py"
    "::test_one_command_measures_a_floor_from_three_null_pairs",
    "*mmparity run --cache *": "unit/mmparity/run/test_trace_cache.py"
    "::test_a_second_run_starts_no_worker_and_says_so",
    "*mmparity demo *": f"{ONLINE}/test_demo.py"
    "::test_the_page_asks_both_and_nobody_else",
    "patchseries forecast *": "unit/patchseries/rebase/test_forecast.py"
    "::test_what_merges_applies",
    "python -m patchseries refresh*": "series/test_real_series.py::test_check_is_clean",
    "pip install 'vllm-encoder-parity*": "unit/mmparity/report/test_installed.py"
    "::test_an_installed_package_renders_the_same_report_outside_of_the_checkout",
    "chromium *": "unit/mmparity/report/test_reviewer.py"
    "::test_the_command_of_the_guide_takes_a_picture_of_the_page",
    "*pytest */test_golden.py": "unit/mmparity/report/test_golden.py"
    "::test_report_is_as_recorded",
    "*run --old hf --new installed*": "vision/test_today.py"
    "::test_float32_agrees_with_the_oracle_of_the_other_environment",
}
"""A pattern of a command -> the test that runs it or what it stands for."""

NOT_RUN = {
    "eval *": "unit/test_docs.py::test_a_shell_completes_commands_and_options",
    "git clone <this repository>*": "the address is the reader's",
    "make setup*": "it is what made the environment that tests run in",
    "make lint": "`make check` is what a change must pass, and it has lint",
    "make check": "it runs the tests",
    "make lock ARGS=--upgrade": "it asks the network; test_setup_venv checks the locks",
    "make mutants *": "hours; test_mutants plants a part of the catalogue",
    "*harness_checks.mutants *": "hours; test_mutants plants a part of the catalogue",
    "python -m mmparity.capture.worker JOB.json": "every run starts it so",
    "*mmparity run --case NAME": "every test of a real run names its case",
    "*patchseries fetch*": "the network; test_fetch fetches from a local server",
    "patchseries apply --series <new>": "the release is the reader's; test_generations",
    "*/sglang/tower.py": "it writes test data; a test dumps so where SGLang is",
    "git diff patches/": "git's own",
    "git format-patch *": "what `patchseries refresh` runs",
    "git commit --fixup=*": "git's own; an editor is the reader's",
    "make apply && cd *": "the first half is in RUN; the second changes the shell",
    "git quiltimport *": "the path is the reader's; test_real_series imports each",
    "git am *": "the path is the reader's; test_real_series applies each",
    "* --device cuda*": "needs a GPU: `make test-gpu`",
    "*compare build/on-npu build/on-gpu*": "needs both devices",
    "*run * --device npu *": "needs an NPU: `make test-npu`",
    "*run --ray 10.*": "needs a cluster; `--ray local` is what test_execute runs",
    "*run --ray local --fast": "minutes; test_execute runs it with captures faked",
    "envs/new/bin/python -m pip *": "installs from the network",
    "ray start *": "needs the nodes it names",
    "vllm serve *": "needs a cluster of accelerators",
    "*harness_checks.bench --only unified-ascend*": "measures for minutes",
}
"""A pattern of a command -> why no test runs it."""

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
BESIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "patches/README.md",
    "vllm_src/README.md",
    "parity_tests/golden/README.md",
    "parity_tests/unit/mmparity/capture/dumps/sglang/README.md",
)
PAGES = [*(ROOT / page for page in BESIDE), *DOCS]
MOST_LINES = 120
GENERATED = re.compile(r"<!-- ([\w:-]+):begin -->.*?<!-- \1:end -->", re.DOTALL)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
INLINE = re.compile(r"`([^`]+)`")
PROGRAM = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:make|mmparity|patchseries|git|vllm|ray|tar|cp|sed|eval|pip|"
    r"pytest|python|chromium|\S*bin/\S+) \S"
)
NAME = re.compile(r"(\S+ )?\S+ (-m )?[\w.-]+")
"""A command by its name alone, which is no command to type."""
TOOLS = {"mmparity": mmparity, "patchseries": patchseries}


def commands(page: Path) -> list[str]:
    """The commands of a page's blocks, each on one line without its comment."""
    lines = [
        line
        for language, block in BLOCK.findall(page.read_text())
        if language in ("", "bash", "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if not line.startswith((" ", "\t"))
    ]
    bare = (" ".join(re.sub(r"\s+#.*$", "", line).split()) for line in lines)
    return [line for line in bare if PROGRAM.match(f"{line} .")]


def named(page: Path) -> list[str]:
    """The commands in a page's sentences, and those that stand there by name."""
    text = BLOCK.sub("", GENERATED.sub("", page.read_text()))
    found = (" ".join(part.split()) for part in INLINE.findall(text))
    return [line for line in found if PROGRAM.match(f"{line} .") and " " in line]


NAMED = {line for page in PAGES for line in named(page)}
BLOCKS = {line for page in PAGES for line in commands(page)}
TYPED = sorted(BLOCKS | {line for line in NAMED if not NAME.fullmatch(line)})
ALL = sorted(BLOCKS | NAMED)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_a_page_is_short_but_for_what_is_generated_and_run(page: Path) -> None:
    code = r"^```(python|text)\n.*?^```"
    text = re.sub(code, "", GENERATED.sub("", page.read_text()), flags=re.M | re.S)
    assert text.count("\n") <= MOST_LINES


def test_the_first_page_is_one_screen_but_for_what_is_folded() -> None:
    text = (ROOT / "README.md").read_text()
    shown = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert shown.count("\n") <= 70


def test_the_index_has_every_page_once() -> None:
    index = (ROOT / "docs/index.md").read_text()
    named = [link for link in LINK.findall(index) if "/" not in link]
    others = [page.name for page in DOCS if page.name != "index.md"]
    assert sorted(named) == sorted(others)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        name, _, anchor = link.partition("#")
        if name.startswith(("http:", "https:")):
            continue
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            bare = (re.sub(r"[^\w\s-]", "", title).lower() for title in titles)
            assert anchor in [title.replace(" ", "-") for title in bare], link


def test_every_command_is_run_by_a_test_or_has_a_reason() -> None:
    known = [*RUN, *NOT_RUN]
    assert [x for x in TYPED if not any(fnmatch(x, one) for one in known)] == []
    assert [one for one in known if not any(fnmatch(x, one) for x in TYPED)] == []


@pytest.mark.parametrize("test", sorted(set(RUN.values())))
def test_the_test_that_runs_a_command_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / "parity_tests" / file).read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert name in names


@pytest.mark.parametrize(
    "line", [x for x in ALL if "mmparity " in x or "patchseries " in x]
)
def test_a_command_of_ours_has_the_options_that_a_page_gives_it(line: str) -> None:
    words = shlex.split(line)
    program = Path(words[0]).name
    if program not in TOOLS or "COMMAND" in words:
        return
    tool = TOOLS[program]
    context = click.Context(tool)
    rest = list(tool.make_parser(context).parse_args(words[1:])[1])
    command: click.Command | None = tool
    while isinstance(command, click.Group):
        command = command.get_command(context, rest.pop(0))
    assert command is not None, line
    command.make_parser(click.Context(command)).parse_args(rest)


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
@pytest.mark.parametrize("width", range(60, 90))
def test_help_breaks_no_name_at_a_hyphen(tool: click.Group, width: int) -> None:
    for words in ([], *([name] for name in tool.commands)):
        asked = [*words, "--help"]
        done = CliRunner().invoke(
            tool, asked, terminal_width=width, max_content_width=width
        )
        assert done.exit_code == 0 and "Usage:" in done.output
        broken = [x for x in done.output.splitlines() if re.search(r"\w-$", x)]
        assert broken == [], asked
        assert "\N{NON-BREAKING HYPHEN}" not in done.output


@pytest.mark.parametrize("line", [x for x in ALL if x.startswith("eval")])
def test_a_shell_completes_commands_and_options(line: str) -> None:
    asked = line.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    name = "mmparity" if "mmparity" in line else "patchseries"
    script = f"{asked}; COMP_WORDS=({name} re) COMP_CWORD=1; _{name}_completion {name}"
    shell = ["bash", "-c", f'{script}; echo "${{COMPREPLY[@]}}"']
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        shell, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    expected = {"mmparity": "report", "patchseries": "refresh"}[name]
    assert expected in done.stdout.split(), done.stderr


@pytest.mark.parametrize("line", [x for x in ALL if x.startswith("make")])
def test_a_target_of_make_that_a_page_names_is_there(line: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    words = shlex.split(line.partition(" && ")[0])[1:]
    asked = [word for word in words if re.fullmatch(r"[a-z-]+", word)]
    assert set(asked) <= set(targets)
