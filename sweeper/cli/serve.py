"""`sweeper serve`: the same verbs over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.cli.options import coordinator_console

app = typer.Typer(rich_markup_mode=None)


@app.command()
def serve(
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Any but loopback needs tokens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0: a free one.")] = 8080,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with sweeps whose coordinator is gone without a word.")
    ] = False,
) -> None:
    """Answer the same verbs over HTTP, with tokens (docs/server.md).

    Example: sweeper serve --port 8080
    """
    from sweeper.server.serve import serve as run
    from sweeper.settings import load_settings

    settings = load_settings()
    say = coordinator_console(settings)
    run(settings, host, port, lambda line: say.print(line, markup=False, highlight=False), resume=resume)
