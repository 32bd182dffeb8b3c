"""Waiting for a native thread's future as a greenlet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import gevent
import pytest

from tests.support.predictors import SECONDS
from yolo_service.api.waiting import wait
from yolo_service.errors import DeadlineExceeded
from yolo_service.threads import DaemonExecutor


@pytest.fixture
def executor() -> Iterator[DaemonExecutor]:
    made = DaemonExecutor("native", 2)
    yield made
    assert made.close(time.monotonic() + SECONDS)


def test_the_result_of_a_native_thread_arrives(executor: DaemonExecutor) -> None:
    assert wait(executor.submit(divmod, 7, 2)) == (3, 1)


def test_the_exception_of_a_native_thread_arrives(executor: DaemonExecutor) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        wait(executor.submit(int, "x"))


def test_a_future_that_is_done_needs_no_time() -> None:
    future: Future[int] = Future()
    future.set_result(1)
    assert wait(future, time.monotonic() + SECONDS) == 1


def test_an_event_loop_without_anything_else_to_do_waits_too(executor: DaemonExecutor) -> None:
    assert wait(executor.submit(threading.Event().wait, 0.05)) is False


def test_other_greenlets_run_meanwhile(executor: DaemonExecutor) -> None:
    """The native thread ends only after another greenlet has run."""
    go = threading.Event()
    other = gevent.spawn(go.set)
    assert wait(executor.submit(go.wait, SECONDS))
    other.join()


def test_the_future_is_cancelled_when_the_deadline_passes() -> None:
    future: Future[int] = Future()
    with pytest.raises(DeadlineExceeded):
        wait(future, time.monotonic() + 0.01)
    assert future.cancelled()


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_deadline_that_has_passed_is_not_waited_for(seconds: float) -> None:
    future: Future[int] = Future()
    with pytest.raises(DeadlineExceeded):
        wait(future, time.monotonic() + seconds)
    assert future.cancelled()


def test_the_future_is_cancelled_when_the_greenlet_is_killed() -> None:
    future: Future[int] = Future()
    waiting = gevent.spawn(wait, future)
    gevent.sleep(0)
    assert not future.done()
    waiting.kill()
    assert future.cancelled()


def test_the_future_is_cancelled_when_the_greenlets_own_timeout_ends_the_wait() -> None:
    future: Future[int] = Future()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        wait(future)
    assert future.cancelled()


def test_a_call_that_has_begun_is_left_to_its_end(executor: DaemonExecutor) -> None:
    entered, go = threading.Event(), threading.Event()

    def compute() -> int:
        entered.set()
        assert go.wait(SECONDS)
        return 1

    future = executor.submit(compute)
    assert entered.wait(SECONDS)
    with pytest.raises(DeadlineExceeded):
        wait(future, time.monotonic())
    go.set()
    assert future.result(SECONDS) == 1
