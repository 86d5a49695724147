"""`sweeper board`, through the entry-point group `sweeper.commands`. Heavy packages are imported when it is called."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import urlencode

import typer


def board(
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="All sweeps unless named.")] = None,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0 for a free one.")] = 8050,
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="URL", envvar="SWEEPER_SERVER", help="`sweeper serve`, for its buttons."),
    ] = None,
) -> None:
    """Show running sweeps as a live web page; Ctrl-C ends it.

    Example: sweeper board demo
    """
    from dashboards.board.app import make_app
    from dashboards.board.serve import Listener
    from dashboards.board.source import Source
    from sweeper.server.serve import HOSTS_VARIABLE
    from sweeper.settings import load_settings

    settings = load_settings()
    with Listener(host, port) as listener:  # first: a port that is in use is reported at once
        source = Source(settings.reader, trials_folder=settings.trials, prepared_root=settings.prepared)
        if sweep is not None:
            source.check(sweep)
        source.close()  # the process that serves opens its own connections
        hosts = [name for name in os.environ.get(HOSTS_VARIABLE, "").split(",") if name]
        app = make_app(
            source,
            server=server or "",
            mlflow=settings.mlflow_url or settings.mlflow_uri,
            host=host,
            hosts=hosts,
        )
        at = "" if sweep is None else f"?{urlencode({'sweep': sweep})}"
        typer.echo(f"the board is at {listener.url}{at}; Ctrl-C ends it")
        listener.serve(app.server)
