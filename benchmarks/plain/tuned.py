"""Plain Ray Tune: the training script's function as a function trainable, one CPU for each trial.

    python -m benchmarks.plain.tuned --data images.npz --epochs 1 --out runs LOSS:GAMMA …

Prints a line after each trial, as `benchmarks.plain.script` does. With --reuse actors are kept from trial to trial,
which is not Tune's default.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import tune


class Lines(tune.Callback):
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        print(f"finished {trial.config['trial']}: test DSC {trial.last_result['test_dsc']:.3f}", flush=True)


def trainable(config: dict[str, Any]) -> None:
    from benchmarks.plain.script import train

    loss, _, gamma = config["trial"].partition(":")
    out = Path(config["out"]) / config["trial"]
    tune.report({"test_dsc": train(Path(config["data"]), loss, float(gamma), config["epochs"], out)})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("trials", nargs="+", metavar="LOSS:GAMMA")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reuse", action="store_true")
    arguments = parser.parse_args()
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    space = {
        "trial": tune.grid_search(arguments.trials),
        "data": str(arguments.data.resolve()),
        "out": str(arguments.out.resolve()),
        "epochs": arguments.epochs,
    }
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(reuse_actors=arguments.reuse),
        run_config=tune.RunConfig(storage_path=str(arguments.out.resolve()), verbose=0, callbacks=[Lines()]),
    ).fit()


if __name__ == "__main__":
    main()
