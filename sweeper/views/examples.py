"""Example segmentations for Fig. 4 to 6: the same few test cases for each loss, and the part of each that tells most.

Which cases these are follows from the scores (mean DSC over the losses, and how much it differs between them); their
pictures come from the predictions that each trial left and from the prepared data, and are simply absent, with the
reason, where those files are.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from sweeper.analysis import Answers
from sweeper.analysis.chosen import ChosenScores
from sweeper.analysis.selection import at_selected_gamma, foreground_dsc, trial_scores
from sweeper.views.crops import (
    Box,
    Errors,
    Labels,
    box_around,
    box_of_disagreement,
    disagreement,
    errors,
    fullest_slice,
    largest_wrong,
)
from trials.places import below
from workers.datasets.prepared import PreparedDataset, open_prepared, prepared_path
from workers.datasets.preprocessing import IGNORED
from workers.errors import DataError
from workers.privacy import without_folders

PREDICTIONS = "predictions.npz"
VALIDATION_FILE = "validation_predictions.npz"
"""The files in a trial's folder with one uint8 array of class indices per test or validation case, as prepared."""

Picture = npt.NDArray[np.float32]

PERCENTILES = (1.0, 99.0)
"""Of a picture's intensities: what is shown black and white."""

DISAGREEMENT = "largest disagreement"
SIDE_BY_SIDE = "side by side"


@dataclass(frozen=True, slots=True)
class Picked:
    """A test case that is shown: why (`role`), its DSC as the mean over the losses, and the lowest and highest."""

    role: str
    case: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Plane:
    """One slice of a case, the same for each loss.

    Attributes:
        name: axial, coronal or sagittal; empty of a flat image.
        image: (h, w, 3), as stored.
        truth: the class index of each pixel, (h, w).
        box: the part that is shown enlarged.
        aspect: the height of a pixel over its width, from the voxels' spacing.
        at: the number of the slice; None of a flat image.
    """

    name: str
    image: Picture
    truth: Labels
    box: Box
    aspect: float = 1.0
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Segmented:
    """A case as one trial segmented it: its prediction in each plane, and DSC and errors of the whole case."""

    variant: str
    trial: str
    dsc: float
    predictions: tuple[Labels, ...]
    errors: Errors


