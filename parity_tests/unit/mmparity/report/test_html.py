# SPDX-License-Identifier: Apache-2.0
"""report.html, parsed: what it holds, what it must not hold, how large it is."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from mmparity.report import data, html, render, terminal_summary
from mmparity.types.comparison import ComparisonResult

Make = Callable[..., ComparisonResult]
FULL = {
    "names": ("image", "two-images", "video", "ragged"),
    "dtypes": ("bfloat16", "float32"),
    "pairs": (
        ("ascend-0.11.0", "unified"),
        ("ascend-0.12.0rc1", "unified-ascend"),
        ("vllm-0.12.0", "unified"),
    ),
}


class Page(HTMLParser):
    """Tags with their attributes, and the text inside of each kind of tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.seen = ""
        """What is read without the script."""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts.setdefault(tag, []).append(data)
        if not {"script", "style"} & set(self.open):
            self.seen += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def text(self, tag: str) -> str:
        return "".join(self.texts.get(tag, []))


def page_of(result: ComparisonResult) -> Page:
    return Page(render(result, ["html"])["html"])


@pytest.fixture(params=["passing", "failing", "error"])
def result(request: pytest.FixtureRequest) -> ComparisonResult:
    found: ComparisonResult = request.getfixturevalue(request.param)
    return found


def test_asks_for_nothing_and_allows_only_its_own_code(
    result: ComparisonResult,
) -> None:
    text = render(result, ["html"])["html"]
    page = Page(text)
    links = [a.get(k) or "" for _, a in page.tags for k in ("src", "href", "action")]
    assert [
        x for x in links if x and not x.startswith(("#", "data:,", "data:image/"))
    ] == []
    assert "url(" not in text and "@import" not in text
    inline = [k for _, a in page.tags for k in a if k == "style" or k.startswith("on")]
    assert inline == []
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    code = page.texts["script"][-1]
    for kind, body in (("script", code), ("style", page.text("style"))):
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_is_well_marked_up(result: ComparisonResult) -> None:
    page = page_of(result)
    ids = Counter(a["id"] for _, a in page.tags if "id" in a)
    assert [name for name, number in ids.items() if number > 1] == []
    assert all(a.get("scope") in ("row", "col", "rowgroup") for a in page.all("th"))
    assert len(page.all("svg")) == len(page.all("title")) - 1 == len(page.all("desc"))
    assert all(a.get("role") == "img" for a in page.all("svg"))
    assert page.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_links_lead_somewhere_without_the_script(failing: ComparisonResult) -> None:
    page = page_of(failing)
    ids = {a.get("id") for _, a in page.tags}
    targets = {(a.get("href") or "")[1:] for a in page.all("a")}
    last_passing = f"case-2.{failing.first_divergence.last_passing}"
    assert targets - ids == {last_passing}, "a passing row needs the script"


def test_says_it_all_without_the_script(failing: ComparisonResult) -> None:
    seen = page_of(failing).seen
    first = failing.first_divergence
    assert first is not None
    for expected in ("FAIL", first.hook_point, first.last_passing, "npu_rotary_mul"):
        assert str(expected) in seen
    bad = [r.hook_point for c in failing.cases for r in c.layers if r.verdict != "pass"]
    assert len(bad) > 20
    assert [name for name in bad if f"{name}" not in seen] == []
    for case in failing.cases:
        assert case.repeat in seen
    assert "padded-vit-weights" in seen and "blocks.{i}.attn.qkv.weight" in seen


def test_passing_page_says_how_near_the_limit(passing: ComparisonResult) -> None:
    seen = page_of(passing).seen
    assert "PASS" in seen and "FAIL" not in seen.split("What the columns mean")[0]
    assert "Nearest to a limit" in seen


def test_error_is_not_a_pass(error: ComparisonResult) -> None:
    seen = page_of(error).seen
    assert "ERROR" in seen and "missing operator npu_rotary_mul" in seen


def test_log_of_an_error_is_folded(error: ComparisonResult) -> None:
    text = "new could not run: planted\nThe last lines of logs/new.log:\n  | a line"
    provenance = dataclasses.replace(error.provenance, errors=(text,))
    shown = dataclasses.replace(error, provenance=provenance)
    page = render(shown, ["html"])["html"]
    assert "<li>new could not run: planted<details><summary>The last lines of" in page
    assert "<pre>  | a line</pre></details></li>" in page


def test_every_row_is_in_the_data(failing: ComparisonResult) -> None:
    data = json.loads(page_of(failing).texts["script"][0])
    for number, case in enumerate(failing.cases, 1):
        packed = data["cases"][f"case-{number}"]
        assert packed["rows"] == len(case.layers)
        names = data["vectors"][packed["columns"]["hook_point"]]
        assert [data["strings"][i] for i in names] == [
            x.hook_point for x in case.layers
        ]
        errors = data["vectors"][packed["columns"]["normalized_l2_error"]]
        for shown, layer in zip(errors, case.layers, strict=True):
            assert layer.metrics is not None
            assert shown == pytest.approx(layer.metrics.normalized_l2_error, rel=5e-3)


def test_full_run_fits_without_a_cut(make: Make) -> None:
    text = render(make(**FULL, faults={4: 100}), ["html"])["html"]
    assert len(text.encode()) < html.HARD_LIMIT
    assert "Cut to stay under" not in text


def test_typical_run_is_small(make: Make) -> None:
    text = render(make(**FULL), ["html"])["html"]
    assert len(text.encode()) < 500 * 1024


def test_large_page_leaves_charts_of_passing_cases_to_its_script(make: Make) -> None:
    page = page_of(make(**FULL, faults={4: 100}))
    packed = json.loads(unpacked(page.texts["script"][0]))
    assert len(packed["charts"]) == 23 and "case-5" not in packed["charts"]
    assert all(svg.startswith("<svg ") for svg in packed["charts"].values())
    assert len(page.all("svg")) == 3, "the first screen's, the map, the failing case's"


