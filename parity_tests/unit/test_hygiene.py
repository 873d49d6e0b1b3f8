# SPDX-License-Identifier: Apache-2.0
"""Rules that every tracked file of the project keeps."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPDX = "# SPDX-License-Identifier: Apache-2.0"
MODULE_LINES, FUNCTION_LINES, PARAMETERS = 300, 40, 7
UNTYPED = re.compile(r"\b[Dd]ict\[str, " + r"Any\]")
MOST_UNTYPED = 39
"""What others wrote, before it is looked at; what is ours has a class of its own."""
GIVEN_BY_OTHERS = {"attend", "_npu_flash_attention_unpad", "npu_quant_matmul"}
"""Functions with the parameters of the operator that they stand for."""
MAX_BYTES = 500 * 1024
# Spelled in pieces, so that this file keeps its own rule.
REGISTRY_HOSTS = re.compile(
    r"pypi\.(?:org|io)|python" + r"hosted|registry\." + r"npmjs|deb\.deb" + r"ian"
)
PRIVATE_PATHS = re.compile(r"(?:^|[^A-Za-z0-9_.~$}<])/(?:home|root|wo" + r"rk|tmp/w)/")


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    assert files, "git lists no tracked file"
    return [file for file in files if file.is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """Name and text of what the project wrote; a patch quotes upstream's lines."""
    for file in tracked():
        if file.suffix in (".patch", ".png", ".jpg", ".safetensors", ".xz"):
            continue
        yield str(file.relative_to(ROOT)), file.read_text()


def hits(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def python_files() -> list[Path]:
    return [file for file in tracked() if file.suffix == ".py"]


def test_no_registry_host_is_named() -> None:
    assert hits(REGISTRY_HOSTS) == []


def test_no_path_of_one_machine_is_named() -> None:
    assert hits(PRIVATE_PATHS) == []


def test_patterns_find_what_they_forbid() -> None:
    assert REGISTRY_HOSTS.search("https://files.python" + "hosted.org/x")
    for path in ("/wo" + "rk/x", '"/ho' + 'me/me/x"', "see /ro" + "ot/.cache"):
        assert PRIVATE_PATHS.search(path), path
    assert not PRIVATE_PATHS.search("docs/wo" + "rk/x")


def test_every_python_file_names_its_licence() -> None:
    bare = [f for f in python_files() if not f.read_text().startswith(SPDX + "\n")]
    assert bare == []


def is_command(function: ast.FunctionDef) -> bool:
    """Whether its parameters are options, and its docstring a help text."""
    return any(".command(" in ast.unparse(d) + "(" for d in function.decorator_list)


def over_budget(function: ast.FunctionDef) -> str:
    """What of a function is more than it may be; empty if nothing is."""
    start = function.lineno
    if is_command(function):
        start = (function.body[1:] or function.body)[0].lineno
    lines = (function.end_lineno or 0) - start + 1
    asked = function.args
    given = [a.arg for a in (*asked.posonlyargs, *asked.args, *asked.kwonlyargs)]
    count = len([name for name in given if name not in ("self", "cls")])
    if function.name in GIVEN_BY_OTHERS or is_command(function):
        count = 0
    if lines <= FUNCTION_LINES and count <= PARAMETERS:
        return ""
    return f"{function.name}: {lines} lines, {count} parameters"


def test_modules_and_functions_of_the_tools_stay_short() -> None:
    over = []
    for file in (ROOT / "tools").rglob("*.py"):
        text = file.read_text()
        if (lines := text.count("\n")) > MODULE_LINES:
            over.append(f"{file}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (found := over_budget(node)):
                over.append(f"{file}: {found}")
    assert over == []


def test_dicts_of_anything_stay_few() -> None:
    files = (ROOT / "tools").rglob("*.py")
    found = {str(file): len(UNTYPED.findall(file.read_text())) for file in files}
    assert sum(found.values()) <= MOST_UNTYPED, {f: n for f, n in found.items() if n}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(a, b, c, d, e, f, g): pass", ""),
        ("def f(a, b, c, d, e, f, g, *, h): pass", "f: 1 lines, 8 parameters"),
        ("def f():\n" + "    pass\n" * 40, "f: 41 lines, 0 parameters"),
        ("@click.command()\ndef f(a, b, c, d, e, f, g, h):\n    'Help.'", ""),
    ],
)
def test_what_is_over_its_budget_is_named(source: str, found: str) -> None:
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert over_budget(function) == found


@pytest.mark.parametrize("setting", ["autocrlf=true", "attributesFile"])
def test_a_clone_has_our_bytes_whatever_its_line_ends(tmp_path, setting) -> None:
    """A patch with other line ends is another patch."""
    (tmp_path / "attributes").write_text("* text eol=crlf\n")
    if setting == "attributesFile":
        setting += f"={tmp_path / 'attributes'}"
    clone = tmp_path / "clone"
    options = ["-q", "--shared", "--no-checkout", "-c", f"core.{setting}"]
    subprocess.run(["git", "clone", *options, ROOT, clone], check=True)
    (clone / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    files = ["patches", "Makefile", "parity_tests/golden"]
    checkout = ["git", "-C", clone, "checkout", "-q", "HEAD", "--", *files]
    subprocess.run(checkout, check=True)
    written = [file for file in clone.rglob("*") if file.is_file()]
    written = [file for file in written if ".git" not in file.relative_to(clone).parts]
    assert any(file.suffix == ".patch" for file in written)
    assert [str(f) for f in written if b"\r\n" in f.read_bytes()] == []


def test_tracked_files_are_small() -> None:
    large = {
        str(f): f.stat().st_size for f in tracked() if f.stat().st_size > MAX_BYTES
    }
    assert large == {}


def test_the_two_packages_do_not_import_each_other() -> None:
    for package, other in (("patchseries", "mmparity"), ("mmparity", "patchseries")):
        pattern = re.compile(rf"^\s*(?:import|from) {other}\b", re.MULTILINE)
        sources = (ROOT / "tools" / package).rglob("*.py")
        assert [str(f) for f in sources if pattern.search(f.read_text())] == []


def test_patchseries_never_imports_torch() -> None:
    pattern = re.compile(r"^\s*(?:import|from) torch\b", re.MULTILINE)
    sources = (ROOT / "tools/patchseries").rglob("*.py")
    assert [str(f) for f in sources if pattern.search(f.read_text())] == []
