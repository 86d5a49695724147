"""How long trials take: predicted costs, schedules, and the throughput of a sweep that runs."""
