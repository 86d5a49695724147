"""Rendering: one thread at a time has matplotlib's settings, which belong to the whole process."""

import threading
from concurrent.futures import ThreadPoolExecutor

import matplotlib as mpl

from dashboards.rendering import drawing_with


def test_threads_that_draw_at_once_leave_matplotlib_as_it_was():
    before, colour = dict(mpl.rcParams), mpl.rcParams["text.color"]
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> str:
        with drawing_with({"text.color": "red"}):
            first_in.set()
            second_in.wait(0.3)  # in vain, where one waits for the other
        first_out.set()
        return mpl.rcParams["text.color"]

    def second() -> str:
        first_in.wait()
        with drawing_with({"text.color": "blue"}):
            second_in.set()
            first_out.wait(0.3)
            return mpl.rcParams["text.color"]

    with ThreadPoolExecutor(2) as threads:
        results = [one.result() for one in (threads.submit(first), threads.submit(second))]
    assert results[1] == "blue"
    assert results[0] in (colour, "blue")
    assert dict(mpl.rcParams) == before
