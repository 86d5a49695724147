"""The board's pages beside the live one: made on the server, with addresses that say everything that they show.

They need no script. `assets/pages.js` renews the home page while it is open.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps

import jinja2
from flask import Flask, Response, request

from dashboards.board import home
from dashboards.board.parts import STATES
from dashboards.board.source import Source
from dashboards.errors import PageError
from storage.errors import StorageError, UnknownSweepError
from sweeper.analysis import AnalysisError
from trials.errors import nearest
from trials.spreadsheets import harmless

_HOME = "/"
_DASH = "/<path:path>"
"""Dash's own rule, under which it gives the live page for every address."""

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("dashboards.board"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def add_pages(server: Flask, source: Source) -> None:
    """Adds the pages to the server of the live one."""

    @server.before_request
    def before_the_live_page() -> Response | None:
        if request.url_rule is not None and request.url_rule.rule == _DASH:
            return page(_no_such_page)()
        if request.path != _HOME or request.method not in ("GET", "HEAD"):
            return None
        if "sweep" not in request.args:
            return page(lambda: home_page(source))()
        return _refused(source)

    server.add_url_rule("/sweeps.csv", view_func=page(lambda: _home_table(source)), endpoint="sweeps.csv")


def page(make: Callable[[], Response]) -> Callable[[], Response]:
    """A view that answers what is wrong with an address by a page that says so, and by its status."""

    @wraps(make)
    def answered() -> Response:
        try:
            return make()
        except PageError as error:
            return problem_page(str(error), error.status)
        except UnknownSweepError as error:
            return problem_page(str(error), 404)
        except AnalysisError as error:
            return problem_page(str(error), 500)
        except StorageError as error:
            return problem_page(str(error), 503)

    return answered


def rendered(template: str, values: Mapping[str, object], status: int = 200) -> Response:
    """A page from a template of this package."""
    return Response(_TEMPLATES.get_template(f"{template}.html.j2").render(values), status, mimetype="text/html")


def table_file(name: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """A CSV file to download. Text that a spreadsheet would run is marked as text."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in rows)
    answer = Response(text.getvalue(), mimetype="text/csv")
    answer.headers.set("Content-Disposition", "attachment", filename=f"{name}.csv")
    return answer


def one_of(name: str, known: Iterable[str], what: str, default: str) -> str:
    """The value of the address's field `name`, which is one of `known`.

    Raises:
        PageError: it is another one; the message names the nearest.
    """
    wanted = request.args.get(name) or default
    names = list(known)
    if names and wanted not in names:
        raise PageError(f"no {what} is named {wanted!r}{nearest(wanted, names)}; there are: {', '.join(names)}", 404)
    return wanted


def problem_page(message: str, status: int) -> Response:
    """What is wrong with an address."""
    titles = {400: "This cannot be shown", 404: "There is no such page", 503: "The sweeps cannot be read"}
    return rendered("problem", {"title": titles.get(status, "This page cannot be made"), "message": message}, status)


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
            source.check(request.args["sweep"].replace("\0", "\N{REPLACEMENT CHARACTER}"))
        except UnknownSweepError:
            raise
        except StorageError:
            pass  # the live page says so, and goes on when the database is back
        return Response()

    found = page(look)()
    return None if found.status_code == 200 else found


def _no_such_page() -> Response:
    raise PageError(f"the board has no page {request.path!r}", 404)


def _cell(value: object) -> object:
    if isinstance(value, str):
        return harmless(value)
    return "" if value is None or value != value else value
