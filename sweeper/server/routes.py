"""From the declaration of a verb to its route: parameters, role, answer, and the problems that OpenAPI describes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response, Security
from fastapi.datastructures import Default
from fastapi.params import Depends as Dependency
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from sweeper.server.slowdown import LONGEST_SECONDS, Slowdown
from sweeper.server.tokens import Tokens
from sweeper.verbs import File, Host, Role, Verb
from sweeper.views.objects import Problem

BEARER = HTTPBearer(auto_error=False, description="A token of the service; `read` looks, `full` does everything.")
Answers = dict[int | str, dict[str, object]]
"""What OpenAPI says of an operation's answers, by status."""

_PROBLEMS = {
    400: "A wrong Host or Origin, or a request that cannot be read",
    401: "No token, or an unknown one",
    403: "The token may only read",
    404: "Not found",
    409: "A conflict with the state of the sweep or of the service's machine",
    413: "The body is too large",
    422: "Wrong input",
    429: "Too many wrong tokens came from this address",
    503: "The database, Ray or MLflow is unreachable",
}


def problem_model(status: int) -> Answers:
    """A problem as OpenAPI describes it, with its schema, to which `problems` refers."""
    return {status: {"model": Problem, "description": _PROBLEMS[status]}}


def problems(*statuses: int) -> Answers:
    """Problems as OpenAPI describes them. They refer to the schema: FastAPI would make it anew for each."""
    reference = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _PROBLEMS[status], "content": reference} for status in statuses}


def text_answers(kind: str, *statuses: int) -> Answers:
    """An answer that is not JSON, with problems that are: FastAPI would describe both alike."""
    return {200: {"content": {kind: {"schema": {"type": "string"}}}}, **problems(*statuses)}


def needs(role: Role, tokens: Tokens, slowdown: Slowdown) -> Dependency:
    """Refuses a request whose token has not this role; one with a wrong token waits for its refusal."""

    async def check(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]) -> None:
        address = "" if request.client is None else request.client.host
        if given is not None and slowdown.too_many(address):
            wait = {"Retry-After": str(round(LONGEST_SECONDS))}
            raise HTTPException(429, "too many wrong tokens came from this address; try again later", wait)
        known = None if given is None else tokens.role(given.credentials)
        if known is None:
            if given is not None:
                await slowdown.wait(address)
            words = "a token is needed" if given is None else "this token is not known"
            raise HTTPException(401, f"{words}: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        if role is Role.FULL and known is not Role.FULL:
            raise HTTPException(403, "this token may only read; this needs one with the role full")

    dependency: Dependency = Depends(check)
    return dependency


def verb_routes(verbs: Iterable[Verb[..., object]], host: Host, tokens: Tokens, slowdown: Slowdown) -> APIRouter:
    """A route for each verb.

    Args:
        verbs: their declarations.
        host: what carries them out.
        tokens: who may do what.
        slowdown: of wrong tokens.
    """
    router = APIRouter()
    for verb in verbs:
        router.add_api_route(
            verb.path,
            _endpoint(verb, host),
            methods=[verb.method],
            status_code=verb.status,
            response_model=None if verb.text is not None else verb.answer,
            response_class=Default(JSONResponse) if verb.text is None else _RESPONSES[verb.text],
            responses=_answers(verb),
            operation_id=verb.name,
            dependencies=[needs(verb.role, tokens, slowdown)],
        )
    return router


_RESPONSES: Mapping[str, type[Response]] = {
    "text/html": HTMLResponse,
    "text/plain": PlainTextResponse,
}


def _answers(verb: Verb[..., object]) -> Answers:
    statuses = [400, 401, 429, 503]
    if verb.role is Role.FULL:
        statuses.append(403)
    if verb.method == "POST":
        statuses += [409, 413]
    if verb.subject is not None:
        statuses.append(404)
    if verb.subject is not None or verb.request is not None:
        statuses.append(422)
    if verb.text is not None:
        return text_answers(verb.text, *statuses)
    return {**({200: {"content": {verb.file: {}}}} if verb.file else {}), **problems(*statuses)}


def _endpoint(verb: Verb[..., object], host: Host) -> Callable[..., object]:
    """The function that FastAPI calls, with the parameters that the verb's handler declares."""

    def endpoint(**given: object) -> object:
        answer = verb(host, **given)
        if isinstance(answer, File):
            named = {"Content-Disposition": f'attachment; filename="{answer.name}"'}
            return Response(answer.content, media_type=verb.file, headers=named)
        return answer if verb.text is None else _RESPONSES[verb.text](answer)

    parameters = []
    if verb.subject is not None:
        parameters.append(_parameter(*verb.subject))
    if verb.request is not None:
        name, kind = verb.request
        parameters.append(_parameter(name, Annotated[kind, Query()] if verb.method == "GET" else kind))
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    endpoint.__name__, endpoint.__doc__ = verb.name, verb.handler.__doc__
    return endpoint


def _parameter(name: str, kind: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind)
