"""Addresses of servers and databases in messages: a password in one is never shown.

A password is part of an address only where its `@`, `/`, `#` and `?` are written percent-encoded. Written as they are,
they end it early, and programs take the rest for a host, a port or a path, which they show. So what counts as password
here is everything up to the last `@`.
"""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(://[^:/\s]*):.*@")
_NO_PORT = re.compile(r"(?<!ray)(://[^:/@\[\s]*):(?!\d{1,5}(?:[/?#\s,;'\")\]]|$))(?!\*\*\*)[^/\s'\",;]+")
"""An address in which a password takes the place of the port, since the `@` is missing. Ray's has no password."""

_PARAMETER = re.compile(r"(password=)[^&\s]+", re.IGNORECASE)

_ENCODED = {"@": "%40", "/": "%2F", "#": "%23", "?": "%3F"}


def hide_password(text: str) -> str:
    """`text` with the passwords of addresses and of `password=` parameters replaced by `***`."""
    text = _PASSWORD.sub(r"\1:***@", text)
    text = _NO_PORT.sub(r"\1:***", text)
    return _PARAMETER.sub(r"\1***", text)


def unencoded(address: str) -> str:
    """What of an address's password has to be percent-encoded, as a sentence; empty where nothing has to be."""
    rest = address.partition("://")[2]
    before_query = rest.partition("?")[0]
    user, at, _ = (before_query if "@" in before_query else rest).rpartition("@")
    password = user.partition(":")[2]
    signs = [sign for sign in _ENCODED if sign in password]
    if not at or not signs:
        return ""
    return "in a password write " + ", ".join(f"{sign} as {_ENCODED[sign]}" for sign in signs)
