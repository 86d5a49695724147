"""dataset.json of the Medical Segmentation Decathlon and of nnU-Net, versions 1 and 2: cases, channels and labels.

The Decathlon lists pairs of an image and a label; an image of several channels is one 4D file. nnU-Net has a file for
each channel, `NAME_0000.nii.gz`; its version 1 lists the names without that number, its version 2 lists nothing.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workers.datasets.formats import ending_of
from workers.datasets.patterns import match_files, pair, require_partners, without_left_out
from workers.datasets.reader import CaseFiles
from workers.errors import DataError

NAME = "dataset.json"

_ENDING = ".nii.gz"

_FIX = "fix it, or set the patterns images and labels"


@dataclass(frozen=True, slots=True)
class Description:
    """What a dataset.json says.

    Attributes:
        path: the file.
        labels: value in the label files to name, in the order of the values; 0 is the background.
        regions: names of nested regions with the values of each (nnU-Net's region-based training).
        ignored: the value of the pixels that nnU-Net ignores, None without.
        channels: names of the images of a case.
        ending: of the names of image files.
        training: case id to image (without its channel's number) and label, None where all files of the folders count.
    """

    path: Path
    labels: Mapping[int, str]
    regions: Mapping[str, tuple[int, ...]]
    ignored: int | None
    channels: tuple[str, ...]
    ending: str
    training: Mapping[str, tuple[tuple[str, ...], str]] | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index."""
        return ("background", *(name for value, name in self.labels.items() if value))

    @property
    def label_map(self) -> dict[int, int]:
        """Value to class index, closing gaps."""
        return {value: index for index, value in enumerate(self.labels)}


def read_description(source: Path) -> Description:
    """Reads the dataset.json of a folder.

    Raises:
        DataError: it is missing, or is not such a description; the message says which entry is wrong.
    """
    path = source / NAME
    try:
        values = json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; add it, or set the patterns images and labels") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not a text in UTF-8; save it as one, or set the patterns images and labels"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON, from line {error.lineno}, column {error.colno} on; {_FIX}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON; {_FIX}") from error
    if not isinstance(values, dict):
        raise _wrong(path, "it is no table of entries")
    labels, regions, ignored = _labels(path, values.get("labels"))
    ending = values.get("file_ending", _ENDING)
    if not isinstance(ending, str) or not ending.startswith("."):
        raise _wrong(path, '"file_ending" has to be such as ".nii.gz"')
    return Description(path, labels, regions, ignored, _channels(path, values), ending, _training(path, values, ending))


def described_cases(description: Description, source: Path) -> list[CaseFiles]:
    """The cases of a folder as its dataset.json describes them.

    Raises:
        DataError: a file that it names is not there, or leads out of the folder.
    """
    if description.training is None:
        return _all_cases(description, source)
    files = {case: _files(description, source, case) for case in sorted(description.training)}
    cases = []
    for case, (*images, label) in without_left_out(files).items():
        for file in (*images, label):
            if not file.is_file():
                raise DataError(f"{file}: no such file, though {description.path} names it")
        cases.append(CaseFiles(id=case, images=tuple(images), label=label))
    if not cases:
        raise DataError(f"{description.path}: it lists no case for training; {_FIX}")
    return cases


def _all_cases(description: Description, source: Path) -> list[CaseFiles]:
    patterns = [f"imagesTr/{{id}}_{c:04d}{description.ending}" for c in range(max(1, len(description.channels)))]
    labels = f"labelsTr/{{id}}{description.ending}"
    channels = [match_files(source, pattern) for pattern in patterns]
    cases = pair(channels[0], match_files(source, labels), source, f"Expected {', '.join(patterns)} and {labels}.")
    first = {case.id: case.images[0] for case in cases}
    for pattern, files in zip(patterns[1:], channels[1:], strict=True):
        require_partners(first, files, pattern, source)
    return [
        CaseFiles(id=case.id, images=tuple(files[case.id] for files in channels), label=case.label) for case in cases
    ]


def _files(description: Description, source: Path, case: str) -> tuple[Path, ...]:
    """The images of a listed case, and its label last."""
    images, label = (description.training or {})[case]
    places = tuple(source / image for image in images)
    return (*(_channel_files(description, places[0]) if len(places) == 1 else places), source / label)


def _channel_files(description: Description, image: Path) -> tuple[Path, ...]:
    """The files of an image that is listed: itself, or nnU-Net's file for each channel."""
    ending = ending_of(image.name) or image.suffix
    stem = image.name.removesuffix(ending)
    if image.is_file() and not (len(description.channels) > 1 and stem.endswith("_0000")):
        return (image,)
    stem = stem.removesuffix("_0000")
    files = tuple(image.with_name(f"{stem}_{c:04d}{ending}") for c in range(max(1, len(description.channels))))
    return files if files[0].is_file() else (image,)


def _labels(path: Path, labels: object) -> tuple[dict[int, str], dict[str, tuple[int, ...]], int | None]:
    """Values with names, regions, and the ignored value; both ways round in which they are written."""
    if not isinstance(labels, dict) or not labels:
        raise _wrong(path, '"labels" has to be a table such as {"0": "background", "1": "tumour"}')
    found: dict[int, str] = {}
    regions: dict[str, tuple[int, ...]] = {}
    ignored = None
    for key, entry in labels.items():
        name, value = (entry, key) if isinstance(entry, str) and _whole(key) is not None else (key, entry)
        if isinstance(value, list) and value and all(_whole(one) is not None for one in value):
            regions[str(name)] = tuple(int(one) for one in value)
            continue
        number = _whole(value)
        if number is None:
            raise _wrong(path, f'"labels" has no whole number for {name!r}')
        if str(name) == "ignore":
            ignored = number
        elif number in found:
            raise _wrong(path, f'"labels" has the value {number} twice')
        else:
            found[number] = str(name)
    if 0 not in found:
        raise _wrong(path, '"labels" has no background: the value 0')
    return dict(sorted(found.items())), regions, ignored


def _channels(path: Path, values: Mapping[str, object]) -> tuple[str, ...]:
    channels = values.get("channel_names", values.get("modality", {}))
    if isinstance(channels, dict) and {_whole(key) for key in channels} == set(range(len(channels))):
        ordered = sorted(channels, key=int)
        return tuple(str(channels[key]) for key in ordered)
    raise _wrong(path, '"channel_names" (or "modality") has to be a table such as {"0": "FLAIR", "1": "T1"}')


def _training(path: Path, values: Mapping[str, object], ending: str) -> dict[str, tuple[tuple[str, ...], str]] | None:
    """Case id to the paths of its images and its label; None where nothing is listed."""
    dataset = values.get("dataset")
    if isinstance(dataset, dict):  # nnU-Net's version 2, of files anywhere
        pairs = [
            (str(case), entry.get("images"), entry.get("label")) if isinstance(entry, dict) else (str(case), None, None)
            for case, entry in dataset.items()
        ]
    elif "training" in values:
        training = values["training"]
        if not isinstance(training, list):
            raise _wrong(path, '"training" has to be a list of pairs such as {"image": "…", "label": "…"}')
        pairs = [
            ("", [entry.get("image")], entry.get("label")) if isinstance(entry, dict) else ("", None, None)
            for entry in training
        ]
    else:
        return None
    cases: dict[str, tuple[tuple[str, ...], str]] = {}
    for number, (given, images, label) in enumerate(pairs, start=1):
        if not (isinstance(images, list) and images and all(isinstance(one, str) for one in (*images, label))):
            raise _wrong(path, f"entry {number} of its cases has no image and label")
        places = tuple(_inside(path, str(image)) for image in images)
        name = posixpath.basename(places[0])
        case = given or name.removesuffix(ending_of(name) or ending)
        if case in cases:
            raise DataError(f"{path}: case {case!r} is named twice")
        cases[case] = (places, _inside(path, str(label)))
    return cases


def _inside(path: Path, name: str) -> str:
    """A path of the description, within its folder. Links in the folder may lead anywhere: they are the user's."""
    normal = posixpath.normpath(name.replace("\\", "/"))
    if normal.startswith(("/", "../")) or normal in ("..", "."):
        raise DataError(f"{path}: {name} leads out of the folder")
    return normal


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,6}", value) else None


def _wrong(path: Path, what: str) -> DataError:
    return DataError(f"{path}: not a description as the Decathlon or nnU-Net has it: {what}; {_FIX}")
