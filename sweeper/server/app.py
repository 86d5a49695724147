"""The HTTP API: each verb of `sweeper.verbs` under /api/v1, with tokens, limits and errors in our own words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.routing import compile_path

from storage.errors import (
    LeaseHeldError,
    LeaseLostError,
    StorageError,
    SweepConflictError,
    UnknownSweepError,
    UnknownTrialError,
)
from sweeper.errors import (
    BusyError,
    DiskSpaceError,
    MissingDataError,
    MissingFileError,
    NotRunningError,
    RayUnavailableError,
    ServerError,
    SettingsError,
    StartingError,
)
from sweeper.server.guard import LOOPBACK, Guard
from sweeper.server.limits import MAX_BODY_BYTES
from sweeper.server.monitoring import exposition
from sweeper.server.routes import needs, problem_model, text_answers, verb_routes
from sweeper.server.slowdown import Slowdown
from sweeper.server.tokens import Tokens
from sweeper.verbs import VERBS, Host, Role
from sweeper.verbs.requests import in_one_line
from sweeper.views.objects import Health
from trials.errors import ExpectedError
from workers.errors import DataError
from workers.files import is_disk_full

API = "/api/v1"
RETRY_AFTER_SECONDS = 5
"""When a client may ask again that was told that the service is busy."""

_STATUS: Sequence[tuple[type[Exception] | tuple[type[Exception], ...], int]] = (
    ((UnknownSweepError, UnknownTrialError, MissingFileError), 404),
    ((SweepConflictError, LeaseHeldError, LeaseLostError, NotRunningError, StartingError), 409),
    ((MissingDataError, DataError, DiskSpaceError), 409),
    ((RayUnavailableError, SettingsError, ServerError, StorageError, BusyError), 503),
    (ExpectedError, 422),
)
"""The first match counts: not found; a conflict with the sweep or this machine; a server unreachable; wrong input."""


def status_of(error: Exception) -> int:
    """The HTTP status of one of our errors."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def make_app(
    host: Host, tokens: Tokens, *, hosts: Iterable[str] = LOOPBACK, slowdown: Slowdown | None = None
) -> FastAPI:
    """The application.

    Args:
        host: what the verbs are carried out on.
        tokens: who may do what.
        hosts: see `Guard`.
        slowdown: of wrong tokens; None for the usual one.
    """
    slowdown = Slowdown() if slowdown is None else slowdown
    app = FastAPI(
        title="Sweeper",
        description="Studies of loss functions in medical image segmentation, with the verbs of the command line.",
        version=version("sweeper"),
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(Guard, hosts=tuple(hosts))
    app.include_router(_health(host))
    app.include_router(_metrics(host, tokens, slowdown))
    app.include_router(verb_routes(VERBS.values(), host, tokens, slowdown), prefix=API, max_body_size=MAX_BODY_BYTES)
    _explain_errors(app)
    return app


def _explain_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _problem(422, in_one_line(error.errors()))

    @app.exception_handler(405)
    async def another_method(request: Request, error: HTTPException) -> JSONResponse:
        # Starlette names the methods of the first route alone that has the path.
        methods = [
            method.upper()
            for path, operations in app.openapi()["paths"].items()
            if compile_path(path)[0].match(request.url.path)
            for method in operations
        ]
        answer = _problem(405, error.detail)
        answer.headers["Allow"] = ", ".join(methods)
        return answer

    async def ours(request: Request, error: Exception) -> JSONResponse:
        answer = _problem(status_of(error), str(error))
        if isinstance(error, BusyError):
            answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return answer

    app.add_exception_handler(ExpectedError, ours)

    @app.exception_handler(OSError)
    async def full(request: Request, error: OSError) -> JSONResponse:
        if is_disk_full(error):
            return _problem(507, f"the service cannot write ({error.strerror}); make room on its disk (sweeper gc)")
        raise error

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        # The error is raised again after this answer, and lands in the log.
        return _problem(500, "an internal error of the service; see its log")


def _problem(status: int, message: str) -> JSONResponse:
    # A message quotes what was given, which may hold what UTF-8 cannot.
    return JSONResponse({"detail": message.encode("utf-8", "backslashreplace").decode()}, status)


def _health(host: Host) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz", responses=problem_model(503), operation_id="health")
    def health() -> Health:
        """Whether the service is up and its database answers; needs no token."""
        host.repository.database.now()
        return Health(status="ok", version=version("sweeper"))

    return router


def _metrics(host: Host, tokens: Tokens, slowdown: Slowdown) -> APIRouter:
    router = APIRouter(dependencies=[needs(Role.READ, tokens, slowdown)])

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses=text_answers("text/plain", 400, 401, 429, 503),
        operation_id="metrics",
    )
    def metrics() -> PlainTextResponse:
        """Metrics of all coordinators, as Prometheus reads them."""
        return PlainTextResponse(exposition(host.repository.database))

    return router
