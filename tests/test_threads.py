"""Calls on daemon threads."""

from __future__ import annotations

import contextvars
import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest

from tests.support.paths import ROOT
from tests.support.predictors import SECONDS, eventually
from yolo_service.errors import Overloaded, ShuttingDown
from yolo_service.threads import NICENESS, DaemonExecutor

NAME = contextvars.ContextVar("NAME", default="nobody")


def closed(executor: DaemonExecutor) -> bool:
    return executor.close(time.monotonic() + SECONDS)


def alive(name: str) -> list[str]:
    """Names of the running threads of an executor."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


class Result:
    """Something that can be referred to weakly."""


def test_the_result_of_a_call_is_in_its_future() -> None:
    executor = DaemonExecutor("result")
    assert executor.submit(divmod, 7, 2).result(SECONDS) == (3, 1)
    assert executor.submit(int, "11", base=2).result(SECONDS) == 3
    assert closed(executor)


@pytest.mark.parametrize("error", [KeyError, SystemExit])
def test_an_exception_is_in_the_future_and_the_thread_goes_on(error: type[BaseException]) -> None:
    executor = DaemonExecutor("exception")

    def fail() -> None:
        raise error

    assert isinstance(executor.submit(fail).exception(SECONDS), error)
    assert executor.submit(len, "abc").result(SECONDS) == 3
    assert closed(executor)


def test_a_call_sees_the_context_variables_of_its_caller_and_changes_none() -> None:
    executor = DaemonExecutor("context")

    def read_and_set() -> str:
        found = NAME.get()
        NAME.set("thread")
        return found

    token = NAME.set("caller")
    try:
        first = executor.submit(read_and_set)
        NAME.set("changed later")
        assert first.result(SECONDS) == "caller"
        assert NAME.get() == "changed later"
    finally:
        NAME.reset(token)
    assert executor.submit(read_and_set).result(SECONDS) == "nobody"
    assert closed(executor)


def test_threads_are_started_when_they_are_needed_and_no_more_than_allowed() -> None:
    executor, go = DaemonExecutor("needed", 2), threading.Event()
    assert alive("needed") == []
    calls = [executor.submit(go.wait, SECONDS) for _ in range(5)]
    assert sorted(alive("needed")) == ["needed-0", "needed-1"]
    go.set()
    assert all(call.result(SECONDS) for call in calls)
    assert closed(executor)


def test_more_calls_than_may_wait_are_refused_at_once_and_later_ones_accepted() -> None:
    executor, go = DaemonExecutor("bounded", 2, max_waiting=1), threading.Event()
    calls = [executor.submit(go.wait, SECONDS) for _ in range(3)]
    with pytest.raises(Overloaded, match="all 2 bounded threads are busy"):
        executor.submit(go.wait)
    go.set()
    assert all(call.result(SECONDS) for call in calls)
    eventually(lambda: executor._pending == 0)
    assert executor.submit(len, "abc").result(SECONDS) == 3
    assert closed(executor)


def test_a_call_that_was_cancelled_while_it_waited_is_not_made() -> None:
    executor, go = DaemonExecutor("cancelled"), threading.Event()
    made: list[int] = []
    first, second = executor.submit(go.wait, SECONDS), executor.submit(made.append, 2)
    assert second.cancel()
    go.set()
    assert first.result(SECONDS)
    assert closed(executor)
    assert made == []


def test_closing_makes_the_calls_that_wait_ends_the_threads_and_refuses_new_calls() -> None:
    executor, go = DaemonExecutor("closing", 2), threading.Event()
    calls = [executor.submit(go.wait, SECONDS) for _ in range(4)]
    threading.Timer(0.01, go.set).start()
    assert closed(executor)
    assert all(call.result(0) for call in calls)
    assert alive("closing") == []
    with pytest.raises(ShuttingDown):
        executor.submit(go.wait)


def test_closing_does_not_wait_for_a_call_that_hangs() -> None:
    executor, go = DaemonExecutor("hanging", 2), threading.Event()
    calls = [executor.submit(go.wait, SECONDS) for _ in range(2)]
    assert not executor.close(time.monotonic())
    go.set()
    assert all(call.result(SECONDS) for call in calls)


def test_a_result_is_freed_with_its_future() -> None:
    executor = DaemonExecutor("freed")
    gc.disable()
    try:
        future = executor.submit(Result)
        result = weakref.ref(future.result(SECONDS))
        del future
        eventually(lambda: result() is None)
    finally:
        gc.enable()
    assert closed(executor)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_threads_have_a_lower_priority_than_their_process() -> None:
    executor = DaemonExecutor("priority")
    own = os.getpriority(os.PRIO_PROCESS, os.getpid())
    found = executor.submit(
        lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    ).result(SECONDS)
    assert found == min(19, own + NICENESS)
    assert closed(executor)


def test_a_call_that_hangs_does_not_keep_the_interpreter_alive() -> None:
    code = (
        "import threading\n"
        "from yolo_service.threads import DaemonExecutor\n"
        "entered = threading.Event()\n"
        "def hang():\n"
        "    entered.set()\n"
        "    threading.Event().wait()\n"
        "DaemonExecutor('hanging').submit(hang)\n"
        "assert entered.wait(60)\n"
        "print('end')"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert (ended.stdout, ended.stderr) == ("end\n", "")
