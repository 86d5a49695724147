"""A user's own losses, networks, data sets, metrics, tests, figures and so on: a Python file or an installed package.

A plug-in makes the same `register` calls as our own modules, so that one mechanism serves every `trials.registry`.
Where it is a file, the coordinator reads its text, lets a child process import it to learn what it registers
(`describing`), and sends the text to the workers, which execute it under the hash of that text (`loading`). Where it is
an installed module, every machine has its own, and its hash must agree (`sources`). Nothing is pickled. A plug-in runs
with the rights of the person who names it.
"""

from trials.messages import PluginSource
from workers.plugins.describing import describe_for, describe_plugin
from workers.plugins.errors import PluginError
from workers.plugins.loading import load_installed, load_plugin, load_plugin_texts, load_stored
from workers.plugins.sources import installed_plugins, source_hash

__all__ = [
    "PluginError",
    "PluginSource",
    "describe_for",
    "describe_plugin",
    "installed_plugins",
    "load_installed",
    "load_plugin",
    "load_plugin_texts",
    "load_stored",
    "source_hash",
]
