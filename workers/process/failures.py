"""What a failure is called: its kind, and its text with the words of whoever raised it first. Imports no TensorFlow.

TensorFlow and Keras wrap what a loss or a network raises: the first line is then "Graph execution error:", and what a
person looks for stands somewhere below.
"""

from __future__ import annotations

import re
from itertools import dropwhile, takewhile

from trials.states import FailureKind

_GRAPH = "Graph execution error:"
_USER_CODE = "in user code:"
_KERAS = re.compile(r"Exception encountered when calling [^\n]*\n\n(.*?)\n\nArguments received by", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TYPED = re.compile(r"[A-Za-z_][\w.]*: ")
_REFUSED = re.compile(r"determinis(?:m|tic)", re.IGNORECASE)
_REFUSING = ("UnimplementedError", "InvalidArgumentError", "RuntimeError", "FailedPreconditionError", "InternalError")
"""The errors by which TensorFlow refuses an operation that has no deterministic form; its words always say so."""


def classify(error: Exception) -> FailureKind:
    """The kind of a failure: it decides whether the trial is retried."""
    from workers.errors import (
        DataError,
        DivergedError,
        FolderBusyError,
        FolderRemovedError,
        InputError,
        WorkerLostError,
    )
    from workers.files import is_disk_full

    if isinstance(error, DivergedError):
        return FailureKind.DIVERGED
    if isinstance(error, WorkerLostError):
        return FailureKind.OUT_OF_MEMORY if error.out_of_memory else FailureKind.LOST
    if isinstance(error, FolderBusyError | FolderRemovedError):
        return FailureKind.LOST
    if isinstance(error, DataError):
        return FailureKind.BAD_DATA
    if isinstance(error, InputError):
        return FailureKind.BAD_SETTINGS
    if is_disk_full(error):
        return FailureKind.DISK_FULL
    # By name: this module must stay importable where TensorFlow is not.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return FailureKind.OUT_OF_MEMORY
    if refused_operation(error):
        return FailureKind.BAD_SETTINGS
    return FailureKind.BUG


def refused_operation(error: Exception) -> bool:
    """Whether TensorFlow refused an operation because it has no deterministic form here."""
    return type(error).__name__ in _REFUSING and _REFUSED.search(_own_words(_plain(error))) is not None


def failure_text(error: Exception) -> str:
    """`ValueError: masks of two classes are needed`, then the whole text where a library has wrapped it."""
    name, whole = type(error).__name__, _plain(error)
    own = _own_words(whole)
    if refused_operation(error):
        what = own.splitlines()[0].rstrip(".")
        return f"{name}: {what}; training.deterministic = false trains it, and is not reproducible\n\n{name}: {whole}"
    if own == whole:
        return f"{name}: {whole}"
    first = own if _TYPED.match(own) else f"{name}: {own}"
    return f"{first}\n\n{name}: {whole}"


def _plain(error: Exception) -> str:
    return _COLOUR.sub("", str(error)).strip()


def _own_words(text: str) -> str:
    """The words of whoever raised it, of a text that a library may have put around them."""
    if text.startswith(_GRAPH):
        own = _below_frames(text.removeprefix(_GRAPH).splitlines())
    elif text.startswith(_USER_CODE):
        own = _last_words(text.splitlines())
    elif (found := _KERAS.search(text)) is not None:
        own = found[1].strip()
    else:
        return text
    return (text if own == text else _own_words(own)) if own else text


def _below_frames(lines: list[str]) -> str:
    """What stands between the places in the graph's code and a traceback or the names of nodes."""
    below = dropwhile(lambda line: not line or line.startswith(("  ", "Detected at node")), lines)
    words = takewhile(lambda line: not line.startswith(("Traceback (", "\t [[", "Detected at node")), below)
    return "\n".join(words).strip()


def _last_words(lines: list[str]) -> str:
    """The end of a traceback that is indented by four spaces, below its last place."""
    places = [i for i, line in enumerate(lines) if line.lstrip().startswith('File "')]
    words = lines[places[-1] + 1 :] if places else lines[1:]
    return "\n".join(line[4:] for line in dropwhile(lambda line: not line or line.startswith("     "), words)).strip()
