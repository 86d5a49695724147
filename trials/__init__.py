"""The words that every package shares: what a trial is, what it gives, in which states it can be, and what is measured.

Imports nothing of ours; `storage`, `workers`, `sweeper` and `dashboards` may import it."""
