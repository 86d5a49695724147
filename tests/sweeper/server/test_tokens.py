"""Tokens: where they may come from, what is refused, and that none is ever shown."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import ServerError
from sweeper.server.tokens import Role, load_tokens, without_tokens

READ, FULL = "read-token-0123456789", "full-token-0123456789"


def test_roles_from_the_environment() -> None:
    tokens = load_tokens({"SWEEPER_TOKENS": f"read:{READ}, full:{FULL}"}, own=None)
    assert tokens.role(READ) is Role.READ
    assert tokens.role(FULL) is Role.FULL
    for wrong in ("", READ[:-1], READ + "x", READ.upper(), f"read:{READ}", "\ud800"):
        assert tokens.role(wrong) is None
    assert READ not in repr(tokens)


def test_roles_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# for the board\nread:{READ}\n\nfull: {FULL}\n")
    for mode, readable in ((0o600, True), (0o400, True), (0o640, True), (0o644, False), (0o660, False), (0o602, False)):
        file.chmod(mode)
        if readable:
            assert load_tokens({"SWEEPER_TOKENS_FILE": str(file)}, own=None).role(FULL) is Role.FULL
        else:
            with pytest.raises(ServerError, match="chmod 600"):
                load_tokens({"SWEEPER_TOKENS_FILE": str(file)}, own=None)


@pytest.mark.parametrize(
    "words", [READ, f"admin:{READ}", "read:short", f"read:{READ},full:{READ}", ",", f"full:{FULL}é", f"full:{FULL}\n2"]
)
def test_wrong_tokens_are_refused_without_showing_them(words: str) -> None:
    with pytest.raises(ServerError) as refused:
        load_tokens({"SWEEPER_TOKENS": words}, own=None)
    assert "SWEEPER_TOKENS" in str(refused.value)
    assert not any(part in str(refused.value) for part in (READ, FULL, "short,"))


def test_two_sources_or_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="both"):
        load_tokens({"SWEEPER_TOKENS": f"full:{FULL}", "SWEEPER_TOKENS_FILE": "x"}, own=None)
    with pytest.raises(ServerError, match="cannot be read"):
        load_tokens({"SWEEPER_TOKENS_FILE": str(tmp_path / "absent")}, own=None)


def test_without_any_a_token_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    own = tmp_path / "server-token"
    tokens = load_tokens({}, own=own)
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    token = own.read_text().strip()
    assert len(token) >= 32
    assert tokens.role(token) is Role.FULL
    assert load_tokens({}, own=own) == tokens
    own.chmod(0o644)
    with pytest.raises(ServerError, match="chmod 600"):
        load_tokens({}, own=own)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "cluster.example.org", "127.0.0.2"])  # noqa: S104
def test_no_address_but_loopback_is_bound_without_tokens(sweeper: Any, home: Path, host: str) -> None:
    answer = sweeper("serve", "--host", host, "--port", "0")
    assert answer.status == 2
    assert "needs tokens" in answer.err
    assert not (home / "server-token").exists()


def test_an_address_that_is_taken(sweeper: Any) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = sweeper("serve", "--port", str(taken.getsockname()[1]))
    assert answer.status == 2
    assert "cannot be bound (Address already in use)" in " ".join(answer.err.split())


def test_what_trains_inherits_no_token() -> None:
    mine = {"SWEEPER_TOKENS": "a", "SWEEPER_TOKENS_FILE": "b", "SWEEPER_TOKEN": "c", "SWEEPER_TOKEN_FILE": "d"}
    assert without_tokens({**mine, "SWEEPER_SERVER": "e", "SWEEPER_HOME": "f"}) == {"SWEEPER_HOME": "f"}
