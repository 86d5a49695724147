"""What the board's pages have in common: reading an address, and answering with a page, a file, or what is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps

import jinja2
from flask import Response, request

from dashboards.errors import PageError
from dashboards.figures.style import Drawing
from storage.errors import StorageError, UnknownSweepError
from sweeper.analysis import AnalysisError
from sweeper.errors import GridError
from trials.errors import nearest
from trials.spreadsheets import harmless

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("dashboards.board"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


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
        except GridError as error:
            return problem_page(str(error), 400)
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


def picture_file(drawing: Drawing) -> Response:
    """The PNG of a figure to download."""
    answer = Response(drawing.png, mimetype="image/png")
    answer.headers.set("Content-Disposition", "attachment", filename=f"{drawing.name}.png")
    return answer


def one_of(name: str, known: Iterable[str], what: str, default: str) -> str:
    """The value of the address's field `name`, which is one of `known`.

    Raises:
        PageError: it is another one; the message names the nearest.
    """
    wanted = request.args.get(name) or default
    names = list(known)
    if names and wanted not in names:
        others = ", ".join(one for one in names if one) or "none"
        raise PageError(f"no {what} is named {wanted!r}{nearest(wanted, names)}; there are: {others}", 404)
    return wanted


def problem_page(message: str, status: int) -> Response:
    """What is wrong with an address."""
    titles = {400: "This cannot be shown", 404: "There is no such page", 503: "The sweeps cannot be read"}
    return rendered("problem", {"title": titles.get(status, "This page cannot be made"), "message": message}, status)


def asked_sweep() -> str:
    """The sweep that the address names.

    Raises:
        PageError: it names none.
    """
    if not (names := asked_sweeps()):
        raise PageError("the address names no sweep; add ?sweep=NAME", 400)
    return names[0]


def asked_sweeps() -> list[str]:
    """The sweeps that the address names, each once."""
    # A database server takes no zero.
    names = [name.replace("\0", "\N{REPLACEMENT CHARACTER}") for name in request.args.getlist("sweep") if name]
    return list(dict.fromkeys(names))


def _cell(value: object) -> object:
    if isinstance(value, str):
        return harmless(value)
    return "" if value is None or value != value else value
