"""What can be asked of sweeps, on this machine or of a service: each verb is declared once.

A declaration (`declaration.verb`) names the HTTP method and path, the role that a token needs, and the command that
uses the verb; the function below it is the handler, and its parameters and result are the typed messages. All that
works with verbs follows from it: the routes of the service (`sweeper.server.routes`), the calls of its client
(`sweeper.server.client`), and the commands' choice between a service and this machine, for a verb is called alike on
both:

    status(place, "demo", StatusRequest(brief=True))

`place` is a `Host` (this machine) or a `Client` (a service). docs/recipes/verb.md adds one step by step.
"""

from sweeper.verbs.control import resume, retry, scale, stop
from sweeper.verbs.declaration import VERBS, File, Place, Role, Verb, verb
from sweeper.verbs.grids import launch, plan
from sweeper.verbs.host import Host
from sweeper.verbs.looks import compare, list_sweeps, power, results, status, trial
from sweeper.verbs.texts import log, report, trial_log, trial_log_part
from sweeper.verbs.upkeep import delete, deletion, rename

__all__ = [
    "VERBS",
    "File",
    "Host",
    "Place",
    "Role",
    "Verb",
    "compare",
    "delete",
    "deletion",
    "launch",
    "list_sweeps",
    "log",
    "plan",
    "power",
    "rename",
    "report",
    "results",
    "resume",
    "retry",
    "scale",
    "status",
    "stop",
    "trial",
    "trial_log",
    "trial_log_part",
    "verb",
]
