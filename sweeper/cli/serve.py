"""`sweeper serve`: the same verbs over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.cli.options import coordinator_console

app = typer.Typer(rich_markup_mode=None)


@app.command()
def serve(
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Address to bind; all but loopback need tokens.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Port to bind; 0 takes a free one.")
    ] = 8080,
    resume: Annotated[bool, typer.Option("--resume", help="Also resume sweeps whose coordinator is lost.")] = False,
) -> None:
    """Serve these commands over HTTP, with tokens (docs/server.md).

    Example: sweeper serve --port 8080
    """
    from sweeper.server.serve import serve as run
    from sweeper.settings import load_settings

    settings = load_settings()
    out = coordinator_console(settings)
    run(settings, host, port, lambda line: out.print(line, markup=False, highlight=False), resume=resume)
