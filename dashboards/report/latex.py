"""The report's tables as LaTeX. They compile with booktabs, whatever characters the names of data sets have."""

from __future__ import annotations

import pandas as pd

from dashboards.figures.style import short
from dashboards.report.numbers import Number, Row, interval, missing
from dashboards.report.sections.results import both_empty_text
from dashboards.report.sections.significance import made_tests
from sweeper.analysis import Answers
from sweeper.analysis.comparisons import NEW_TRAININGS
from sweeper.analysis.scored import best, metric, table_metrics
from sweeper.analysis.significance import SIGNED_RANK

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\^{}", "~": r"\~{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "γ": r"$\gamma$", "δ": r"$\delta$", "λ": r"$\lambda$", "α": r"$\alpha$", "β": r"$\beta$", "±": r"$\pm$",
    "−": "$-$", "–": "--", "…": r"\ldots{}", "·": r"$\cdot$", "×": r"$\times$", "½": r"$\frac{1}{2}$",
}  # fmt: skip
_LAST_LATIN = 0x17F
"""Beyond this character pdfLaTeX's standard fonts have nothing; such a character is written as its code point."""

_ROWS_PER_TABLE = 30
"""What fits on a page."""


def escape(text: str) -> str:
    """The text such that LaTeX prints it unchanged."""
    return "".join(_character(c) for c in text)


def result_tables(answers: Answers) -> dict[str, str]:
    """One `table` environment per data set and class: mean ± 95% interval, the best bold. Keys are plain file stems."""
    tables = {}
    for i, ((dataset, label), group) in enumerate(
        answers.table.groupby(["dataset", "label"], sort=False, observed=True), start=1
    ):
        tables[f"results-{i}"] = _result_table(str(dataset), str(label), group)
    return tables


def stability_table(answers: Answers) -> str:
    """How much γ matters, as one `table` environment."""
    rows = [
        f"{escape(row['dataset'])} & {escape(short(row['variant']))} & {row['gammas']} & {_number(row['range'])} & "
        f"{_number(row['sd'])} & {_number(row['slope'])} & {_number(row['share_above_baseline'], 2)} & "
        f"{_number(row['share_significantly_above'], 2)} \\\\"
        for row in answers.stability.to_dict("records")
    ]
    head = r"Data set & Loss & $\gamma$ & Range & SD & Slope & Above & In new trainings"
    caption = (
        r"Stability of the mean test DSC over $\gamma$: number of values, range, standard deviation, slope, and the "
        r"share of $\gamma$ above the best baseline (chosen on validation), by mean and in new trainings ($p < 0.05$ "
        r"after Holm)."
    )
    return _table("llrrrrrr", head, rows, caption, "tab:stability")


def comparison_tables(answers: Answers) -> dict[str, str]:
    """All pairs on DSC, about new trainings, per data set and class; a long list is cut into several tables."""
    tables = {}
    dsc = answers.comparisons[answers.comparisons["metric"] == "dsc"]
    for i, ((dataset, label), group) in enumerate(
        dsc.groupby(["dataset", "class"], sort=False, observed=True), start=1
    ):
        lines = [
            f"{escape(short(r['loss_a']))} & {escape(short(r['loss_b']))} & {_number(r['difference'])} & "
            f"{escape(interval(r['low'], r['high']))} & {_p(r['p'])} & {_p(r['p_holm'])} & "
            rf"{r['runs_a']}, {r['runs_b']} \\"
            for r in group.to_dict("records")
        ]
        about = (
            "new images and new trainings" if (group["warrants"] == NEW_TRAININGS).any() else "these trained networks"
        )
        for part, start in enumerate(range(0, len(lines), _ROWS_PER_TABLE)):
            caption = (
                f"{escape(str(dataset))} ({escape(str(label))}): differences in mean test DSC, about {about}: 95\\% "
                f"interval, $p$, and $p$ after Holm over all pairs{', continued' if part else ''}."
            )
            suffix = f"-{part + 1}" if part else ""
            tables[f"comparisons-{i}{suffix}"] = _table(
                "llrrrrr",
                r"First & Second & difference & 95\% interval & $p$ & Holm & runs",
                lines[start : start + _ROWS_PER_TABLE],
                caption,
                f"tab:comparisons-{_label(str(dataset))}-{_label(str(label))}{suffix}",
            )
    return tables


