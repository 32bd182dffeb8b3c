"""The WSGI application behind an ASGI server: uvicorn, as in Ray Serve's proxies."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from tests.support.fixtures import Client
from tests.support.wsgi import echo, hello
from yolo_service.api.client import CLIENT
from yolo_service.api.waiting import wait
from yolo_service.errors import ClientGone
from yolo_service.http.asgi import ANSWERED, AsgiApplication, Message
from yolo_service.http.streams import Budget
from yolo_service.threads import DaemonExecutor

StartAsgi = Callable[..., Client]
SECONDS = 10


@pytest.fixture
def start_asgi() -> Iterator[StartAsgi]:
    """Start ASGI servers, and return a client for each."""
    stops: list[Callable[[], None]] = []

    def start(application: Any) -> Client:
        server = uvicorn.Server(
            uvicorn.Config(application, host="127.0.0.1", port=0, log_config=None, ws="none")
        )
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        client = Client(listener.getsockname()[1])

        def stop() -> None:
            client.close()
            server.should_exit = True
            thread.join(SECONDS)
            listener.close()

        stops.append(stop)
        return client

    yield start
    for stop in stops:
        stop()


def asgi(application: Any, seconds: float = 60, memory: int = 1_000_000) -> AsgiApplication:
    return AsgiApplication(application, seconds, Budget(memory), threads=4)


def test_a_request_is_answered(start_asgi: StartAsgi) -> None:
    answer = start_asgi(asgi(hello)).get("/path?secret=1")
    assert (answer.status, answer.body) == (200, b"hello")


def test_a_body_in_chunks_is_read_to_its_end(start_asgi: StartAsgi) -> None:
    client = start_asgi(asgi(echo))
    client._connection.request("POST", "/", iter([b"a" * 70_000, b"b"]), encode_chunked=True)
    assert client._connection.getresponse().read() == b"a" * 70_000 + b"b"


def test_threads_wait_for_futures_without_stopping_each_other(start_asgi: StartAsgi) -> None:
    together, executor = threading.Barrier(3), DaemonExecutor("test", 3)

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        wait(executor.submit(together.wait, SECONDS))
        return hello(environ, start_response)

    client = start_asgi(asgi(application))
    others = [threading.Thread(target=_get, args=(client._connection.port,)) for _ in range(2)]
    for other in others:
        other.start()
    assert client.get("/").status == 200
    for other in others:
        other.join()


def _get(port: int) -> None:
    client = Client(port)
    client.get("/")
    client.close()


class Exchange:
    """A request whose client sends and leaves when a test says so."""

    def __init__(self, application: AsgiApplication, *bodies: bytes) -> None:
        self.sent: list[Message] = []
        self._application, self._bodies = application, list(bodies)

    async def receive(self) -> Message:
        if not self._bodies:
            await asyncio.Event().wait()
        body = self._bodies.pop(0)
        return {"type": "http.request", "body": body, "more_body": body != b""}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def run(self) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "http_version": "1.1",
            "headers": [],
        }
        await self._application(scope, self.receive, self.send)


def reading(failures: list[Exception]) -> Any:
    """A WSGI application that notes why it could not read its body."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except Exception as error:
            failures.append(error)
        return hello(environ, start_response)

    return application


def test_a_response_is_marked_and_ends_with_its_length() -> None:
    exchange = Exchange(asgi(hello), b"")
    asyncio.run(exchange.run())
    start, body = exchange.sent
    assert start[ANSWERED]
    assert (body["body"], body["more_body"]) == (b"hello", False)


def test_a_body_that_does_not_come_is_408() -> None:
    failures: list[Exception] = []
    asyncio.run(Exchange(asgi(reading(failures), seconds=0.2), b"begun").run())
    assert getattr(failures[0], "code", None) == 408


def test_bodies_share_the_memory_that_is_allowed_and_give_it_back() -> None:
    failures: list[Exception] = []
    application = asgi(reading(failures), memory=10)
    asyncio.run(Exchange(application, b"eleven byte", b"").run())
    assert "MB of images" in str(failures.pop())
    asyncio.run(Exchange(application, b"ten bytes.", b"").run())
    assert not failures


def test_a_client_that_leaves_is_told_to_its_request() -> None:
    entered, noticed = threading.Event(), threading.Event()
    executor = DaemonExecutor("test")

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        client = environ[CLIENT]
        assert client.is_connected()
        try:
            with client.while_connected():
                entered.set()
                wait(executor.submit(noticed.wait, SECONDS))
        except ClientGone:
            assert not client.is_connected()
            noticed.set()
        start_response("200 OK", [])
        return [b"x"] * 100  # more than a2wsgi keeps while nobody takes it

    async def leave() -> None:
        served = asgi(application)
        running = asyncio.create_task(Exchange(served, b"").run())
        await asyncio.to_thread(entered.wait, SECONDS)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await asyncio.to_thread(noticed.wait, SECONDS)
        async with asyncio.timeout(SECONDS):  # the thread ends, although nobody takes its answer
            while served._running:
                await asyncio.sleep(0.001)

    asyncio.run(leave())
