"""Near-duplicates: images that look alike, such as frames of one video or two pictures of one lesion.

With one in training and one in the test set a score is too high, whatever the file names say. Images are compared as
thumbnails. Those of one kind (retinas in their round field, registered brains) resemble each other without being of one
patient; so they must also deviate alike from the mean of the data set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trials.splits import Split
from workers.datasets.coverage import GroupedCase, looking_alike
from workers.datasets.folder import PreparedDataset
from workers.datasets.preprocessing import Image
from workers.files import atomic_write

ALIKE = 0.95
"""Thumbnails that correlate above this look alike."""

DEVIATING_ALIKE = 0.8
"""And so much their deviations from the data set's mean thumbnail must correlate."""

SIDE = {2: 32, 3: 16}
"""Pixels of a thumbnail along each axis, by dimensions."""

_ROWS = 1024
_FILE = "near-duplicates.json"

Thumbnail = npt.NDArray[np.float32]
Pairs = tuple[tuple[str, str], ...]


def thumbnail(image: Image) -> Thumbnail:
    """A prepared image (*spatial, channels) as grey thumbnail, flat: the mean of each of its parts."""
    small = np.asarray(image.mean(axis=-1, dtype=np.float32))
    for axis, length in enumerate(small.shape):
        edges = np.linspace(0, length, SIDE[image.ndim - 1] + 1).astype(int)
        starts = np.minimum(edges[:-1], length - 1)
        counts = np.maximum(np.diff(edges), 1)
        sums = np.add.reduceat(small, starts, axis=axis)
        small = sums / counts.reshape([-1 if i == axis else 1 for i in range(small.ndim)])
    flat: Thumbnail = small.reshape(-1).astype(np.float32)
    return flat


def alike(cases: Sequence[GroupedCase], thumbnails: Mapping[str, Thumbnail]) -> Pairs:
    """The pairs of cases that look alike, in order; pairs of one group are left out, because they are known.

    Args:
        cases: those that are compared.
        thumbnails: of each of them.
    """
    pool = sorted(cases, key=lambda case: case.id)
    if len(pool) < 2:
        return ()
    raw = _normed(np.stack([thumbnails[case.id] for case in pool]))
    deviations = _normed(raw - raw.mean(axis=0))
    found = []
    for start in range(0, len(pool), _ROWS):
        rows = slice(start, start + _ROWS)
        near = (raw[rows] @ raw.T > ALIKE) & (deviations[rows] @ deviations.T > DEVIATING_ALIKE)
        for i, j in np.argwhere(near):
            one, other = pool[start + i], pool[j]
            if start + i < j and (one.group is None or one.group != other.group):
                found.append((one.id, other.id))
    return tuple(found)


def near_duplicates(prepared: PreparedDataset, *, keep: bool = False) -> Pairs:
    """The pairs of a prepared data set's cases that look alike.

    Reads every image once; afterwards the answer lies beside the arrays.

    Args:
        prepared: the data set.
        keep: whether to write the answer there.
    """
    file = prepared.path / _FILE
    ids = set(prepared.case_ids)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        kept = tuple((str(one), str(other)) for one, other in values["pairs"])
        if values["alike"] == [ALIKE, DEVIATING_ALIKE] and ids.issuperset(case for pair in kept for case in pair):
            return kept
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or damaged: it can always be made again
    found = alike(prepared.cases, {case: thumbnail(prepared.image(case)) for case in prepared.case_ids})
    if keep:
        with atomic_write(file) as out:
            out.write(json.dumps({"alike": [ALIKE, DEVIATING_ALIKE], "pairs": found}).encode())
    return found


def across(pairs: Pairs, splits: Sequence[Split]) -> Pairs:
    """The pairs of which the cases lie in different parts of a split."""
    apart: dict[tuple[str, str], None] = {}
    for split in splits:
        parts = {
            case: part
            for part, ids in (("train", split.train), ("validation", split.validation), ("test", split.test))
            for case in ids
        }
        apart |= {pair: None for pair in pairs if parts.get(pair[0]) != parts.get(pair[1])}
    return tuple(pair for pair in pairs if pair in apart)


def alike_warnings(apart: Pairs) -> Iterator[str]:
    """A sentence where images that look alike lie in different parts of the split.

    Args:
        apart: `across`.
    """
    if apart:
        shown = ", ".join(f"{one} and {other}" for one, other in apart[:3])
        yield (
            f"{looking_alike(len(apart))} ({shown}{', …' * (len(apart) > 3)}), which makes scores too "
            "high; exclude one of each, or keep them together with "
            'split = { grouped = "near-duplicates" }'
        )


def _normed(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows with mean 0 and length 1; 0 where a row is constant, so that it correlates with nothing."""
    centred = rows.astype(np.float64) - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    normed: npt.NDArray[np.float32] = np.divide(
        centred, lengths, out=np.zeros_like(centred), where=lengths > 1e-6
    ).astype(np.float32)
    return normed