@dataclass(frozen=True, slots=True)
class Example:
    """One case with every loss's segmentation. `disputed` pixels or voxels of it are not the same for all losses."""

    picked: Picked
    planes: tuple[Plane, ...]
    losses: tuple[Segmented, ...]
    disputed: int


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of one data set, and in `problems` what kept others from being shown."""

    dataset: str
    shown: tuple[Example, ...] = ()
    problems: tuple[str, ...] = field(default=())


def load_examples(
    answers: Answers, trials_folder: Path | None, prepared_root: Path | None, *, hidden: Collection[str] = ()
) -> list[Examples]:
    """Examples of every data set that has finished trials.

    Args:
        answers: of the study.
        trials_folder: holds a folder per trial, named by its hash, with `predictions.npz`.
        prepared_root: holds the prepared data sets.
        hidden: data sets of which no picture may be shown.
    """
    found = []
    for dataset, cases in pick_cases(answers).items():
        if dataset in hidden:
            found.append(Examples(dataset, problems=("its pictures are switched off (pictures = false)",)))
        elif trials_folder is None or prepared_root is None:
            found.append(Examples(dataset, problems=("the trials' predictions are not on this machine",)))
        else:
            runs = _chosen_runs(answers, dataset)
            found.append(_Files(runs, dataset, trials_folder, prepared_root).examples(cases))
    return found


def beside(
    scores: ChosenScores, names: Mapping[str, str], case: str, trials_folder: Path, prepared_root: Path
) -> Examples:
    """One test case as some trials of one data set segmented it, at whatever γ.

    Args:
        scores: of the sweep.
        names: what each of the trials is called in the picture, by hash.
        case: which; each of the trials has a score for it.
        trials_folder: holds a folder per trial, named by its hash, with `predictions.npz`.
        prepared_root: holds the prepared data sets.
    """
    trials = scores.trials[scores.trials["hash"].isin(names)]
    runs = _runs(trials, scores.per_trial[scores.per_trial["trial"].isin(names)])
    runs["variant"] = runs["hash"].map(names)
    dsc = runs.loc[runs["case"] == case, "dsc"]
    picked = Picked(SIDE_BY_SIDE, case, float(dsc.mean()), float(dsc.min()), float(dsc.max()))
    return _Files(runs, str(trials["dataset"].iloc[0]), trials_folder, prepared_root).examples([picked])


def trials_cases(scores: ChosenScores, trials: Collection[str]) -> pd.DataFrame:
    """The DSC of each test case (the mean over its classes, rows) by each of these trials (columns).

    Only cases for which all of them have one; those on which the trials differ most come first.
    """
    runs = foreground_dsc(scores.per_trial[scores.per_trial["trial"].isin(trials)])
    table = runs.pivot(index="case", columns="trial", values="dsc").dropna()
    spread = (table.max(axis=1) - table.min(axis=1)).round(12)
    return table.loc[spread.sort_values(ascending=False, kind="stable").index]


def pick_cases(answers: Answers) -> dict[str, list[Picked]]:
    """For each data set the cases of median, best and worst mean DSC over the losses, and of the largest disagreement.

    The losses disagree most on the case whose DSC differs most between two of them. Only cases that every loss has a
    score for; a case is listed once, with all that it is.
    """
    scores = foreground_dsc(answers.selected)
    picked: dict[str, list[Picked]] = {}
    for dataset, group in scores.groupby("dataset", sort=False, observed=True):
        table = group.pivot(index="case", columns="variant", values="dsc").dropna()
        if table.empty:
            continue
        table.index = table.index.map(str)
        ranked = [str(case) for case in table.mean(axis=1).sort_values(kind="stable").index]
        roles: dict[str, list[str]] = {}
        for role, case in (("median", ranked[len(ranked) // 2]), ("best", ranked[-1]), ("worst", ranked[0])):
            if case not in roles:
                roles[case] = [role]
        spread = (table.max(axis=1) - table.min(axis=1)).round(12)
        if spread.max() > 0:
            roles.setdefault(str(spread.idxmax()), []).append(DISAGREEMENT)
        picked[str(dataset)] = [
            Picked(" and ".join(own), case, *(float(of(table.loc[case])) for of in (np.mean, np.min, np.max)))
            for case, own in roles.items()
        ]
    return picked


class _Files:
    """The trials and prepared data of one data set, and what of them cannot be read."""

    def __init__(self, runs: pd.DataFrame, dataset: str, trials: Path, prepared: Path) -> None:
        self._runs = runs
        self._dataset, self._trials, self._prepared = dataset, trials, prepared
        self._opened: dict[str, PreparedDataset] = {}
        self._problems: dict[str, str] = {}

    def examples(self, cases: Sequence[Picked]) -> Examples:
        """What can be shown of the cases."""
        shown = [example for picked in cases if (example := self._example(picked)) is not None]
        problems = (f"{variant}: {why}" for variant, why in self._problems.items())
        return Examples(self._dataset, tuple(shown), tuple(problems))

    def _example(self, picked: Picked) -> Example | None:
        runs = self._runs[self._runs["case"] == picked.case].drop_duplicates("variant")
        key, truth = "", np.empty(0, np.uint8)
        predictions: dict[str, tuple[str, float, Labels]] = {}
        for run in runs.to_dict("records"):
            variant, trial = str(run["variant"]), str(run["hash"])
            try:
                own_truth, prediction = self._read(str(run["prepared"]), trial, picked.case)
                if not predictions:
                    key, truth = str(run["prepared"]), own_truth
                if not np.array_equal(own_truth, truth):
                    raise ValueError("its data were prepared otherwise than those of the other losses")
                predictions[variant] = trial, float(run["dsc"]), prediction
            except FileNotFoundError:
                self._problems.setdefault(variant, f"trial {trial} has no {PREDICTIONS} on this machine")
            except (DataError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                self._problems.setdefault(variant, without_folders(str(error), self._prepared, self._trials))
        if not predictions:
            return None
        masks = [mask for _, _, mask in predictions.values()]
        planes = _planes(self._opened[key], picked.case, truth, masks)
        losses = tuple(
            Segmented(variant, trial, dsc, tuple(_slice(mask, i, p.at) for i, p in enumerate(planes)),
                      errors(truth, mask))
            for variant, (trial, dsc, mask) in predictions.items()
        )  # fmt: skip
        return Example(picked, planes, losses, int((disagreement(masks) > 0).sum()))

    def _read(self, key: str, trial: str, case: str) -> tuple[Labels, Labels]:
        """Truth and prediction of a case, both without the pixels that are ignored."""
        if key not in self._opened:
            self._opened[key] = open_prepared(prepared_path(self._prepared, self._dataset, key))
        prepared = self._opened[key]
        with np.load(below(self._trials, trial) / PREDICTIONS, allow_pickle=False) as file:
            prediction = file[case]
        truth = np.asarray(prepared.label(case))
        if prediction.shape != truth.shape:
            raise ValueError(f"the prediction of case {case!r} has shape {prediction.shape}, its truth {truth.shape}")
        if prepared.ignores:
            counted = truth != IGNORED
            truth, prediction = truth * counted, prediction * counted
        return truth, prediction


def _chosen_runs(answers: Answers, dataset: str) -> pd.DataFrame:
    current = answers.trials[answers.trials["current"] & (answers.trials["dataset"] == dataset)]
    chosen = at_selected_gamma(current, answers.selection)
    own = answers.counted_scores[answers.counted_scores["trial"].isin(chosen["hash"])]
    return _runs(chosen, trial_scores(chosen, own))


def _runs(trials: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Each of the trials with its DSC of each case, in the order in which one of a loss is taken."""
    scored = foreground_dsc(scores)[["trial", "case", "dsc"]]
    # Of a cross-validation each case is in the test set of one fold alone.
    return trials.sort_values(["variant", "repeat", "fold"], kind="stable").merge(
        scored, left_on="hash", right_on="trial"
    )


