"""The HTTP API: each verb of `sweeper.verbs` under /api/v1, with tokens, limits and errors in our own words."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
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
    DiskSpaceError,
    MissingDataError,
    MissingFileError,
    NotRunningError,
    RayUnavailableError,
    ServerError,
    SettingsError,
    StartingError,
)
from sweeper.server.guard import LOOPBACK, MAX_BODY_BYTES, Guard
from sweeper.server.monitoring import exposition
from sweeper.server.schemas import (
    HashPrefix,
    Health,
    Launched,
    LaunchRequest,
    PlanObject,
    PlanRequest,
    Problem,
    Reply,
    Results,
    ResumeRequest,
    RetryRequest,
    ScaleRequest,
    StopRequest,
    SweepName,
    SweepStatus,
    SweepSummary,
    TrialObject,
)
from sweeper.server.service import Service
from sweeper.server.tokens import Role, Tokens
from sweeper.verbs import Table
from trials.errors import ExpectedError
from workers.errors import DataError

API = "/api/v1"
PARQUET = "application/vnd.apache.parquet"
BEARER = HTTPBearer(auto_error=False, description="A token of the service; `read` looks, `full` does everything.")

_log = logging.getLogger(__name__)

_STATUS: Sequence[tuple[type[Exception] | tuple[type[Exception], ...], int]] = (
    ((UnknownSweepError, UnknownTrialError, MissingFileError), 404),
    ((SweepConflictError, LeaseHeldError, LeaseLostError, NotRunningError, StartingError), 409),
    ((MissingDataError, DataError, DiskSpaceError), 409),
    ((RayUnavailableError, SettingsError, ServerError, StorageError), 503),
    (ExpectedError, 422),
)
"""The first that fits counts: not there; the sweep or this machine stands otherwise; a server is away; wrong input."""


def status_of(error: Exception) -> int:
    """The HTTP status of one of our errors."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    words = {
        400: "A wrong Host or Origin, or no request that can be read",
        401: "No token, or one that is not known",
        403: "The token may only read",
        404: "There is no such thing",
        409: "The sweep, or the service's machine, does not stand so that this could be done",
        413: "The body is too large",
        422: "Wrong input",
        503: "The database, Ray or MLflow is away",
    }
    return {status: {"model": Problem, "description": words[status]} for status in statuses}


