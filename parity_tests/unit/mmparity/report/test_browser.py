# SPDX-License-Identifier: Apache-2.0
"""report.html in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from webdriver import ENTER, SPACE, TAB, Browser

from mmparity.report import write_reports
from mmparity.trace.hook_points import expand
from mmparity.types.comparison import ComparisonResult

pytestmark = pytest.mark.browser

FIRST = "#case-2.blocks.0.attn.proj"


@pytest.fixture(scope="module")
def page(failing: ComparisonResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("failing")
    return write_reports(failing, out, ["html"])["html"]


def test_first_screen_holds_verdict_divergence_and_chart(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    assert "FAIL" in browser.text("h1")
    assert "blocks.0.attn.proj" in browser.text(".finding")
    bottoms = browser.run(
        """return ["h1", ".finding .card", ".evidence figure", ".sides"].map(
            (name) => document.querySelector(name).getBoundingClientRect().bottom)"""
    )
    assert max(bottoms) <= browser.run("return innerHeight")


def test_old_and_new_code_stand_side_by_side(browser: Browser, page: Path) -> None:
    browser.open(page)
    sides = """return [...document.querySelectorAll(".beside > div")].map((one) =>
        [one.innerText.slice(0, 3), one.getBoundingClientRect().top,
        one.querySelector("pre").checkVisibility()])"""
    (old, top, shown), (new, beside, also) = browser.run(sides)
    assert (old, new, shown, also) == ("old", "new", True, True)
    assert top == beside
    link = "document.querySelector('.finding a[href=\"#code\"]')"
    assert browser.run(f"return {link}.innerText") == "pkg/old.py:40"


def test_no_console_message_and_no_request(browser: Browser, page: Path) -> None:
    browser.log("performance")
    browser.open(page, FIRST)
    browser.run("return document.title")
    messages = [json.loads(m["message"])["message"] for m in browser.log("performance")]
    urls = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in " ".join(urls), "the log of requests is empty"
    assert [
        u for u in urls if not u.startswith((page.as_uri(), "data:", "about:"))
    ] == []
    assert browser.log("browser") == []


def test_console_log_would_show_a_blocked_script(browser: Browser, page: Path) -> None:
    """The two checks above can fail: the policy blocks, and the log tells."""
    browser.open(page)
    browser.run(
        """const script = document.createElement("script");
        script.textContent = "window.escaped = true";
        document.body.append(script);"""
    )
    assert browser.run("return window.escaped === undefined")
    assert "Content Security Policy" in browser.log("browser")[0]["message"]


@pytest.mark.parametrize("name", ["passing", "failing", "error"])
def test_axe_finds_nothing_serious(
    browser: Browser, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    result: ComparisonResult = request.getfixturevalue(name)
    browser.open(write_reports(result, tmp_path, ["html"])["html"])
    browser.run(
        "document.querySelectorAll('details').forEach((d) => { d.open = true })"
    )
    assert browser.axe() == []


def test_axe_would_find_a_picture_without_words(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('.tokens img').removeAttribute('alt')")
    assert [one.partition(":")[0] for one in browser.axe()] == ["image-alt"]


def test_deep_link_opens_its_row(browser: Browser, page: Path) -> None:
    browser.open(page, FIRST)
    browser.wait(FIRST[1:], "return document.activeElement.closest('tr')?.id")
    focused = browser.run(
        """const row = document.activeElement.closest("tr");
        const box = row.getBoundingClientRect();
        return [row.id, box.top >= 0 && box.bottom <= innerHeight,
                document.activeElement.getAttribute("aria-expanded"),
                row.nextElementSibling.innerText]"""
    )
    assert focused[:3] == ["case-2.blocks.0.attn.proj", True, "true"]
    assert "visual.blocks.0.attn.proj" in focused[3]
    assert "Against the oracle" in focused[3]


def test_link_of_the_first_screen_works_twice(browser: Browser, page: Path) -> None:
    browser.open(page)
    for _ in range(2):
        browser.run("document.querySelector('.where a').focus()")
        browser.press(ENTER)
        browser.wait(FIRST[1:], "return document.activeElement.closest('tr')?.id")


def test_filter_by_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page, "#case-2")
    browser.run("document.getElementById('case-2-filter').focus()")
    browser.press(*"attn.q")
    rows = browser.visible_rows("case-2")
    assert set(rows) == {
        f"blocks.{n}.attn.{name}" for n in range(2) for name in ("qkv", "q")
    }
    assert f"4 of {len(expand(2))} rows" in browser.text("#case-2 [role=status]")
    browser.press(TAB, SPACE)
    assert set(browser.visible_rows("case-2")) == {
        "blocks.1.attn.qkv",
        "blocks.1.attn.q",
    }


def test_sort_by_keyboard_and_back(browser: Browser, page: Path) -> None:
    browser.open(page, "#case-1")
    before = browser.text("#case-1 table[data-case]")
    focus = "document.querySelector('#case-1 th:nth-child(3) button').focus()"
    sort = "return document.querySelector('#case-1 th:nth-child(3)').ariaSort"
    column = """return [...document.querySelectorAll(
        '#case-1 tr.row td:nth-child(3)')].map((cell) => Number(cell.innerText))"""
    browser.run(focus)
    browser.press(ENTER)
    assert browser.run(sort) == "descending"
    values = browser.run(column)
    assert len(values) == len(expand(2)) and values == sorted(values, reverse=True)
    browser.press(ENTER)
    assert browser.run(sort) == "ascending"
    assert browser.run(column) == sorted(values)
    browser.press(ENTER)
    assert browser.run(sort) is None
    assert browser.text("#case-1 table[data-case]") == before


def test_block_opens_to_its_rows_in_order(browser: Browser, page: Path) -> None:
    browser.open(page, "#case-1")
    browser.run(
        """[...document.querySelectorAll('#case-1 tr.group button')]
        .find((one) => one.innerText === 'block 1').focus()"""
    )
    browser.press(SPACE)
    rows = browser.visible_rows("case-1")
    assert rows[0] == "blocks.1.norm1" and rows[-1] == "blocks.1" and len(rows) == 16


def test_chart_of_another_case_can_be_chosen(browser: Browser, page: Path) -> None:
    browser.open(page)
    label = "return document.querySelector('.evidence svg').getAttribute('aria-label')"
    browser.run("document.getElementById('chart-case').focus()")
    browser.press("\ue013")
    assert "image/bfloat16" in browser.run(label)


def test_failing_case_is_open_and_passing_one_closed(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    assert browser.run(
        "return [...document.querySelectorAll('details.case')].map((one) => one.open)"
    ) == [False, True]


POINT = "return document.querySelector('{} .pick a').hash"


@pytest.mark.parametrize("figure", [".evidence", ".map"])
def test_points_have_names_by_keyboard_and_lead_to_their_rows(
    browser: Browser, page: Path, figure: str
) -> None:
    browser.open(page)
    browser.wait(FIRST, POINT.format(figure))
    browser.run(f"document.querySelector('{figure} .pick input').focus()")
    browser.press("\ue014")
    browser.press(ENTER)
    target = browser.run(POINT.format(figure))
    assert target.startswith("#case-2.blocks.") and target != FIRST
    browser.wait(target[1:], "return document.activeElement.closest('tr')?.id")
    assert "floors" in browser.text(f"{figure} .pick span")


def test_cell_of_the_map_is_named_under_the_pointer(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    browser.run(
        """const svg = document.querySelector(".map svg");
        const at = new DOMPoint(svg.viewBox.baseVal.width - 10, 200)
            .matrixTransform(svg.getScreenCTM());
        svg.dispatchEvent(new PointerEvent("pointermove",
            {clientX: at.x, clientY: at.y}));"""
    )
    assert browser.run(POINT.format(".map")).startswith("#case-2.blocks.1.")


def test_map_of_one_case_has_no_crosses_where_it_passes(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    crossed = "return document.querySelector('.map .crossed').getAttribute('d')"
    assert browser.run(crossed).count("M") == 26
    browser.run("document.querySelector('.map select').focus()")
    browser.press("\ue015")
    browser.wait("", crossed)


def test_search_finds_rows_of_all_cases_and_lines_of_tables(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    browser.run("document.getElementById('find').focus()")
    browser.press(*"blocks.1.norm2")
    hashes = "return [...document.querySelectorAll('.found a')].map((a) => a.hash)"
    browser.wait(["#case-1.blocks.1.norm2", "#case-2.blocks.1.norm2"], hashes)
    browser.run("document.getElementById('find').value = ''")
    browser.press(*"npu_rotary")
    assert "found" in browser.text(".find [role=status]")
    assert "Provenance" in browser.text(".found")


def test_cases_are_filtered_by_verdict_without_the_script(
    browser: Browser, page: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.html"
    bare.write_text(page.read_text().replace("<script>", "<script type=none>"))
    browser.open(bare)
    shown = """return [...document.querySelectorAll("details.case")]
        .filter((one) => one.checkVisibility()).map((one) => one.id)"""
    assert browser.run(shown) == ["case-1", "case-2"]
    browser.run("document.getElementById('show-fail').click()")
    assert browser.run(shown) == ["case-2"]


def test_nothing_is_wider_than_a_phone(browser: Browser, page: Path) -> None:
    size = browser.send("GET", "/window/rect")
    try:
        browser.send("POST", "/window/rect", width=500, height=900)
        browser.open(page, FIRST)
        widths = browser.run(
            "return [document.documentElement.scrollWidth, innerWidth]"
        )
        assert widths[0] <= widths[1]
        box = "document.getElementById('case-2-filter-failing')"
        assert browser.run(f"return {box}.getBoundingClientRect().width") < 30
    finally:
        browser.send("POST", "/window/rect", **size)


@contextmanager
def on_paper(browser: Browser) -> Iterator[None]:
    """The page as A4 shows it: 190 mm, in the style of print."""
    size = {"width": 718, "height": 1040, "deviceScaleFactor": 1, "mobile": False}
    browser.devtools("Emulation.setDeviceMetricsOverride", **size)
    browser.devtools("Emulation.setEmulatedMedia", media="print")
    try:
        yield
    finally:
        browser.devtools("Emulation.setEmulatedMedia", media="")
        browser.devtools("Emulation.clearDeviceMetricsOverride")


def test_code_is_whole_on_paper(
    browser: Browser, failing: ComparisonResult, tmp_path: Path
) -> None:
    passes, fails = failing.cases
    line = f"    x = {' + '.join('x' * 90)}\n"
    code = tuple(replace(one, text=line * 60) for one in fails.code)
    result = replace(failing, cases=(passes, replace(fails, code=code)))
    cut = """return [...document.querySelectorAll("pre")].filter((one) =>
        one.checkVisibility() && (one.scrollHeight > one.clientHeight + 1
        || one.scrollWidth > one.clientWidth + 1)).length"""
    with on_paper(browser):
        browser.open(write_reports(result, tmp_path, ["html"])["html"])
        assert browser.run("return document.querySelectorAll('.code pre').length") > 0
        assert browser.run(cut) == 0


def test_no_table_is_empty_on_paper(
    browser: Browser, make: Callable[..., ComparisonResult], tmp_path: Path
) -> None:
    pairs = (("a", "b"), ("c", "d"), ("e", "f"))
    result = make(("image", "video"), ("bfloat16", "float32"), pairs)
    page = write_reports(result, tmp_path, ["html"])["html"]
    empty = """const all = [...document.querySelectorAll(".rows")];
        return [all.length, all.filter((one) => one.checkVisibility()
        && !one.querySelector("tbody tr")).length]"""
    with on_paper(browser):
        browser.open(page)
        assert browser.run(empty) == [12, 0]


def test_why_a_row_failed_is_as_wide_as_its_table_on_paper(
    browser: Browser, page: Path
) -> None:
    with on_paper(browser):
        browser.open(page)
        share = """const why = document.querySelector(".why td:last-child");
            return why.clientWidth / why.closest("table").clientWidth"""
        assert browser.run(share) > 0.75


def test_large_report_is_ready_soon(
    browser: Browser, make: Callable[..., ComparisonResult], tmp_path: Path
) -> None:
    result = make(
        names=("image", "two-images", "video", "ragged"),
        dtypes=("bfloat16", "float32"),
        pairs=(("a", "b"), ("c", "d"), ("e", "f")),
    )
    large = write_reports(result, tmp_path, ["html"])["html"]
    browser.open(large, "#case-24.blocks.31.mlp.act_fn")
    browser.wait("blocks.31.mlp.act_fn", "return document.activeElement.innerText")
    assert browser.run("return document.querySelector('.folded').open")
    charts = "return document.querySelectorAll('details.case figure svg').length"
    assert browser.run(charts) == 24
    timing = "return performance.getEntriesByType('navigation')[0].domComplete"
    assert browser.run(timing) < 5000
