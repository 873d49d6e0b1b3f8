# SPDX-License-Identifier: Apache-2.0
"""The generated parts of README.md and docs/, between their markers.

Module tables come from the modules' own docstrings, the result from a run's
``comparison.json``. Nothing is measured or judged here.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

from harness_checks.doc_blocks import replace_between
from mmparity.errors import MmparityError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("patchseries", "mmparity")


def replace_section(text: str, name: str, body: str) -> str:
    """Put ``body`` between ``<!-- name:begin -->`` and ``<!-- name:end -->``."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    return replace_between(text, begin, end, body)


def summary_of(path: Path) -> str:
    """The first sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    first = " ".join(docstring.partition("\n\n")[0].split())
    return re.split(r"(?<=[^.][a-z0-9`)])\. ", first)[0].replace("``", "`").rstrip(".")


def module_table(package: str) -> str:
    """One row for each module, sub-packages by their ``__init__``."""
    folder = ROOT / "tools" / package
    modules = [path for path in folder.glob("*.py") if not path.stem.startswith("__")]
    modules += folder.glob("*/__init__.py")
    names = {
        f"{path.parent.name}/" if path.stem == "__init__" else path.stem: path
        for path in modules
    }
    rows = [
        f"| `{name}` | {summary_of(path)} |" for name, path in sorted(names.items())
    ]
    return "\n".join(["", "| module | what it is |", "|---|---|", *rows, "", ""])


def largest(layers: list[dict[str, Any]], metric: str) -> str:
    """The largest value of a metric over rows; ``-`` where none has it."""
    values = [
        float(layer["metrics"][metric])
        for layer in layers
        if layer["metrics"] and layer["metrics"][metric] is not None
    ]
    return f"{max(values):.1e}" if values else "-"


def result_row(key: tuple[str, str, str], cases: list[dict[str, Any]]) -> str:
    """One pair of implementations in one dtype, over all its cases."""
    old, new, dtype = key
    layers = [layer for case in cases for layer in case["layers"]]
    passed = sum(layer["verdict"] == "pass" for layer in layers)
    verdicts = {case["verdict"] for case in cases}
    worst = next(v for v in ("error", "fail", "pass") if v in verdicts)
    metrics = ("normalized_l2_error", "old_oracle_error", "new_oracle_error")
    numbers = " | ".join(largest(layers, metric) for metric in metrics)
    return (
        f"| {old} | {new} | {dtype} | {passed} of {len(layers)} | {numbers} | {worst} |"
    )


def result_section(result: dict[str, Any]) -> str:
    """What one run found, as README.md shows it."""
    summary, provenance = result["summary"], result["provenance"]
    machine = provenance["machine"]
    pairs: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for case in result["cases"]:
        pairs.setdefault((case["old"], case["new"], case["dtype"]), []).append(case)
    names = list(dict.fromkeys(case["name"] for case in result["cases"]))
    rows = summary["total"] - summary["unmatched"]
    head = (
        f"`{provenance['command']}` on {machine['cpus']} CPU cores "
        f"({machine['processor']}): "
        f"**{result['verdict']}**, {summary['passed']:,} of {rows:,} rows within "
        f"tolerance, {summary['unmatched']:,} hook points of one side alone, with a "
        f"reason; cases {', '.join(names)}."
    )
    table = [
        "| old | new | dtype | rows passed | new : old | old : oracle "
        "| new : oracle | verdict |",
        "|---|---|---|---|---|---|---|---|",
        *(result_row(key, cases) for key, cases in pairs.items()),
    ]
    foot = (
        "The three numbers are the largest normalized L2 error over all hook points; "
        "the oracle is transformers' encoder in float64."
    )
    folded = [
        "<details><summary>Each pair</summary>",
        "",
        *table,
        "",
        foot,
        "",
        "</details>",
    ]
    return "\n".join([head, "", *folded, ""])


def rewrite(path: Path, sections: dict[str, str]) -> bool:
    """Replace sections of a file; whether that changed it."""
    before = text = path.read_text()
    for name, body in sections.items():
        text = replace_section(text, name, body)
    path.write_text(text)
    return text != before


def main() -> int:
    """Write the sections; 0 done, 2 could not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path, help="folder of a comparison.json")
    args = parser.parse_args()
    tables = {f"modules:{package}": module_table(package) for package in PACKAGES}
    targets = {ROOT / "docs/architecture.md": tables}
    try:
        if args.result:
            result = json.loads((args.result / "comparison.json").read_text())
            targets[ROOT / "README.md"] = {"result": result_section(result)}
        from mmparity.compare.evidence import (
            overrides,  # needs tomli before Python 3.11
        )

        overrides.PAGE.write_text(overrides.table(overrides.read_map()))
        for path, sections in targets.items():
            changed = rewrite(path, sections)
            state = "written" if changed else "up to date"
            print(f"{path.relative_to(ROOT)}: {state}")
    except (OSError, ValueError, KeyError, MmparityError) as error:
        print(f"error: {error!r}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