def _planes(prepared: PreparedDataset, case: str, truth: Labels, predictions: Sequence[Labels]) -> tuple[Plane, ...]:
    image = np.asarray(prepared.image(case))
    if truth.ndim == 2:
        return (Plane("", _colours(image), truth, box_of_disagreement(truth, predictions)),)
    spacing, wrong = prepared.spacing(case), largest_wrong(truth, predictions)
    shown = (truth > 0) if wrong is None else wrong
    planes = []
    for axis, name in enumerate(("axial", "coronal", "sagittal")):
        at = fullest_slice(shown, axis)
        rows, columns = (s for i, s in enumerate(spacing) if i != axis)
        planes.append(
            Plane(
                name,
                _colours(np.take(image, at, axis=axis)),
                np.take(truth, at, axis=axis),
                box_around(np.take(shown, at, axis=axis), rows / columns),
                rows / columns,
                at,
            )
        )
    return tuple(planes)


def _slice(mask: Labels, axis: int, at: int | None) -> Labels:
    return mask if at is None else np.take(mask, at, axis=axis)


def _colours(image: npt.NDArray[np.float32]) -> Picture:
    """Colour where there are three channels, else the first in grey."""
    return image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, axis=-1)


def stretched(image: Picture) -> Picture:
    """The picture with its `PERCENTILES` as 0 and 1, so that what is in it can be seen."""
    low, high = np.percentile(image, PERCENTILES)
    scaled: Picture = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    return scaled
