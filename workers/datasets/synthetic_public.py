"""The synthetic forms of the public sets that the paper does not have; the paper's are in `workers.datasets.synthetic`.

Each writer gets the folder, the number of the case and of all cases, the size, a generator, and whether the size is the
distribution's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from workers.datasets.synthetic_shapes import (
    Floats,
    Mask,
    ball,
    ellipse,
    save_image,
    save_mask,
    save_volume,
    texture,
    vessels,
)

Writer = Callable[[Path, int, int, tuple[int, ...], np.random.Generator, bool], None]


def _chase_db1(
    folder: Path, index: int, _cases: int, shape: tuple[int, ...], rng: np.random.Generator, _native: bool
) -> None:
    tree = vessels(shape, rng, share=0.08)
    image = texture(shape, rng, level=120, spread=8, smooth=6.0)
    colour = np.stack([image + 60, 0.6 * image - 50 * tree, 0.2 * image - 20 * tree], axis=-1)
    name = f"Image_{index // 2 + 1:02d}{'LR'[index % 2]}"  # both eyes of each child
    save_image(folder / f"{name}.jpg", colour)
    for observer in ("1stHO", "2ndHO"):
        _save_bits(folder / f"{name}_{observer}.png", tree)


def _busi(
    folder: Path, index: int, cases: int, shape: tuple[int, ...], rng: np.random.Generator, _native: bool
) -> None:
    shape = tuple(int(n * rng.uniform(0.85, 1.15)) for n in shape)  # the real ones vary in size, too
    benign = index < (cases + 1) // 2
    kind, number = ("benign", index + 1) if benign else ("malignant", index - (cases + 1) // 2 + 1)
    base = folder / "Dataset_BUSI_with_GT"
    lesion = ellipse(shape, rng, share=0.08)
    # The last benign image has two lesions, each with its own mask.
    last = index == (cases + 1) // 2 - 1
    second = ball(shape, np.full(2, 0.12), 0.08) if last else np.zeros(shape, np.bool_)
    image = texture(shape, rng, level=110, spread=30, smooth=1.0) - 75 * (lesion | second)
    save_image(base / kind / f"{kind} ({number}).png", _grey(image))
    _save_bits(base / kind / f"{kind} ({number})_mask.png", lesion)
    if second.any():
        _save_bits(base / kind / f"{kind} ({number})_mask_1.png", second)
    if index == 0:  # and one without a lesion
        save_image(base / "normal" / "normal (1).png", _grey(texture(shape, rng, level=110, spread=30, smooth=1.0)))
        _save_bits(base / "normal" / "normal (1)_mask.png", np.zeros(shape, np.bool_))


def _isic(year: int) -> Writer:
    parts = {
        2017: (
            ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
            ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
            ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
        ),
        2018: (
            ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
            ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
            ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
        ),
    }[year]

    def write(
        folder: Path, index: int, cases: int, shape: tuple[int, ...], rng: np.random.Generator, _native: bool
    ) -> None:
        shape = tuple(int(n * rng.uniform(0.85, 1.15)) for n in shape)
        testing = cases // 3
        part = 2 if index < testing else 1 if cases - testing > 3 and index == testing else 0
        images, masks = parts[part]
        name = f"ISIC_{index:07d}"
        lesion = ellipse(shape, rng, share=0.15)
        skin = texture(shape, rng, level=190, spread=8, smooth=4.0)
        colour = np.stack([skin - 70 * lesion, 0.8 * skin - 80 * lesion, 0.7 * skin - 60 * lesion], axis=-1)
        save_image(folder / images / f"{name}.jpg", colour)
        save_mask(folder / masks / f"{name}_segmentation.png", lesion)
        if year == 2017:
            save_image(folder / images / f"{name}_superpixels.png", colour)

    return write


def _idrid(
    folder: Path, index: int, cases: int, shape: tuple[int, ...], rng: np.random.Generator, _native: bool
) -> None:
    part, number = ("b. Testing Set", 55 + index) if index < cases // 3 else ("a. Training Set", index - cases // 3 + 1)
    base = folder / "A. Segmentation"
    disc = ellipse(shape, rng, share=0.02)
    lesions = {
        ("1. Microaneurysms", "MA"): _spots(shape, rng, 6, 0.012),
        ("2. Haemorrhages", "HE"): _spots(shape, rng, 3, 0.03),
        ("3. Hard Exudates", "EX"): _spots(shape, rng, 4, 0.03),
        ("4. Soft Exudates", "SE"): _spots(shape, rng, 2, 0.04),
        ("5. Optic Disc", "OD"): disc,
    }
    image = texture(shape, rng, level=130, spread=6, smooth=6.0)
    dark = lesions["1. Microaneurysms", "MA"] | lesions["2. Haemorrhages", "HE"]
    bright = disc | lesions["3. Hard Exudates", "EX"] | lesions["4. Soft Exudates", "SE"]
    image += 80 * bright - 60 * dark
    save_image(
        base / "1. Original Images" / part / f"IDRiD_{number:02d}.jpg", np.stack([image, 0.6 * image, 0.3 * image], -1)
    )
    for (kind, letters), mask in lesions.items():
        if letters == "SE" and index % 2:  # half of the real images have none, and no file
            continue
        path = base / "2. All Segmentation Groundtruths" / part / kind / f"IDRiD_{number:02d}_{letters}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = PillowImage.fromarray(mask.astype(np.uint8), mode="P")
        picture.putpalette([0, 0, 0, 255, 0, 0])
        picture.save(path)


def _spots(shape: tuple[int, ...], rng: np.random.Generator, count: int, radius: float) -> Mask:
    """Round lesions, each of at least a few pixels."""
    y, x = np.indices(shape)
    mask = np.zeros(shape, np.bool_)
    for centre in rng.uniform(0.15, 0.85, (count, 2)):
        size = max(radius * min(shape), 1.5)
        mask |= (y - centre[0] * shape[0]) ** 2 + (x - centre[1] * shape[1]) ** 2 <= size**2
    return mask


def _grey(image: Floats) -> Floats:
    return np.repeat(image[..., np.newaxis], 3, axis=-1)


def _save_bits(path: Path, mask: Mask) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(mask).save(path)


@dataclass(frozen=True, slots=True)
class _Task:
    """One task of the Decathlon: its folder, how its files are called, and what its dataset.json says."""

    folder: str
    stem: str
    labels: tuple[str, ...]
    modality: tuple[str, ...]
    shape: tuple[int, int, int]

    def write(
        self, folder: Path, index: int, cases: int, shape: tuple[int, ...], rng: np.random.Generator, native: bool
    ) -> None:
        """Nested balls, the first label outermost; dataset.json comes with the first case."""
        base = folder / self.folder
        if index == 0:
            self._describe(base, cases)
        label = np.zeros(shape, np.uint8)
        centre = rng.uniform(0.4, 0.6, 3)
        for value in range(1, len(self.labels) + 1):
            label[ball(shape, centre, 0.3 / value)] = value
        ct = self.modality == ("CT",)
        channels = []
        for channel in range(len(self.modality)):
            image = texture(shape, rng, level=20, spread=25, smooth=1.0) + (60.0 + 20 * channel) * label
            channels.append(np.where(ball(shape, np.full(3, 0.5), 0.49), image, -1000.0 if ct else 0.0))
        spacing = np.array([2.5, 0.8, 0.8] if ct and native else [1.0, 1.0, 1.0])
        affine = np.diag([*spacing[::-1], 1.0])
        volumes = np.stack(channels, axis=-1).transpose(2, 1, 0, 3).astype(np.float32)
        name = f"{self.stem}_{index + 1:03d}.nii.gz"
        save_volume(base / "imagesTr" / name, volumes[..., 0] if len(channels) == 1 else volumes, affine)
        save_volume(base / "labelsTr" / name, label.T, affine)

    def _describe(self, base: Path, cases: int) -> None:
        names = [f"{self.stem}_{number + 1:03d}.nii.gz" for number in range(cases)]
        description = {
            "name": self.folder.partition("_")[2],
            "tensorImageSize": "3D" if len(self.modality) == 1 else "4D",
            "modality": {str(number): name for number, name in enumerate(self.modality)},
            "labels": {str(value): name for value, name in enumerate(("background", *self.labels))},
            "numTraining": cases,
            "numTest": 0,
            "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
            "test": [],
        }
        base.mkdir(parents=True, exist_ok=True)
        (base / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")


DECATHLON = {
    "msd_brain_tumour": _Task(
        "Task01_BrainTumour",
        "BRATS",
        ("edema", "non-enhancing tumor", "enhancing tumour"),
        ("FLAIR", "T1w", "t1gd", "T2w"),
        (155, 240, 240),
    ),
    "msd_heart": _Task("Task02_Heart", "la", ("left atrium",), ("MRI",), (115, 320, 320)),
    "msd_liver": _Task("Task03_Liver", "liver", ("liver", "cancer"), ("CT",), (150, 512, 512)),
    "msd_hippocampus": _Task("Task04_Hippocampus", "hippocampus", ("Anterior", "Posterior"), ("MRI",), (35, 50, 35)),
    "msd_prostate": _Task("Task05_Prostate", "prostate", ("PZ", "TZ"), ("T2", "ADC"), (20, 320, 320)),
    "msd_lung": _Task("Task06_Lung", "lung", ("cancer",), ("CT",), (250, 512, 512)),
    "msd_pancreas": _Task("Task07_Pancreas", "pancreas", ("pancreas", "cancer"), ("CT",), (90, 512, 512)),
    "msd_hepatic_vessel": _Task("Task08_HepaticVessel", "hepaticvessel", ("Vessel", "Tumour"), ("CT",), (60, 512, 512)),
    "msd_spleen": _Task("Task09_Spleen", "spleen", ("spleen",), ("CT",), (90, 512, 512)),
    "msd_colon": _Task("Task10_Colon", "colon", ("colon cancer primaries",), ("CT",), (100, 512, 512)),
}
"""The Decathlon's tasks by the name of their readers."""

PUBLIC_WRITERS: dict[str, tuple[Writer, tuple[int, ...]]] = {
    "chase_db1": (_chase_db1, (960, 999)),
    "busi": (_busi, (500, 600)),
    "isic2017": (_isic(2017), (767, 1022)),
    "isic2018": (_isic(2018), (767, 1022)),
    "idrid": (_idrid, (2848, 4288)),
    **{name: (task.write, task.shape) for name, task in DECATHLON.items()},
}
"""Name of each set, its writer, and the size of its images in the distribution."""
