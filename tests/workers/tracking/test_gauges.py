"""Gauges of the machine."""

from __future__ import annotations

from workers.tracking.gauges import Gauges


def test_gauges_have_the_names_of_mlflows_system_metrics() -> None:
    gauges = Gauges()
    sum(i * i for i in range(200_000))
    values = gauges.read()
    assert 0 < values["system/system_memory_usage_percentage"] < 100
    assert values["system/process_memory_megabytes"] > 10
    assert 0 <= values["system/cpu_utilization_percentage"] <= 100
