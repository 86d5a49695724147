"""The tables. A trial belongs to no sweep: sweeps list trials, so that equal cells of two sweeps share one result."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, ForeignKey, Index, Integer, MetaData, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from storage.columns import Json, Key, Real, Words


class Base(DeclarativeBase):
    """Root of the tables; constraints are named so that migrations can find them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class SweepRow(Base):
    """A named grid and the state of its run."""

    __tablename__ = "sweep"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Key, unique=True)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Words)
    grid: Mapped[object] = mapped_column(Json)
    rehearsal: Mapped[bool] = mapped_column(Boolean)
    description: Mapped[str] = mapped_column(Words)
    created_at: Mapped[float] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)
    mlflow_run: Mapped[str | None] = mapped_column(Text)
    details: Mapped[object] = mapped_column(Json)


class LeaseRow(Base):
    """Who may write a sweep, until when. The row is made with its sweep; `token` names the call that took it.

    `seconds` is how long the lease was taken or renewed for, `process` names who holds it (`storage.processes`).
    """

    __tablename__ = "lease"

    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweep.id"), primary_key=True, autoincrement=False)
    holder: Mapped[str] = mapped_column(Words)
    fencing: Mapped[int] = mapped_column(Integer)
    expires_at: Mapped[float] = mapped_column(Double)
    token: Mapped[str] = mapped_column(Text)
    seconds: Mapped[float | None] = mapped_column(Double, default=None)
    process: Mapped[str] = mapped_column(Text, default="", server_default="")


class EnvironmentRow(Base):
    """Versions, device and revision that a result came from, by the hash of their JSON."""

    __tablename__ = "environment"

    hash: Mapped[str] = mapped_column(Key, primary_key=True)
    details: Mapped[object] = mapped_column(Json)


class TrialRow(Base):
    """A trial and, once it has finished, its result. `sweep_id` is the sweep that ran it last."""

    __tablename__ = "trial"

    hash: Mapped[str] = mapped_column(Key, primary_key=True)
    spec: Mapped[object] = mapped_column(Json)
    label: Mapped[str] = mapped_column(Text)
    dataset: Mapped[str] = mapped_column(Text)
    loss: Mapped[str] = mapped_column(Text)
    gamma: Mapped[float | None] = mapped_column(Double)
    repeat: Mapped[int] = mapped_column(Integer)
    seed: Mapped[int] = mapped_column(BigInteger)
    results_version: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    failure: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Words)
    sweep_id: Mapped[int | None] = mapped_column(ForeignKey("sweep.id"))
    epochs: Mapped[int] = mapped_column(Integer)
    best_epoch: Mapped[int | None] = mapped_column(Integer)
    val_loss: Mapped[float | None] = mapped_column(Real)
    val_dsc: Mapped[float | None] = mapped_column(Double)
    test_dsc: Mapped[float | None] = mapped_column(Double)
    train_seconds: Mapped[float | None] = mapped_column(Double)
    evaluate_seconds: Mapped[float | None] = mapped_column(Double)
    peak_memory_mib: Mapped[float | None] = mapped_column(Double)
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    environment: Mapped[str | None] = mapped_column(ForeignKey("environment.hash"), type_=Key)
    mlflow_run: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)


class MembershipRow(Base):
    """That a sweep contains a trial, at which place of its grid, for which Optuna study, at which predicted cost."""

    __tablename__ = "sweep_trial"
    __table_args__ = (UniqueConstraint("sweep_id", "position"),)

    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweep.id"), primary_key=True, autoincrement=False)
    trial: Mapped[str] = mapped_column(ForeignKey("trial.hash"), primary_key=True, type_=Key, index=True)
    position: Mapped[int] = mapped_column(Integer)
    study: Mapped[str | None] = mapped_column(Text)
    cost: Mapped[float | None] = mapped_column(Double)


