"""A grid for a folder of images and masks that nobody has described: looked at, measured, written as text."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storage.database import open_database, schema_version
from storage.repository import Repository
from sweeper.analysis.power import ASSUMED, Design, findable, repeats_for
from sweeper.data.preparation import check_cases, reader_of
from sweeper.drafts import budget as budgets
from sweeper.drafts.data_set import DataSet
from sweeper.drafts.fingerprint import Fingerprint, measure
from sweeper.drafts.groups import FEWEST, find_groups
from sweeper.drafts.layout import Layout, find_layout
from sweeper.drafts.rules import OVERSAMPLING, metrics_of
from sweeper.drafts.screen import screen
from sweeper.drafts.text import GridText
from sweeper.drafts.values import Options, channels_of, class_options, picture_options, volume_values
from sweeper.errors import GridError
from sweeper.grids.files import grid_of_text, load_grid
from sweeper.run.devices import Devices, devices_at_hand
from sweeper.settings import Settings
from sweeper.timing.costs import CostModel, learn_costs
from sweeper.timing.measured import measured_costs
from sweeper.units import duration
from trials.errors import ExpectedError
from trials.places import NAME_PATTERN, is_dataset_name
from workers import losses as known_losses
from workers.datasets import get_reader, names
from workers.datasets.dataset_json import NAME as DESCRIPTION
from workers.datasets.own_splits import read_split_file
from workers.datasets.reader import CaseFiles, Reader
from workers.datasets.registry import READERS
from workers.datasets.sources import included_cases
from workers.errors import DataError

PAPER = ("ce", "focal", "dice", "tversky", "focal_tversky", "combo", "unified_focal_sym", "unified_focal_asym")
"""The losses of the paper, the unified ones at γ = 0.5."""

USUAL = ("ce", "dice", "unified_focal_asym")
UNIFIED = ("unified_focal_sym", "unified_focal_asym")
FEW_VOLUMES = 3
"""Fewer volumes are cut into blocks: no study can be made of them otherwise."""

SURE_CASES = 5
"""A built-in set is recognised by so many cases."""

ENOUGH_BLOCKS = 12
SPLIT_FILES = ("splits_final.json", "split.csv")
LEAST_REPEATS, MOST_REPEATS = 3, 5
_TRAIN = 0.64


@dataclass(frozen=True, slots=True)
class Draft:
    """A grid that was written for a folder.

    Attributes:
        name: of the sweep and, mostly, of the data set.
        text: the grid.
        lines: what was found, for a person.
    """

    name: str
    text: str
    lines: tuple[str, ...]


def draft(
    folder: Path, settings: Settings, *, budget: float | None = None, gpus: int | None = None, losses: str = ""
) -> Draft:
    """Looks at a folder and writes a grid for it. Asks nothing and writes no file.

    Args:
        folder: the data set's folder; its parent is the folder of all data sets.
        settings: whose database may know what trials cost.
        budget: seconds that the study may take.
        gpus: so many GPUs train at once; None: what is at hand.
        losses: names with commas, "paper", "small" (the grid's), or "" for three usual ones.

    Raises:
        DataError: no images with masks were found, or none can be read.
        GridError: an unknown loss.
    """
    folder = place_of(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name the one that holds the images and masks of one data set")
    chosen = _losses(losses)
    data = _recognised(folder)
    cases = _cases(data, folder)
    _cut(data, folder, cases)
    reader = reader_of(data.table).at(folder)
    cases, _ = included_cases(reader, folder, ())
    _group(data, cases)
    _own_split(data, folder)
    reader = reader_of(data.table).at(folder)
    cases, _ = included_cases(reader, folder, ())
    found = _measured(data, reader, folder, cases)
    given = None if gpus is None else Devices([{"CPU": math.inf, "GPU": float(gpus)}], f"{gpus} GPUs")
    devices = given or devices_at_hand(settings)
    while True:
        study, power = _study(data, found, cases, len(chosen), devices)
        costs = _costs(settings)
        fitted = budgets.free(found, study, costs) if budget is None else budgets.fit(found, study, costs, budget)
        text = _written(data, found, fitted, chosen, budget, gpus, power, folder)
        grid = grid_of_text(text, origin=f"written for {folder.name}")
        try:
            check_cases(grid, grid.datasets[0], cases, (), folder)
        except ExpectedError as error:
            if not data.split:
                raise
            data.notes.append(f"split = {data.split} was not kept: {error}")
            data.split = {}
            continue
        return Draft(grid.name, text, tuple(screen(data, found, fitted, chosen, budget, devices, power)))


def place_of(folder: Path) -> Path:
    """A folder as it was named, as an absolute path without `..`; a link keeps its own name."""
    return Path(os.path.abspath(folder.expanduser()))  # noqa: PTH100 (`resolve` follows links)


def _losses(text: str) -> tuple[str, ...]:
    if not text:
        return USUAL
    if text == "small":
        return tuple(loss.name for loss in load_grid("small").losses)
    chosen = PAPER if text == "paper" else tuple(name.strip() for name in text.split(",") if name.strip())
    for name in chosen:
        known_losses.definition(name)
    if len(set(chosen)) < len(chosen) or not chosen:
        raise GridError(f"--losses {text}: name each loss once, with commas, or `paper` or `small`")
    return chosen


def _recognised(folder: Path) -> DataSet:
    name = folder.name if is_dataset_name(folder.name) else _plain(folder.name)
    described = []
    if (folder / DESCRIPTION).is_file():  # before the built-in sets: ten of them have this file, and it tells more
        try:
            get_reader("nifti-folder").find_cases(folder)
            return DataSet(name, folder.name, "nifti-folder", {}, f"described by {DESCRIPTION}")
        except ExpectedError as error:
            described = [f"{DESCRIPTION} was not used: {error}"]
    for known in names():
        if READERS[known].any_folder and known != name:
            continue  # it would read any folder
        try:
            cases = get_reader(known).find_cases(folder)
        except (ExpectedError, OSError):
            continue
        if len(cases) >= SURE_CASES:
            about = get_reader(known).about
            return DataSet(name, folder.name, known, {}, f"the built-in set {about.title}")
    layout = find_layout(folder)
    data = _volumes(name, folder, layout) if layout.volumes else _pictures(name, folder, layout)
    data.notes = [*described, *layout.notes, *data.notes]
    if layout.folders:
        data.split = {"folders": True}
    return data


def _pictures(name: str, folder: Path, layout: Layout) -> DataSet:
    options: Options = {
        "images": layout.images[0] if len(layout.images) == 1 else list(layout.images),
        "masks": layout.masks if isinstance(layout.masks, str) else dict(layout.masks),
    }
    if layout.unite:
        options["unite"] = True
    data = DataSet(name, folder.name, "image-folder", options, "pictures with masks")
    cases = _cases(data, folder)
    images = [path for case in cases for path in case.images]
    count, kind = channels_of(images)
    total = count * len(layout.images)
    if total != 3:
        options["channels"] = total
    data.what = f"{kind} pictures with masks" if len(layout.images) == 1 else f"pictures of {total} channels with masks"
    if isinstance(layout.masks, str):
        found, notes = picture_options([path for case in cases for path in _masks(case)])
        options.update(found)
        data.notes += notes
    return data


def _volumes(name: str, folder: Path, layout: Layout) -> DataSet:
    labels = layout.masks if isinstance(layout.masks, str) else next(iter(layout.masks.values()))
    options: Options = {"images": list(layout.images), "labels": labels}
    data = DataSet(name, folder.name, "nifti-folder", options, "volumes with labels")
    cases = _cases(data, folder)
    found, notes = class_options(volume_values([case.label for case in cases]))
    if found["classes"] != ["background", "foreground"]:
        options["classes"] = found["classes"]
        data.notes += notes
    options.update({key: value for key, value in found.items() if key != "classes"})
    several = _volumes_in(cases)
    if several > len(layout.images):
        options["channels"] = several
        data.notes.append(f"each image holds {several} volumes in one file, which become its channels")
    return data


def _volumes_in(cases: Sequence[CaseFiles]) -> int:
    from workers.datasets.volumes import read_header

    for case in cases:
        try:
            return sum(read_header(path).channels for path in case.images)
        except DataError:
            continue
    return 1


def _masks(case: CaseFiles) -> tuple[Path, ...]:
    return tuple(path for _, path in case.masks) or (case.label,)


def _cases(data: DataSet, folder: Path) -> list[CaseFiles]:
    """The cases by the options; those that make them readable are added."""
    tries: list[tuple[Options, str]] = [({}, "")]
    if data.reader in ("image-folder", "nifti-folder"):
        lacking = ({"unlabelled": "skip"}, "images without a mask are left out, and `sweeper data check` lists them")
        tries.append(lacking)
        if isinstance(data.options.get("masks"), dict):
            empty = ({"missing_masks": "empty"}, "a class without its file is taken to be absent from the image")
            tries += [empty, ({**empty[0], **lacking[0]}, f"{empty[1]}; {lacking[1]}")]
    first: ExpectedError | None = None
    for more, note in tries:
        entry = data.table.model_copy(update={"options": {**data.options, **more}})
        try:
            cases = reader_of(entry).at(folder).find_cases(folder)
        except ExpectedError as error:
            first = first or error
            continue
        data.options.update(more)
        if note:
            data.notes.append(note)
        return cases
    raise first if first is not None else DataError(f"{folder}: no cases")


def _cut(data: DataSet, folder: Path, cases: Sequence[CaseFiles]) -> None:
    """Cuts volumes into blocks where they are too few."""
    reader = reader_of(data.table).at(folder)
    if reader.dimensions == 2 or len(cases) >= FEW_VOLUMES or data.reader != "nifti-folder":
        return
    from workers.datasets.preprocessing import canonical_order
    from workers.datasets.volumes import read_header

    header = read_header(cases[0].images[0])
    shape = list(canonical_order(header.shape, header.affine))
    blocks = [1, 1, 1]
    while math.prod(blocks) * len(cases) < ENOUGH_BLOCKS:
        axis = max(range(3), key=lambda one: shape[one] / blocks[one])
        if shape[axis] / (blocks[axis] + 1) < 16:
            break
        blocks[axis] += 1
    if blocks == [1, 1, 1]:
        return
    data.options |= {"blocks": blocks, "labelled": True}
    data.notes.append(
        f"{len(cases)} volumes are too few for a training, a validation and a test set, so each is cut into blocks, "
        "and parts of one person are on both sides of the split: the scores say nothing about new people"
    )


def _group(data: DataSet, cases: Sequence[CaseFiles]) -> None:
    if data.split or "blocks" in data.options:
        return
    known = {case.group for case in cases}
    if None not in known:
        data.patients = f"{len(known)}, by their folders" if len(known) < len(cases) else ""
        if FEWEST <= len(known) < len(cases):
            data.split = {"grouped": True}
        return
    grouping = find_groups([case.id for case in cases])
    if grouping is None:
        data.notes.append("the names do not tell which images are of one patient; if one has several, set group")
        return
    if grouping.sure:
        data.patients = f"{grouping.groups}, by their names: {grouping.part} of {grouping.name}"
    if data.reader not in ("image-folder", "nifti-folder"):
        return
    if grouping.sure:
        data.options["group"] = grouping.expression
        data.split = {"grouped": True}
    else:
        data.notes.append(
            f"the names may tell {grouping.groups} patients or sources, by their first part; if so, add to the options "
            f"group = '{grouping.expression}' and to the data set split = {{ grouped = true }}"
        )


def _own_split(data: DataSet, folder: Path) -> None:
    for name in SPLIT_FILES:
        if data.split or not (folder / name).is_file():
            continue
        try:
            folds = len(read_split_file(folder / name).folds)
        except ExpectedError as error:
            data.notes.append(f"{name} was not used: {error}")
            continue
        data.split = {"file": name, **({"folds": folds, "fold": 0} if folds > 1 else {})}
        if folds > 1:
            data.notes.append(f"{name} has {folds} folds, of which the first is run; leave fold out to run all")


def _measured(data: DataSet, reader: Reader, folder: Path, cases: Sequence[CaseFiles]) -> Fingerprint:
    if isinstance(data.options.get("masks"), dict):
        try:
            for case in cases[:: max(len(cases) // 40, 1)]:
                reader.read_case(case)
        except DataError as error:
            if "options.overlaps" in str(error):
                data.options["overlaps"] = "last"
                data.notes.append("masks of two classes overlap: such a pixel is of the class that is named last")
                reader = reader_of(data.table).at(folder)
    found = measure(reader, cases)
    if reader.size is not None:  # a built-in set's own size, likewise its spacing and clip
        found = replace(found, shape=reader.size, alike=True)
    if reader.spacing is not None:
        median = found.spacings[len(found.spacings) // 2]
        shape = tuple(round(n * m / s) for n, m, s in zip(found.shape, median, reader.spacing, strict=True))
        found = replace(found, shape=shape, spacings=(tuple(reader.spacing),) * len(found.spacings))
    if reader.clip is not None:
        found = replace(found, windows=())
    return found


def _study(
    data: DataSet, found: Fingerprint, cases: Sequence[CaseFiles], losses: int, devices: Devices
) -> tuple[budgets.Study, str]:
    """What there is to train, and what the power estimate says of it."""
    groups = {case.group for case in cases}
    units = max(round(0.2 * (len(groups) if data.split.get("grouped") and None not in groups else len(cases))), 2)
    design = Design(losses, LEAST_REPEATS, units)
    repeats = min(max(repeats_for(0.01, design, ASSUMED) or MOST_REPEATS, LEAST_REPEATS), MOST_REPEATS)
    difference = findable(replace(design, runs=repeats), ASSUMED)
    power = f"{repeats} repeats find differences of about {difference:.3f} DSC between two losses (assumed spread)"
    if math.isnan(difference):
        power = "one loss: nothing is compared"
    slots = int(devices.gpus) or max(int(devices.cpus), 1)
    return budgets.Study(losses, 1, slots, max(round(_TRAIN * found.cases), 1), repeats), power


def _costs(settings: Settings) -> CostModel:
    file = settings.database_file
    if (file is not None and not file.exists()) or schema_version(settings.database) is None:
        return learn_costs([])
    with open_database(settings.database, create=False) as database:
        return measured_costs(Repository(database))


def _written(
    data: DataSet,
    found: Fingerprint,
    fitted: budgets.Fit,
    losses: Sequence[str],
    budget: float | None,
    gpus: int | None,
    power: str,
    folder: Path,
) -> str:
    sizes, text = fitted.sizes, GridText()
    text.comment(f"Written by `sweeper init` for the folder {folder.name}: {data.what}, {found.cases} cases.")
    text.comment("Why each value is what it is: docs/init.md. Check it, look at the plan, and run it:")
    for command in (f"data check {data.name!r}" if " " in data.name else f"data check {data.name}", "plan", "launch"):
        text.comment(f"  sweeper {command} --grid FILE --data {'DIR'}")
    text.comment("(FILE is this file, DIR the folder above the data set's.)")
    text.blank()
    text.key("name", _plain(data.name))
    text.key("description", f"Which loss segments {data.name} best? Written by sweeper init.")
    text.key("repeats", fitted.repeats, power)
    text.table("datasets", entry=True)
    text.key("name", data.name)
    if data.folder != data.name:
        text.key("folder", data.folder)
    if data.reader != data.name:
        text.key("reader", data.reader)
    if data.split:
        text.key(
            "split", data.split, "patients stay together" if data.split.get("grouped") else "the folder's own split"
        )
    text.comments(f"unsure: {note}." for note in data.notes)
    options = {**data.options, **_preprocessing(found, fitted)}
    if options:
        text.table("datasets.options")
        for key, value in options.items():
            text.key(key, value, _REASONS.get(key, "").format(sizes=sizes))
    for name in losses:
        text.table("losses", entry=True)
        text.key("name", name)
        if name in UNIFIED:
            text.key("gamma", 0.5)
    text.table("model")
    text.key("base_filters", fitted.filters, "of the first level; it doubles at each")
    text.key("depth", sizes.depth, "the coarsest level keeps at least 4 pixels along each side")
    text.table("training")
    if fitted.epochs is None:
        text.comment("epochs are the paper's: at most 1,000, with early stopping; --budget chooses them for a time")
    else:
        text.key("epochs", fitted.epochs, f"as many as fit into {duration(budget or 0)}")
    text.key("batch_size", 2, "the paper's, and nnU-Net's smallest")
    if sizes.patch:
        text.key("patch", sizes.patch, sizes.why)
        if sizes.patches > 1:
            text.key("patches_per_case", sizes.patches)
        text.key("foreground_oversampling", OVERSAMPLING)
    text.table("evaluation")
    if sizes.patch:
        text.key("overlap", [side // 2 for side in sizes.patch], "half of a patch")
        text.key("weighting", "gaussian")
    metrics = metrics_of(found)
    text.key("metrics", [name for name, _ in metrics], "; ".join(f"{name}: {why}" for name, why in metrics))
    if gpus:
        text.table("resources")
        text.key("gpus", 1.0, "of each trial; several trials at once on one GPU: a fraction")
    return str(text)


_REASONS = {
    "size": "{sizes.why}",
    "spacing": "{sizes.spaced}, in mm along z, y and x",
    "clip": "0.5% to 99.5% of the foreground's intensities",
    "group": "which part of a name is the patient",
    "mask_resampling": "so that thin structures survive resizing",
    "unite": "the masks of an image are put together",
}


def _preprocessing(found: Fingerprint, fitted: budgets.Fit) -> Options:
    sizes, options = fitted.sizes, Options()
    if sizes.size:
        options["size"] = list(sizes.size)
        if sizes.area:
            options["mask_resampling"] = "area"
    if sizes.spacing:
        options["spacing"] = list(sizes.spacing)
    if any(found.windows):
        options["clip"] = list(found.windows[0]) if len(found.windows) == 1 else [list(one) for one in found.windows]
    return options


def _plain(name: str) -> str:
    """A name as that of a sweep."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", letters).strip("-._")[:80].rstrip("-")
    return clean if re.fullmatch(NAME_PATTERN, clean) else "study"
