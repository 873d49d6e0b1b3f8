# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes, messages, and what goes to which stream."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from mmparity import __main__
from mmparity.cli import main
from mmparity.compare.result_diff import lines

if TYPE_CHECKING:
    from conftest import Sides


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def compare(sides: Sides, *more: object) -> Result:
    old, new, oracle = sides.write()
    out = sides.root / "out"
    return invoke("compare", old, new, "--oracle", oracle, "--out", out, *more)


def test_equal_traces_exit_0_and_leave_every_report(sides: Sides) -> None:
    result = compare(sides)
    assert result.exit_code == 0, result.output
    assert "PASS" in result.stdout
    written = {file.name for file in (sides.root / "out").iterdir()}
    assert {"comparison.json", "report.html", "report.md", "report.xml"} <= written


def test_difference_exits_1_and_names_the_place(sides: Sides) -> None:
    sides.new["blocks.1.attn.k"][0, 0, 0] += 1
    result = compare(sides)
    assert result.exit_code == 1, result.output
    assert "blocks.1.attn.k" in result.stdout


def test_json_alone_is_on_stdout(sides: Sides) -> None:
    result = compare(sides, "--json")
    assert json.loads(result.stdout)["verdict"] == "pass"


def test_different_weights_exit_2_with_one_message(sides: Sides) -> None:
    sides.new_meta = replace(sides.new_meta, weights_digest="other")
    result = compare(sides)
    assert result.exit_code == 2
    assert result.stderr.startswith("mmparity: old (old) and new (new) are not traces")
    assert "Traceback" not in result.output
    assert not (sides.root / "out").exists()


def test_folders_with_several_traces_are_paired_by_case_and_dtype(
    sides: Sides, tmp_path: Path
) -> None:
    for case in ("image", "video"):
        sides.root = tmp_path / "traces"
        for side in ("old", "new", "oracle"):
            meta = replace(getattr(sides, f"{side}_meta"), case=case)
            setattr(sides, f"{side}_meta", meta)
        old, new, oracle = sides.write()
        for folder in (old, new, oracle):
            target = tmp_path / folder.name / case
            target.parent.mkdir(exist_ok=True)
            folder.rename(target)
    folders = tmp_path / "old", tmp_path / "new"
    out = tmp_path / "out"
    result = invoke("compare", *folders, "--oracle", tmp_path / "oracle", "--out", out)
    assert result.exit_code == 0, result.output
    cases = json.loads((out / "comparison.json").read_text())["cases"]
    assert [case["name"] for case in cases] == ["image", "video"]
    (tmp_path / "new" / "video" / "trace.json").unlink()
    result = invoke("compare", *folders, "--out", out)
    assert result.exit_code == 2
    assert "only one of" in result.stderr
    assert "video-float32" in result.stderr


def test_what_a_killed_capture_of_ranks_left_is_no_trace(
    sides: Sides, tmp_path: Path
) -> None:
    old, _, oracle = sides.write()
    (tmp_path / "new").rename(tmp_path / "image-float32")
    for left in (".image-float32.rank0", ".image-float32.rank1"):
        shutil.copytree(tmp_path / "image-float32", tmp_path / "side" / left)
    (tmp_path / "image-float32").rename(tmp_path / "side" / "image-float32")
    given = ("--oracle", oracle, "--out", tmp_path / "out")
    result = invoke("compare", old, tmp_path / "side", *given)
    assert result.exit_code == 0, result.output
    shutil.rmtree(tmp_path / "side" / "image-float32")
    result = invoke("compare", old, tmp_path / "side", *given)
    assert (result.exit_code, "has no whole trace" in result.stderr) == (2, True)


