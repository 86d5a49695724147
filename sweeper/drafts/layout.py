"""Which files of a folder are images and which their masks, as patterns of the generic readers. By names alone."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workers.datasets.formats import ENDINGS, ending_of
from workers.datasets.patterns import is_aside
from workers.errors import DataError

MASK_WORDS = frozenset(
    {
        "annot", "annotation", "annotations", "contour", "contours", "groundtruth", "gt", "label", "labels",
        "labelstr", "manual", "mask", "masks", "seg", "segmentation", "segmentations", "segs", "truth",
    }
)  # fmt: skip
"""A folder or an end of a name with one of these words holds masks."""

IMAGE_WORDS = frozenset(
    {
        "im", "image", "images", "imagestr", "img", "imgs", "input", "inputs", "original", "originals", "photo",
        "photos", "picture", "pictures", "raw", "scan", "scans",
    }
)  # fmt: skip
"""A folder with one of these words holds images."""

PART_NAMES = frozenset(
    {
        "test", "testing", "train", "training", "val", "valid", "validation",
    }
)  # fmt: skip
"""Folders of a split that somebody else made."""

PICTURES = frozenset(("png", "jpeg", "tiff", "gif", "bmp"))
_WITHOUT_MASKS = frozenset(("imagests", "labelsts"))
_MOST_SLOTS = 12
"""So many files may a folder of one case hold."""

_MOST = 0.8
"""This share of the masks must find its image."""

_MASK_END = re.compile(
    rf"^(?P<base>.+?)(?P<end>[_\-. ]+(?:{'|'.join(sorted(MASK_WORDS, key=len)[::-1])})[_\-. ]?\d*)$", re.I
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the images and masks are.

    Attributes:
        volumes: whether they are volumes.
        images: a pattern for each image file of a case.
        masks: pattern of the masks, or a pattern for each class.
        unite: whether an image may have several masks of one structure.
        folders: whether folders train, val and test are a split.
        notes: what was left aside or is unsure, as sentences without a full stop.
    """

    volumes: bool
    images: tuple[str, ...]
    masks: str | Mapping[str, str]
    unite: bool = False
    folders: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    path: PurePosixPath
    folders: tuple[str, ...]
    stem: str
    ending: str


def find_layout(folder: Path) -> Layout:
    """The layout of a folder, by the names of its files.

    Raises:
        DataError: there are no images, or no masks can be told from them.
    """
    files, volumes = _files(folder)
    if not files:
        raise DataError(f"{folder}: no image files found; name the folder that holds images and masks")
    found = _folder_each(files, volumes) or _by_name(files, volumes)
    if found is None:
        shown = ", ".join(str(file.path) for file in files[:4])
        raise DataError(
            f"{folder}: {len(files)} image files, and no masks that can be told from them ({shown}, …). "
            "Masks are found in a folder beside the images (images/a.png, masks/a.png), by the end of their name "
            "(a.png, a_mask.png), or in a folder for each case (a/ct.nii.gz, a/seg.nii.gz); rename them so, or write "
            "the patterns yourself (docs/data.md)"
        )
    return found


def _files(folder: Path) -> tuple[list[_File], bool]:
    """The image files of the kind that is there most, and whether these are volumes."""
    found: list[tuple[_File, bool]] = []
    series: set[PurePosixPath] = set()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            ending = ending_of(name)
            kind = ENDINGS.get(ending.lower(), "")
            path = PurePosixPath(Path(place, name).relative_to(folder).as_posix())
            if not kind or kind == "nifti voxels" or is_aside(str(path)) or path.parent.name.lower() in _WITHOUT_MASKS:
                continue
            if kind == "dicom":  # a series is a folder
                if path.parent.parts and path.parent not in series:
                    series.add(path.parent)
                    found.append((_File(path.parent, path.parent.parts[:-1], path.parent.name, "/"), True))
                continue
            stem = name[: len(name) - len(ending)]
            found.append((_File(path, path.parts[:-1], stem, ending), kind not in PICTURES))
    volumes = 2 * sum(volume for _, volume in found) > len(found)
    return [file for file, volume in found if volume == volumes], volumes


