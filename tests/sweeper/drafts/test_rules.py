"""From what was measured to settings, and settings that fit into a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeper.drafts.budget import Study, fit, free
from sweeper.drafts.fingerprint import Fingerprint, Structure
from sweeper.drafts.rules import metrics_of, sizes_of
from sweeper.drafts.text import toml
from sweeper.timing.costs import learn_costs

ROUND = Structure(0.1, 1.0, 40.0, thin=False)
VESSELS = Structure(0.08, 2.0, 5.0, thin=True)
PICTURES = Fingerprint(
    2, 60, 40, (256, 256), ((256, 256), (256, 256)), True, (), 1, (0.0, 255.0), (), {"nucleus": ROUND}
)
VOLUMES = replace(
    PICTURES, dimensions=3, shape=(40, 300, 300), alike=False, spacings=((5.0, 0.8, 0.8), (4.0, 0.7, 0.7)) * 5
)
STUDY = Study(losses=3, folds=1, slots=2, images=38, repeats=3)


def test_pictures_of_one_size_stay() -> None:
    sizes = sizes_of(PICTURES)
    assert (sizes.size, sizes.patch, sizes.depth) == (None, None, 4)


def test_pictures_of_several_sizes_get_the_median_size() -> None:
    sizes = sizes_of(replace(PICTURES, shape=(1000, 720), alike=False))
    assert (sizes.size, sizes.area) == ((512, 368), False)
    few = sizes_of(replace(PICTURES, shape=(1000, 720), structures={"spot": replace(ROUND, thickness=5.0)}))
    assert few.area


def test_thin_structures_are_not_resized_away() -> None:
    sizes = sizes_of(replace(PICTURES, shape=(960, 999), structures={"vessel": VESSELS}))
    assert (sizes.size, sizes.patch, sizes.patches) == (None, (512, 512), 3)


def test_volumes_get_a_patch_and_the_finest_tenth_of_a_coarse_axis() -> None:
    sizes = sizes_of(VOLUMES)
    assert sizes.spacing == (4.0, 0.75, 0.75)
    assert sizes.patch is not None
    assert sizes.voxels(()) <= 1.1 * 96**3
    assert sizes.depth == 3
    assert sizes_of(replace(VOLUMES, spacings=((1.0, 1.0, 1.0),) * 4)).spacing is None


def test_metrics_follow_the_structures() -> None:
    assert [name for name, _ in metrics_of(replace(PICTURES, structures={"v": VESSELS}))] == ["cldice", "boundary_iou"]
    many = replace(ROUND, count=7.0)
    assert [name for name, _ in metrics_of(replace(PICTURES, structures={"n": many}))] == ["lesion_f1", "boundary_iou"]


@pytest.mark.parametrize("minutes", [10, 60, 600])
@pytest.mark.parametrize("found", [PICTURES, VOLUMES], ids=["pictures", "volumes"])
def test_a_budget_is_kept_and_used(found: Fingerprint, minutes: int) -> None:
    fitted = fit(found, STUDY, learn_costs([]), 60.0 * minutes)
    assert fitted.fits
    assert 0.4 * 60 * minutes < fitted.seconds <= 60 * minutes
    assert fitted.epochs is not None
    assert 10 <= fitted.epochs <= 50


def test_more_time_never_gives_a_smaller_study() -> None:
    costs = learn_costs([])
    work = [
        (one.sizes.voxels(PICTURES.shape) * one.filters**2 * (one.epochs or 0) * one.repeats)
        for one in (fit(PICTURES, STUDY, costs, 60.0 * minutes) for minutes in (5, 10, 30, 120))
    ]
    assert work == sorted(work)


def test_what_cannot_fit_is_said() -> None:
    fitted = fit(VOLUMES, STUDY, learn_costs([]), 30.0)
    assert not fitted.fits
    assert (fitted.epochs, fitted.filters, fitted.repeats) == (1, 8, 1)


def test_without_a_budget_early_stopping_decides() -> None:
    assert free(PICTURES, STUDY, learn_costs([])).epochs is None


def test_values_as_toml() -> None:
    import tomllib

    table = {"a": 'ü "x"\\d', "b": [1, 2.5, True], "c": {"#ff0000": 1, "x": []}, "d": 1e-9, "e": 96.0}
    text = "\n".join(f"{key} = {toml(value)}" for key, value in table.items())
    assert tomllib.loads(text) == table
