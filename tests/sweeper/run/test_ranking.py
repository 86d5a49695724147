"""The ranking that MLflow shows on a sweep's own run."""

from study_maker import Study, make_trial

from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.run.ranking import ranking, ranking_metrics


def rows(runs):
    study = Study(further=False)
    for loss, mean in (("dice", 0.8), ("ce", 0.7)):
        for repeat in range(runs):
            study.add(make_trial("nuclei", loss, repeat=repeat), [mean + repeat / 100 + i / 50 for i in range(6)])
    return ranking(analyse(trial_frame(study.trials), score_frame(study.columns)))


def test_the_best_loss_stands_first_with_its_probability():
    first, second = rows(runs=3)
    assert (first["loss"], first["rank"], first["runs"], first["images"]) == ("dice", 1, 3, 6)
    assert 0.5 < first["best with probability"] <= 1
    assert ranking_metrics([first, second])["test_dsc/nuclei/thing/dice"] == first["test DSC"]


def test_one_run_for_each_loss_gives_no_probability():
    assert [row["best with probability"] for row in rows(runs=1)] == [None, None]