def _folder_each(files: Sequence[_File], volumes: bool) -> Layout | None:
    """A folder for each case, with files of the same names in each."""
    if any(not file.folders or _role(file.folders[-1]) or file.folders[-1].lower() in PART_NAMES for file in files):
        return None
    slots: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        own = rf"(?<![A-Za-z0-9]){re.escape(file.folders[-1])}(?![A-Za-z0-9])"
        slots[re.sub(own, "{id}", file.stem)].append(file)
    cases = {file.folders for file in files}
    masks = [slot for slot in slots if _words(slot.replace("{id}", "")) & MASK_WORDS]
    images = [slot for slot in slots if slot not in masks]
    alone = len(cases) == 1 and (len(masks) != 1 or len(images) > 4)
    if not masks or not images or len(slots) > _MOST_SLOTS or len(files) < 0.7 * len(slots) * len(cases) or alone:
        return None
    above = _above([folders[:-1] for folders in cases])
    whole = [slot for slot in images if len(slots[slot]) == max(len(slots[one]) for one in images)]
    notes = [f"{_pattern(above, slot, slots[slot])} is not there for each case and was left aside"
             for slot in images if slot not in whole]  # fmt: skip
    if len(whole) > 1:
        notes.append(f"each case has {len(whole)} images, which become its channels; remove the patterns of those that "
                     "you do not want")  # fmt: skip
    patterns = tuple(_pattern((*above, "{id}"), slot, slots[slot]) for slot in whole)
    if not volumes and len(masks) > 1:
        table = {_class_name(slot, masks): _pattern((*above, "{id}"), slot, slots[slot]) for slot in masks}
        return Layout(volumes, patterns, table, folders="*" in above, notes=tuple(notes))
    masks.sort(key=lambda slot: (len(_words(slot)), -len(slots[slot])))
    notes += [f"further masks were left aside: {_pattern(above, slot, slots[slot])}" for slot in masks[1:]]
    mask = _pattern((*above, "{id}"), masks[0], slots[masks[0]])
    return Layout(volumes, patterns, mask, folders="*" in above, notes=tuple(notes))


def _by_name(files: Sequence[_File], volumes: bool) -> Layout | None:
    """Masks have the names of their images, in a folder beside them or with a word at the end."""
    depth = Counter(len(file.folders) for file in files).most_common(1)[0][0]
    files = [file for file in files if len(file.folders) == depth]
    template = _templates(files)
    places: dict[tuple[str, ...], list[_File]] = defaultdict(list)
    for file in files:
        places[template[file.folders]].append(file)
    masked = [place for place in places if any(_words(name) & MASK_WORDS for name in place)]
    pictured = [place for place in places if place not in masked]
    notes: list[str] = []
    if masked and pictured:
        pictured.sort(key=lambda place: (not any(_words(name) & IMAGE_WORDS for name in place),
                                         sum(len(_words(name)) for name in place), -len(places[place])))  # fmt: skip
        masked.sort(key=lambda place: (sum(len(_words(name)) for name in place), -len(places[place])))
        image_place, mask_place = pictured[0], masked[0]
        images, masks = places[image_place], places[mask_place]
        further = [(place, "masks") for place in masked[1:]] + [(place, "images") for place in pictured[1:]]
        notes += [f"further {what} were left aside: {'/'.join(place)}" for place, what in further]
    else:
        image_place = mask_place = max(places, key=lambda place: len(places[place]))
        stems = {file.stem for file in places[image_place]}
        masks = [f for f in places[image_place] if (end := _MASK_END.match(f.stem)) and end["base"] in stems]
        images = [file for file in places[image_place] if file not in masks]
    if not images or not masks:
        return None
    channels, stems_of = _channels(images)
    if len(channels) > 1:
        notes.append(f"each case has {len(channels)} images, which become its channels")
    ends = _ends({_key(file, image_place, stems_of) for file in images}, masks, mask_place)
    if ends is None:
        return _between(images, masks, image_place, mask_place, volumes, notes)
    image_patterns = tuple(_pattern(image_place, "{id}" + channel, images) for channel in channels)
    pattern, unite = _mask_patterns(ends, mask_place, masks)
    return Layout(volumes, image_patterns, pattern, unite, "*" in image_place, tuple(notes))


def _ends(
    images: set[tuple[tuple[str, ...], str]], masks: Sequence[_File], place: tuple[str, ...]
) -> dict[str, Counter[tuple[tuple[str, ...], str]]] | None:
    """What follows the image's name in the names of its masks, and how often at each image; None where it does not."""
    ends: dict[str, Counter[tuple[tuple[str, ...], str]]] = defaultdict(Counter)
    for file in masks:
        folders = _varying(file.folders, place)
        found = next(
            (length for length in range(len(file.stem), 0, -1) if (folders, file.stem[:length]) in images), None
        )
        if found is not None:
            ends[file.stem[found:]][folders, file.stem[:found]] += 1
    matched = sum(sum(one.values()) for one in ends.values())
    return ends if ends and matched >= _MOST * len(masks) else None