def test_report_renders_again_and_keeps_the_verdict(sides: Sides) -> None:
    sides.new["merger"] += 1
    compare(sides)
    out = sides.root / "out"
    (out / "report.html").unlink()
    result = invoke("report", out, "--format", "html,text")
    assert result.exit_code == 1
    assert (out / "report.html").exists()
    assert "FAIL  different" in (out / "report.txt").read_text()
    result = invoke("report", out, "--format", "htm")
    assert result.exit_code == 2
    assert "Closest: 'html'" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "no-such", "no-such", "--out", "x"),
        ("report", "no-such"),
        ("run", "--old", "ascend"),
        ("run", "--case", "no-such"),
        ("run", "--depth", "1"),
        ("run", "--threads", "9" * 30),
        ("run", "--floors", "no-such"),
        ("run", "--graft", "some"),
        ("floors", "--measure", "unify", "--out", "x"),
        ("run", "--device", "tpu"),
        ("capture", "unify", "--out", "x"),
        ("run", "--grid", "1,3,3"),
        ("no-such-command",),
    ],
)
def test_bad_input_exits_2_without_a_traceback(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("what", ["cases", "implementations", "hook-points"])
def test_lists_are_readable_by_people_and_programs(what: str) -> None:
    expected = {"cases": "ragged", "implementations": "unified-ascend"}
    name = expected.get(what, "blocks.{i}.attn.q")
    assert name in invoke("list", what).stdout
    assert name in json.loads(invoke("list", what, "--json").stdout)


def test_the_name_map_of_an_implementation_is_listed() -> None:
    words = ("list", "hook-points", "--impl", "ascend-0.11.0")
    names = json.loads(invoke(*words, "--json").stdout)
    operator = "blocks.{i}.attn/_npu_flash_attention_unpad input.query [unpad_halves]"
    assert names["blocks.{i}.attn.q"] == operator
    assert "blocks.{i}.mlp: container" in " ".join(names["(no hook point)"])
    assert "blocks.{i}.mlp.fc1" in invoke(*words, "--model", "qwen2-vl-7b").stdout
    refused = invoke(*words, "--model", "qwen3-vl-8b")
    assert (refused.exit_code, "no encoder for" in refused.stderr) == (2, True)
    assert invoke("list", "cases", "--impl", "hf").exit_code == 2


def test_help_and_lists_need_no_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from mmparity.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)"
    )
    for arguments in (["--help"], ["run", "--help"], ["list", "implementations"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            capture_output=True,
            text=True,
            env={
                "PYTHONPATH": str(Path(main.callback.__code__.co_filename).parents[1])
            },
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--case nope", "unknown case 'nope'"),
        ("--old nope", "unknown implementation 'nope'"),
        ("--fast --depth 3", "say other depths"),
    ],
)
def test_options_are_refused_before_what_takes_seconds_is_imported(
    words: str, said: str, tmp_path: Path
) -> None:
    script = (
        "import sys\n"
        "from mmparity.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print([name for name in ('torch', 'numba') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, "run", *words.split()]
    tools = str(Path(main.callback.__code__.co_filename).parents[1])
    done = subprocess.run(
        [*command, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": tools},
    )
    assert said in done.stderr
    assert done.stdout == "[]\n", done.stderr


def test_our_own_mistake_exits_2_and_never_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(__main__.cli, "main", broken)
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 2
    assert "planted" in capsys.readouterr().err


def test_reader_that_has_seen_enough_ends_it_as_every_tool_in_a_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "mmparity", "list", "hook-points"]
    tools = str(Path(main.callback.__code__.co_filename).parents[1])
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            command,
            stdout=closed,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": tools},
        )
    assert done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE


def test_version_is_the_project_s() -> None:
    assert version("vllm-encoder-parity") in invoke("--version").stdout


def test_difference_of_many_lines_is_cut_and_says_what_is_left() -> None:
    found = {"values_changed": {f"root[{n:03}]": {"new_value": n} for n in range(100)}}
    said = list(lines(found))
    assert len(said) == 41
    assert said[0] == "values changed: [000]: None -> 0"
    assert said[-1] == "and 60 more differences: --json has all"


def test_unwritable_folder_is_one_message(sides: Sides) -> None:
    old, new, _ = sides.write()
    (sides.root / "out").write_text("a file")
    result = invoke("compare", old, new, "--out", sides.root / "out")
    assert result.exit_code == 2
    assert "out cannot be written to: File exists. Name another" in result.stderr


@pytest.mark.parametrize(
    ("given", "meant"), [("fp16", "float16"), ("BF16", "bfloat16")]
)
def test_a_short_name_of_a_dtype_is_answered_with_torchs(
    given: str, meant: str
) -> None:
    result = invoke("run", "--dtype", given)
    assert result.exit_code == 2
    assert f"In torch it is '{meant}'" in result.stderr
