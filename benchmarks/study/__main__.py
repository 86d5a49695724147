"""Writes docs/study.md and its figures from the exported sweeps in docs/study.

python -m benchmarks.study [--data docs/study] [--page docs/study.md]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.study import figures
from benchmarks.study.page import page
from benchmarks.study.study import Study

DOCS = Path(__file__).parent.parent.parent / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DOCS / "study", metavar="FOLDER")
    parser.add_argument("--page", type=Path, default=DOCS / "study.md", metavar="FILE")
    arguments = parser.parse_args()
    study = Study.read(arguments.data)
    figures.write(study, arguments.data / "figures")
    arguments.page.write_text(page(study), encoding="utf-8")
    print(arguments.page)


if __name__ == "__main__":
    main()
