"""What a command does where a service is asked, if it differs from what it does on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.cli.options import console, printed, say
from sweeper.errors import GridError, ServerError

if TYPE_CHECKING:
    from sweeper.server.client import Client


def check_command(command: str) -> None:
    """Refuses a command that no verb names.

    Raises:
        ServerError: see above.
    """
    from sweeper.verbs import VERBS

    there = sorted({one.command for one in VERBS.values() if one.command is not None})
    if command not in there:
        raise ServerError(
            f"`sweeper {command}` works on this machine alone; omit --server, or unset SWEEPER_SERVER "
            f"(a service does: {', '.join(there)})"
        )


def refuse_plugins(plugins: list[Path] | None) -> None:
    """Refuses plug-in files where a service does the work.

    Raises:
        ServerError: there are some.
    """
    if plugins:
        raise ServerError("--plugin: a service accepts no code; its administrator installs the plug-in as a package")


def chosen_grid(
    grid: str,
    sets: list[str] | None,
    name: str | None,
    data: Path | None,
    plugins: list[Path] | None,
    *,
    rehearse: bool,
    fresh: bool = False,
) -> dict[str, object]:
    """A grid as a service is asked for it (`PlanRequest`): a grid file is sent as its text.

    Raises:
        ServerError: an option that means something on the service's machine alone.
        GridError: the file cannot be read.
    """
    if data is not None:
        raise ServerError("--data: a service uses its own data folder; omit the option")
    refuse_plugins(plugins)
    chosen = {"toml": _text(grid)} if grid.endswith(".toml") or "/" in grid else {"grid": grid}
    return {**chosen, "set": sets or [], "name": name, "rehearse": rehearse, "fresh": fresh}


def refuse_device(device: str | None) -> None:
    """Refuses --device: a service predicts for what it has.

    Raises:
        ServerError: see above.
    """
    if device is not None:
        raise ServerError("--device: a service predicts for its own devices; omit --server, or unset SWEEPER_SERVER")


def refuse_notify(notify: str | None) -> None:
    """Refuses --notify: a service would run or call it for anybody.

    Raises:
        ServerError: see above.
    """
    if notify is not None:
        raise ServerError("--notify: a service uses its own SWEEPER_NOTIFY; omit the option")


def hours_until(end: float | None) -> float | None:
    """A time as hours from now: the clock of a service's machine may be another one."""
    return None if end is None else (end - time.time()) / 3600


def launch(there: Client, wanted: Mapping[str, object]) -> None:
    """Submits a grid and says where it is."""
    from sweeper import verbs
    from sweeper.verbs.requests import LaunchRequest, request

    answer = verbs.launch(there, request(LaunchRequest, **wanted))
    _say_differences(answer.sweep, answer.differences)
    say(answer.message)


def plan(there: Client, wanted: Mapping[str, object], *, as_json: bool, as_csv: bool = False) -> None:
    """Shows a service's plan as a local one is shown."""
    from sweeper import verbs
    from sweeper.verbs.requests import PlanRequest, request
    from sweeper.views.plan import plan_rows, plan_text

    answer = verbs.plan(there, request(PlanRequest, **wanted))
    whole = answer.model_dump(mode="json", exclude={"differences"})
    if printed(whole, plan_rows(answer), as_json=as_json, as_csv=as_csv):
        return
    _say_differences(answer.grid, answer.differences)
    console().print(plan_text(answer))


def report(there: Client, name: str, out: Path | None, format_: str) -> None:
    """Fetches the report that a sweep's coordinator wrote.

    Raises:
        ServerError: another format than HTML, or it is not written yet.
    """
    from sweeper import verbs

    if format_ != "html":
        raise ServerError(f"--format {format_}: a service gives the report as html; for others, run the command there")
    page = verbs.report(there, name)
    folder = out or Path(f"{name}-report")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(page, encoding="utf-8")
    say(str(folder / "report.html"))


def _say_differences(name: str, differences: list[str]) -> None:
    if differences:
        meant = name.removesuffix("-rehearsal")
        say(f"REHEARSAL of {meant}: its scores say nothing about the losses. Differences:")
        for line in differences:
            say(f"  {line}")


def _text(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GridError(f"grid file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
