"""`sweeper predict`: what validation chose, applied to new images, or to images whose truth is known."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from storage.records import Sweep, Trial
from storage.repository import Repository
from sweeper.data.preparation import reader_of
from sweeper.errors import GridError, SettingsError
from sweeper.grids.details import details_of
from sweeper.grids.files import parse_grid
from sweeper.grids.plugged import load_plugins, refuse_inert
from sweeper.run.filling import asked_metrics
from sweeper.settings import Settings
from sweeper.study import Study, read_study
from trials.metrics import in_order
from trials.places import below
from trials.results import Score
from trials.spec import TrialSpec, content_hash, is_external
from trials.states import TrialState
from workers.datasets.formats import ENDINGS, ending_of
from workers.datasets.intake import Intake
from workers.datasets.patterns import is_aside
from workers.datasets.prepared import open_prepared, prepared_path
from workers.datasets.reader import intake_for
from workers.datasets.volume_formats import dicom_files
from workers.errors import DataError, nearest, shortened
from workers.files import atomic_write
from workers.inference.outputs import mask_name, overlay_name, probabilities_name
from workers.inference.recipe import Recipe, intake_of, largest_of
from workers.process.evaluation import MODEL_FILE
from workers.process.prediction import Answer, Job, PredictionRequest, predict_all

RECORD = "predictions.jsonl"
"""In the folder of predictions: by which networks they were made, and what came of each image."""

SCORES = "scores.csv"

_PICTURES = ("png", "jpeg", "tiff", "gif", "bmp")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which networks are asked for. The test set decides nothing.

    Attributes:
        dataset: of a sweep with several.
        trial: the first digits of a trial's hash.
        loss, gamma: the best run of these by validation DSC; None for the best of all.
        ensemble: all repeats and folds of the cell, whose softmax is averaged.
    """

    dataset: str | None = None
    trial: str | None = None
    loss: str | None = None
    gamma: float | None = None
    ensemble: bool = False


def choose(repository: Repository, sweep_name: str, choice: Choice) -> list[Trial]:
    """The trials whose networks are applied: one, or those of an ensemble.

    Raises:
        UnknownSweepError, UnknownTrialError: no such sweep or trial.
        GridError: nothing has finished, there are several data sets, or no such loss or γ.
    """
    study = read_study(repository, sweep_name)
    stored = {trial.hash: trial for trial in repository.trials(sweep_name)}
    usable = {h: t for h, t in stored.items() if t.state is TrialState.FINISHED and not is_external(t.spec)}
    if choice.trial is not None:
        if choice.loss is not None or choice.gamma is not None:
            raise GridError("--trial names one network; leave out --loss and --gamma")
        found = repository.trial(choice.trial, sweep_name)
        if found.hash not in usable:
            raise GridError(f"trial {found.hash[:8]} of {sweep_name!r} is {found.state.value}: it has no network")
        best = usable[found.hash]
    else:
        best = usable[_best(study, usable, sweep_name, choice)]
    if not choice.ensemble:
        return [best]
    return sorted(
        (t for t in usable.values() if _cell(t.spec) == _cell(best.spec)),
        key=lambda t: (t.repeat, t.spec.data.fold or 0),
    )


def _best(study: Study, usable: Mapping[str, Trial], sweep_name: str, choice: Choice) -> str:
    """The hash of the best run by validation DSC, of what the choice leaves."""
    from sweeper.analysis.selection import best_on_validation, best_trials, select_gamma

    dataset = _dataset({t.dataset for t in usable.values()}, sweep_name, choice.dataset)
    if choice.loss is None and choice.gamma is None:
        # The board, the report and the registry name the same one.
        if dataset in (best := study.answers.best_models) and best[dataset] in usable:
            return best[dataset]
        raise GridError(f"sweep {sweep_name!r} has no finished trial with a validation DSC on {dataset!r} yet")
    trials = study.trials[(study.trials["dataset"] == dataset) & study.trials["hash"].isin(list(usable))]
    if choice.loss is not None:
        names = sorted({*trials["loss"], *trials["variant"]})
        trials = trials[(trials["loss"] == choice.loss) | (trials["variant"] == choice.loss)]
        if trials.empty:
            raise GridError(
                f"--loss {choice.loss!r}: sweep {sweep_name!r} has no finished trial of it on {dataset!r}"
                f"{nearest(choice.loss, names)}; it has {', '.join(names)}"
            )
    if choice.gamma is not None:
        known = sorted(set(trials["gamma"].dropna()))
        trials = trials[(trials["gamma"] - choice.gamma).abs() < 1e-9]
        if trials.empty:
            has = ", ".join(f"{gamma:g}" for gamma in known) or "none"
            raise GridError(f"--gamma {choice.gamma:g}: no finished trial has it; known: {has}")
    found = best_trials(trials, best_on_validation(select_gamma(trials)))
    if dataset not in found:
        raise GridError(f"no trial of what was asked for has a validation DSC on {dataset!r}")
    return found[dataset]


