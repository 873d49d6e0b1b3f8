# SPDX-License-Identifier: Apache-2.0
"""The same result gives the same bytes; parity_tests/golden/README.md says how."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest

from mmparity.compare.result import to_json
from mmparity.report import FILES, render, schema
from mmparity.types.comparison import ComparisonResult

ROOT = Path(__file__).resolve().parents[4]
GOLDEN = ROOT / "parity_tests" / "golden"
SCHEMA = ROOT / "docs" / "comparison.schema.json"
HOW = "UPDATE_GOLDEN=1 pytest parity_tests/unit/mmparity/report/test_golden.py"


def check(path: Path, text: str) -> None:
    """Compares with the file, or writes it when UPDATE_GOLDEN is set."""
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"{path} is missing; to make it: {HOW}"
    assert text == path.read_text(encoding="utf-8"), f"if it is meant to: {HOW}"


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("name", ["passing", "failing", "error"])
def test_report_is_as_recorded(
    name: str, form: str, request: pytest.FixtureRequest
) -> None:
    result: ComparisonResult = request.getfixturevalue(name)
    text = render(result, [form])[form]
    assert text == render(result, [form])[form]
    check(GOLDEN / name / FILES[form], text)


def test_schema_is_as_generated() -> None:
    check(SCHEMA, schema.to_json())


@pytest.mark.parametrize("name", ["passing", "failing", "error"])
def test_written_results_follow_the_schema(
    name: str, request: pytest.FixtureRequest
) -> None:
    document = json.loads(to_json(request.getfixturevalue(name)))
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    validator.check_schema(validator.schema)
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("verdict",), "fine"),
        (("summary", "passed"), "many"),
        (("cases", 0, "layers", 0, "metrics", "max_abs_diff"), "small"),
        (("cases", 0, "layers", 0, "shape"), None),
    ],
)
def test_schema_refuses_what_is_wrong(
    place: tuple[str | int, ...], value: object, passing: ComparisonResult
) -> None:
    document = json.loads(to_json(passing))
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert not validator.is_valid(document)
    del inner[place[-1]]
    assert not validator.is_valid(document)


def test_every_field_of_the_schema_is_described_where_it_needs_it() -> None:
    definitions = schema.schema()["$defs"]
    assert all(definition["description"] for definition in definitions.values())
    trace = definitions["TraceMeta"]["properties"]
    assert [name for name, field in trace.items() if "description" not in field] == [
        "trace_version"
    ]
