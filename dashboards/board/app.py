"""The live page of a sweep: a Dash application over a `Source`. No script is sent to the browser but our own files.

Dash notifies every component in a page of every change; with a thousand of them a click is slow. Its components are
therefore only those that never change, and the curves. The content of a sweep goes to the browser as data, and
`assets/board.js` makes a table of the grid and elements of the rest. A page asks every two seconds; the answer is empty
unless something has changed.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import DependencyException, PreventUpdate
from flask import Flask, Response, abort, request

from dashboards.board import content, parts
from dashboards.board.asked import asked_by_a_page
from dashboards.board.buttons import Api
from dashboards.board.components import Component, Nodes
from dashboards.board.pages import add_pages, lines_of
from dashboards.board.source import Snapshot, Source
from dashboards.errors import BoardError
from storage.errors import StorageError, UnknownSweepError
from sweeper.analysis import AnalysisError

POLL_MILLISECONDS = 2000
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FILES = ("/assets/", "/_dash-component-suites/")
"""Scripts and styles: the same for everybody, and large."""

_INDEX = """<!doctype html>
<html lang="en">
<head>
{%metas%}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{%title%}</title>
{%favicon%}
{%css%}
</head>
<body>
<noscript><p>The board needs JavaScript. Without it: sweeper status --watch</p></noscript>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def make_app(
    source: Source,
    *,
    server: str = "",
    mlflow: str = "",
    host: str = "",
    hosts: Sequence[str] = (),
) -> Dash:
    """The application; nothing is read before a page asks.

    Args:
        source: where sweeps are read.
        server: base URL of `sweeper serve`, for the buttons; without one the page has none.
        mlflow: MLflow's tracking URI; trials are linked to it where it is a web address.
        host: the address that the page is served on. On loopback, requests by another name than this machine's are
            refused: a page of another site could otherwise read this one through a name of its own.
        hosts: further names that are accepted; where there are any, others are refused on every address.
    """
    app = Dash(
        __name__,
        server=Flask(__name__),  # type: ignore[arg-type]
        title="Sweeper board",
        update_title="",
        index_string=_INDEX,
        assets_folder=str(Path(__file__).parent / "assets"),
        assets_ignore=r"pages\.js",
        serve_locally=True,
        suppress_callback_exceptions=True,
        enable_mcp=False,
    )
    app.layout = lambda: parts.page(server=bool(server), every=POLL_MILLISECONDS)
    _add_reading(app, source, mlflow)
    _add_buttons(app, Api(server))
    _add_browser_side(app)
    _protect(app, host, tuple(hosts))
    add_pages(app.server, source)
    return app


def chosen(search: str | None) -> str | None:
    """The sweep that the page's address names (`?sweep=NAME`); None where it names none."""
    wanted = parse_qs((search or "").removeprefix("?")).get("sweep")
    return wanted[0].replace("\0", "\N{REPLACEMENT CHARACTER}") if wanted else None  # a database server takes no zero


def _add_reading(app: Dash, source: Source, mlflow: str) -> None:
    @app.callback(
        Output("version", "data"),
        Output("grid-data", "data"),
        Output("parts", "data"),
        Output("curves-version", "data"),
        Input("tick", "n_intervals"),
        Input("url", "search"),
        State("version", "data"),
        State("curves-version", "data"),
    )
    def poll(tick: int | None, search: str | None, known: str | None, known_curves: str | None) -> tuple[object, ...]:
        name = chosen(search)
        if name is None:
            return _unless(known, "none", lambda: parts.problem("the address names no sweep", unknown=True))
        try:
            version = f"{source.pulse(name)} {_digest(name)}"
            if version == known:
                raise PreventUpdate
            snapshot = source.snapshot(name, version.split()[0])
        except (StorageError, AnalysisError) as error:
            message = str(error)
            missing = isinstance(error, UnknownSweepError)
            return _unless(known, _digest(message), lambda: parts.problem(message, unknown=missing))
        # A shared snapshot may be a little older than the pulse: then the next request gets a newer one.
        shown = f"{snapshot.version} {_digest(name)}"
        if shown == known:
            raise PreventUpdate
        return (
            shown,
            content.grid(snapshot),
            {
                "heading": parts.heading(snapshot),
                "banners": parts.banners(snapshot),
                "summary": parts.summary(snapshot, mlflow),
                "workers": parts.workers(snapshot, mlflow),
                "failures": parts.failures(snapshot, mlflow),
                "links": parts.links(name),
            },
            no_update if snapshot.curves == known_curves else snapshot.curves,
        )

    @app.callback(Output("curves", "children"), Input("curves-wanted", "data"), State("url", "search"))
    def draw_curves(wanted: str | None, search: str | None) -> object:
        if wanted is None:
            return []
        try:
            snapshot = _snapshot(source, search)
        except StorageError:
            return no_update
        return [] if snapshot is None else parts.curves(snapshot)

    @app.callback(Output("tests-part", "data"), Input("curves-wanted", "data"), State("url", "search"))
    def significance(wanted: str | None, search: str | None) -> object:
        if wanted is None:
            return None
        try:
            name = chosen(search)
            return None if name is None else parts.significance(source.significance(name), name)
        except StorageError:
            return no_update

    @app.callback(
        Output("cell-part", "data"),
        Input("selected", "data"),
        Input("version", "data"),
        State("url", "search"),
    )
    def details(selected: list[str] | None, version: str | None, search: str | None) -> object:
        if not selected:
            return None
        try:
            snapshot = _snapshot(source, search)
        except StorageError:
            return no_update
        if snapshot is None or not (trials := content.trials_of(snapshot, *selected)):
            return None
        return parts.cell(snapshot.sweep.name, selected, trials, mlflow, content.over_runs(snapshot, *selected))

    @app.callback(Output("cell-curve", "children"), Input("cell-shown", "data"), State("url", "search"))
    def draw_cell_curve(shown: list[str] | None, search: str | None) -> object:
        if shown is None:
            return []
        selected = shown[:3]
        try:
            snapshot = _snapshot(source, search)
            if snapshot is None:
                return []
            lines = lines_of(source, snapshot, *selected)
        except StorageError:
            return no_update
        variants = sorted({row.loss for row in snapshot.map.rows if row.dataset == selected[0]})
        return parts.cell_curve(snapshot.sweep.name, selected, lines, variants) if lines else []


