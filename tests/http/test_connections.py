"""Which connection is closed when there are too many."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import gevent
import pytest

from tests.support.attacks import Peer
from tests.support.fixtures import StartServer
from yolo_service.http import connections
from yolo_service.http.connections import WaitingConnections
from yolo_service.http.server import MAX_CONNECTIONS


@dataclass
class FakeConnection:
    address: str
    unread: bool = False
    bytes: int = 0

    def has_data(self) -> bool:
        return self.unread

    def received(self) -> int:
        return self.bytes


class Waiting:
    """Greenlets that wait for a head or a body, and the connections of those that were closed."""

    def __init__(self) -> None:
        self.connections: WaitingConnections[FakeConnection] = WaitingConnections()
        self.closed: list[FakeConnection] = []

    def add(self, connection: FakeConnection, *, body: bool = False) -> FakeConnection:
        listed = self.connections.body if body else self.connections.head

        def wait() -> None:
            with listed(connection):
                try:
                    gevent.sleep(60)
                except gevent.GreenletExit:
                    self.closed.append(connection)

        gevent.spawn(wait)
        gevent.sleep(0)
        return connection

    def close_one(self) -> None:
        self.connections.close_one()
        gevent.sleep(0.001)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def test_the_oldest_head_of_the_address_with_most_is_closed_first(waiting: Waiting) -> None:
    waiting.add(FakeConnection("honest"))
    flood = [waiting.add(FakeConnection("flood")) for _ in range(3)]
    waiting.close_one()
    waiting.close_one()
    assert waiting.closed == flood[:2]


def test_a_client_whose_request_is_there_is_not_closed(waiting: Waiting) -> None:
    waiting.add(FakeConnection("a", unread=True))
    silent = waiting.add(FakeConnection("a"))
    waiting.close_one()
    assert waiting.closed == [silent]


def test_without_heads_the_slowest_body_is_closed(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SPARED_SECONDS", 0.0)
    fast, slow = FakeConnection("a"), FakeConnection("a")
    for connection in (fast, slow):
        waiting.add(connection, body=True)
    fast.bytes = 1_000_000
    waiting.close_one()
    assert waiting.closed == [slow]


def test_a_body_that_has_just_begun_is_spared(waiting: Waiting) -> None:
    waiting.add(FakeConnection("a"), body=True)
    waiting.close_one()
    assert waiting.closed == []


@contextmanager
def many_files(count: int) -> Iterator[None]:
    """Allow this process so many open sockets."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], count), max(before[1], count)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_thousands_of_unfinished_heads_do_not_keep_others_out(start_server: StartServer) -> None:
    """Without closing them, the next client waits until they time out, twice ten seconds."""
    server = start_server()
    head = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: "
    with many_files(4 * MAX_CONNECTIONS), ExitStack() as stack:
        flood = [stack.enter_context(Peer(server.port, head)) for _ in range(2 * MAX_CONNECTIONS)]
        client = server.client()
        for _ in range(10):
            assert client.get("/healthz").status == 200
        client.close()
        assert flood[0].is_closed()