def _dataset(known: Iterable[str], sweep_name: str, wanted: str | None) -> str:
    names = sorted(known)
    if not names:
        raise GridError(f"no trial of sweep {sweep_name!r} has finished, so there is no network yet")
    if wanted is not None and wanted not in names:
        raise GridError(
            f"sweep {sweep_name!r} has no finished trial on data set {wanted!r}{nearest(wanted, names)}; it has "
            f"{', '.join(names)}"
        )
    if wanted is None and len(names) > 1:
        raise GridError(f"sweep {sweep_name!r} has several data sets: {', '.join(names)}; choose one with --dataset")
    return wanted or names[0]


def _cell(spec: TrialSpec) -> str:
    """What the repeats and folds of a cell share."""
    data = replace(spec.data, split="", fold=None)
    return content_hash(replace(spec, data=data, repeat=0, seed=0).to_dict())


def make_request(
    settings: Settings,
    sweep: Sweep,
    trials: Sequence[Trial],
    *,
    to: Path,
    probabilities: bool = False,
    overlay: bool = False,
) -> PredictionRequest:
    """What a prediction needs of the trials that were chosen.

    Raises:
        GridError: a network is not kept on this machine, or the reader does not say how an image alone is read.
        DataError: the prepared data are not here.
        PluginError: the sweep was imported with code that may not run.
    """
    files = [below(settings.trials, trial.hash) / MODEL_FILE for trial in trials]
    gone = [trial.hash[:8] for trial, file in zip(trials, files, strict=True) if not file.is_file()]
    if gone:
        raise GridError(f"the trained network of trial {shortened(gone, 3)} is not kept on this machine")
    kinds = ("datasets", "networks", "metrics", "samplers", "pruners")
    refuse_inert(sweep, kinds)
    load_plugins(sweep, ("datasets", "metrics", "samplers", "pruners"))
    spec = trials[0].spec
    table = next(one for one in parse_grid(sweep.grid, sweep.name).datasets if one.name == spec.data.dataset)
    prepared = open_prepared(prepared_path(settings.prepared, spec.data.dataset, spec.data.prepared))
    # Data that an older version prepared may not say it; their reader does.
    intake = intake_of(prepared) or intake_for(reader_of(table), prepared.channels)
    if intake is None:
        raise GridError(
            f"reader {table.reader or table.name!r} does not say how an image is read without its mask; give its class "
            "a method `intake` (docs/predict.md)"
        )
    return PredictionRequest(
        recipe=Recipe.of(spec, intake, largest_of(prepared)),
        networks=tuple(files),
        threads=spec.training.threads,
        to=to,
        prepared=prepared.path,
        reader=table.reader or table.name,
        plugins=details_of(sweep).runnable,
        probabilities=probabilities,
        overlay=overlay,
        evaluation=spec.evaluation,
        metrics=asked_metrics(sweep).get(spec.data.dataset, ()),
        deterministic=spec.training.deterministic,
    )


def check_apart(to: Path, named: Sequence[Path]) -> None:
    """Refuses a folder in which what is written could replace an image, or be taken for one the next time.

    Raises:
        SettingsError: it is or lies in a folder that was named, or holds a file that was.
    """
    for path in named:
        if path.is_dir() and to.resolve().is_relative_to(path.resolve()):
            raise SettingsError(f"--to {to} lies in {path}, whose images are predicted; name a folder outside of it")
        if path.is_file() and path.parent.resolve() == to.resolve():
            raise SettingsError(f"--to {to} holds {path.name}, which could be written over; name another folder")


def find_jobs(intake: Intake, named: Sequence[Path]) -> tuple[list[Job], list[str]]:
    """The images that files and folders stand for, and what is wrong with some.

    A folder stands for all images in it, also in folders below; a folder of DICOM slices is one image. Files that make
    the channels of one image are put together by the data set's patterns, or by the numbers that nnU-Net gives.
    """
    found: list[tuple[str, Path]] = []
    errors: list[str] = []
    for path in named:
        if path.is_dir():
            inside = list(_images_in(path, intake))
            found += inside
            if not inside:
                errors.append(f"{path}: no {'volume' if intake.volumes else 'image'} in this folder")
        elif not path.exists():
            errors.append(f"{path}: no such file")
        else:
            found.append((_stem(path.name), path))
    jobs: dict[str, Job] = {}
    for name, files in _together(intake, found, errors):
        if name in jobs and jobs[name].files != files:
            errors.append(f"{files[0]}: {jobs[name].files[0]} has the same name, and so would what is written")
            continue
        jobs[name] = Job(name, files)
    return list(jobs.values()), errors


