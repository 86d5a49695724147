"""Verbs for whole sweeps: rename one, say what deleting one would take, delete it."""

from __future__ import annotations

from sweeper.run import upkeep
from sweeper.run.lease import refuse_running
from sweeper.verbs.declaration import Role, verb
from sweeper.verbs.host import Host
from sweeper.verbs.requests import RenameRequest, SweepName
from sweeper.views.objects import DeletedObject, Reply


@verb("rename", "POST", "/sweeps/{sweep}/rename", Role.FULL, command="rename")
def rename(host: Host, sweep: SweepName, asked: RenameRequest) -> Reply:
    """Gives a sweep another name; refused while it runs."""
    name = host.settled(sweep)
    if host.starts.in_progress(asked.to):
        host.settled(asked.to)
    left = upkeep.rename(host.settings, host.repository, name, asked.to)
    message = f"{name} is now {asked.to}; to write its report under this name: sweeper report {asked.to}"
    return Reply(sweep=asked.to, message="; ".join([message, *left]))


@verb("deletion", "GET", "/sweeps/{sweep}/deletion", Role.READ)
def deletion(host: Host, sweep: SweepName) -> DeletedObject:
    """What deleting a sweep would take with it; deletes nothing. A sweep that runs is refused."""
    name = host.settled(sweep)
    refuse_running(host.repository, name)
    return _shown(upkeep.foresee(host.settings, host.repository, name), [])


@verb("delete", "POST", "/sweeps/{sweep}/delete", Role.FULL, command="delete")
def delete(host: Host, sweep: SweepName) -> DeletedObject:
    """Deletes a sweep, and those of its trials that no other sweep has; refused while it runs. It asks nothing."""
    return _shown(*upkeep.delete(host.settings, host.repository, host.settled(sweep)))


def _shown(taken: upkeep.Taken, left: list[str]) -> DeletedObject:
    found = taken.removal
    return DeletedObject(
        sweep=found.sweep,
        trials=len(found.trials),
        kept=found.kept,
        attempts=found.attempts,
        epochs=found.epochs,
        scores=found.scores,
        studies=list(found.studies),
        mlflow_runs=len(found.mlflow_runs),
        files=len(taken.files),
        bytes=taken.size,
        left=left,
    )
