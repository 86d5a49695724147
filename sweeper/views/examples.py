"""Example segmentations for Fig. 4 to 6: the same median, best and worst test case for each loss.

Which cases these are follows from the scores (mean DSC over the losses); their pictures come from the predictions that
each trial left and from the prepared data, and are simply absent, with the reason, where those files are.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sweeper.analysis import Answers
from sweeper.analysis.selection import at_selected_gamma, foreground_dsc
from trials.places import below
from workers.datasets.prepared import PreparedDataset, open_prepared, prepared_path
from workers.datasets.preprocessing import IGNORED
from workers.errors import DataError
from workers.privacy import without_folders

PREDICTIONS = "predictions.npz"
VALIDATION_FILE = "validation_predictions.npz"
"""The file in a trial's folder with one uint8 array of class indices per test case, on the prepared grid."""

Labels = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plane:
    """One slice: `image` (h, w, 3) in [0, 1], and the class index of each pixel in truth and prediction, (h, w).

    `aspect` is the height of a pixel over its width, from the voxels' spacing.
    """

    name: str
    image: Picture
    truth: Labels
    prediction: Labels
    aspect: float = 1.0


@dataclass(frozen=True, slots=True)
class Example:
    """One case as one loss segmented it; a volume has three planes. `role` is median, best or worst."""

    role: str
    case: str
    variant: str
    dsc: float
    planes: tuple[Plane, ...]


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
    roles = pick_cases(answers)
    found = []
    for dataset, cases in roles.items():
        if dataset in hidden:
            found.append(Examples(dataset, problems=("its pictures are switched off (pictures = false)",)))
        elif trials_folder is None or prepared_root is None:
            found.append(Examples(dataset, problems=("the trials' predictions are not on this machine",)))
        else:
            found.append(_examples(answers, dataset, cases, trials_folder, prepared_root))
    return found


def pick_cases(answers: Answers) -> dict[str, dict[str, str]]:
    """For each data set the case of median, best and worst mean DSC over the losses: role → case.

    Only cases that every loss has a score for; a data set of one image has the median alone.
    """
    scores = foreground_dsc(answers.selected)
    roles: dict[str, dict[str, str]] = {}
    for dataset, group in scores.groupby("dataset", sort=False, observed=True):
        table = group.pivot(index="case", columns="variant", values="dsc").dropna()
        ranked = [str(case) for case in table.mean(axis=1).sort_values(kind="stable").index]
        if ranked:
            candidates = {"median": ranked[len(ranked) // 2], "best": ranked[-1], "worst": ranked[0]}
            chosen: dict[str, str] = {}
            for role, case in candidates.items():
                if case not in chosen.values():
                    chosen[role] = case
            roles[str(dataset)] = chosen
    return roles


def _examples(answers: Answers, dataset: str, cases: dict[str, str], trials: Path, prepared: Path) -> Examples:
    current = answers.trials[answers.trials["current"] & (answers.trials["dataset"] == dataset)]
    first = at_selected_gamma(current, answers.selection).sort_values(["repeat", "fold"], kind="stable")
    first = first.drop_duplicates("variant").sort_values("variant")
    dsc = foreground_dsc(answers.selected).set_index(["dataset", "variant", "case"])["dsc"]
    shown: list[Example] = []
    problems: list[str] = []
    opened: dict[str, PreparedDataset] = {}
    for trial in first.to_dict("records"):
        variant, key = str(trial["variant"]), str(trial["prepared"])
        try:
            if key not in opened:
                opened[key] = open_prepared(prepared_path(prepared, dataset, key))
            with np.load(below(trials, str(trial["hash"])) / PREDICTIONS, allow_pickle=False) as predictions:
                for role, case in cases.items():
                    planes = _planes(opened[key], case, predictions[case])
                    shown.append(Example(role, case, variant, float(dsc[(dataset, variant, case)]), planes))
        except FileNotFoundError:
            problems.append(f"{variant}: trial {trial['hash']} has no {PREDICTIONS} on this machine")
        except (DataError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            problems.append(f"{variant}: {without_folders(str(error), prepared, trials)}")
    return Examples(dataset, tuple(shown), tuple(problems))


def _planes(prepared: PreparedDataset, case: str, prediction: Labels) -> tuple[Plane, ...]:
    image, truth = prepared.image(case), np.asarray(prepared.label(case))
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction of case {case!r} has shape {prediction.shape}, its truth {truth.shape}")
    if prepared.ignores:
        counted = truth != IGNORED
        truth, prediction = truth * counted, prediction * counted
    if truth.ndim == 2:
        return (Plane("", _picture(np.asarray(image)), truth, prediction),)
    spacing = prepared.spacing(case)
    planes = []
    for axis, name in enumerate(("axial", "coronal", "sagittal")):
        at = _fullest(truth, axis)
        rows, columns = (s for i, s in enumerate(spacing) if i != axis)
        planes.append(
            Plane(
                name,
                _picture(np.take(image, at, axis=axis)),
                np.take(truth, at, axis=axis),
                np.take(prediction, at, axis=axis),
                rows / columns,
            )
        )
    return tuple(planes)


def _fullest(truth: Labels, axis: int) -> int:
    """The slice with the most foreground, the middle one where there is none."""
    others = tuple(i for i in range(truth.ndim) if i != axis)
    counts = (truth > 0).sum(axis=others)
    return int(counts.argmax()) if counts.any() else truth.shape[axis] // 2


def _picture(image: npt.NDArray[np.float32]) -> Picture:
    """Colour where there are three channels, else the first in grey; the 1st to 99th percentile become 0 to 1."""
    channels = image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, axis=-1)
    low, high = np.percentile(channels, [1, 99])
    scaled: Picture = np.clip((channels - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    return scaled