def _images_in(folder: Path, intake: Intake) -> Iterator[tuple[str, Path]]:
    if intake.volumes and (series := dicom_files(folder)) and not any(ending_of(p.name) in ENDINGS for p in series):
        yield folder.resolve().name, series[0]
        return
    series_of: set[Path] = set()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or is_aside(relative.as_posix()) or path.parent in series_of:
            continue
        kind = ENDINGS.get(ending_of(path.name).lower(), "")
        if intake.volumes and kind in ("dicom", ""):
            if series := dicom_files(path.parent):
                series_of.add(path.parent)
                name = path.parent.relative_to(folder).as_posix()
                yield (folder.resolve().name if name == "." else name), series[0]
            continue
        wanted = kind not in ("", *_PICTURES) or kind == "tiff" if intake.volumes else kind in _PICTURES
        if wanted and kind != "nifti voxels":
            yield (relative.parent / _stem(path.name)).as_posix(), path


def _stem(name: str) -> str:
    ending = ending_of(name)
    return name[: len(name) - len(ending)] if ending else name


def _together(
    intake: Intake, found: Sequence[tuple[str, Path]], errors: list[str]
) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Each image with its files, in the order of its channels."""
    patterns = [_tail(pattern) for pattern in intake.patterns]
    numbered = not patterns and intake.channels > 1
    if not numbered and len(patterns) < 2:
        for name, path in found:
            yield name, (path,)
        return
    count = intake.channels if numbered else len(patterns)
    images: dict[str, dict[int, Path]] = {}
    for name, path in found:
        placed = _numbered(name) if numbered else _placed(path, patterns)
        if placed is None and numbered:
            yield name, (path,)  # one file with all channels
            continue
        if placed is None:
            errors.append(f"{path}: its name is none of {', '.join(intake.patterns)}, by which channels are told")
            continue
        identity, channel = placed
        if not numbered:
            identity = (Path(name).parent / identity).as_posix()
        images.setdefault(identity, {})[channel] = path
    for identity, files in images.items():
        missing = [str(c) if numbered else intake.patterns[c] for c in range(count) if c not in files]
        if missing:
            errors.append(f"{next(iter(files.values()))}: no file of its channel {', '.join(missing)}")
        else:
            yield identity, tuple(files[c] for c in range(count))


def _numbered(name: str) -> tuple[str, int] | None:
    match = re.fullmatch(r"(.+)_(\d{4})", name)
    return None if match is None else (match[1], int(match[2]))


def _tail(pattern: str) -> re.Pattern[str]:
    """A pattern of paths as an expression for the end of a path, as much of it as has no `**`."""
    parts = pattern.rsplit("**/", 1)[-1].strip("/").split("/")
    parts = parts[next((i for i, part in enumerate(parts) if "{id}" in part), 0) :]
    text, seen = "", False
    for piece in re.split(r"(\{id\}|\{group\}|\*)", "/".join(parts)):
        if piece == "{id}":
            text, seen = text + ("(?P=id)" if seen else "(?P<id>[^/]+)"), True
        else:
            text += "[^/]*" if piece in ("{group}", "*") else re.escape(piece)
    return re.compile(rf"(?:.*/)?{text}", re.IGNORECASE)


def _placed(path: Path, patterns: Sequence[re.Pattern[str]]) -> tuple[str, int] | None:
    for channel, pattern in enumerate(patterns):
        if match := pattern.fullmatch(path.as_posix()):
            return match["id"], channel
    return None


def with_masks(jobs: Sequence[Job], masks: Path, fields: Path | None) -> tuple[list[Job], list[str]]:
    """Each image with its mask, and those that have none. A mask has its image's name, or a longer one in front of
    whose rest stands no letter or digit, as in `a_mask.png`."""
    given, seen = _by_name(masks), {} if fields is None else _by_name(fields)
    found, errors = [], []
    for job in jobs:
        name = Path(job.name).name
        mask = _named(given, name)
        if mask is None:
            errors.append(f"{job.files[0]}: no mask of this name in {masks}")
            continue
        found.append(replace(job, mask=mask, field=_named(seen, name)))
    return found, errors


def _by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder of masks")
    return {
        _stem(path.name): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ending_of(path.name) and not is_aside(path.relative_to(folder).as_posix())
    }


def _named(files: Mapping[str, Path], name: str) -> Path | None:
    if name in files:
        return files[name]
    longer = [path for stem, path in files.items() if stem.startswith(name) and not stem[len(name)].isalnum()]
    return longer[0] if len(longer) == 1 else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of all images.

    Attributes:
        done: how many were predicted now.
        kept: how many had been before.
        errors: one line for each image that could not be.
        scores: of all that have a mask.
    """

    done: int
    kept: int
    errors: tuple[str, ...]
    scores: tuple[Score, ...]


