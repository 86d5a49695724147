"""Sweeps, leases, trials with their attempts, epochs and scores, splits, environments and requests."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the tables."""
    key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "sweep",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", key, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("grid", sa.Text, nullable=False),
        sa.Column("rehearsal", sa.Boolean, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("mlflow_run", sa.Text),
        sa.Column("details", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sweep"),
        sa.UniqueConstraint("name", name="uq_sweep_name"),
    )
    op.create_table(
        "lease",
        sa.Column("sweep_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("fencing", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("sweep_id", name="pk_lease"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name="fk_lease_sweep_id"),
    )
    op.create_table(
        "environment",
        sa.Column("hash", key, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_environment"),
    )
    op.create_table(
        "trial",
        sa.Column("hash", key, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("loss", sa.Text, nullable=False),
        sa.Column("gamma", sa.Double),
        sa.Column("repeat", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("results_version", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("sweep_id", sa.Integer),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("best_epoch", sa.Integer),
        sa.Column("val_loss", sa.Double),
        sa.Column("val_dsc", sa.Double),
        sa.Column("test_dsc", sa.Double),
        sa.Column("train_seconds", sa.Double),
        sa.Column("evaluate_seconds", sa.Double),
        sa.Column("peak_memory_mib", sa.Double),
        sa.Column("parameters", sa.BigInteger),
        sa.Column("environment", key),
        sa.Column("mlflow_run", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.PrimaryKeyConstraint("hash", name="pk_trial"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name="fk_trial_sweep_id"),
        sa.ForeignKeyConstraint(["environment"], ["environment.hash"], name="fk_trial_environment"),
    )
    op.create_table(
        "sweep_trial",
        sa.Column("sweep_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("trial", key, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("study", sa.Text),
        sa.Column("cost", sa.Double),
        sa.PrimaryKeyConstraint("sweep_id", "trial", name="pk_sweep_trial"),
        sa.UniqueConstraint("sweep_id", "position", name="uq_sweep_trial_sweep_id_position"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name="fk_sweep_trial_sweep_id"),
        sa.ForeignKeyConstraint(["trial"], ["trial.hash"], name="fk_sweep_trial_trial"),
    )
    op.create_index("ix_sweep_trial_trial", "sweep_trial", ["trial"])
    op.create_table(
        "attempt",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("trial", key, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("sweep_id", sa.Integer, nullable=False),
        sa.Column("fencing", sa.Integer, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("kind", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("stderr_tail", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer),
        sa.Column("device", sa.Text),
        sa.Column("resumed_from", sa.Integer, nullable=False),
        sa.Column("steps", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_attempt"),
        sa.UniqueConstraint("trial", "number", name="uq_attempt_trial_number"),
        sa.UniqueConstraint("token", name="uq_attempt_token"),
        sa.ForeignKeyConstraint(["trial"], ["trial.hash"], name="fk_attempt_trial"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name="fk_attempt_sweep_id"),
    )
    op.create_index("ix_attempt_sweep_id_state", "attempt", ["sweep_id", "state"])
    op.create_table(
        "epoch",
        sa.Column("trial", key, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("attempt_id", sa.Integer, nullable=False),
        sa.Column("loss", sa.Double, nullable=False),
        sa.Column("val_loss", sa.Double, nullable=False),
        sa.Column("val_dsc", sa.Double, nullable=False),
        sa.Column("learning_rate", sa.Double, nullable=False),
        sa.Column("steps", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("trial", "epoch", name="pk_epoch"),
        sa.ForeignKeyConstraint(["trial"], ["trial.hash"], name="fk_epoch_trial"),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name="fk_epoch_attempt_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_epoch_attempt_id", "epoch", ["attempt_id"])
    op.create_table(
        "score",
        sa.Column("trial", key, nullable=False),
        sa.Column("partition", key, nullable=False),
        sa.Column("case", key, nullable=False),
        sa.Column("label", key, nullable=False),
        sa.Column("dsc", sa.Double),
        sa.Column("iou", sa.Double),
        sa.Column("precision", sa.Double),
        sa.Column("recall", sa.Double),
        sa.Column("hd95", sa.Double),
        sa.Column("asd", sa.Double),
        sa.PrimaryKeyConstraint("trial", "partition", "case", "label", name="pk_score"),
        sa.ForeignKeyConstraint(["trial"], ["trial.hash"], name="fk_score_trial"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "split",
        sa.Column("hash", key, nullable=False),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("prepared", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("train", sa.Text, nullable=False),
        sa.Column("validation", sa.Text, nullable=False),
        sa.Column("test", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_split"),
    )
    op.create_table(
        "request",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("sweep_id", sa.Integer, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("verb", sa.Text, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("done_at", sa.Double),
        sa.Column("outcome", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_request"),
        sa.UniqueConstraint("token", name="uq_request_token"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"], name="fk_request_sweep_id"),
    )
    op.create_index("ix_request_sweep_id_done_at", "request", ["sweep_id", "done_at"])
