"""The page's parts, written as Dash components.

`page` is Dash's. The others reach the browser as JSON, from which `assets/board.js` makes elements; text stays text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from dash import dcc, html

from dashboards.board import content
from dashboards.board.cells import History
from dashboards.board.components import Component, Node, Nodes
from dashboards.board.curves import (
    MOST_FIGURES,
    curve_figure,
    epoch_figure,
    epochs_in_words,
    in_words,
)
from dashboards.board.source import Snapshot
from storage.records import SignificanceTest, Trial
from trials.states import TrialState
from workers.tracking import run_page

STATES = ("all", *(state.value for state in TrialState))

_LEGEND = (
    ("finished", "0.812", "finished: validation DSC; a stronger colour is a higher score within the data set"),
    ("running", "▸12 0.80", "running: epoch, newest validation DSC"),
    ("queued", "·", "queued"),
    ("failed", "✗ nan", "failed, with its reason"),
    ("pruned", "pruned", "pruned by the search"),
    ("stopped", "stopped", "stopped"),
)


_STORES = (
    "version", "grid-data", "parts", "shown", "selected", "cell-part", "cell-shown", "tests-part", "tests-shown",
    "retry", "curves-version", "curves-wanted",
)  # fmt: skip


def page(*, server: bool, every: int) -> Component:
    """The whole page, still empty; `server`: whether there is an API for the buttons."""
    return html.Div(
        [
            dcc.Location(id="url", refresh=False),
            dcc.Interval(id="tick", interval=every),
            *(dcc.Store(id=name) for name in _STORES),
            html.A("Skip to the grid", href="#grid", className="skip"),
            html.Header(
                [
                    html.Nav(
                        [
                            html.Span("Sweeper board", className="muted"),
                            html.Div(html.A("All sweeps", href="/"), id="links"),
                        ],
                        className="links",
                        **_aria(label="Board"),
                    ),
                    html.Div(html.H1("Loading …"), id="heading"),
                ]
            ),
            html.Main(
                [
                    html.P(id="unreachable", className="banner", hidden=True, role="alert"),
                    html.Div(id="banners"),
                    _section("state", "Status", html.Div(id="summary")),
                    _section("grid-title", "Grid", *_grid()),
                    _section("curves-title", "γ curves", html.Div(id="curves")),
                    _section("tests-title", "Significance", html.Div(id="tests")),
                    _section("workers-title", "Workers and devices", html.Div(id="workers")),
                    _section(
                        "failures-title",
                        "Failures",
                        html.Div(id="failures"),
                    ),
                    _section("control-title", "Control", *_control(server)),
                ]
            ),
        ]
    )


def _aria(**values: str) -> Any:
    """`aria-…` attributes, which are no Python names."""
    return {f"aria-{name}": value for name, value in values.items()}


def _section(name: str, title: str, *children: Component) -> Component:
    return html.Section([html.H2(title, id=name), *children], **_aria(labelledby=name))


def _grid() -> list[Component]:
    return [
        html.Div(
            [
                html.Div(
                    [
                        html.Label("Show data sets and losses with", htmlFor="filter-text"),
                        dcc.Input(id="filter-text", type="text", value="", debounce=False, autoComplete="off"),
                    ]
                ),
                html.Div(
                    [
                        html.Span("Trials that are", id="filter-name", className="label"),
                        *(
                            html.Button(
                                state,
                                type="button",
                                id={"type": "state", "state": state},
                                **_aria(pressed="true" if state == "all" else "false"),
                            )
                            for state in STATES
                        ),
                    ],
                    id="filter-state",
                    role="group",
                    **_aria(labelledby="filter-name"),
                ),
            ],
            className="filters",
        ),
        html.P(id="grid-note", className="muted", role="status"),
        html.Div(id="grid", className="scroll grid", tabIndex="0", role="region", **_aria(labelledby="grid-title")),
        html.Ul(
            [html.Li([html.Span(sign, className=f"key {state}"), words]) for state, sign, words in _LEGEND],
            className="legend",
        ),
        html.P(
            "To see the trials of a cell, click it, or move to it with the arrow keys and press Enter.",
            className="muted",
        ),
        html.Div(
            [html.Div(id="cell-body"), html.Div(id="cell-curve")],
            id="cell",
            hidden=True,
            className="cell",
            tabIndex="0",
            role="region",
            **_aria(label="The chosen cell"),
        ),
    ]


def _control(server: bool) -> list[Component]:
    if not server:
        return [
            html.P(
                [
                    "This board is read-only. For buttons that stop, scale and retry, start it with ",
                    html.Code("--server URL"),
                    " of a ",
                    html.Code("sweeper serve"),
                    ".",
                ]
            ),
            # Callbacks refer to them, so they must exist.
            html.Div([_token(), *_buttons(), html.Div(id="answer"), html.P(id="token-note")], hidden=True),
        ]
    return [
        html.Div([html.Label("Token", htmlFor="token"), _token()], className="field"),
        html.P(id="token-note", className="muted"),
        html.Div(id="answer", role="status"),
        *_buttons(),
    ]


def _token() -> Component:
    return dcc.Input(
        id="token", type="password", autoComplete="off", persistence=True, persistence_type="session", value=""
    )


def _buttons() -> list[Component]:
    now = "End running trials of this sweep after their epoch?"
    return [
        html.Fieldset(
            [
                html.Legend("The whole sweep"),
                html.Button("Retry all failed", id="retry-all", type="button"),
                html.Button("Resume", id="resume", type="button"),
                dcc.ConfirmDialogProvider(
                    html.Button("Stop", type="button"), id="stop", message="Start no more trials of this sweep?"
                ),
                dcc.ConfirmDialogProvider(html.Button("Stop now", type="button"), id="stop-now", message=now),
                html.Span(
                    [
                        html.Label("Trials at once", htmlFor="concurrency"),
                        dcc.Input(id="concurrency", type="number", min=1, step=1, value=1),
                        html.Button("Scale", id="scale", type="button"),
                    ],
                    className="field",
                ),
            ],
            id="control-set",
            disabled=True,
            className="control",
        )
    ]


def heading(snapshot: Snapshot) -> list[Component]:
    """Name, state and description."""
    found: list[Component] = [html.H1(snapshot.sweep.name), html.P(content.headline(snapshot), className="lead")]
    if snapshot.sweep.description:
        found.append(html.P(snapshot.sweep.description, className="muted"))
    return found


def banners(snapshot: Snapshot) -> list[Component]:
    """Warnings."""
    return [html.P(text, className="banner", role="note") for text in content.banners(snapshot)]


def problem(message: str, *, unknown: bool) -> tuple[Nodes, Nodes]:
    """Heading and message where the sweep cannot be read."""
    title = "No such sweep" if unknown else "The sweeps cannot be read"
    found: list[Node] = [html.P(message, className="banner", role="alert")]
    if unknown:
        found.append(html.P(html.A("All sweeps", href="/")))
    return html.H1(title), found


def links(sweep: str) -> Nodes:
    """Links to all sweeps, and to what there is of this one."""
    query = urlencode({"sweep": sweep})
    return [
        html.A("All sweeps", href="/"),
        html.A("Scores", href=f"/scores?{query}"),
        html.A("Overlays", href=f"/overlays?{query}"),
        html.A("Trials (CSV)", href=f"/trials.csv?{query}", download=""),
        html.A("Scores of each image (CSV)", href=f"/images.csv?{query}", download=""),
    ]


def summary(snapshot: Snapshot, mlflow: str) -> Nodes:
    """The status at the top, as a list of names and values, with a bar of the trials that have ended."""
    counts = {state: sum(t.state is state for t in snapshot.trials) for state in TrialState}
    ended = len(snapshot.trials) - counts[TrialState.QUEUED] - counts[TrialState.RUNNING]
    rows = [html.Div([html.Dt(name), html.Dd(value)]) for name, value in content.facts(snapshot)]
    if href := run_page(mlflow, snapshot.sweep.mlflow_run):
        rows.append(
            html.Div([html.Dt("MLflow"), html.Dd(html.A("The sweep's MLflow run, with its report", href=href))])
        )
    elif snapshot.sweep.mlflow_run and not mlflow:
        command = f"sweeper mlflow ui {snapshot.sweep.name}"
        rows.append(html.Div([html.Dt("MLflow"), html.Dd(["Open it with ", html.Code(command)])]))
    bar = html.Progress(value=str(ended), max=str(max(len(snapshot.trials), 1)), **_aria(label="Trials that ended"))
    return [bar, html.Dl(rows)]


def workers(snapshot: Snapshot, mlflow: str) -> Nodes:
    """The devices with their use, and what runs on them now."""
    devices = [
        (
            d.host or "–",
            d.device or "–",
            str(d.running),
            str(d.ended),
            html.Span([html.Meter(value=str(round(d.busy, 3)), **_aria(hidden="true")), f" {100 * d.busy:.0f}%"]),
        )
        for d in snapshot.devices
    ]
    running = [
        (_linked(p.label, p.run), p.host, p.pid, p.device, p.epoch, p.dsc, p.since, p.last, p.wait)
        for p in content.running_trials(snapshot, mlflow)
    ]
    if not devices:
        return html.P("No trial ran in the last hour.", className="muted")
    found = [
        table("Devices in the last hour", ("host", "device", "trials now", "ended", "time in use"), devices),
        html.P(
            "Processor, memory and GPU use of each trial: MLflow, System metrics of its run.",
            className="muted",
        ),
    ]
    if running:
        head = ("trial", "host", "pid", "device", "epoch", "validation DSC", "for", "last sign", "waits for input")
        found.insert(0, table("Running trials", head, running))
        if bound := content.input_bound(snapshot):
            found.insert(1, html.P(bound))
    return found


def failures(snapshot: Snapshot, mlflow: str) -> Nodes:
    """The failed trials, each with a button."""
    found = content.failures(snapshot, mlflow)
    if not found:
        return html.P("No trial has failed.", className="muted")
    rows = [
        (_linked(f.label, f.run), html.Code(f.trial[:8]), f.kind, f.error, str(f.attempts), _retry(f.trial, f.label))
        for f in found[: content.MOST_FAILURES]
    ]
    parts: list[Node] = [table("Failed trials", ("trial", "hash", "kind", "error", "attempts", ""), rows)]
    if len(found) > len(rows):
        parts.append(html.P(f"The first {len(rows)} of {len(found)}.", className="muted"))
    return parts


def curves(snapshot: Snapshot) -> Nodes:
    """A figure for each data set."""
    datasets = list(dict.fromkeys(t.dataset for t in snapshot.trials))
    found = []
    for number, dataset in enumerate(datasets[:MOST_FIGURES]):
        figure = curve_figure(snapshot.means, dataset)
        if figure is None:
            continue
        words = in_words(snapshot.means, dataset)
        file = f"/gamma.csv?{urlencode({'sweep': snapshot.sweep.name, 'dataset': dataset})}"
        found.append(_figure({"type": "curve", "number": number}, dataset, figure, words, file))
    if not found:
        return html.P("No trial has finished yet.", className="muted")
    note = [html.P(f"The first {MOST_FIGURES} of {len(datasets)} data sets.")] if len(datasets) > MOST_FIGURES else []
    about = "Means over runs; bars are 95% intervals over runs, where there are several."
    return [html.P(about, className="muted"), html.Div(found, className="curves"), *note]


def cell_curve(sweep: str, selected: Sequence[str], lines: Sequence[History], variants: Sequence[str]) -> Nodes:
    """The figure of a cell: its validation DSC after each epoch against that of the other losses."""
    figure = epoch_figure(lines, variants)
    if figure is None:
        return html.P("No epoch of this cell has ended yet.", className="muted")
    file = f"/epochs.csv?{urlencode([('sweep', sweep), *(('cell', part) for part in selected)])}"
    title = "Validation DSC after each epoch, against the other losses at their best γ so far (means over runs)"
    return _figure("cell-figure", title, figure, epochs_in_words(lines), file)


def _figure(name: Any, title: str, figure: dict[str, object], words: str, file: str) -> Component:
    """A figure with its words for readers who do not see it, and what can be downloaded of it."""
    png: Any = {"data-png": title, **_aria(label=f"PNG of {title}")}
    drawn = dcc.Graph(id=name, figure=figure, config={"displayModeBar": False, "responsive": True})
    return html.Figure(
        [
            html.Figcaption(html.H3(title)),
            html.Div(drawn, role="img", **_aria(label=words)),
            html.P(
                [
                    html.A("CSV", href=file, download="", **_aria(label=f"CSV of {title}")),
                    " ",
                    html.Button("PNG", type="button", **png),
                ],
                className="downloads",
            ),
        ]
    )


def significance(tests: Sequence[SignificanceTest], sweep: str) -> Nodes:
    """A table of pairs for each data set and class."""
    found = content.pairs(tests)
    if not found:
        command = html.Code(f"sweeper report {sweep}")
        return html.P(["The report computes the tests and stores them: ", command], className="muted")
    note = (
        "Of the last report, on test DSC (by other metrics: Scores, at the top). A difference in new trainings counts "
        "images and training runs as chance; with one run of a loss it has no p. The other tests take images only and "
        "say something of these trained networks. Positive: the first loss scores higher."
    )
    parts: list[Node] = [html.P(note, className="muted")]
    for one in found:
        shown = html.Summary(f"{one.place}: {len(one.rows) + one.left_out} pairs of losses")
        more = f"The pairs with the smallest p; {one.left_out} more are in the report."
        rest = [html.P(more, className="muted")] if one.left_out else []
        parts.append(html.Details([shown, table(f"Pairs of losses, {one.place}", one.head, one.rows), *rest]))
    return parts


def cell(sweep: str, selected: Sequence[str], trials: Sequence[Trial], mlflow: str, means: str) -> Nodes:
    """The trials of one cell of the grid; `means` is `content.over_runs`."""
    dataset, loss, column = selected
    rows = [
        (
            html.Code(t.hash[:8]),
            _overlay(sweep, t) if t.state is TrialState.FINISHED else "–",
            "–" if t.gamma is None else f"{t.gamma:g}",
            str(t.repeat) if t.spec.data.fold is None else f"{t.repeat}, fold {t.spec.data.fold}",
            t.state.value if t.failure is None or t.state is not TrialState.FAILED else content.kind_words(t.failure),
            f"{t.epochs} of {t.spec.training.epochs}",
            "–" if t.val_dsc is None else f"{t.val_dsc:.3f}",
            "–" if t.test_dsc is None else f"{t.test_dsc:.3f}",
            _linked("MLflow run", run_page(mlflow, t.mlflow_run), otherwise="–"),
            _retry(t.hash, t.label) if t.state is TrialState.FAILED else "",
        )
        for t in trials
    ]
    gamma = "" if column == "no γ" else f" · γ {column}"
    head = ("trial", "pictures", "γ", "repeat", "state", "epoch", "validation DSC", "test DSC", "run", "")
    errors = [html.P(f"{t.hash[:8]}: {content.first_line(t.error)}") for t in trials if t.error]
    return [
        html.H3(f"{dataset} · {loss}{gamma}"),
        table("Trials of this cell", head, rows),
        *([html.P(means)] if means else []),
        *errors,
        html.P(["Everything about one trial: ", html.Code(f"sweeper show {trials[0].hash[:8]}")], className="muted"),
    ]


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Node]]) -> Component:
    """A table that scrolls sideways where it is too wide."""
    titles = [html.Th(h, scope="col") if h else html.Td() for h in head]
    body = [html.Tr([html.Th(row[0], scope="row"), *map(_data, head[1:], row[1:])]) for row in rows]
    return html.Div(
        html.Table([html.Caption(caption), html.Thead(html.Tr(titles)), html.Tbody(body)]),
        className="scroll",
        tabIndex="0",
        role="region",
        **_aria(label=caption),
    )


def _data(title: str, value: Node) -> Component:
    kind = {"error": "words", "kind": "words", "host": "place", "device": "place"}.get(title)
    return html.Td(value) if kind is None else html.Td(value, className=kind)


def _retry(trial: str, label: str) -> Component:
    # The browser, which has the token, decides whether it is enabled (assets/board.js).
    asks: Any = {"data-retry": trial, **_aria(label=f"Retry {label}, {trial[:8]}")}
    return html.Button("Retry", type="button", **asks)


def _overlay(sweep: str, trial: Trial) -> Component:
    address = f"/overlays?{urlencode({'sweep': sweep, 'a': trial.hash})}"
    return html.A("Overlay", href=address, **_aria(label=f"Overlay of {trial.label}, {trial.hash[:8]}"))


def _linked(text: str, href: str, otherwise: str | None = None) -> Node:
    if href:
        return html.A(text, href=href)
    return text if otherwise is None else otherwise
