"""Who may do what: tokens with a role, from a file or the environment. Only a token's hash is kept; none is shown."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import ServerError
from sweeper.verbs.declaration import Role

FILE_VARIABLE = "SWEEPER_TOKENS_FILE"
VARIABLE = "SWEEPER_TOKENS"
OWN_TOKEN = "server-token"  # noqa: S105 (the name of a file)
"""In SWEEPER_HOME: the token that a service on loopback makes where none is given, for the same user's client."""
MIN_LENGTH = 16

_EXPECTED = "expected read:TOKEN or full:TOKEN (a new one: openssl rand -hex 32)"


@dataclass(frozen=True, slots=True)
class Tokens:
    """The roles by the SHA-256 of their tokens."""

    roles: Mapping[bytes, Role]

    def role(self, token: str) -> Role | None:
        """The role of a token, None for one that is not known. Takes as long for any."""
        digest, found = _digest(token), None
        for known, role in self.roles.items():
            if hmac.compare_digest(known, digest):
                found = role
        return found


def load_tokens(environment: Mapping[str, str], *, own: Path | None) -> Tokens:
    """The tokens from SWEEPER_TOKENS_FILE (one a line) or SWEEPER_TOKENS (with commas between), as `ROLE:TOKEN`.

    Args:
        environment: the environment's variables.
        own: where nothing names any: the file of a token with the full role, made with a random one where it is
            missing; None refuses instead.

    Raises:
        ServerError: no token, both variables are set, a line that is no token, or a file that others can read.
    """
    file, words = environment.get(FILE_VARIABLE, ""), environment.get(VARIABLE, "")
    if file and words:
        raise ServerError(f"both {FILE_VARIABLE} and {VARIABLE} are set; unset one of them")
    if file:
        return _parsed(_read_private(Path(file).expanduser(), FILE_VARIABLE).splitlines(), f"{FILE_VARIABLE}={file}")
    if words:
        return _parsed(words.split(","), VARIABLE)
    if own is None:
        raise ServerError(
            "an address that other machines can reach needs tokens: name a file of ROLE:TOKEN lines in "
            f"{FILE_VARIABLE}, or bind to 127.0.0.1"
        )
    return Tokens({_digest(_own_token(own)): Role.FULL})


def read_token(path: Path, name: str) -> str:
    """The one token in a client's file.

    Raises:
        ServerError: it is missing, or others can read it.
    """
    return _read_private(path, name).strip()


def without_tokens(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that trains: it may run a user's own code, and needs no service."""
    secret = {FILE_VARIABLE, VARIABLE, "SWEEPER_TOKEN", "SWEEPER_TOKEN_FILE", "SWEEPER_SERVER"}
    return {name: value for name, value in environment.items() if name not in secret}


def _parsed(lines: Iterable[str], where: str) -> Tokens:
    roles: dict[bytes, Role] = {}
    for number, line in enumerate(lines, start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        role, separator, token = entry.partition(":")
        token = token.strip()
        if not separator or role not in list(Role) or not token.isascii() or not token.isprintable():
            raise ServerError(f"{where}: entry {number} is not a token; {_EXPECTED}")
        if len(token) < MIN_LENGTH:
            raise ServerError(
                f"{where}: the token of entry {number} is shorter than {MIN_LENGTH} characters; use a longer one"
            )
        if _digest(token) in roles:
            raise ServerError(f"{where}: the token of entry {number} occurs twice; each role needs its own")
        roles[_digest(token)] = Role(role)
    if not roles:
        raise ServerError(f"{where} holds no token; {_EXPECTED}")
    return Tokens(roles)


def _read_private(path: Path, name: str) -> str:
    """The text of a file that its owner, and perhaps a group, alone can read and write."""
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & (stat.S_IRWXO | stat.S_IWGRP):
            raise ServerError(f"{name}: others can read or change {path}; fix it with: chmod 600 {path}")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServerError(f"{name}={path} cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _own_token(path: Path) -> str:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        token = read_token(path, "the service's own token")
        if len(token) < MIN_LENGTH:
            raise ServerError(f"{path} holds no token; remove it, and the next start makes one") from None
        return token
    except OSError as error:
        raise ServerError(f"{path} cannot be written ({error.strerror}); set SWEEPER_TOKENS_FILE") from error
    token = secrets.token_urlsafe(32)
    with os.fdopen(file, "w", encoding="ascii") as opened:
        opened.write(token + "\n")
    return token


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
