# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mmparity.compare.evidence.overrides import read_map
from mmparity.compare.evidence.replaced import replaced_code
from mmparity.report import render, replaced, terminal_summary
from mmparity.types.comparison import CaseComparison, ComparisonResult
from mmparity.types.evidence import ReplacedCode


def test_every_override_and_every_patch_of_the_map_is_there() -> None:
    rows, patches = replaced_code()
    known = read_map()
    assert [row.row for row in rows] == list(known.rows)
    assert len({text for row in rows for text in row.overrides}) == len(known.overrides)
    named = {slug for row in rows for slug in row.patches} - {"upstream"}
    assert {patch.slug for patch in patches} == named
    for patch in patches:
        assert patch.title.startswith("["), patch.title
        assert patch.diff.startswith("diff --git a/vllm"), patch.slug
        assert "diff --git a/tests/" not in patch.diff
        assert not patch.diff.rstrip().endswith("--")


def test_a_line_counts_the_rows_that_prove_it(failing: ComparisonResult) -> None:
    (line,) = replaced.replaced(failing)
    q, proj, elsewhere = line.proofs
    # Two cases of two blocks.
    assert (q.verdict, q.counts) == ("fail", "3 of 4 rows pass, 1 of 2 cases")
    assert q.anchor.startswith("case-2.blocks.")
    assert proj.verdict == "fail"
    assert elsewhere.verdict is None
    assert elsewhere.repeat == (
        "mmparity run --model qwen2-vl-7b --old ascend-0.11.0 --new unified --tp 2"
    )


def test_rows_of_another_model_or_pair_prove_nothing(failing: ComparisonResult) -> None:
    meta = failing.cases[0].new_meta
    assert meta is not None
    cases = tuple(
        replace(case, new_meta=replace(meta, model="another")) for case in failing.cases
    )
    (line,) = replaced.replaced(replace(failing, cases=cases))
    assert [proof.verdict for proof in line.proofs] == [None] * 3


def test_rows_that_pass_prove_nothing_in_a_case_that_failed_or_died(
    make: Callable[..., ComparisonResult],
) -> None:
    ran = make(names=("image", "video"), depth=2)
    image, video = ran.cases
    proof = ReplacedCode(
        row="A1",
        title="attention of its own",
        overrides=(),
        patches=(),
        proofs=("qwen2.5-vl-7b ascend-0.11.0:unified rotary.cos",),
    )

    def verdict(*cases: CaseComparison) -> str | None:
        result = replace(ran, cases=cases, replaced=(proof,))
        return replaced.replaced(result)[0].proofs[0].verdict

    assert verdict(image, video) == "pass"
    assert verdict(image, replace(video, verdict="fail")) == "fail"
    died = replace(video, verdict="error", layers=(), old_meta=None, new_meta=None)
    assert verdict(image, died) == verdict(died) == "error"
    gone = tuple(row for row in video.layers if row.hook_point != "rotary.cos")
    assert verdict(image, replace(video, layers=gone)) == "error"
    other = replace(died, name="qwen2-vl-7b/video")
    assert (verdict(image, other), verdict(other)) == ("pass", None)


def test_a_test_is_a_proof_that_no_result_holds(failing: ComparisonResult) -> None:
    (line,) = failing.replaced
    test = replace(line, proofs=("parity_tests/a/test_b.py::test_c[d-1]",))
    (shown,) = replaced.replaced(replace(failing, replaced=(test,)))
    (proof,) = shown.proofs
    assert proof.verdict is None
    assert proof.repeat == "pytest parity_tests/a/test_b.py::test_c[d-1]"


def test_a_pass_says_which_replaced_behaviours_it_did_not_prove(
    make: Callable[..., ComparisonResult],
) -> None:
    ran = make(names=("image",), depth=2)
    here = "qwen2.5-vl-7b ascend-0.11.0:unified rotary.cos"
    other = "qwen2-vl-7b ascend-0.11.0:unified rotary.cos"
    rows = tuple(
        ReplacedCode(name, "title", (), (), (proof,))
        for name, proof in (("A1", here), ("A2", here), ("A3", other))
    )
    result = replace(ran, replaced=rows)
    said = "2 of 3 replaced behaviours proven here; A3 not."
    for text in render(result, ["html", "markdown"]).values():
        assert said in text
    assert said in terminal_summary(result)
    every = replace(ran, replaced=rows[:2])
    assert "All of 2 replaced behaviours proven here." in terminal_summary(every)
    assert "proven here" not in terminal_summary(ran)
    failed = make(names=("image",), depth=2, faults={0: 3})
    assert "proven here" not in terminal_summary(replace(failed, replaced=rows))
