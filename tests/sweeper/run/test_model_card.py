"""What the registry says of a best model."""

from __future__ import annotations

from pathlib import Path

from storage.database import open_database
from storage.repository import Repository
from sweeper.run.model_card import NOT_FOR, model_cards
from sweeper.study import read_study


def test_a_model_s_description_says_what_it_is_and_what_it_is_not_for(stored: Path) -> None:
    with open_database(f"sqlite:///{stored / 'sweeper.db'}") as database:
        study = read_study(Repository(database), "demo")
    best = study.answers.best_models
    (text,) = model_cards(study, best).values()
    trial = study.trials[study.trials["hash"] == best["nuclei"]].iloc[0]
    for words in (
        "Best on nuclei by validation DSC (0.750) in sweep demo.",
        f"Split: `{'s' * 16}`",
        f"prepared as `{'p' * 16}`",
        f"Loss: {trial['variant']}",
        "Test scores of nucleus (mean ± 95% interval over 1 images): DSC 0.750, IoU 0.600",
        "Licence of the data: CC0 1.0",
        NOT_FOR,
    ):
        assert words in text