class AttemptRow(Base):
    """One try at a trial, under the fencing number of the lease that made it; `token` names the call that made it."""

    __tablename__ = "attempt"
    __table_args__ = (UniqueConstraint("trial", "number"), Index(None, "sweep_id", "state"))

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    trial: Mapped[str] = mapped_column(ForeignKey("trial.hash"), type_=Key)
    number: Mapped[int] = mapped_column(Integer)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweep.id"))
    fencing: Mapped[int] = mapped_column(Integer)
    token: Mapped[str] = mapped_column(Text, unique=True)
    state: Mapped[str] = mapped_column(Text)
    kind: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Words)
    stderr_tail: Mapped[str | None] = mapped_column(Words)
    host: Mapped[str] = mapped_column(Words)
    pid: Mapped[int | None] = mapped_column(Integer)
    device: Mapped[str | None] = mapped_column(Words)
    resumed_from: Mapped[int] = mapped_column(Integer)
    steps: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[float] = mapped_column(Double)
    ended_at: Mapped[float | None] = mapped_column(Double)


class EpochRow(Base):
    """One epoch of a trial, and the attempt that trained it."""

    __tablename__ = "epoch"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trial: Mapped[str] = mapped_column(ForeignKey("trial.hash"), primary_key=True, type_=Key)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"), index=True)
    loss: Mapped[float] = mapped_column(Real)
    val_loss: Mapped[float] = mapped_column(Real)
    val_dsc: Mapped[float] = mapped_column(Real)
    learning_rate: Mapped[float] = mapped_column(Real)
    steps: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Real)
    waited: Mapped[float | None] = mapped_column(Double)


class ScoreRow(Base):
    """Scores of one image for one class: each metric's value by its name, so that a new metric needs no column.

    `group` is the image's patient or other group; empty where it is not known.
    """

    __tablename__ = "score"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trial: Mapped[str] = mapped_column(ForeignKey("trial.hash"), primary_key=True, type_=Key)
    partition: Mapped[str] = mapped_column(Key, primary_key=True)
    case: Mapped[str] = mapped_column(Key, primary_key=True)
    label: Mapped[str] = mapped_column(Key, primary_key=True)
    group: Mapped[str] = mapped_column(Words, server_default="")
    metrics: Mapped[object] = mapped_column(Json)


class SplitRow(Base):
    """Which cases of a prepared data set train, validate and test."""

    __tablename__ = "split"

    hash: Mapped[str] = mapped_column(Key, primary_key=True)
    dataset: Mapped[str] = mapped_column(Text)
    prepared: Mapped[str] = mapped_column(Text)
    settings: Mapped[object] = mapped_column(Json)
    train: Mapped[object] = mapped_column(Json)
    validation: Mapped[object] = mapped_column(Json)
    test: Mapped[object] = mapped_column(Json)


class RequestRow(Base):
    """A wish of another process, carried out by the lease's holder; `token` names the call that made it."""

    __tablename__ = "request"
    __table_args__ = (Index(None, "sweep_id", "done_at"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweep.id"))
    token: Mapped[str] = mapped_column(Text, unique=True)
    verb: Mapped[str] = mapped_column(Text)
    arguments: Mapped[object] = mapped_column(Json)
    created_at: Mapped[float] = mapped_column(Double)
    done_at: Mapped[float | None] = mapped_column(Double)
    outcome: Mapped[str | None] = mapped_column(Words)


class SignificanceRow(Base):
    """One significance test of a sweep, in the order in which the analysis gave them."""

    __tablename__ = "significance"

    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweep.id"), primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    dataset: Mapped[str] = mapped_column(Text)
    label: Mapped[str] = mapped_column(Text)
    metric: Mapped[str] = mapped_column(Text)
    test: Mapped[str] = mapped_column(Text)
    first: Mapped[str] = mapped_column(Text)
    second: Mapped[str] = mapped_column(Text)
    n: Mapped[int] = mapped_column(Integer)
    p: Mapped[float | None] = mapped_column(Real)
    p_holm: Mapped[float | None] = mapped_column(Real)
    effect: Mapped[float | None] = mapped_column(Real)
    median_difference: Mapped[float | None] = mapped_column(Real)
    low: Mapped[float | None] = mapped_column(Real)
    high: Mapped[float | None] = mapped_column(Real)
    scores_hash: Mapped[str] = mapped_column(Text)
