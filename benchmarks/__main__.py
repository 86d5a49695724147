"""Runs the benchmarks one after the other, each in a process of its own, and prints the table.

python -m benchmarks [--setting quick|normal|long] [NAME …]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks import BENCHMARKS, BY_NAME
from benchmarks.harness import RESULTS, Setting
from benchmarks.table import markdown, read_results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"one of {', '.join((*BENCHMARKS, *BY_NAME))}; default: all but {', '.join(BY_NAME)}",
    )
    parser.add_argument("--setting", type=Setting, choices=list(Setting), default=Setting.NORMAL, metavar="SETTING")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {*BENCHMARKS, *BY_NAME}:
        parser.error(
            f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join((*BENCHMARKS, *BY_NAME))}"
        )
    failed = []
    for name in arguments.names or BENCHMARKS:
        print(f"{name} …", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--setting", arguments.setting]
        command += ["--results", str(arguments.results.resolve())]
        if subprocess.run(command, cwd=Path(__file__).parent.parent, check=False).returncode != 0:
            failed.append(name)
    print(markdown(read_results(arguments.results)))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
