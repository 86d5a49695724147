"""Large volumes within the memory that is promised, while they are prepared and while patches are read from them."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from trials.spec import TrainingSpec
from workers.datasets import get_reader
from workers.datasets.prepared import prepare
from workers.training.batches import TrainingBatches, ValidationBatches

ROOT = Path(__file__).parents[3]

SCRIPT = """
import resource, sys
from pathlib import Path
from workers.datasets import get_reader
from workers.datasets.prepared import prepare

prepared = prepare(get_reader("kits19"), Path(sys.argv[1]), Path(sys.argv[2]), processes=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, *prepared.cases[0].shape)
"""


def write_slowly(path: Path, shape: tuple[int, int, int], dtype: type, affine: np.ndarray, *, labels: bool) -> None:
    """A volume written slab by slab, so that the test itself needs no memory to speak of."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_sform(affine, code=1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(header.binaryblock + bytes(4))
        for x in range(shape[2]):
            if labels:
                slab = np.zeros(shape[:2], dtype)
                slab[400:500, 200:300] = 1 + (x > 250) if 200 < x < 300 else 0
            else:
                slab = rng.integers(-1000, 1000, shape[:2]).astype(dtype)
            file.write(slab.tobytes(order="F"))


@pytest.mark.slow
def test_a_ct_of_1000_slices_is_prepared_within_4_gib(tmp_path: Path) -> None:
    """Of float64, the widest numbers that an image has."""
    case = tmp_path / "kits19" / "case_00000"
    case.mkdir(parents=True)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = -0.8, -0.78, -0.78, 1
    write_slowly(case / "imaging.nii.gz", (1000, 512, 512), np.float64, affine, labels=False)
    write_slowly(case / "segmentation.nii.gz", (1000, 512, 512), np.uint8, affine, labels=True)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "kits19"), str(tmp_path / "root")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    kibibytes, *shape = map(int, done.stdout.split())
    assert shape == [248, 247, 247]
    assert kibibytes < 4 * 1024 * 1024


@pytest.mark.slow
def test_patches_are_read_without_the_volume_around_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 100, (160, 200, 256)).astype(np.int16)
    for kind, values in (("images", volume), ("labels", (volume > 90).astype(np.uint8))):
        (tmp_path / "source" / kind).mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "source" / kind / "a.nii")
    reader = get_reader("nifti-folder", {"images": ["images/{id}.nii"], "labels": "labels/{id}.nii"})
    prepared = prepare(reader, tmp_path / "source", tmp_path / "root", processes=1)
    training = TrainingSpec(patch=(16, 16, 16), patches_per_case=4, augmentation_probability=0.0)
    tracemalloc.start()
    try:
        for batches in (TrainingBatches, ValidationBatches):
            batches(prepared, ["a"], training, 0).batch(1, 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    whole = volume.size * 4
    assert peak < whole / 20
