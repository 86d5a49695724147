"""Until when a sweep may run, as a person says it: for so many hours, or until a time of day or a date. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from sweeper.errors import SettingsError

LONGEST_HOURS = 100_000


def deadline(hours: float | None, until: str | None, now: datetime) -> float | None:
    """The end, in seconds since 1970; None where none was named.

    Args:
        hours: the option `--hours`.
        until: the option `--until`: `07:00` (the next one), or `2030-01-31T07:00`, by this machine's clock unless it
            names its zone.
        now: with its zone.

    Raises:
        SettingsError: both are given, or the end is no time, or not in the future.
    """
    if hours is not None and until is not None:
        raise SettingsError("--hours and --until both say when to end; give one of them")
    if hours is not None:
        if not 0 < hours <= LONGEST_HOURS:
            raise SettingsError(f"--hours {hours:g}: give more than 0, and at most {LONGEST_HOURS:,}")
        return now.timestamp() + 3600 * hours
    if until is None:
        return None
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", until):
            hour, minute = map(int, until.split(":"))
            end = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            if end <= now:
                end += timedelta(days=1)
        else:
            end = datetime.fromisoformat(until)
            end = end if end.tzinfo is not None else end.replace(tzinfo=now.tzinfo)
    except ValueError:
        raise SettingsError(f"--until {until!r} is no time; give 07:00, or 2030-01-31T07:00") from None
    if end <= now:
        raise SettingsError(f"--until {until}: that is past; it is {now:%Y-%m-%dT%H:%M}")
    return end.timestamp()


def now() -> datetime:
    """With this machine's zone."""
    return datetime.now().astimezone()


def as_option(end: float) -> list[str]:
    """The option that says this end to another process, which may have another zone."""
    return ["--until", datetime.fromtimestamp(end).astimezone().isoformat(timespec="seconds")]
