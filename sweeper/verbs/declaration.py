"""How a verb is declared, and what follows from its declaration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
)
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter

if TYPE_CHECKING:
    from sweeper.verbs.host import Host

P = ParamSpec("P")
Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)
Method = Literal["GET", "POST"]


class Role(StrEnum):
    """`read` looks; `full` also changes: submits, stops, retries, scales, resumes, renames and deletes."""

    READ = "read"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class File:
    """An answer that is a file."""

    name: str
    content: bytes


class Place(Protocol):
    """Where a verb is carried out: this machine (`Host`) or a service (`sweeper.server.client.Client`)."""

    def name(self, sweep: str | None) -> str:
        """The name of a sweep; of the newest for None.

        Raises:
            UnknownSweepError: there is none.
        """

    def ask(self, verb: Verb[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Answer:
        """Carries a verb out.

        Raises:
            ServerError: the service is unreachable, or refused.
            ExpectedError: what the handler says.
        """


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a verb as HTTP sends it: the path below /api/v1, and what its request gives that is no default."""

    path: str
    given: Mapping[str, object]


@dataclass(frozen=True, eq=False)
class Verb(Generic[P, Answer_co]):
    """A verb. Call it with a place first, then as its handler.

    Attributes:
        name: of the route, as OpenAPI has it.
        method: GET reads, and is repeated when a connection breaks; POST asks for something.
        path: below /api/v1, with at most one part in braces, such as `{sweep}`.
        role: that a token needs.
        command: the command of the command line that uses it, None for none.
        handler: carries it out on a `Host`. Its parameters after the host: the part of the path in braces, and a
            request (a pydantic model: the query of a GET, the body of a POST); either may be absent.
        status: of an answer, where all goes well. 202: it continues after the answer.
        text: the media type of an answer that is a text.
        file: the media type of an answer that is a `File`.
    """

    name: str
    method: Method
    path: str
    role: Role
    command: str | None
    handler: Callable[Concatenate[Host, P], Answer_co]
    status: int = 200
    text: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if len(self._parameters()) != (self.subject is not None) + (self.request is not None):
            raise TypeError(
                f"verb {self.name}: after the host, its handler takes the part of {self.path!r} in braces and a "
                "pydantic model, and nothing else"
            )

    def __call__(self, place: Place, *args: P.args, **kwargs: P.kwargs) -> Answer_co:
        return place.ask(self, *args, **kwargs)

    @cached_property
    def subject(self) -> tuple[str, object] | None:
        """The name and type of the part of the path in braces."""
        found = [(name, kind) for name, kind in self._parameters().items() if f"{{{name}}}" in self.path]
        return found[0] if found else None

    @cached_property
    def request(self) -> tuple[str, type[BaseModel]] | None:
        """The name and type of the request."""
        kinds = self._parameters().items()
        found = [(name, kind) for name, kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        return found[0] if found else None

    @cached_property
    def answer(self) -> type[object]:
        """The type of an answer in JSON."""
        whole: type[object] = get_type_hints(self.handler, include_extras=True)["return"]
        kinds = get_args(whole)
        return cast(type[object], kinds[0]) if File in kinds else whole

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The arguments of a call, as HTTP sends them."""
        signature = inspect.signature(self.handler)
        _, *others = signature.parameters.values()
        given = signature.replace(parameters=others).bind(*args, **kwargs).arguments
        path, asked = self.path, dict[str, object]()
        if self.subject is not None:
            name, _ = self.subject
            path = path.replace(f"{{{name}}}", quote(str(given[name]), safe=""))
        if self.request is not None:
            name, _ = self.request
            asked = given[name].model_dump(mode="json", exclude_defaults=True)
        return Call(path.removeprefix("/"), asked)

    def read(self, content: bytes, headers: Mapping[str, str]) -> Answer_co:
        """An answer, from the body of an HTTP response.

        Raises:
            ValueError: it is not one.
        """
        found: object
        if self.text is not None:
            found = content.decode()
        elif self.file is not None and headers.get("Content-Type") == self.file:
            found = File(headers.get("Content-Disposition", "").partition('filename="')[2].rstrip('"'), content)
        else:
            found = TypeAdapter(self.answer).validate_json(content)
        return cast(Answer_co, found)

    def _parameters(self) -> Mapping[str, object]:
        hints = get_type_hints(self.handler, include_extras=True)
        _, *names = inspect.signature(self.handler).parameters
        return {name: hints[name] for name in names}


VERBS: dict[str, Verb[..., object]] = {}
"""Every verb by its name. A service that is made after a declaration has its route."""


def verb(
    name: str,
    method: Method,
    path: str,
    role: Role,
    *,
    command: str | None = None,
    status: int = 200,
    text: str | None = None,
    file: str | None = None,
) -> Callable[[Callable[Concatenate[Host, P], Answer]], Verb[P, Answer]]:
    """Declares the function below it as a verb; see `Verb`.

    Raises:
        TypeError: the handler's parameters do not fit the path, or another verb has this name.
    """

    def declare(handler: Callable[Concatenate[Host, P], Answer]) -> Verb[P, Answer]:
        declared = Verb(name, method, path, role, command, handler, status, text, file)
        if name in VERBS:
            raise TypeError(f"another verb is named {name}")
        VERBS[name] = declared
        return declared

    return declare
