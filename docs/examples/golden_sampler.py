"""A sampler of one's own: points spread evenly over the ranges, by the golden ratio, so that no seed matters.

    sweeper launch --grid my_grid.toml --plugin docs/examples/golden_sampler.py

after which a grid may set `search = "golden"`, or `search.sampler = "golden"` with `search.settings.start = 0.5`.
"""

from optuna.samplers import BaseSampler

from sweeper.search.samplers import SamplerDefinition, register_sampler


class Golden(BaseSampler):
    """The n-th point of a range lies at the fractional part of start + n · 0.618…."""

    def __init__(self, start: float = 0.25) -> None:
        self.start = start

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        share = (self.start + trial.number * 0.6180339887498949) % 1.0
        low, high = param_distribution.low, param_distribution.high
        return low * (high / low) ** share if param_distribution.log else low + (high - low) * share


register_sampler("golden", SamplerDefinition(Golden))
