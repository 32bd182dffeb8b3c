"""What stands in front of Ray Serve in its proxies, before applications that behave as Ray's do."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import PydanticDeprecatedSince20

from yolo_service.cluster.serve_front import Front, middlewares
from yolo_service.cluster.serve_models import named_model
from yolo_service.http.asgi import ANSWERED, Message, Receive, Scope, Send
from yolo_service.settings import load_settings

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class Client:
    """A request of some messages, and its answer."""

    bodies: list[bytes] = field(default_factory=lambda: [b""])
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    path: str = "/detect"
    method: str = "POST"
    asked: int = 0
    sent: list[Message] = field(default_factory=list)

    async def receive(self) -> Message:
        if self.asked == len(self.bodies):
            await asyncio.Event().wait()
        self.asked += 1
        more = self.asked < len(self.bodies)
        return {"type": "http.request", "body": self.bodies[self.asked - 1], "more_body": more}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def ask(self, application: Application, **settings: Any) -> Client:
        scope = {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "query_string": b"",
            "headers": self.headers,
        }
        front = Front(application, load_settings(**settings))
        asyncio.run(front(scope, self.receive, self.send))
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def answer_headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


async def answer(send: Send, body: bytes, status: int = 200, *, own: bool = True) -> None:
    mark = {ANSWERED: True} if own else {}
    await send({"type": "http.response.start", "status": status, "headers": [], **mark})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, (await receive())["body"])


def test_a_body_goes_on_in_one_piece() -> None:
    assert Client([b"one, ", b"two"]).ask(echo).body == b"one, two"


def test_a_body_larger_than_allowed_is_refused_while_it_arrives() -> None:
    client = Client([b"x" * 600_000] * 10)
    client.ask(echo, max_upload_mb=1)
    assert client.status == 413
    assert client.asked == 2


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ([(b"x", b"a" * 70_000)], "/", 431),
        ([(b"x", b"a")] * 101, "/", 431),
        ([(b"host", b"a"), (b"host", b"b")], "/", 400),
        ([(b"host", b"a"), (b"host", b"b")], "/p/", 400),
        ([], "/" + "a" * 9000, 414),
    ],
)
def test_a_head_that_is_too_large_or_ambiguous_is_refused(
    headers: list[tuple[bytes, bytes]], path: str, status: int
) -> None:
    client = Client(headers=headers, path=path).ask(echo)
    assert client.status == status
    assert json.loads(client.body)["status"] == status


def test_a_body_that_says_that_it_is_too_large_is_not_read() -> None:
    """The application refuses it, in the format of its route."""
    client = Client([b"x"], [(b"content-length", b"1000001")])
    assert client.ask(echo, max_upload_mb=1).body == b""
    assert client.asked == 0


def test_a_body_that_comes_too_late_is_408() -> None:
    client = Client([b"x", b"y"])

    async def hang() -> Message:
        if client.asked == 0:
            client.asked = 1
            return {"type": "http.request", "body": b"x", "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    client.receive = hang  # type: ignore[method-assign]
    assert client.ask(echo, request_timeout=0.1).status == 408


def test_a_request_whose_replica_ends_is_sent_again_with_its_body() -> None:
    attempts = []

    async def dies_once(scope: Scope, receive: Receive, send: Send) -> None:
        attempts.append(await receive())
        if len(attempts) == 2:
            await answer(send, b"there")

    client = Client([b"a", b"b"]).ask(dies_once)
    assert (client.status, client.body) == (200, b"there")
    assert [attempt["body"] for attempt in attempts] == [b"ab", b"ab"]


def test_a_replica_that_ends_before_its_body_has_sent_nothing() -> None:
    attempts = []

    async def dies_late(scope: Scope, receive: Receive, send: Send) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        else:
            await answer(send, b"there")

    client = Client().ask(dies_late)
    assert [message["type"] for message in client.sent] == [
        "http.response.start",
        "http.response.body",
    ]


def test_a_request_that_ends_every_replica_is_told_to_try_again() -> None:
    async def dies(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    client = Client(headers=[(b"x-request-id", b"mine")]).ask(dies)
    assert client.status == 503
    assert client.answer_headers[b"retry-after"] == b"1"
    assert client.answer_headers[b"x-request-id"] == b"mine"
    assert json.loads(client.body)["type"] == "overloaded"


@pytest.mark.parametrize(
    ("path", "member"), [("/detect", "detail"), ("/v2/models/a/infer", "error")]
)
def test_refusals_of_ray_have_the_format_of_the_route(path: str, member: str) -> None:
    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"retry-after", b"7"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b"Request dropped due to backpressure"})

    client = Client(path=path).ask(refuses)
    assert client.status == 503
    assert client.answer_headers[b"retry-after"] == b"7"
    assert "busy" in json.loads(client.body)[member]


def test_what_the_application_refuses_stays_as_it_is() -> None:
    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"error", 503)

    assert Client(path="/hc/").ask(refuses).body == b"error"


def test_a_client_that_leaves_is_not_served_again() -> None:
    attempts = []

    async def gives_up(scope: Scope, receive: Receive, send: Send) -> None:
        attempts.append(await receive())
        assert (await receive())["type"] == "http.disconnect"

    client = Client()

    async def leave() -> Message:
        if client.asked == 0:
            client.asked = 1
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    client.receive = leave  # type: ignore[method-assign]
    client.ask(gives_up)
    assert len(attempts) == 1
    assert not client.sent


def test_only_the_front_says_what_ray_obeys() -> None:
    seen: list[dict[bytes, bytes]] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["headers"]))
        await answer(send, b"")

    sent = [
        (b"serve_multiplexed_model_id", b"\xff"),
        (b"serve-multiplexed-model-id", b"other"),
        (b"x-request-timeout-seconds", b"0"),
        (b"accept", b"text/csv"),
    ]
    Client(headers=sent, path="/v2/models/parcels/infer").ask(note)
    assert seen[0].pop(b"x-request-id")
    assert seen == [{b"accept": b"text/csv", b"serve_multiplexed_model_id": b"parcels"}]


def test_what_belongs_to_ray_passes() -> None:
    async def own(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"starting", 503, own=False)

    assert Client(path="/-/healthz", method="GET").ask(own).body == b"starting"


def test_rays_proxy_takes_the_front() -> None:
    with warnings.catch_warnings():  # Ray declares a field in a deprecated way
        warnings.simplefilter("ignore", PydanticDeprecatedSince20)
        from ray.serve._private.http_util import validate_http_proxy_callback_return

    assert validate_http_proxy_callback_return(middlewares())


FORM = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("path", "query", "body", "expected"),
    [
        ("/v2/models/parcels/infer", b"", b"", "parcels"),
        ("/v2/models/parcels/versions/1/infer", b"", b"", "parcels"),
        ("/v1/vision/custom/parcels", b"", b"", "parcels"),
        ("/detect", b"url=a&model=parcels", b"", "parcels"),
        ("/detect", b"", FORM % b"parcels", "parcels"),
        ("/detect", b"", FORM % b"a\nb", ""),
        ("/detect", b"", FORM % b"", ""),
        ("/detect", b"", b'name="model"', ""),
        ("/detect", b"model=%0d%0aX:1", b"", ""),
        ("/detect", b"model=" + b"x" * 101, b"", ""),
        ("/detect", b"", b"\xff\xd8" * 1000, ""),
    ],
)
def test_the_model_of_a_request(path: str, query: bytes, body: bytes, expected: str) -> None:
    assert named_model(path, query, body) == expected
