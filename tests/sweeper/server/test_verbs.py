"""A verb that is declared is a route, a call of the client and a choice of the commands; docs/recipes/verb.md is so."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel
from typer.testing import CliRunner

from sweeper.cli.options import use_server
from sweeper.errors import ServerError
from sweeper.server.app import make_app
from sweeper.server.client import Client
from sweeper.server.tokens import load_tokens
from sweeper.verbs import VERBS, Host, Role, verb
from sweeper.verbs.requests import SweepName
from tests.sweeper.server.listening import listening

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^`(\w+)\.py` in `([\w/]+)/`:\n\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"^```python\n(from sweeper.server.client.*?)^```", re.MULTILINE | re.DOTALL)
FULL, READ = "f" * 32, "r" * 32


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test declares is gone after it."""
    kept = dict(VERBS)
    yield
    VERBS.clear()
    VERBS.update(kept)
    use_server("")


def app_of(host: Host) -> Any:
    return make_app(host, load_tokens({"SWEEPER_TOKENS": f"read:{READ},full:{FULL}"}, own=None))


class NoteRequest(BaseModel):
    """A note of a person."""

    text: str


class Note(BaseModel):
    """It was taken."""

    sweep: str
    length: int


def test_a_declaration_is_a_route_with_its_role_and_a_call(served: Any, undone: None) -> None:
    @verb("note", "POST", "/sweeps/{sweep}/note", Role.FULL, status=202)
    def note(host: Host, sweep: SweepName, asked: NoteRequest) -> Note:
        """Takes a note."""
        return Note(sweep=host.name(sweep), length=len(asked.text))

    app, path = app_of(served.host), "/api/v1/sweeps/demo/note"
    operation = app.openapi()["paths"]["/api/v1/sweeps/{sweep}/note"]["post"]
    assert (operation["operationId"], operation["description"]) == ("note", "Takes a note.")
    assert {"202", "401", "403", "404", "409", "413", "422", "503"} <= set(operation["responses"])
    with TestClient(app, "http://127.0.0.1:8080") as http:
        for token, status in (("", 401), (READ, 403), (FULL, 202)):
            headers = {"Authorization": f"Bearer {token}"}
            assert http.post(path, json={"text": "γ"}, headers=headers).status_code == status
        assert http.post(path, json={}, headers={"Authorization": f"Bearer {FULL}"}).status_code == 422
    with listening(app) as address, Client(address, FULL) as client:
        assert note(client, "demo", NoteRequest(text="γ")) == note(served.host, "demo", NoteRequest(text="γ"))
        with pytest.raises(ServerError, match="did you mean 'demo'"):
            note(client, "dmo", NoteRequest(text="γ"))


def test_a_handler_that_does_not_fit_its_path_is_refused(undone: None) -> None:
    with pytest.raises(TypeError, match="verb odd: after the host, its handler takes"):

        @verb("odd", "GET", "/sweeps/{sweep}/odd", Role.READ)
        def odd(host: Host, name: SweepName) -> Note:
            raise NotImplementedError

    with pytest.raises(TypeError, match="another verb is named status"):

        @verb("status", "GET", "/other", Role.READ)
        def status(host: Host) -> Note:
            raise NotImplementedError


def test_the_recipe(served: Any, undone: None, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    text = (DOCS / "recipes" / "verb.md").read_text(encoding="utf-8")
    modules = {}
    for name, folder, code in BLOCK.findall(text):
        module = ModuleType(f"{folder.replace('/', '.')}.{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(code, module.__name__, "exec"), module.__dict__)  # noqa: S102
        modules[module.__name__] = module
    declared, command = modules["sweeper.verbs.best"], modules["sweeper.cli.best"]
    monkeypatch.setattr(sys.modules["sweeper.verbs"], "best", declared, raising=False)
    (best,) = served.host.repository.trials("demo")[:1]
    monkeypatch.setenv("SWEEPER_TOKEN", READ)
    here = CliRunner().invoke(command.app, ["demo"]).stdout
    assert here == f"{best.hash[:8]} {best.label}: 0.750\n"
    with listening(app_of(served.host)) as address:
        use_server(address)
        assert CliRunner().invoke(command.app, ["demo"]).stdout == here
        (call,) = CALL.findall(text)
        exec(call.replace("http://127.0.0.1:8080", address), {})  # noqa: S102
    assert f"label='{best.label}'" in capsys.readouterr().out


def test_every_verb_is_on_the_page() -> None:
    text = (DOCS / "server.md").read_text(encoding="utf-8")
    rows = {
        (method, re.sub("NAME|HASH", "{}", path)): role
        for method, path, role in re.findall(r"^\| `(GET|POST) (\S+?)` \|.*\| (\w+) \|$", text, re.MULTILINE)
    }
    for one in VERBS.values():
        assert rows[one.method, "/api/v1" + re.sub(r"\{\w+\}", "{}", one.path)] == one.role
