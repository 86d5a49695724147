"""The board's pages beside the live one: made on the server, with addresses that say everything that they show.

They need no script. `assets/pages.js` renews the home page while it is open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import urlencode

from flask import Flask, Response, request

from dashboards.board import compare, content, home, overlays, scores
from dashboards.board.answering import (
    asked_sweep,
    asked_sweeps,
    one_of,
    page,
    picture_file,
    rendered,
    table_file,
)
from dashboards.board.cells import History, against, histories
from dashboards.board.curves import MOST_FIGURES
from dashboards.board.parts import STATES
from dashboards.board.source import Snapshot, Source
from dashboards.errors import PageError
from dashboards.figures.style import Drawing
from storage.errors import StorageError, UnknownSweepError
from sweeper.analysis.chosen import ChosenScores
from sweeper.analysis.scored import metric as known
from sweeper.views.objects import ComparedObject

_HOME = "/"
_DASH = "/<path:path>"
"""Dash's own rule, under which it gives the live page for every address."""


def add_pages(server: Flask, source: Source) -> None:
    """Adds the pages to the server of the live one."""

    @server.before_request
    def before_the_live_page() -> Response | None:
        if request.url_rule is not None and request.url_rule.rule == _DASH:
            return page(_no_such_page)()
        if request.path != _HOME or request.method not in ("GET", "HEAD"):
            return None
        if not request.args.get("sweep"):
            return page(lambda: home_page(source))()
        return _refused(source)

    views: Mapping[str, Callable[[Source], Response]] = {
        "/sweeps.csv": _home_table,
        "/trials.csv": _trials_table,
        "/images.csv": _images_table,
        "/gamma.csv": _gamma_table,
        "/epochs.csv": _epochs_table,
        "/scores": _scores_page,
        "/scores.csv": _scores_table,
        "/scores.png": _scores_picture,
        "/overlays": overlays.overlays_page,
        "/overlays.csv": overlays.overlays_table,
        "/overlays.png": overlays.overlays_picture,
        "/compare": _compare_page,
        "/compare.csv": _compare_table,
        "/compare.png": _compare_picture,
    }
    for path, view in views.items():
        server.add_url_rule(path, endpoint=path, view_func=page(partial(view, source)))


def home_page(source: Source) -> Response:
    """All sweeps."""
    lines = home.lines(source.progress(), source.best)
    found = rendered("home", {"lines": lines, "shown": home.filtered(lines, *_home_filter()), **_filter_values()})
    found.add_etag()
    found.make_conditional(request)
    return found


def _home_table(source: Source) -> Response:
    lines = home.filtered(home.lines(source.progress(), source.best), *_home_filter())
    return table_file("sweeps", home.HEAD, [row for line in lines for row in home.rows(line)])


def _trials_table(source: Source) -> Response:
    name = asked_sweep()
    columns = source.trial_columns(name)
    return table_file(f"{name}-trials", list(columns), zip(*columns.values(), strict=True))


def _images_table(source: Source) -> Response:
    name = asked_sweep()
    columns = source.score_columns(name)
    return table_file(f"{name}-images", list(columns), zip(*columns.values(), strict=True))


def _gamma_table(source: Source) -> Response:
    """What the figure of a data set shows; without a data set, of all."""
    name = asked_sweep()
    means = source.newest(name).means
    dataset = one_of("dataset", means["dataset"].unique(), "data set with a finished trial", "")
    own = means[means["dataset"] == dataset] if dataset else means
    return table_file(f"{name}-gamma", [str(c) for c in own], own.itertuples(index=False))


def _epochs_table(source: Source) -> Response:
    """What the figure of a cell shows."""
    name, cell = asked_sweep(), request.args.getlist("cell")
    snapshot = source.newest(name)
    lines = lines_of(source, snapshot, *cell) if len(cell) == 3 else []
    if not lines:
        raise PageError(
            f"sweep {name!r} has no cell {', '.join(map(repr, cell)) or 'without a name'} with an epoch", 404
        )
    rows = [
        (line.name, "the cell" if line.own else "another loss", epoch, dsc)
        for line in lines
        for epoch, dsc in zip(line.epochs, line.dsc, strict=True)
    ]
    return table_file(f"{name}-epochs", ("line", "of", "epoch", "val_dsc"), rows)


def _scores_page(source: Source) -> Response:
    name, chosen, metric, dataset = _asked_scores(source)
    tables = scores.places(chosen, metric, dataset)
    query = urlencode({"sweep": name, "metric": metric, "dataset": dataset})
    figures = []
    for place in tables[:MOST_FIGURES]:
        drawing = _score_figure(source, name, chosen, place.dataset, place.label, metric)
        picture = urlencode({"sweep": name, "metric": metric, "dataset": place.dataset, "class": place.label})
        figures.append((place, drawing, picture))
    values = {
        "sweep": name, "metric": metric, "dataset": dataset, "query": query, "tables": tables, "figures": figures,
        "metrics": {one: known(one).heading for one in scores.metrics_of(chosen)}, "heading": known(metric).heading,
        "datasets": _datasets(chosen), "pairs": content.pairs(source.significance(name, metric)),
    }  # fmt: skip
    return rendered("scores", values)


