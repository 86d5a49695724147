"""Writes the table of docs/performance.md from the results in benchmarks/results.

    python -m benchmarks.table [--print] [--results FOLDER]

What stands between the page's two markers is replaced. A result of the quick setting is refused: it means nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import BENCHMARKS, BY_NAME
from benchmarks.harness import RESULTS, Setting, number

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- results: python -m benchmarks.table -->", "<!-- end of results -->"


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The results that are there, in the order of `BENCHMARKS`."""
    paths = [folder / f"{name}.json" for name in (*BENCHMARKS, *BY_NAME)]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """The table, with the machine below it."""
    lines = ["| what | against | measured | goal |", "|---|---|---|---|"]
    for result in results:
        for row in result["rows"]:
            spread = f"{number(row['low'])} to {number(row['high'])}"
            goal = ""
            if row["goal"] is not None:
                sign, bound = row["goal"]
                goal = f"{sign} {number(bound)}: {'holds' if row['holds'] else '**missed**'}"
            what = f"{row['what']} ({row['detail']})" if row["detail"] else row["what"]
            cells = (what, row["against"], f"**{number(row['value'])} {row['unit']}** ({spread})", goal)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    machines: dict[str, list[str]] = {}
    for result in results:
        described = result["machine"]
        packages = ", ".join(f"{name} {found}" for name, found in described["packages"].items())
        text = (
            f"{described['processor']}, {described['cores']} cores, {described['memory_gib']} GiB, "
            f"Python {described['python']}, {packages}"
        )
        machines.setdefault(text, []).append(result["benchmark"])
    lines.append("")
    for text, names in machines.items():
        which = "" if len(machines) == 1 else f" ({', '.join(names)})"
        lines.append(f"Measured on {text}{which}.")
    return "\n".join(lines)


def written(page: str, table: str) -> str:
    """The page with the table between its markers.

    Raises:
        ValueError: the page lacks them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks its markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--print", action="store_true", help="print the table, change nothing")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    arguments = parser.parse_args()
    results = read_results(arguments.results)
    if not results:
        print(f"there are no results in {arguments.results}; run: make bench", file=sys.stderr)
        return 2
    if arguments.print:
        print(markdown(results))
        return 0
    if quick := [r["benchmark"] for r in results if r["setting"] == Setting.QUICK]:
        print(f"{', '.join(quick)}: quick results mean nothing; run: make bench", file=sys.stderr)
        return 2
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), markdown(results)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
