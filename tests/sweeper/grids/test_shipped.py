"""The shipped grids hold exactly the cells that the paper has (shown cell by cell), and those of the demo."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sweeper.data.preparation import bare_identities, locate_all
from sweeper.errors import MissingDataError
from sweeper.grids.expansion import expand, search_cells
from sweeper.grids.files import load_grid, shipped
from sweeper.settings import Settings
from trials.spec import ModelSpec, TrialSpec

IN_2D = ("cvc_clinicdb", "drive", "bus2017")
IN_3D = ("brats20", "kits19")
BASELINES = {
    "ce": {},
    "focal": {"alpha": 0.25, "gamma": 2.0},
    "dice": {},
    "tversky": {"alpha": 0.3, "beta": 0.7},
    "focal_tversky": {"alpha": 0.3, "beta": 0.7, "gamma": 4 / 3},
    "combo": {"alpha": 0.5, "beta": 0.5},
}
SMOOTHING = {
    **dict.fromkeys(("dice", "tversky", "focal_tversky", "combo"), 1e-6),
    **dict.fromkeys(("unified_focal_sym", "unified_focal_asym"), 1e-7),
}
UNIFIED = ("unified_focal_sym", "unified_focal_asym")
GAMMAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def cells(name: str) -> tuple[TrialSpec, ...]:
    grid = load_grid(name)
    return expand(grid, bare_identities(grid))


def test_there_are_seven() -> None:
    assert shipped() == ("adaptive", "demo", "gamma", "odyssey", "paper", "public", "small")


def test_the_adaptive_grid_chooses_for_both_unified_losses() -> None:
    grid = load_grid("adaptive")
    assert cells("adaptive") == ()
    found = search_cells(grid, bare_identities(grid))
    assert [cell.template.loss.name for cell in found] == list(UNIFIED)
    demo = {spec.hash for spec in cells("demo")}
    for cell in found:
        assert [str(domain) for domain in cell.domains] == ["gamma in [0, 0.99]"]
        assert cell.specs({"gamma": 0.5})[0].hash in demo, "its trials are the demo's"


@pytest.mark.parametrize(
    ("name", "count"), [("demo", 18), ("gamma", 54), ("odyssey", 20), ("paper", 88), ("public", 1600), ("small", 8)]
)
def test_counts(name: str, count: int) -> None:
    assert len(cells(name)) == len({spec.hash for spec in cells(name)}) == count


def test_the_paper_s_cells() -> None:
    found = Counter(
        (s.data.dataset, s.loss.name, s.loss.gamma if s.loss.name in UNIFIED else None) for s in cells("paper")
    )
    baselines = [(data, loss, None) for data in (*IN_2D, *IN_3D) for loss in BASELINES]
    swept = [(data, loss, gamma) for data in IN_2D for loss in UNIFIED for gamma in GAMMAS]
    volumes = [(data, loss, 0.5) for data in IN_3D for loss in UNIFIED]
    assert (len(baselines), len(swept), len(volumes)) == (30, 54, 4)
    assert found == Counter(baselines + swept + volumes)


def test_the_paper_s_parameters() -> None:
    for spec in cells("paper"):
        wanted = BASELINES.get(spec.loss.name, {"lambda": 0.5, "delta": 0.6, "gamma": spec.loss.gamma})
        given = {key.rstrip("_"): value for key, value in spec.loss.parameters.items()}
        smoothing = given.pop("smooth", None)
        assert smoothing == SMOOTHING.get(spec.loss.name)
        numbers = {key: value for key, value in given.items() if isinstance(value, float)}
        assert numbers == pytest.approx(wanted)
        words = {key: value for key, value in given.items() if not isinstance(value, float)}
        assert words.items() <= {"absent": "keep", "convention": "code"}.items()


def test_the_paper_s_training() -> None:
    for spec in cells("paper"):
        training = spec.training
        assert (training.batch_size, training.learning_rate, training.momentum) == (2, 0.1, 0.0)
        assert (training.plateau_factor, training.plateau_patience) == (0.1, 10)
        assert (training.early_stopping_patience, training.epochs, training.min_delta) == (20, 1000, 0.0)
        assert training.augmentation_probability == 0.15
        assert spec.model.normalisation == "instance"
        assert (spec.repeat, spec.seed) == (0, 0)


def test_the_paper_s_patches_networks_and_classes() -> None:
    expected = {
        "cvc_clinicdb": (None, None, ModelSpec(base_filters=64, depth=4), 2),
        "drive": (None, None, ModelSpec(base_filters=64, depth=4), 2),
        "bus2017": (None, None, ModelSpec(base_filters=64, depth=4), 2),
        "brats20": ((96, 96, 96), (48, 48, 48), ModelSpec(base_filters=32, depth=3), 2),
        "kits19": ((80, 160, 160), (40, 80, 80), ModelSpec(base_filters=32, depth=3), 3),
    }
    for spec in cells("paper"):
        found = (spec.training.patch, spec.evaluation.overlap, spec.model, len(spec.data.classes))
        assert found == expected[spec.data.dataset]


def test_gamma_is_part_of_the_paper() -> None:
    assert {s.hash for s in cells("gamma")} < {s.hash for s in cells("paper")}
    assert {s.loss.name for s in cells("gamma")} == set(UNIFIED)


def test_the_demo_has_three_runs_of_four_losses_and_three_gammas() -> None:
    found = cells("demo")
    runs = Counter((s.loss.name, s.loss.gamma if s.loss.name in UNIFIED else None) for s in found)
    assert runs == dict.fromkeys(
        [("ce", None), ("dice", None), (UNIFIED[0], 0.5), *((UNIFIED[1], gamma) for gamma in (0.1, 0.5, 0.9))], 3
    )
    assert len({s.seed for s in found}) == 3
    assert {s.data.dataset for s in found} == {"nuclei"}


IN_FOLDS = {"chase_db1": 5, "idrid_lesions": 5, "axon_sem": 5}
IN_ONE = ("nuclei", "busi", "isic2017", "hippocampus", "ms_lesions")
PUBLIC_GAMMAS = (0.1, 0.3, 0.5, 0.7, 0.9)


def test_the_public_study_is_each_loss_five_times_on_eight_sets() -> None:
    found = Counter(
        (s.data.dataset, s.loss.name, s.loss.gamma if s.loss.name in UNIFIED else None) for s in cells("public")
    )
    variants = [*((loss, None) for loss in BASELINES), *((loss, gamma) for loss in UNIFIED for gamma in PUBLIC_GAMMAS)]
    trained = {**dict.fromkeys(IN_ONE, 1), **IN_FOLDS}
    assert found == {(data, *variant): 5 * folds for data, folds in trained.items() for variant in variants}


def test_the_losses_of_a_public_set_are_trained_alike() -> None:
    found = cells("public")
    for name in (*IN_ONE, *IN_FOLDS):
        own = [s for s in found if s.data.dataset == name]
        assert len({(s.model, s.training, s.evaluation) for s in own}) == 1
        assert {s.seed for s in own} == set(range(5))


def test_a_public_set_that_is_missing_is_named_with_its_page_and_licence(tmp_path: Path) -> None:
    needed = locate_all(load_grid("public", ['include=[{dataset="nuclei"}]']), Settings(home=tmp_path))
    assert set(needed) == {"nuclei"}, "the rules leave nothing of the others"
    with pytest.raises(MissingDataError) as told:
        locate_all(load_grid("public"), Settings(home=tmp_path))
    message = str(told.value)
    for dataset in load_grid("public").datasets:
        if dataset.name != "nuclei":  # comes with the project
            part = next(part for part in message.split("\n\n") if f"data set {dataset.name!r}" in part)
            assert "get it from http" in part
            assert "your own" not in part
    assert "{id}/flair.nii.gz" in message
