"""How a figure becomes SVG and PNG, which takes nine tenths of the time of a drawing: here, or in processes beside.

Such a process is `python -m dashboards.rendering`. It reads pickled figures from its standard input, and answers each
with its two files. It imports matplotlib and nothing of ours, so that it is there within a second. The same figure
gives the same bytes, wherever it is rendered.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import IO, Any, Self

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

Files = tuple[str, bytes]
"""A figure as SVG and as PNG."""

_RESOLUTION = 160

_SETTINGS = threading.RLock()


@contextmanager
def drawing_with(settings: Any) -> Iterator[None]:
    """Matplotlib draws with these settings. They belong to the whole process, so one thread draws at a time."""
    with _SETTINGS, mpl.rc_context(settings):
        yield


def render(figure: Figure) -> Files:
    """The files of a figure, with the settings of matplotlib that hold now."""
    # `savefig` would draw everything twice for each file, to be sure of a layout that was not made yet.
    if layout := figure.get_layout_engine():
        with warnings.catch_warnings():
            # A crowded figure is drawn without it, and a person can do nothing about the warning.
            warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
            layout.execute(figure)
        figure.set_layout_engine("none")
    vector, raster = io.StringIO(), io.BytesIO()
    figure.dpi = 72  # what an SVG is measured in
    FigureCanvasSVG(figure).print_svg(vector, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    figure.dpi = _RESOLUTION
    FigureCanvasAgg(figure).print_png(raster, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return vector.getvalue(), raster.getvalue()


@dataclass(frozen=True)
class Rendering:
    """A figure that a process beside renders.

    Attributes:
        asked: the figure with its settings, pickled.
        answer: what the process gives.
    """

    asked: bytes
    answer: Future[Files]

    @cached_property
    def files(self) -> Files:
        """The files, rendered here where the process could not."""
        try:
            return self.answer.result()
        except (OSError, EOFError, ValueError, pickle.PickleError):
            return _rendered(*pickle.loads(self.asked))  # noqa: S301  our own figure


class Renderers:
    """Processes that render figures. Each is started with the first figure that it gets, and ends with the context."""

    def __init__(self, processes: int) -> None:
        self._threads = ThreadPoolExecutor(processes, "render")
        self._own = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []

    def submit(self, settings: Mapping[str, Any], figure: Figure) -> Rendering:
        """Hands a figure over as it is now, to be rendered with these settings of matplotlib."""
        asked = pickle.dumps((settings, figure))
        return Rendering(asked, self._threads.submit(self._ask, asked))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()  # the end of its input ends it

    def _ask(self, asked: bytes) -> Files:
        pipes: tuple[IO[bytes], IO[bytes]] | None = getattr(self._own, "pipes", None)
        if pipes is None:
            pipes = self._own.pipes = self._start()
        questions, answers = pipes
        questions.write(asked)
        questions.flush()
        answer: Files = pickle.load(answers)  # noqa: S301  from our own process
        return answer

    def _start(self) -> tuple[IO[bytes], IO[bytes]]:
        """Starts a process: where it reads, and where it answers."""
        from workers.process.one_request import environment  # the process itself imports nothing of ours

        process = subprocess.Popen(
            [sys.executable, "-m", "dashboards.rendering"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what it can't render is rendered again, and told, by who asked
        )
        self._processes.append(process)
        if process.stdin is None or process.stdout is None:
            raise OSError("no pipes to a process that renders")
        return process.stdin, process.stdout


def _rendered(settings: Any, figure: Figure) -> Files:
    with drawing_with(settings):
        return render(figure)


def main() -> None:
    """Renders until the input closes."""
    os.nice(10)  # who asked has all the rest to do, and waits only at its end
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    while True:
        try:
            settings, figure = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started this one
        except EOFError:
            return
        pickle.dump(_rendered(settings, figure), answers)
        answers.flush()


if __name__ == "__main__":
    main()
