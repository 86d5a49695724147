"""LaTeX: every name survives as text, and the tables compile where there is a LaTeX."""

import shutil
import subprocess

import pytest
from study_maker import Study, make_trial, paper_like

from dashboards.report.latex import document, escape, result_tables, significance_tables, stability_table
from dashboards.report.sections.significance import pairs_table
from sweeper.analysis import analyse, score_frame, trial_frame

NASTY = 'a_b%c&d#e{f}g$h^i~j\\k<l>m|n"o é 核 … ± γ'


def answers_of(study):
    return analyse(trial_frame(study.trials), score_frame(study.columns))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unified_focal", r"unified\_focal"),
        ("50% & more", r"50\% \& more"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("核", r"\texttt{U+6838}"),
        ("a\nb", "a b"),
        ("é", "é"),
    ],
)
def test_names_are_text(text, expected):
    assert escape(text) == expected


def test_the_best_of_each_column_is_bold():
    study = Study()
    study.add(make_trial("a", "ce"), [0.5, 0.7])
    study.add(make_trial("a", "dice"), [0.8, 0.9])
    (table,) = result_tables(answers_of(study)).values()
    lines = {line.split(" ")[0]: line for line in table.splitlines()}
    assert "\\textbf" not in lines["ce"]
    assert lines["dice"].count("\\textbf") == 4
    assert "\\toprule" in table


def two_losses(images):
    study = Study()
    study.add(make_trial("a", "ce"), [0.5 + i / 100 for i in range(images)])
    study.add(make_trial("a", "dice"), [0.6 + i / 500 for i in range(images)])
    return answers_of(study)


@pytest.mark.parametrize(
    ("images", "page", "latex"),
    [(6, "−0.100 to −0.060", "$-$0.100 to $-$0.060"), (5, "–", "--")],
)
def test_the_difference_of_a_pair_is_named_and_has_the_interval_of_its_test(images, page, latex):
    """Differences of −0.1, −0.092, …; below six pairs no 95% interval exists."""
    answers = two_losses(images)
    table = pairs_table(answers, "a", "thing")
    row = dict(zip(table.head, table.rows[0], strict=True))
    assert row["difference (Hodges–Lehmann)"] == {6: "−0.080", 5: "−0.084"}[images]
    assert row["95% interval"] == page
    (text,) = significance_tables(answers).values()
    (line,) = [line for line in text.splitlines() if line.startswith("ce &")]
    assert line.endswith(f" & {latex} \\\\")
    assert "Hodges--Lehmann estimate of the signed-rank test" in text


@pytest.mark.slow
def test_the_tables_compile(tmp_path):
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip("no pdflatex on this machine")
    study = paper_like(gammas=(0.3, 0.5), images=5)
    study.add(make_trial(NASTY, "ce"), [0.5, None], label=NASTY)
    answers = answers_of(study)
    tables = {**result_tables(answers), **significance_tables(answers), "stability": stability_table(answers)}
    for stem, text in {**tables, "tables": document(list(tables))}.items():
        (tmp_path / f"{stem}.tex").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", "tables.tex"], cwd=tmp_path, capture_output=True,
        text=True, errors="replace", timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 1000
