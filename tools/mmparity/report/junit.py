# SPDX-License-Identifier: Apache-2.0
"""report.xml: one test case per case, as CI systems read JUnit's XML."""

from __future__ import annotations

from xml.etree import ElementTree

from mmparity.report import labels, rows
from mmparity.report.cases import CaseView
from mmparity.report.engine import AnswerView
from mmparity.report.rows import RowView
from mmparity.report.view import ReportView

SUITE = "mmparity"


def render(view: ReportView) -> str:
    """Returns the XML document; a verdict that is not a pass is never green."""
    root = ElementTree.Element("testsuites", name=SUITE)
    suite = ElementTree.SubElement(root, "testsuite", name=SUITE)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in view.provenance:
        ElementTree.SubElement(properties, "property", name=name, value=value)
    for case in view.cases:
        _add_case(suite, case)
    for answer in view.engine.answers if view.engine else ():
        _add_answer(suite, answer)
    if view.verdict != "pass" and all(c.verdict == "pass" for c in view.cases):
        whole = ElementTree.SubElement(
            suite, "testcase", classname=SUITE, name="comparison"
        )
        _problem(whole, view.verdict, view.headline, "\n".join(view.errors))
    for element in (root, suite):
        for name, tag in (
            ("tests", "testcase"),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            element.set(name, str(len(suite.findall(f".//{tag}"))))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _add_case(suite: ElementTree.Element, case: CaseView) -> None:
    element = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"{SUITE}.{case.old} to {case.new}",
        name=f"{case.name} {case.dtype}",
    )
    if case.verdict != "pass":
        message = f"{case.counts}. {case.reason}".strip()
        _problem(element, case.verdict, message, _body(case))
    output = ElementTree.SubElement(element, "system-out")
    output.text = f"{case.description}\n{case.counts}\nrepeat: {case.repeat}"


def _add_answer(suite: ElementTree.Element, answer: AnswerView) -> None:
    """One scenario of the engine; one that a side refuses, as declared, is skipped."""
    element = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"{SUITE}.engine {answer.pair}",
        name=f"{answer.model} {answer.scenario}",
    )
    if answer.verdict == "cannot run":
        ElementTree.SubElement(element, "skipped", message=answer.said)
    elif answer.verdict != "pass":
        _problem(element, answer.verdict, answer.said, answer.compared)


def _problem(
    parent: ElementTree.Element, verdict: str, message: str, body: str
) -> None:
    tag = "error" if verdict == "error" else "failure"
    kind = "could not be judged" if verdict == "error" else "difference"
    problem = ElementTree.SubElement(parent, tag, message=message, type=kind)
    problem.text = body


def _body(case: CaseView) -> str:
    lines = [text for row in case.failing for text in _row(row)]
    if case.failing_cut:
        lines.append(f"cut: {labels.count(case.failing_cut, 'more failing row')}")
    return "\n".join(lines)


def _row(row: RowView) -> list[str]:
    lines = [f"{row.hook_point}: {row.reason}"]
    if row.worst_index:
        lines += [f"  {rows.elements(row)}", f"  {rows.numbers(row)}"]
    return lines
