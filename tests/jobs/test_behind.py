from __future__ import annotations

import contextvars
import threading
import time

import pytest

from backend.jobs.behind import Behind

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def test_gives_the_caller_back_at_once_and_keeps_the_order() -> None:
    may_go = threading.Event()
    done: list[str] = []

    def first() -> None:
        may_go.wait(5)
        done.append("first")

    with Behind() as behind:
        behind.put(first)
        assert done == []  # put did not wait for it
        may_go.set()
        behind.put(lambda: done.append("second"))
    assert done == ["first", "second"]


def test_leaving_waits_for_the_last_piece_also_after_an_error_of_the_giver() -> None:
    done = []

    def slowly() -> None:
        time.sleep(0.05)
        done.append(1)

    def give() -> None:
        with Behind() as behind:
            behind.put(slowly)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give()
    assert done == [1]


@pytest.mark.parametrize("then", ["put", "leave", "wait"])
def test_an_error_reaches_the_giver(then: str) -> None:
    def fail() -> None:
        raise KeyError("lost")

    def give() -> None:
        with Behind() as behind:
            behind.put(fail)
            if then == "put":
                behind.put(lambda: None)
            elif then == "wait":
                behind.wait()

    with pytest.raises(KeyError, match="lost"):
        give()


def test_the_context_of_the_giver_goes_along() -> None:
    seen = []
    WHO.set("job 7")
    with Behind() as behind:
        behind.put(lambda: seen.append((WHO.get(), threading.current_thread().name)))
    assert seen == [("job 7", "behind_0")]
