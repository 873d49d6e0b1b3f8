# SPDX-License-Identifier: Apache-2.0
"""Names that try to leave their place, in every format."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from mmparity.report import markdown, render, terminal_summary
from mmparity.trace.hook_points import expand
from mmparity.types.comparison import ComparisonResult, StructuralDifference
from mmparity.types.evidence import FileChange, TreeChanges
from mmparity.types.provenance import Provenance, Source
from mmparity.types.trace import Unmatched

NAMES = {
    "script": "</script><script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "comment": "--><!-- <![CDATA[ ]]>",
    "table": "a|b\\|c`d``e| **bold** [x](javascript:alert(1))",
    "details": "</details></summary><h1>@everyone #1",
    "terminal": "\x1b[2J\x1b]0;title\x07\x00\r\nnext",
    "direction": "a\u202ekcatta\u2066b",
    "surrogate": "lone \ud800 surrogate",
    "template": "{{ 7 * 7 }} {% raw %}",
    "script letters": "块.注意力.q ß é \U0001d4b3",
    "long": "x" * 100_000,
}


def rename(result: ComparisonResult, name: str) -> ComparisonResult:
    """The result with `name` in every place where a name can be."""
    cases = []
    for case in result.cases:
        layers = [
            dataclasses.replace(
                layer,
                hook_point=f"{name}.{layer.order}",
                old_path=name,
                new_path=name,
                old_transforms=(name,),
                old_dtype=name,
                reason=name if layer.verdict != "pass" else "",
            )
            for layer in case.layers
        ]
        assert case.old_meta is not None
        meta = dataclasses.replace(
            case.old_meta,
            implementation=name,
            device=name,
            emulated=(name,),
            sources={name: name},
            versions={name: name},
        )
        cases.append(
            dataclasses.replace(
                case,
                id=f"{case.id}{name}",
                name=f"{case.name}{name}",
                old=name,
                reason=name,
                description=name,
                repeat=name,
                layers=tuple(layers),
                unmatched=(Unmatched(name, "old", name, explained=False),),
                structure=(
                    StructuralDifference(
                        name, "changed", name, (), name, name, "intended", name, name
                    ),
                ),
                old_meta=meta,
                code=tuple(
                    dataclasses.replace(item, module=name, file=name, text=name[:200])
                    for item in case.code
                ),
            )
        )
    first = result.first_divergence
    assert first is not None
    index = int(first.case.startswith("video"))
    first = dataclasses.replace(
        first,
        case=cases[index].id,
        hook_point=f"{name}.12",
        reason=name,
        last_passing=name,
    )
    return dataclasses.replace(
        result,
        cases=tuple(cases),
        first_divergence=first,
        changes=(
            TreeChanges(
                name, name, name, 25, (FileChange(name, f"+{name[:200]}\n"),), 1
            ),
        ),
        provenance=Provenance(
            created=name,
            command=name,
            sources={name: Source(name, name, name, {name: name})},
            versions={name: name},
            emulated={name: (name,)},
            errors=(name,),
        ),
    )


@pytest.fixture(params=NAMES.values(), ids=NAMES.keys())
def hostile(
    request: pytest.FixtureRequest, failing: ComparisonResult
) -> ComparisonResult:
    return rename(failing, request.param)


@pytest.fixture
def harmless(failing: ComparisonResult) -> ComparisonResult:
    return rename(failing, "name")


def tags(text: str) -> Counter[tuple[str, tuple[str, ...]]]:
    """How often each tag occurs with which attributes."""
    found: Counter[tuple[str, tuple[str, ...]]] = Counter()

    class Counting(HTMLParser):
        def handle_starttag(
            self, tag: str, attrs: list[tuple[str, str | None]]
        ) -> None:
            found[tag, tuple(name for name, _ in attrs)] += 1

    Counting().feed(text)
    return found


def test_html_has_the_tags_that_a_harmless_name_gives(
    hostile: ComparisonResult, harmless: ComparisonResult
) -> None:
    text = render(hostile, ["html"])["html"]
    assert tags(text) == tags(render(harmless, ["html"])["html"])
    assert len(text.encode()) < 1024 * 1024
    data = re.findall(r'<script type="application/json" id="rows">(.*?)</script>', text)
    assert len(data) == 1
    assert json.loads(data[0])["cases"]["case-2"]["rows"] == len(expand(2))


def test_markdown_has_the_blocks_that_a_harmless_name_gives(
    hostile: ComparisonResult, harmless: ComparisonResult
) -> None:
    text = render(hostile, ["markdown"])["markdown"]
    assert len(text) <= markdown.LIMIT
    shapes = [shape(x) for x in (text, render(harmless, ["markdown"])["markdown"])]
    assert shapes[0] == shapes[1]


def shape(text: str) -> Counter[str]:
    """Kinds of Markdown's blocks and spans; HTML with its tags."""
    found: Counter[str] = Counter()
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for one in (token, *(token.children or ())):
            html = re.findall(r"</?\w+", one.content) if "html" in one.type else []
            found[f"{one.type} {html}"] += 1
    return found


def test_junit_parses_and_fails(hostile: ComparisonResult) -> None:
    root = ElementTree.fromstring(render(hostile, ["junit"])["junit"].encode())
    assert root.get("tests") == "2" and root.get("failures") == "1"


def test_text_has_no_control_character(hostile: ComparisonResult) -> None:
    for text in (render(hostile, ["text"])["text"], terminal_summary(hostile)):
        assert re.findall(r"[^\n\x20-\x7e\u00a1-\U0010ffff]", text) == []
        assert "\u202e" not in text and "\u2066" not in text
        text.encode()