def _add_buttons(app: Dash, api: Api) -> None:
    @app.callback(
        Output("answer", "children"),
        Input("retry", "data"),
        Input("retry-all", "n_clicks"),
        Input("resume", "n_clicks"),
        Input("stop", "submit_n_clicks"),
        Input("stop-now", "submit_n_clicks"),
        Input("scale", "n_clicks"),
        State("token", "value"),
        State("concurrency", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def act(
        retry: dict[str, str] | None,
        retry_all: int | None,
        resume: int | None,
        stop: int | None,
        stop_now: int | None,
        scale: int | None,
        token: str | None,
        concurrency: object,
        search: str | None,
    ) -> Component:
        name = chosen(search)
        if name is None:
            raise PreventUpdate
        try:
            trial = retry["trial"] if ctx.triggered_id == "retry" and retry else None
            said = _ask(api, name, ctx.triggered_id, trial, token or "", concurrency)
        except BoardError as error:
            return html.P(f"Not done: {error}", className="refused")
        return html.P(said)


def _ask(api: Api, sweep: str, pressed: object, trial: str | None, token: str, concurrency: object) -> str:
    if trial is not None:
        return api.retry(sweep, token, trial)
    if pressed == "retry-all":
        return api.retry(sweep, token)
    if pressed == "resume":
        return api.resume(sweep, token)
    if pressed == "scale":
        if not isinstance(concurrency, int) or concurrency < 1:
            raise BoardError("enter how many trials run at once: a whole number from 1")
        return api.scale(sweep, token, concurrency)
    return api.stop(sweep, token, now=pressed == "stop-now")


def _add_browser_side(app: Dash) -> None:
    """What happens in the browser alone (assets/board.js)."""
    clientside: Any = app.clientside_callback
    clientside(
        ClientsideFunction("board", "draw"),
        Output("grid-note", "children"),
        Input("grid-data", "data"),
        Input("filter-text", "value"),
    )
    clientside(ClientsideFunction("board", "show"), Output("shown", "data"), Input("parts", "data"))
    clientside(ClientsideFunction("board", "show_cell"), Output("cell-shown", "data"), Input("cell-part", "data"))
    clientside(ClientsideFunction("board", "show_tests"), Output("tests-shown", "data"), Input("tests-part", "data"))
    # The library that draws curves is large: it is loaded after the grid.
    clientside(ClientsideFunction("board", "later"), Output("curves-wanted", "data"), Input("curves-version", "data"))
    clientside(
        ClientsideFunction("board", "permit"),
        Output("control-set", "disabled"),
        Output("token-note", "children"),
        Input("token", "value"),
    )


def _protect(app: Dash, host: str, hosts: tuple[str, ...]) -> None:
    server: Flask = app.server
    policies: list[str] = []

    @server.before_request
    def refuse_other_names() -> None:
        guarded = bool(hosts) or host in LOOPBACK
        if guarded and urlsplit(f"//{request.host}").hostname not in (*LOOPBACK, *hosts):
            abort(403, "this board is not served under that name; SWEEPER_ALLOWED_HOSTS adds names")

    @server.before_request
    def refuse_what_no_page_asks() -> None:
        if request.method == "POST" and not asked_by_a_page(request.get_data(), app.callback_map):
            abort(400, "no page of this board asks that; load it again")

    @server.errorhandler(DependencyException)
    def no_such_file(error: DependencyException) -> tuple[str, int]:
        return "no such file", 404

    @server.after_request
    def add_headers(response: Response) -> Response:
        if not policies:
            # Not earlier: the hash is of the inline start script, which Dash writes when all callbacks are known.
            scripts = " ".join(["'self'", *app.csp_hashes()])
            policies.append(
                f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: "
                "blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
                "frame-ancestors 'none'"
            )
        response.headers["Content-Security-Policy"] = policies[0]
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        if not request.path.startswith(_FILES) or response.status_code >= 400:
            response.headers["Cache-Control"] = "no-store"
        return _smaller(response)


def _smaller(response: Response) -> Response:
    """Compresses an answer where that saves something."""
    worth = response.mimetype in ("application/json", "text/html", "text/csv") and not response.is_streamed
    if worth and "gzip" in request.headers.get("Accept-Encoding", "") and len(response.get_data()) > 2000:
        response.set_data(gzip.compress(response.get_data(), compresslevel=1))
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    return response


def _snapshot(source: Source, search: str | None) -> Snapshot | None:
    """The snapshot that the page shows: the poll has just made it."""
    name = chosen(search)
    return None if name is None else source.newest(name)


def _unless(known: str | None, version: str, make: Callable[[], tuple[Nodes, Nodes]]) -> tuple[object, ...]:
    """The page without a sweep, unless it is shown already: a heading and a message."""
    if known == version:
        raise PreventUpdate
    heading, message = make()
    return version, None, {"heading": heading, "banners": message}, None


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]
