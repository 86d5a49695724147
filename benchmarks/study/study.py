"""What the page is written from: the exported sweeps, and the answers to what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from benchmarks.study import questions, read
from benchmarks.study.read import Exported, read_export
from sweeper.analysis import Answers, analyse
from sweeper.analysis.rankings import Ranking, rank_losses
from sweeper.analysis.selection import UNIFIED, at_selected_gamma, select_gamma

BASELINES = ("dice", "ce")


@dataclass(frozen=True)
class Study:
    """A sweep and what is asked of it, each answer computed once, and the sweeps that belong to it, where they are.

    `same` is the A/A check, `rates` are other rates, and `further` has losses that the paper does not compare.
    """

    sweep: Exported
    same: Exported | None = None
    pilots: tuple[Exported, ...] = ()
    rates: tuple[Exported, ...] = ()
    further: Study | None = None

    @classmethod
    def read(cls, folder: Path) -> Study:
        """The sweep `public` with every other exported one in the folder."""
        names = sorted(path.parent.name for path in folder.glob("*/sweep.json"))

        def all_of(start: str) -> tuple[Exported, ...]:
            return tuple(read_export(folder / name) for name in names if name.startswith(start))

        same = read_export(folder / "public-aa") if "public-aa" in names else None
        further = cls(read_export(folder / "public-further")) if "public-further" in names else None
        return cls(read_export(folder / "public"), same, all_of("pilot-"), all_of("public-rate-"), further)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Of whole runs."""
        return read.whole_runs(self.sweep.trials)

    @cached_property
    def scores(self) -> pd.DataFrame:
        scores = self.sweep.scores
        return scores[scores["trial"].isin(self.trials["hash"])]

    @cached_property
    def tested(self) -> pd.DataFrame:
        """The trials of the sets that enter tests."""
        return questions.counted(self.trials)

    @cached_property
    def answers(self) -> Answers:
        """The product's own, of the sets that enter tests."""
        tested = self.tested
        return analyse(tested, self.scores[self.scores["trial"].isin(tested["hash"])])

    @cached_property
    def selection(self) -> pd.DataFrame:
        return select_gamma(self.tested)

    @cached_property
    def images(self) -> pd.DataFrame:
        return questions.image_dsc(self.tested, self.scores)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        return questions.overall(self.images, self.selection)

    @cached_property
    def gains(self) -> pd.DataFrame:
        return questions.gains(self.pairs, UNIFIED, BASELINES)

    @cached_property
    def rankings(self) -> dict[str, Ranking]:
        """Of each data set, over the mean of its classes."""
        chosen = at_selected_gamma(self.images, self.selection).drop(columns="loss")
        found = rank_losses(chosen.rename(columns={"trial": "run"}).assign(label="all classes"))
        return {one.dataset: one for one in found}

    @cached_property
    def shares(self) -> pd.DataFrame:
        return questions.shares(self.sweep.trials, self.sweep.scores, self.sweep.pixels)

    @cached_property
    def rarity(self) -> pd.DataFrame:
        return questions.gain_by_rarity(self.gains, self.shares)

    @cached_property
    def single_runs(self) -> pd.DataFrame | None:
        """Of the sets with several runs; None where there is none."""
        repeats = self.tested.groupby("dataset", observed=True)["repeat"].nunique()
        chosen = self.images[self.images["dataset"].isin(repeats.index[repeats > 1])]
        return questions.single_runs(chosen, self.tested, self.selection) if len(chosen) else None

    @cached_property
    def same_loss(self) -> list[questions.SameLoss]:
        if self.same is None:
            return []
        return list(questions.same_loss(questions.image_dsc(read.whole_runs(self.same.trials), self.same.scores)))

    @cached_property
    def own_rates(self) -> pd.DataFrame | None:
        if not self.rates:
            return None
        return questions.own_rates([read.whole_runs(one.trials) for one in (self.sweep, *self.rates)])
