"""What is costly to make is made once for all pages, and anew when it must be."""

import threading

from dashboards.board.kept import Kept


def test_the_same_version_is_made_once() -> None:
    kept = Kept[int](0.0)
    assert kept.peek("a") is None
    assert kept.get("a", "1", lambda: 1) == 1
    assert kept.get("a", "1", lambda: 2) == 1
    assert kept.get("a", "2", lambda: 3) == 3
    assert kept.get("b", "1", lambda: 4) == 4
    assert (kept.peek("a"), kept.peek("b")) == (3, 4)


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    kept = Kept[str](0.0, most=2)
    for name in ("a", "b", "a", "c"):
        kept.get(name, "1", lambda: "made")
    assert [kept.peek(name) for name in ("a", "b", "c")] == ["made", None, "made"]


def test_what_takes_long_rests() -> None:
    kept = Kept[int](1e9)
    assert kept.get("a", "1", lambda: 1) == 1
    assert kept.get("a", "2", lambda: 2) == 1


def test_two_threads_make_a_thing_once() -> None:
    kept, begun, go, made = Kept[int](0.0), threading.Event(), threading.Event(), []

    def slowly() -> int:
        begun.set()
        go.wait(20)
        made.append(1)
        return len(made)

    threads = [threading.Thread(target=kept.get, args=("a", "1", slowly)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    assert kept.get("b", "1", lambda: 7) == 7  # which waits for nobody
    go.set()
    for thread in threads:
        thread.join(20)
    assert made == [1]