def significance_tables(answers: Answers) -> dict[str, str]:
    """The tests over images only of all pairs on DSC, per data set and class; a long list becomes several tables."""
    tables = {}
    tests = made_tests(answers)
    dsc = answers.significance[answers.significance["metric"] == "dsc"]
    groups = dsc.groupby(["dataset", "label"], sort=False, observed=True)
    for i, ((dataset, label), group) in enumerate(groups, start=1):
        rows = {(r["first"], r["second"], r["test"]): r for r in group.to_dict("records")}
        lines = [
            " & ".join(
                (
                    escape(short(first)),
                    escape(short(second)),
                    *(text for test in tests for text in _test_cells(rows[first, second, test.name])),
                    _number(rows[first, second, SIGNED_RANK]["median_difference"]),
                    escape(interval(*(rows[first, second, SIGNED_RANK][end] for end in ("low", "high")))),
                )
            )
            + r" \\"
            for first, second in dict.fromkeys(zip(group["first"], group["second"], strict=True))
        ]
        for part, start in enumerate(range(0, len(lines), _ROWS_PER_TABLE)):
            caption = (
                f"{escape(str(dataset))} ({escape(str(label))}): tests over images only, runs ignored, on test DSC. "
                f"Per test: $p$, $p$ after Holm over all pairs, effect (positive where the first loss scores higher); "
                "difference: Hodges--Lehmann estimate of the signed-rank test, first loss minus second, with the "
                f"95\\% interval of that test, uncorrected{', continued' if part else ''}."
            )
            columns = [rf"{escape(t.heading)} $p$ & Holm & effect" for t in tests]
            head = " & ".join(["First & Second", *columns, r"difference & 95\% interval"])
            suffix = f"-{part + 1}" if part else ""
            tables[f"significance-{i}{suffix}"] = _table(
                "ll" + "rrr" * len(tests) + "rr",
                head,
                lines[start : start + _ROWS_PER_TABLE],
                caption,
                f"tab:significance-{_label(str(dataset))}-{_label(str(label))}{suffix}",
            )
    return tables


def document(stems: list[str]) -> str:
    """A whole document that shows the tables in the files `STEM.tex` beside it."""
    inputs = "\n".join(rf"\input{{{stem}}}" for stem in stems)
    return (
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage[utf8]{inputenc}\n\\usepackage{textcomp}\n"
        "\\usepackage{booktabs}\n\\usepackage[landscape,margin=2cm]{geometry}\n\\begin{document}\n"
        f"{inputs or 'No trial has finished.'}\n\\end{{document}}\n"
    )


def _result_table(dataset: str, label: str, group: pd.DataFrame) -> str:
    metrics = table_metrics(group)
    leading = {m: best(m, group.loc[group["metric"] == m, "mean"].round(3)) for m in metrics}
    lines = []
    for variant, rows in group.groupby("variant", sort=False, observed=True):
        by_metric = {row["metric"]: row for row in rows.to_dict("records")}
        cells = [_cell(by_metric[m], leading[m]) for m in metrics]
        gamma = next(iter(by_metric.values()))["gamma"]
        lines.append(
            f"{escape(short(str(variant)))} & {'--' if pd.isna(gamma) else f'{gamma:g}'} & {' & '.join(cells)} \\\\"
        )
    head = rf"Loss & $\gamma$ & {' & '.join(escape(metric(m).heading) for m in metrics)}"
    empty = escape(both_empty_text(group, dataset, label))
    caption = (
        f"{escape(dataset)} ({escape(label)}): mean $\\pm$ half width of the 95\\% interval over "
        f"{int(group['n'].max())} test images; best in bold; $\\gamma$ chosen on validation. {empty}"
    )
    return _table("lr" + "l" * len(metrics), head, lines, caption, f"tab:{_label(dataset)}-{_label(label)}")


def _table(columns: str, head: str, lines: list[str], caption: str, label: str) -> str:
    body = "\n".join(lines)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\label{{{label}}}\n\\begin{{tabular}}{{{columns}}}\n"
        f"\\toprule\n{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _cell(row: Row, column_best: float) -> str:
    if missing(row["mean"]):
        return "--"
    half = "" if missing(row["half_width"]) else f" $\\pm$ {row['half_width']:.3f}"
    mean = f"{row['mean']:.3f}"
    return (f"\\textbf{{{mean}}}" if round(row["mean"], 3) == column_best else mean) + half


def _number(value: Number, digits: int = 3) -> str:
    return "--" if missing(value) else f"${value:.{digits}f}$".replace("inf", r"\infty")


def _test_cells(row: Row) -> tuple[str, str, str]:
    """p, corrected p and effect of one test."""
    return _p(row["p"]), _p(row["p_holm"]), _number(row["effect"], 2)


def _p(value: Number) -> str:
    return "--" if missing(value) else "$<$ 0.001" if value is not None and value < 0.001 else _number(value)


def _label(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text)


def _character(c: str) -> str:
    if c in _SPECIAL:
        return _SPECIAL[c]
    if not c.isprintable():
        return " "
    return c if ord(c) <= _LAST_LATIN else rf"\texttt{{U+{ord(c):04X}}}"
