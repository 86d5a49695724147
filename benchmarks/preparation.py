"""How much faster a case comes from the prepared folder than from its source files.

Reads every case of the nuclei, and of synthetic sets in the five public layouts and sizes, from the source (read and
preprocessed, as a loader without a prepared folder would do in each epoch) and from the prepared arrays. For volumes,
one random training patch is read, as training does. Prints a line per data set with the ratio; exits 1 below 10.

    python benchmarks/preparation.py [--cases 6] [DATASET …]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from workers.datasets import Reader, get_reader, synthesise
from workers.datasets.sources import included_cases
from workers.prepared import PreparedDataset, prepare
from workers.preprocessing import preprocess

PATCHES = {"brats20": (96, 96, 96), "kits19": (80, 160, 160)}
TARGET = 10.0


def from_source(reader: Reader, source: Path, names: tuple[str, ...]) -> float:
    """Seconds per case, read and preprocessed."""
    cases = [case for case in included_cases(reader, source)[0] if case.id in names]

    def epoch() -> None:
        for files in cases:
            case = reader.read_case(files)
            preprocess(case.image, case.label, case.spacing, case.affine, reader.preprocessing)

    return _best(epoch, repeats=3) / len(cases)


def from_prepared(prepared: PreparedDataset) -> float:
    """Seconds per case, copied into the arrays of a batch; the page cache is warm, as from the second epoch on."""
    rng = np.random.default_rng(0)
    patch = PATCHES.get(prepared.name) or prepared.cases[0].shape
    images, labels = np.zeros((*patch, prepared.channels), np.float32), np.zeros(patch, np.uint8)

    def epoch() -> None:
        for case in prepared.case_ids:
            image, label = prepared.image(case), prepared.label(case)
            corner = [int(rng.integers(0, max(n - p, 0) + 1)) for n, p in zip(label.shape, patch, strict=True)]
            window = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
            part = label[window]
            target = tuple(slice(0, n) for n in part.shape)
            images[target], labels[target] = image[window], part

    return _best(epoch, repeats=10) / len(prepared.case_ids)


def _best(epoch: Callable[[], None], repeats: int) -> float:
    """The shortest of several times: what else runs on the machine can only lengthen one."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        epoch()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="*", metavar="DATASET")
    parser.add_argument("--cases", type=int, default=6, help="cases of a synthetic set (default 6)")
    arguments = parser.parse_args()
    slow = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.datasets or ("nuclei", "cvc_clinicdb", "drive", "bus2017", "brats20", "kits19"):
            reader = get_reader(name)
            source = reader.default_source() or synthesise(name, arguments.cases, Path(folder) / name, 0)
            prepared = prepare(reader, source, Path(folder) / "prepared")
            before = from_source(reader, source, prepared.case_ids)
            after = from_prepared(prepared)
            print(f"{name:13} source {1e3 * before:9.2f} ms   prepared {1e3 * after:7.3f} ms   {before / after:6.0f} ×")
            if before / after < TARGET:
                slow.append(name)
    if slow:
        print(f"below {TARGET:g} ×: {', '.join(slow)}")
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