def _scores_table(source: Source) -> Response:
    name, chosen, _, dataset = _asked_scores(source)
    return table_file(f"{name}-scores", scores.HEAD, scores.rows(chosen, dataset))


def _scores_picture(source: Source) -> Response:
    name, chosen, metric, dataset = _asked_scores(source)
    label = one_of("class", _classes(chosen, dataset), "class", "")
    drawing = _score_figure(source, name, chosen, dataset, label, metric)
    if drawing is None:
        raise PageError(f"no loss has a {metric} on {dataset!r}, {label!r}", 404)
    return picture_file(drawing)


def _score_figure(
    source: Source, name: str, chosen: ChosenScores, dataset: str, label: str, metric: str
) -> Drawing | None:
    key = "\0".join(("scores", name, dataset, label, metric))
    return source.drawing(key, source.scored(name), lambda: scores.figure(chosen, dataset, label, metric))


def _asked_scores(source: Source) -> tuple[str, ChosenScores, str, str]:
    """The sweep that the address names, its scores, the metric and the data set (empty for all)."""
    name = asked_sweep()
    chosen = source.chosen(name)
    metric = one_of("metric", scores.metrics_of(chosen), "metric with a stored score", "dsc")
    return name, chosen, metric, one_of("dataset", ("", *_datasets(chosen)), "data set with a score", "")


def _datasets(chosen: ChosenScores) -> list[str]:
    return [str(name) for name in chosen.table["dataset"].unique()]


def _classes(chosen: ChosenScores, dataset: str) -> list[str]:
    table = chosen.table
    return [str(name) for name in table.loc[table["dataset"] == dataset, "label"].unique()]


def _compare_page(source: Source) -> Response:
    names = asked_sweeps()
    if len(names) < 2:
        chosen = ", ".join(map(repr, names)) or "none"
        raise PageError(f"a comparison needs two sweeps or more; chosen: {chosen}. Tick them under All sweeps", 400)
    found, metric = _compared(source, names)
    rows = compare.rows(found, metric)
    values = {
        "found": found, "rows": rows, "metric": metric, "heading": known(metric).heading,
        "metrics": {one: known(one).heading for one in compare.metrics_of(found)},
        "drawing": _compare_figure(source, found, metric), "query": urlencode([*(("sweep", n) for n in names),
        ("metric", metric)]),
    }  # fmt: skip
    return rendered("compare", values)


def _compare_table(source: Source) -> Response:
    found, _ = _compared(source, asked_sweeps())
    return table_file("compare", compare.HEAD, [compare.row(one) for one in found.differences])


def _compare_picture(source: Source) -> Response:
    found, metric = _compared(source, asked_sweeps())
    drawing = _compare_figure(source, found, metric)
    if drawing is None:
        raise PageError(f"no loss was trained on one data set in two of the sweeps and has a {metric}", 404)
    return picture_file(drawing)


def _compared(source: Source, names: list[str]) -> tuple[ComparedObject, str]:
    if len(names) > compare.MOST_SWEEPS:
        raise PageError(f"{len(names)} sweeps were chosen; the board compares at most {compare.MOST_SWEEPS}", 400)
    found = source.compared(names)
    return found, one_of("metric", compare.metrics_of(found), "metric that both sweeps have", "dsc")


def _compare_figure(source: Source, found: ComparedObject, metric: str) -> Drawing | None:
    versions = " ".join(map(source.scored, found.sweeps))
    return source.drawing(
        "\0".join(("compare", metric, *found.sweeps)), versions, lambda: compare.figure(found, metric)
    )


def lines_of(source: Source, snapshot: Snapshot, dataset: str, loss: str, column: str) -> list[History]:
    """The validation DSC of a cell's trials after each epoch, and that of the other losses of its data set."""
    groups = against(snapshot, dataset, loss, column)
    return histories(groups, source.epochs([one for group in groups for _, own in group.parts for one in own]))


def _home_filter() -> tuple[str, str]:
    state = one_of("state", home.STATES, "state of a sweep", home.ALL)
    return request.args.get("show", ""), state


def _filter_values() -> Mapping[str, object]:
    show, state = _home_filter()
    query = request.query_string.decode("ascii", "replace")
    return {"show": show, "state": state, "states": home.STATES, "query": query}


def _refused(source: Source) -> Response | None:
    """The page that says what is wrong with an address of the live page; None where nothing is."""

    def look() -> Response:
        one_of("state", STATES, "state of a trial", STATES[0])
        try:
            source.check(asked_sweep())
        except UnknownSweepError:
            raise
        except StorageError:
            pass  # the live page says so, and continues when the database is back
        return Response()

    found = page(look)()
    return None if found.status_code == 200 else found


def _no_such_page() -> Response:
    raise PageError(f"the board has no page {request.path!r}", 404)