def _text(kind: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """An answer that is no JSON, with problems that are: FastAPI would describe both alike."""
    reference = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    problems = {
        status: {"description": problem["description"], "content": reference}
        for status, problem in _problems(*statuses).items()
    }
    return {200: {"content": {kind: {"schema": {"type": "string"}}}}, **problems}


def make_app(service: Service, tokens: Tokens, *, hosts: Iterable[str] = LOOPBACK) -> FastAPI:
    """The application.

    Args:
        service: what answers.
        tokens: who may do what.
        hosts: see `Guard`.
    """
    app = FastAPI(
        title="Sweeper",
        description="Studies of loss functions in medical image segmentation, with the verbs of the command line.",
        version=version("sweeper"),
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(Guard, hosts=tuple(hosts))
    app.include_router(_health(service))
    app.include_router(_metrics(service, tokens))
    app.include_router(_sweeps(service, tokens), prefix=API, max_body_size=MAX_BODY_BYTES)
    _explain_errors(app)
    return app


def _explain_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        lines = []
        for one in error.errors():
            where = ".".join(str(part) for part in one["loc"])
            message = str(one["msg"]).removeprefix("Value error, ")
            lines.append(f"{where}: {message}")
        return _problem(422, "; ".join(lines))

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
        return _problem(status_of(error), str(error))

    app.add_exception_handler(ExpectedError, ours)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        # The error is raised again after this answer, and lands in the log.
        return _problem(500, "an error of the service itself; its log says more")


def _problem(status: int, message: str) -> JSONResponse:
    # A message quotes what was given, which may hold what UTF-8 cannot.
    return JSONResponse({"detail": message.encode("utf-8", "backslashreplace").decode()}, status)


def _needs(role: Role, tokens: Tokens) -> Any:
    def check(given: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]) -> None:
        known = None if given is None else tokens.role(given.credentials)
        if known is None:
            words = "a token is needed" if given is None else "this token is not known"
            raise HTTPException(401, f"{words}: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        if role is Role.FULL and known is not Role.FULL:
            raise HTTPException(403, "this token may only read; this needs one with the role full")

    return Depends(check)


def _health(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz", responses=_problems(503), operation_id="health")
    def health() -> Health:
        """Whether the service is up and its database answers; needs no token."""
        service.sweeps.repository.database.now()
        return Health(status="ok", version=version("sweeper"))

    return router


def _metrics(service: Service, tokens: Tokens) -> APIRouter:
    router = APIRouter(dependencies=[_needs(Role.READ, tokens)])

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses=_text("text/plain", 400, 401, 503),
        operation_id="metrics",
    )
    def metrics() -> PlainTextResponse:
        """Metrics of all coordinators, as Prometheus reads them."""
        return PlainTextResponse(exposition(service.sweeps.repository.database))

    return router


def _sweeps(service: Service, tokens: Tokens) -> APIRouter:
    always = (400, 401, 503)
    read = APIRouter(dependencies=[_needs(Role.READ, tokens)], responses=_problems(*always))
    texts = APIRouter(dependencies=[_needs(Role.READ, tokens)])
    full = APIRouter(dependencies=[_needs(Role.FULL, tokens)], responses=_problems(400, 401, 403, 413, 503))
    sweeps = service.sweeps

    @read.get("/sweeps", response_model=list[SweepSummary], operation_id="list")
    def list_() -> Any:
        """Every sweep, newest first."""
        return service.list()

    @read.get("/sweeps/{sweep}", response_model=SweepStatus, responses=_problems(404, 422), operation_id="status")
    def status(
        sweep: SweepName,
        brief: Annotated[bool, Query(description="Of many trials, only those that one would look for first.")] = False,
    ) -> Any:
        """How a sweep stands, trial by trial."""
        return service.status(sweep, brief=brief)

    @read.get(
        "/sweeps/{sweep}/results",
        response_model=Results,
        responses={200: {"content": {PARQUET: {}}}, **_problems(404, 422)},
        operation_id="results",
    )
    def results(
        sweep: SweepName,
        format_: Annotated[Literal["json", "parquet"], Query(alias="format")] = "json",
        table: Annotated[Table, Query(description="Which table a Parquet file holds.")] = "scores",
    ) -> Any:
        """The trials and their scores per image and class, so far."""
        if format_ == "json":
            return sweeps.results(sweep)
        name = f'attachment; filename="{sweep}-{table}.parquet"'
        return Response(sweeps.results_parquet(sweep, table), media_type=PARQUET, headers={"Content-Disposition": name})

    @read.get("/trials/{hash}", response_model=TrialObject, responses=_problems(404, 422), operation_id="trial")
    def trial(hash: HashPrefix) -> Any:
        """Everything about one trial, by the first digits of its hash."""
        return sweeps.trial(hash)

    @texts.get(
        "/sweeps/{sweep}/report",
        response_class=HTMLResponse,
        responses=_text("text/html", *always, 404, 422),
        operation_id="report",
    )
    def report(sweep: SweepName) -> HTMLResponse:
        """The report that its coordinator wrote at its end: one page that needs no network."""
        return HTMLResponse(service.report(sweep))

    @texts.get(
        "/sweeps/{sweep}/log",
        response_class=PlainTextResponse,
        responses=_text("text/plain", *always, 404, 422),
        operation_id="log",
    )
    def log(sweep: SweepName) -> PlainTextResponse:
        """The last of what its start and its coordinator printed."""
        return PlainTextResponse(service.log(sweep))

    @texts.get(
        "/trials/{hash}/log",
        response_class=PlainTextResponse,
        responses=_text("text/plain", *always, 404, 422),
        operation_id="trial_log",
    )
    def trial_log(hash: HashPrefix) -> PlainTextResponse:
        """What a trial's training process wrote, where that is on the service's machine."""
        return PlainTextResponse(sweeps.log(hash))

    @read.post("/plan", response_model=PlanObject, responses=_problems(409, 413, 422), operation_id="plan")
    def plan(asked: PlanRequest) -> Any:
        """A grid's trials, and what those left to run will cost. Writes nothing."""
        return service.plan(asked)

    @full.post("/sweeps", status_code=202, responses=_problems(409, 422), operation_id="launch")
    def launch(asked: LaunchRequest) -> Launched:
        """Submits a grid. It is checked at once; preparing its data and running it go on behind the answer."""
        return service.launch(asked)

    @full.post("/sweeps/{sweep}/stop", responses=_problems(404, 409, 422), operation_id="stop")
    def stop(sweep: SweepName, asked: StopRequest) -> Reply:
        """Asks a running sweep to stop; running trials go on to their end."""
        name = service.settled(sweep)
        return Reply(sweep=name, message=sweeps.stop(name, now=asked.now))

    @full.post("/sweeps/{sweep}/scale", responses=_problems(404, 409, 422), operation_id="scale")
    def scale(sweep: SweepName, asked: ScaleRequest) -> Reply:
        """Changes how many trials a running sweep trains at once."""
        name = service.settled(sweep)
        return Reply(sweep=name, message=sweeps.scale(name, asked.concurrency))

    @full.post("/sweeps/{sweep}/retry", status_code=202, responses=_problems(404, 409, 422), operation_id="retry")
    def retry(sweep: SweepName, asked: RetryRequest) -> Reply:
        """Queues failed trials again, and runs them."""
        name = service.settled(sweep)
        return Reply(sweep=name, message=service.retry(name, asked.trials, failed=asked.failed))

    @full.post("/sweeps/{sweep}/resume", status_code=202, responses=_problems(404, 409, 422), operation_id="resume")
    def resume(sweep: SweepName, asked: ResumeRequest) -> Reply:
        """Goes on with a stopped or killed sweep, from its checkpoints."""
        name = service.settled(sweep)
        return Reply(sweep=name, message=service.resume(name, asked.limit))

    whole = APIRouter()
    whole.include_router(read)
    whole.include_router(full)
    whole.include_router(texts)
    return whole