def unpacked(text: str) -> bytes:
    """A large page holds its rows compressed."""
    return gzip.decompress(base64.b64decode(text))


def test_what_is_cut_is_announced(make: Make) -> None:
    large = make(**FULL, faults=dict.fromkeys(range(24), 10))
    cases = [
        dataclasses.replace(case, id=f"{case.id}-{n}", name=f"{case.name}-{n}")
        for n in range(6)
        for case in large.cases
    ]
    result = dataclasses.replace(large, cases=tuple(cases))
    text = render(result, ["html"])["html"]
    assert html.HARD_LIMIT * 0.8 < len(text.encode()) <= html.HARD_LIMIT
    page = Page(text)
    assert "Cut to stay under 2 MiB" in page.seen
    packed = json.loads(unpacked(page.texts["script"][0]))["cases"]
    assert 0 < len(packed) < len(cases)
    assert f"rows of {len(cases) - len(packed)} cases" in page.seen


def test_axis_takes_zero_and_not_a_number(passing: ComparisonResult) -> None:
    case = passing.cases[0]
    layers = list(case.layers)
    metrics = layers[7].metrics
    assert metrics is not None
    broken = dataclasses.replace(metrics, normalized_l2_error=float("nan"))
    layers[7] = dataclasses.replace(layers[7], verdict="fail", metrics=broken)
    layers[8] = dataclasses.replace(layers[8], verdict="error", metrics=None)
    worse = dataclasses.replace(case, layers=tuple(layers), verdict="error")
    text = render(dataclasses.replace(passing, cases=(worse,)), ["html"])["html"]
    drawing = text[text.index("<svg") : text.index("</svg>")]
    assert "nan" not in drawing.replace("NaN", "").lower().split("</desc>")[1]
    assert drawing.count("l5 5m0-5l-5 5") == 2


def test_a_tree_with_edits_is_seen(failing: ComparisonResult) -> None:
    case = failing.cases[1]
    assert case.new_meta is not None
    sources = {"vllm": "0123456789abcdef-modified"}
    meta = dataclasses.replace(case.new_meta, sources=sources)
    edited = dataclasses.replace(case, new_meta=meta)
    result = dataclasses.replace(failing, cases=(failing.cases[0], edited))
    assert "0123456789ab, modified" in render(result, ["html"])["html"]


def test_cost_of_both_sides_stands_beside_each_other(passing: ComparisonResult) -> None:
    seen = " ".join(page_of(passing).seen.split())
    assert "64 → 1" in seen, "host reads"
    assert "87 MiB → 58 MiB (x0.67)" in seen


def test_structure_that_is_not_judged_is_shown_with_the_reason(
    passing: ComparisonResult, failing: ComparisonResult
) -> None:
    (case,) = passing.cases
    found = tuple(
        dataclasses.replace(item, verdict="not judged", why="nobody could", patch="")
        for item in failing.cases[1].structure
    )
    result = dataclasses.replace(
        passing, cases=(dataclasses.replace(case, structure=found),)
    )
    for form in ("html", "markdown", "text"):
        text = render(result, [form])[form]
        assert "3 differences, not judged (nobody could)" in text
        assert "signatures: blocks.{i}.attn (block 1)" in text


def test_undeclared_structure_is_the_finding_where_every_row_passes(
    passing: ComparisonResult, failing: ComparisonResult
) -> None:
    (case,) = passing.cases
    undeclared = failing.cases[1].structure
    case = dataclasses.replace(
        case, structure=undeclared, verdict="fail", reason="structure"
    )
    result = dataclasses.replace(passing, cases=(case,), verdict="fail")
    for form in ("html", "markdown", "text"):
        text = render(result, [form])[form]
        assert "different: every row passes, but no patch intends 1 structural" in text
        assert "1 structural difference" in text or "1 undeclared difference" in text
        assert "signatures: blocks.{i}.attn (block 1)" in text
    assert "no patch intends" in terminal_summary(result)


def test_rows_of_a_page_that_would_be_large_are_not_packed_for_a_small_one(
    make: Make,
) -> None:
    (case, *_) = make().cases
    assert data.pack({"case-1": case}) is not None
    never_read: Any = object()
    assert data.pack({"case-1": case, "case-2": never_read}, most=500) is None


def card(result: ComparisonResult) -> str:
    """The card of the first divergence, and none of those after it."""
    text = render(result, ["html"])["html"]
    return text.partition('id="finding"')[2].partition("</section>")[0]


def test_the_first_card_shows_the_change_that_the_divergence_runs(
    failing: ComparisonResult,
) -> None:
    shown = card(failing)
    assert "changed code that it runs" in shown and "pkg/a.py" not in shown
    assert re.search(r"pkg/x\.py \(unified:vllm\)</a><pre[^>]*>-a\n\+b</pre>", shown)


def test_the_first_card_shows_changes_that_it_does_not_run_where_there_are_no_others(
    failing: ComparisonResult,
) -> None:
    (tree,) = failing.changes
    other = dataclasses.replace(tree, files=tree.files[:1], count=1)
    elsewhere = dataclasses.replace(failing, changes=(other,))
    assert re.search(r"changed in the trees</dt>.*pkg/a\.py.*-1\n\+2", card(elsewhere))
    assert "changed in the trees: pkg/a.py" in terminal_summary(elsewhere)
    many = dataclasses.replace(tree, files=tree.files[:1], count=40)
    cut = card(dataclasses.replace(failing, changes=(many,)))
    assert "and 39 more" in cut and "<pre class=" not in cut.partition("<details")[0]
