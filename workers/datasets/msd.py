"""The ten tasks of the Medical Segmentation Decathlon by name, as they are distributed: volumes with dataset.json.

A task takes the options of `nifti-folder`. Images of several sequences are one 4D file; each is a channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from workers.datasets.dataset_json import NAME, read_description
from workers.datasets.nifti_folder import NiftiFolder
from workers.datasets.patterns import wrong_folder
from workers.datasets.reader import About, CaseFiles


def _about(what: str, cases: int, task: str, first: str) -> About:
    return About(
        title=f"Medical Segmentation Decathlon, {task} ({what}, {cases} volumes with labels)",
        page="http://medicaldecathlon.com",
        licence="CC BY-SA 4.0; cite Antonelli et al. 2022",
        layout=f"{task}/dataset.json, or dataset.json itself\nimagesTr/{first}.nii.gz …, labelsTr/{first}.nii.gz …",
    )


@dataclass(frozen=True, kw_only=True)
class _Msd(NiftiFolder):
    """One task. The images of its test set have no public labels and are no cases."""

    any_folder: ClassVar[bool] = False
    task: ClassVar[str]
    """The folder that its archive unpacks to."""

    def at(self, source: Path) -> Self:
        return self

    def find_cases(self, source: Path) -> list[CaseFiles]:
        inner = source / self.task
        base = inner if inner.is_dir() else source
        if not (self.images or (base / NAME).is_file()):
            raise wrong_folder(source, self.about.title, self.about.layout)
        if not (self.images or self.label_map or self.regions):
            found = read_description(base).classes
            if len(found) != len(self.classes):
                raise wrong_folder(source, self.about.title, self.about.layout)
        return super().find_cases(base)


@dataclass(frozen=True, kw_only=True)
class MsdBrainTumour(_Msd):
    """Tumours by their parts; `regions` make them whole tumour, core and enhancing tumour."""

    about: ClassVar[About] = _about("brain tumours in four MRI sequences", 484, "Task01_BrainTumour", "BRATS_001")
    hashed_name: ClassVar[str] = "MsdBrainTumour"
    task: ClassVar[str] = "Task01_BrainTumour"

    name: str = "msd_brain_tumour"
    classes: tuple[str, ...] = ("background", "edema", "non-enhancing tumour", "enhancing tumour")


@dataclass(frozen=True, kw_only=True)
class MsdHeart(_Msd):
    """The left atrium."""

    about: ClassVar[About] = _about("left atrium in MRI", 20, "Task02_Heart", "la_003")
    hashed_name: ClassVar[str] = "MsdHeart"
    task: ClassVar[str] = "Task02_Heart"

    name: str = "msd_heart"
    classes: tuple[str, ...] = ("background", "left atrium")


@dataclass(frozen=True, kw_only=True)
class MsdLiver(_Msd):
    """Liver and its tumours."""

    about: ClassVar[About] = _about("liver and tumours in CT", 131, "Task03_Liver", "liver_0")
    hashed_name: ClassVar[str] = "MsdLiver"
    task: ClassVar[str] = "Task03_Liver"

    name: str = "msd_liver"
    classes: tuple[str, ...] = ("background", "liver", "tumour")


@dataclass(frozen=True, kw_only=True)
class MsdHippocampus(_Msd):
    """Head (anterior) and body with tail (posterior); small volumes of 1 mm."""

    about: ClassVar[About] = _about("hippocampus in MRI", 260, "Task04_Hippocampus", "hippocampus_001")
    hashed_name: ClassVar[str] = "MsdHippocampus"
    task: ClassVar[str] = "Task04_Hippocampus"

    name: str = "msd_hippocampus"
    classes: tuple[str, ...] = ("background", "anterior", "posterior")


@dataclass(frozen=True, kw_only=True)
class MsdProstate(_Msd):
    """Peripheral and transition zone, from T2 and ADC."""

    about: ClassVar[About] = _about("prostate zones in two MRI sequences", 32, "Task05_Prostate", "prostate_00")
    hashed_name: ClassVar[str] = "MsdProstate"
    task: ClassVar[str] = "Task05_Prostate"

    name: str = "msd_prostate"
    classes: tuple[str, ...] = ("background", "peripheral zone", "transition zone")


@dataclass(frozen=True, kw_only=True)
class MsdLung(_Msd):
    """Tumours of the lung, small in a large volume."""

    about: ClassVar[About] = _about("lung tumours in CT", 63, "Task06_Lung", "lung_001")
    hashed_name: ClassVar[str] = "MsdLung"
    task: ClassVar[str] = "Task06_Lung"

    name: str = "msd_lung"
    classes: tuple[str, ...] = ("background", "tumour")


@dataclass(frozen=True, kw_only=True)
class MsdPancreas(_Msd):
    """Pancreas and its masses."""

    about: ClassVar[About] = _about("pancreas and tumours in CT", 281, "Task07_Pancreas", "pancreas_001")
    hashed_name: ClassVar[str] = "MsdPancreas"
    task: ClassVar[str] = "Task07_Pancreas"

    name: str = "msd_pancreas"
    classes: tuple[str, ...] = ("background", "pancreas", "tumour")


@dataclass(frozen=True, kw_only=True)
class MsdHepaticVessel(_Msd):
    """Vessels and tumours of the liver."""

    about: ClassVar[About] = _about(
        "vessels of the liver and tumours in CT", 303, "Task08_HepaticVessel", "hepaticvessel_001"
    )
    hashed_name: ClassVar[str] = "MsdHepaticVessel"
    task: ClassVar[str] = "Task08_HepaticVessel"

    name: str = "msd_hepatic_vessel"
    classes: tuple[str, ...] = ("background", "vessel", "tumour")


@dataclass(frozen=True, kw_only=True)
class MsdSpleen(_Msd):
    """The spleen."""

    about: ClassVar[About] = _about("spleen in CT", 41, "Task09_Spleen", "spleen_2")
    hashed_name: ClassVar[str] = "MsdSpleen"
    task: ClassVar[str] = "Task09_Spleen"

    name: str = "msd_spleen"
    classes: tuple[str, ...] = ("background", "spleen")


@dataclass(frozen=True, kw_only=True)
class MsdColon(_Msd):
    """Primary tumours of the colon."""

    about: ClassVar[About] = _about("colon tumours in CT", 126, "Task10_Colon", "colon_001")
    hashed_name: ClassVar[str] = "MsdColon"
    task: ClassVar[str] = "Task10_Colon"

    name: str = "msd_colon"
    classes: tuple[str, ...] = ("background", "tumour")
