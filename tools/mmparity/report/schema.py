# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of comparison.json, made from the dataclasses and their docs."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from mmparity.types import comparison, engine, evidence, provenance, row, stages, trace

MODULES = (engine, evidence, provenance, trace, row, stages, comparison)
NOT_FINITE = "^(NaN|-?Infinity)$"


class _Generator(GenerateJsonSchema):
    """Strict JSON has no NaN and no infinity: they are strings in the file."""

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        """A number, or the name of one that is not finite."""
        return {"type": ["number", "string"], "pattern": NOT_FINITE}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Without the default: whoever writes the file writes every field."""
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        """None: a title would only repeat the field's name."""
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:
        """All of them."""
        return True


def schema() -> dict[str, Any]:
    """Returns the schema of the file that holds a ComparisonResult."""
    made = TypeAdapter(comparison.ComparisonResult).json_schema(
        schema_generator=_Generator
    )
    docs = _field_docs()
    for name, definition in [("ComparisonResult", made), *made["$defs"].items()]:
        module = next(item for item in MODULES if hasattr(item, name))
        definition["description"] = inspect.getdoc(getattr(module, name)) or ""
        for field, text in docs.get(name, {}).items():
            definition["properties"][field]["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def to_json() -> str:
    """Returns the text of docs/comparison.schema.json."""
    return json.dumps(schema(), indent=1, allow_nan=False) + "\n"


def _field_docs() -> dict[str, dict[str, str]]:
    """Class -> field -> its doc: the string below it, or its line of Attributes."""
    bodies = [ast.parse(inspect.getsource(module)).body for module in MODULES]
    found: dict[str, dict[str, str]] = {}
    for node in itertools.chain(*bodies):
        if not isinstance(node, ast.ClassDef):
            continue
        docs = _attributes(ast.get_docstring(node) or "")
        for field, below in zip(node.body, node.body[1:], strict=False):
            if not isinstance(field, ast.AnnAssign) or not isinstance(below, ast.Expr):
                continue
            assert isinstance(field.target, ast.Name)
            if isinstance(below.value, ast.Constant):
                docs[field.target.id] = _one_line(str(below.value.value))
        found[node.name] = docs
    return found


def _attributes(docstring: str) -> dict[str, str]:
    _, _, section = docstring.partition("Attributes:\n")
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: _one_line(text) for name, text in entries}


def _one_line(text: str) -> str:
    return " ".join(text.split())