Progress = Callable[[int, int, str], None]
"""Called after each image with how many are done, how many there are, and its line."""


def predict(request: PredictionRequest, jobs: Sequence[Job], identity: str, progress: Progress) -> Outcome:
    """Predicts what is not predicted yet, and writes the scores where there are masks.

    Args:
        request: see `make_request`.
        jobs: the images.
        identity: by what the predictions are made (`identity_of`); a folder holds those of one.
        progress: is told of each image.

    Raises:
        SettingsError: the folder holds predictions of other networks.
        WorkerLostError: the networks could not be opened.
    """
    record = request.to / RECORD
    known = _recorded(record, identity)
    scores: dict[str, tuple[Score, ...]] = {}
    left = []
    for job in jobs:
        entry = known.get(job.name)
        if entry is not None and entry["stamp"] == _stamp(job) and _written(request, job):
            scores[job.name] = tuple(map(Score.from_dict, entry["scores"]))
        else:
            left.append(job)
    kept, errors = len(jobs) - len(left), []
    request.to.mkdir(parents=True, exist_ok=True)
    if not record.exists():
        with atomic_write(record) as new:
            new.write((json.dumps({"networks": identity}) + "\n").encode())
    stamps = {job.name: _stamp(job) for job in left}
    with record.open("a", encoding="utf-8") as file:
        for count, answer in enumerate(predict_all(request, left), start=kept + 1):
            job = answer.job
            if answer.error:
                errors.append(answer.error)
            else:
                scores[job.name] = answer.scores
                own = [score.to_dict() for score in answer.scores]
                file.write(json.dumps({"name": job.name, "stamp": stamps[job.name], "scores": own}) + "\n")
                file.flush()
            progress(count, len(jobs), _line(request, answer))
    ordered = tuple(score for job in jobs for score in scores.get(job.name, ()))
    if ordered:
        with atomic_write(request.to / SCORES) as table:
            table.write(_table(ordered).encode())
    return Outcome(len(left) - len(errors), kept, tuple(errors), ordered)


def identity_of(trials: Sequence[Trial]) -> str:
    """By what predictions are made: the hashes of the trials."""
    return " ".join(trial.hash for trial in trials)


def _line(request: PredictionRequest, answer: Answer) -> str:
    if answer.error:
        return answer.error
    notes = "".join(f" ({note})" for note in answer.notes)
    return mask_name(answer.job.name, volume=request.recipe.intake.volumes) + notes


def _written(request: PredictionRequest, job: Job) -> bool:
    """Whether all that is wanted of an image is there."""
    volume = request.recipe.intake.volumes
    names = [mask_name(job.name, volume=volume)]
    names += [probabilities_name(job.name, volume=volume)] if request.probabilities else []
    names += [overlay_name(job.name)] if request.overlay else []
    return all((request.to / name).is_file() for name in names)


def _stamp(job: Job) -> list[list[int]]:
    """Sizes and times of an image's files: one that was changed is predicted anew."""
    paths = [*job.files, *(path for path in (job.mask, job.field) if path is not None)]
    return [[path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def _recorded(record: Path, identity: str) -> dict[str, Mapping[str, Any]]:
    """What a folder holds already, by the image's name."""
    if not record.exists():
        return {}
    first, *lines = record.read_text(encoding="utf-8").splitlines() or [""]
    try:
        made = json.loads(first)["networks"]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{record} is damaged; name another folder with --to") from error
    if made != identity:
        raise SettingsError(
            f"{record.parent} holds predictions of other networks ({made[:8]}…, not {identity[:8]}…); name another "
            "folder with --to"
        )
    known: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            known[entry["name"]] = entry
        except (ValueError, KeyError, TypeError):
            continue  # a line that was cut off by a kill
    return known


def _table(scores: Sequence[Score]) -> str:
    metrics = in_order([name for score in scores for name in score.values])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "class", *metrics])
    for score in scores:
        values = ["" if (value := score[name]) is None else repr(value) for name in metrics]
        writer.writerow([score.case, score.label, *values])
    return text.getvalue()
