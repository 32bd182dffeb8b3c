"""Answers go from threads to the loop: at once when it rests, together when requests queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
import pytest

from yolo_service.outbox import PATIENCE_SECONDS, TOGETHER, Outbox


@dataclass
class Clients:
    """Note what arrives."""

    busy: bool = False
    values: list[int] = field(default_factory=list)

    def receive(self, value: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.values.append(value)


@pytest.fixture
def clients() -> Clients:
    return Clients()


@pytest.fixture
def outbox(clients: Clients) -> Outbox:
    return Outbox(lambda: clients.busy)


def put(outbox: Outbox, clients: Clients, *values: int) -> None:
    """Put values as a worker does."""

    def work() -> None:
        for value in values:
            outbox.put(clients.receive, value)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        gevent.sleep(0.001)


def test_an_answer_is_not_kept_when_nothing_queues(clients: Clients, outbox: Outbox) -> None:
    put(outbox, clients, 1)
    wait_for(lambda: clients.values == [1])


def test_answers_come_together_when_requests_queue(clients: Clients, outbox: Outbox) -> None:
    clients.busy = True
    put(outbox, clients, *range(TOGETHER - 1))
    gevent.sleep(0)
    assert clients.values == []
    put(outbox, clients, TOGETHER - 1)
    wait_for(lambda: clients.values == list(range(TOGETHER)))


def test_the_last_one_takes_along_those_that_wait(clients: Clients, outbox: Outbox) -> None:
    clients.busy = True
    put(outbox, clients, 1)
    clients.busy = False
    put(outbox, clients, 2)
    wait_for(lambda: clients.values == [1, 2])


def test_nobody_waits_for_others_that_never_come(clients: Clients, outbox: Outbox) -> None:
    clients.busy = True
    outbox.watch()
    outbox.watch()
    put(outbox, clients, 1)
    wait_for(lambda: clients.values == [1])
    put(outbox, clients, 2)
    wait_for(lambda: clients.values == [1, 2])


def test_the_loop_is_left_alone_again_when_nothing_queues() -> None:
    asked = 0

    def is_busy() -> bool:
        nonlocal asked
        asked += 1
        return False

    Outbox(is_busy).watch()
    wait_for(lambda: asked == 1)
    gevent.sleep(5 * PATIENCE_SECONDS)
    assert asked == 1


def test_nothing_is_lost_or_doubled_between_many_threads(clients: Clients, outbox: Outbox) -> None:
    clients.busy = True
    outbox.watch()
    parts = [range(first, first + 1000) for first in range(0, 8000, 1000)]
    threads = [threading.Thread(target=put, args=(outbox, clients, *part)) for part in parts]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(clients.values) >= 8000, seconds=30)
    assert sorted(clients.values) == list(range(8000))