def _mask_patterns(
    ends: Mapping[str, Counter[tuple[tuple[str, ...], str]]], place: tuple[str, ...], masks: Sequence[_File]
) -> tuple[str | dict[str, str], bool]:
    plain: dict[str, list[str]] = defaultdict(list)
    for end in ends:
        plain[re.sub(r"[_\-. ]?\d+$", "", end)].append(end)
    if len(plain) == 1:
        ((base, several),) = plain.items()
        unite = several != [base]
        return _pattern(place, "{id}" + base + ("*" if unite else ""), masks), unite
    table = {_class_name(end, list(plain)): _pattern(place, "{id}" + end, masks) for end in sorted(plain)}
    return table, any(several != [base] for base, several in plain.items())


def _between(
    images: Sequence[_File],
    masks: Sequence[_File],
    image_place: tuple[str, ...],
    mask_place: tuple[str, ...],
    volumes: bool,
    notes: Sequence[str],
) -> Layout | None:
    """Names that are the same between a word of the images and one of the masks: img_1.png and mask_1.png."""
    sides = []
    for files in (images, masks):
        stems = [file.stem for file in files]
        start = re.sub(r"\d+$", "", _common_start(stems))
        end = re.sub(r"^\d+", "", _common_start([stem[::-1] for stem in stems])[::-1])
        if len(stems) < 2 or len(start) + len(end) >= min(map(len, stems)):
            return None
        sides.append((start, end, {stem[len(start) : len(stem) - len(end)] for stem in stems}))
    (start, end, ids), (mask_start, mask_end, mask_ids) = sides
    if len(ids & mask_ids) < _MOST * len(mask_ids):
        return None
    return Layout(
        volumes,
        (_pattern(image_place, f"{start}{{id}}{end}", images),),
        _pattern(mask_place, f"{mask_start}{{id}}{mask_end}", masks),
        folders="*" in image_place,
        notes=tuple(notes),
    )


def _templates(files: Sequence[_File]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Each folder as a pattern: what varies and is no role becomes a patient, or any folder."""
    places = {file.folders for file in files}
    twice = Counter((file.stem, *(name for name in file.folders if _role(name))) for file in files)
    collide = any(count > 1 for count in twice.values())
    found: dict[tuple[str, ...], list[str]] = {place: [] for place in places}
    for level in range(len(next(iter(places), ()))):
        names = {place[level] for place in places}
        literal = len(names) == 1 or any(_words(name) & MASK_WORDS for name in names)
        parts = all(name.lower() in PART_NAMES for name in names)
        patient = "{group}" if not parts and (collide or len(names) >= 5) else "*"
        for place, pattern in found.items():
            taken = "{group}" in pattern
            pattern.append(place[level] if literal else "*" if taken else patient)
    return {place: tuple(pattern) for place, pattern in found.items()}


def _above(places: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The folders above those of the cases, as a pattern."""
    depth = min(map(len, places))
    return tuple(
        names.pop() if len(names := {place[level] for place in places}) == 1
        else "*" if all(name.lower() in PART_NAMES for name in names) or len(names) < 5 else "{group}"
        for level in range(depth)
    )  # fmt: skip


def _channels(images: Sequence[_File]) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Ends of names such as _0000 that number the channels, and each stem without its number."""
    split = {file.stem: re.fullmatch(r"(.+)(_\d{4})", file.stem) for file in images}
    by_base: dict[str, set[str]] = defaultdict(set)
    for match in split.values():
        if match is not None:
            by_base[match[1]].add(match[2])
    numbers = set(map(frozenset, by_base.values()))
    if None in split.values() or len(numbers) != 1 or "_0000" not in (only := sorted(next(iter(numbers)))):
        return ("",), {}
    return tuple(only), {stem: match[1] for stem, match in split.items() if match is not None}


def _key(file: _File, place: tuple[str, ...], stems: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    return _varying(file.folders, place), stems.get(file.stem, file.stem)


def _varying(folders: Sequence[str], place: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name, pattern in zip(folders, place, strict=True) if pattern in ("*", "{group}"))


def _pattern(place: Sequence[str], stem: str, files: Sequence[_File]) -> str:
    endings = Counter(file.ending for file in files)
    formats = {ENDINGS.get(ending.lower(), "") for ending in endings}
    ending = ".*" if len(formats) > 1 else endings.most_common(1)[0][0]
    return "/".join((*place, stem)) + ending


def _class_name(slot: str, slots: Sequence[str]) -> str:
    """The part of a mask's name that tells its class."""
    own = [word for word in re.findall(r"[A-Za-z0-9]+", slot.replace("{id}", "")) if word.lower() not in MASK_WORDS]
    return "_".join(own) or f"class_{sorted(slots).index(slot) + 1}"


def _common_start(stems: Sequence[str]) -> str:
    low, high = min(stems), max(stems)
    same = next((place for place, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))
    return low[:same]


def _role(name: str) -> bool:
    return bool(_words(name) & (MASK_WORDS | IMAGE_WORDS))


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+", name.lower()))
