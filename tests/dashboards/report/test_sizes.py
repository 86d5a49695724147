"""The report's tables of scores by the size of the structure, with a metric that a grid has chosen."""

import pytest
from study_maker import MemoryRepository, Study, make_sweep, make_trial

from tests.dashboards.reports import write_report
from tests.dashboards.unrendered import unrendered


@pytest.mark.slow
def test_a_chosen_metric_stands_in_every_table_and_small_structures_in_their_own_rows(tmp_path):
    study = Study()
    study.add(make_trial("nuclei", "ce"), [0.1, 0.2, 0.3])
    study.add(make_trial("nuclei", "dice"), [0.4, 0.5, 0.6])
    study.columns["size"] = [10.0, 20.0, 30.0] * 2
    study.columns["nsd(tolerance=2)"] = [0.111, 0.222, 0.333, 0.444, 0.555, 0.666]
    study.columns["brier"] = [0.02] * 3 + [0.01] * 3
    with unrendered():
        files = write_report(MemoryRepository(study, make_sweep()), "s", tmp_path, formats=("html", "csv", "latex"))
    page = files.page.read_text(encoding="utf-8")
    results, sizes = (page.split(f'id="{name}"', 1)[1].split("<section", 1)[0] for name in ("tables", "sizes"))
    for part in (results, sizes):
        assert "NSD (tolerance 2)" in part
        assert "Brier score" in part
    assert "small: 10 to 10 pixels" in sizes
    assert "0.444" in sizes
    tables = {path.name: path.read_text(encoding="utf-8") for path in files.tables}
    assert "nsd(tolerance=2)" in tables["results.csv"]
    assert "nsd(tolerance=2)" in tables["significance.csv"]
    assert "small" in tables["by_size.csv"]
    # The best Brier score is the lower one.
    (latex,) = [text for name, text in tables.items() if name.startswith("results-")]
    assert "NSD (tolerance 2)" in latex
    assert r"\textbf{0.010}" in latex
    assert r"\textbf{0.020}" not in latex
