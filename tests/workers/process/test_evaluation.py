"""A trained network that is applied again in a process of its own gives the scores that it gave when it was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_trials import tiny_data
from trials.messages import Order
from workers.process.evaluation import EvaluationError, evaluate_again
from workers.training.learner import Learners
from workers.training.trial import Listener, run_trial

METRICS = ("ece", "ece(bins=5)", "brier", "nsd")


@pytest.mark.slow
def test_a_network_that_is_applied_again_gives_the_same_scores(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "prepared")
    spec = data.spec("ce", epochs=3)
    learners, listener = Learners(), Listener(lambda epoch, remarks: None, lambda record: Order.CONTINUE)

    def trained(name: str, metrics: tuple[str, ...]):
        return run_trial(
            spec, prepared_root=data.root, folder=tmp_path / name, learners=learners, listener=listener, metrics=metrics
        )

    first, plain = trained("first", METRICS), trained("plain", ())
    assert all(0 < score[name] < 1 for score in first.scores for name in METRICS[:3])
    # What is asked for beside the others moves none of them.
    without = [{n: v for n, v in s.values.items() if n not in METRICS} for s in first.scores]
    assert without == [dict(s.values) for s in plain.scores]
    np.testing.assert_equal(
        dict(np.load(tmp_path / "first" / "predictions.npz")), dict(np.load(tmp_path / "plain" / "predictions.npz"))
    )

    again = evaluate_again(spec, tmp_path / "plain", data.root, METRICS)
    test = [score for score in first.scores if score.partition == "test"]
    assert [(s.case, s.label, s["dsc"]) for s in again] == [(s.case, s.label, s["dsc"]) for s in test]
    # This process has as many threads as it likes, the other those of the spec.
    for ours, theirs in zip(again, test, strict=True):
        assert dict(ours.values) == pytest.approx(dict(theirs.values), rel=1e-5)

    (tmp_path / "plain" / "model.keras").write_bytes(b"no network")
    with pytest.raises(EvaluationError):
        evaluate_again(spec, tmp_path / "plain", data.root, METRICS)
    own = replace(spec, model=replace(spec.model, source="0123"))
    with pytest.raises(EvaluationError, match="the network is of a plug-in"):
        evaluate_again(own, tmp_path / "plain", data.root, METRICS)
