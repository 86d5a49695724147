"""Speed, as ratios against what a user would pick instead. `make bench` runs all; see docs/performance.md.

A benchmark is a module with a `measure` that `benchmarks.harness.main` calls; its name stands in `BENCHMARKS`.
"""

BENCHMARKS = ("sweep", "scale", "search", "pipeline", "inference", "losses", "preparation", "memory", "board")
"""What `make bench` runs, in this order."""

BY_NAME = ("precision", "ranking", "calibration", "history", "analysis", "limit", "checkpoint", "mixed")
"""What runs only when it is asked for; its rows stand in the table where there is a result."""
