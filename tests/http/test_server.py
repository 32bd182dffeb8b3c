"""The WSGI server with small applications, tested over raw sockets."""

from __future__ import annotations

import json
import logging
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from tests.support.wsgi import CHUNKED, GET, GeventPeer, Start, check_problem, echo, hello
from yolo_service import logs
from yolo_service.api.client import CLIENT
from yolo_service.http import server as wsgi
from yolo_service.http import streams
from yolo_service.http.server import Server, listen
from yolo_service.http.streams import Budget


def test_head_and_body_are_sent_in_one_write(start: Start) -> None:
    with GeventPeer(start(hello)).send(GET) as peer:
        assert peer.socket.recv(4096).endswith(b"\r\n\r\nhello")


def test_a_connection_serves_many_requests(start: Start) -> None:
    with GeventPeer(start(hello)) as peer:
        for _ in range(3):
            assert peer.send(GET).answer()[2] == b"hello"


def test_a_request_id_is_generated_or_taken_from_the_client(start: Start) -> None:
    with GeventPeer(start(hello)) as peer:
        made = [peer.send(GET).answer()[1]["x-request-id"] for _ in range(2)]
        assert made[0] != made[1]
        for given, taken in ((b"abc-1.2_Z", True), (b"a b", False), (b"x" * 65, False)):
            request = GET.replace(b"Host", b"X-Request-ID: " + given + b"\r\nHost")
            assert (peer.send(request).answer()[1]["x-request-id"] == given.decode()) is taken


def test_the_access_log_has_no_query(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "yolo_service.access")
    with GeventPeer(start(hello)).send(GET) as peer:
        request_id = peer.answer()[1]["x-request-id"]
    (record,) = caplog.records
    assert "secret" not in record.getMessage()
    assert record.getMessage().startswith("127.0.0.1 GET /path 200 ")
    fields = record.fields  # type: ignore[attr-defined]  # set by "extra"
    assert fields["request_id"] == request_id
    assert fields["status"] == 200


def test_control_characters_do_not_reach_the_log(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "yolo_service.access")
    with GeventPeer(start(hello)).send(b"GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n") as peer:
        peer.answer()
    assert "\x1b" not in caplog.text


def test_what_is_logged_while_a_request_is_served_has_its_id(start: Start) -> None:
    lines = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        lines.append(logs.TextLines().format(logging.makeLogRecord({"msg": "failed"})))
        start_response("500 Oops", [("Content-Length", "0")])
        return []

    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine-%d\r\n\r\n"
    with GeventPeer(start(app)) as peer:
        for number in (1, 2):
            peer.send(request % number).answer()
    assert lines == ["failed (request mine-1)", "failed (request mine-2)"]


CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"

FRAMINGS = {  # headers of a body that a proxy and this server could find different ends of
    "two lengths": b"Content-Length: 1\r\nContent-Length: 2",
    "the same length twice": b"Content-Length: 1\r\nContent-Length: 1",
    "a list of lengths": b"Content-Length: 1, 1",
    "a length in letters": b"Content-Length: abc",
    "a negative length": b"Content-Length: -5",
    "a length with a sign": b"Content-Length: +1",
    "a length as Python writes it": b"Content-Length: 1_0",
    "an empty length": b"Content-Length:",
    "a length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked",
    "chunks and a length": b"Transfer-Encoding: Chunked\r\nContent-Length: 4",
    "two codings in a line": b"Transfer-Encoding: gzip, chunked",
    "two lines of codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "another coding": b"Transfer-Encoding: xchunked",
    "an empty coding": b"Transfer-Encoding:",
    "a space before the colon": b"Transfer-Encoding : chunked",
    "a folded line": b"Transfer-Encoding:\r\n chunked",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked",
}
HEADS = {
    "nonsense": b"NONSENSE\r\n",
    "an unknown version": b"GET / HTTP/9.9\r\nHost: a\r\n",
    "HTTP/0.9": b"GET /\r\nHost: a\r\n",
    "a version as Python reads numbers": b"GET / HTTP/+1.1\r\nHost: a\r\n",
    "two spaces in the request line": b"GET  / HTTP/1.1\r\nHost: a\r\n",
    "a tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n",
    "a form feed in the request line": b"GET /\x0cHTTP/1.1\r\nHost: a\r\n",
    "a space before the request line": b" GET / HTTP/1.1\r\nHost: a\r\n",
    "no host in HTTP/1.1": b"GET / HTTP/1.1\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
    "two hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n",
    "a host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
}
HEADS |= {
    name: b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n" for name, lines in FRAMINGS.items()
}


@pytest.mark.parametrize("head", [pytest.param(head, id=name) for name, head in HEADS.items()])
def test_invalid_http_is_answered_400_and_the_connection_closed(start: Start, head: bytes) -> None:
    with GeventPeer(start(hello)).send(head + b"\r\n" + CHUNKS + GET) as peer:
        check_problem(peer.answer(), 400)
        assert peer.is_closed()


def test_the_answer_to_invalid_http_names_the_reason_and_repeats_no_value(start: Start) -> None:
    head = b"GET / HTTP/1.1\r\nHost: secret-1\r\nHost: secret-2\r\n\r\n"
    with GeventPeer(start(hello)).send(head) as peer:
        body = peer.answer()[2]
    assert "expected one Host header" in json.loads(body)["detail"]
    assert b"secret" not in body


def test_a_request_line_that_is_too_long_is_answered_414(start: Start) -> None:
    with GeventPeer(start(hello)).send(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n") as peer:
        check_problem(peer.answer(), 414)
        assert peer.is_closed()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", id="HTTP/1.0 without a host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", id="empty host"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", id="IPv6 host"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", id="line feeds"),
        pytest.param(b"POST / HTTP/1.1\r\nHost:a\r\nContent-Length: \t0\t\r\n\r\n", id="tabs"),
    ],
)
def test_unusual_but_valid_http_is_served(start: Start, head: bytes) -> None:
    with GeventPeer(start(hello)).send(head) as peer:
        assert peer.answer()[2] == b"hello"


def test_a_chunked_body_is_read(start: Start) -> None:
    with GeventPeer(start(echo)).send(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") as peer:
        assert peer.answer()[2] == b"abcde"
        assert peer.send(GET).answer()[0] == 200


def test_broken_chunks_end_the_connection(start: Start) -> None:
    """The start of the next request is unknown, so none may be read."""

    def careless(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with suppress(OSError):
            environ["wsgi.input"].read()
        return hello(environ, start_response)

    for application in (careless, hello, echo):
        with GeventPeer(start(application)).send(CHUNKED + b"xyz\r\n" + GET) as peer:
            assert peer.answer()[0] in (200, 400)
            assert peer.is_closed()


def test_headers_that_do_not_arrive_end_in_a_timeout(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi, "HEADER_SECONDS", 0.1)
    with GeventPeer(start(hello)).send(b"GET / HTTP/1.1\r\nHost: a\r\n") as peer:
        check_problem(peer.answer(), 408)
        assert peer.is_closed()


def test_an_idle_connection_is_closed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsgi, "IDLE_SECONDS", 0.1)
    with GeventPeer(start(hello)).send(GET) as peer:
        peer.answer()
        assert peer.is_closed()


@pytest.mark.parametrize("data", [b"", b"GET /"])
def test_a_new_connection_without_a_request_is_closed_soon(
    start: Start, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(wsgi, "HEADER_SECONDS", 0.1)
    with GeventPeer(start(hello)).send(data) as peer:
        assert peer.is_closed()


def test_a_body_that_does_not_arrive_is_a_timeout_for_the_application(start: Start) -> None:
    seen: list[Exception] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except Exception as error:
            seen.append(error)
        start_response("408 Request Timeout", [("Content-Length", "0")])
        return []

    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"
    with GeventPeer(start(application)).send(request) as peer:
        status, headers, _ = peer.answer()
        assert (status, headers["connection"]) == (408, "close")
    assert [type(error).__name__ for error in seen] == ["RequestTimeout"]


def test_body_and_work_share_the_time_of_a_request(start: Start) -> None:
    """The deadline is set when the headers have come; the body does not move it."""
    entered = Event()
    deadlines: list[float] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        deadlines.append(environ[CLIENT].deadline)
        entered.set()
        body = environ["wsgi.input"].read()
        deadlines.append(environ[CLIENT].deadline)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    begun = time.monotonic()
    with GeventPeer(start(application, 60)) as peer:
        peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        assert entered.wait(10)
        latest = time.monotonic() + 60
        peer.send(b"cd")
        assert peer.answer()[2] == b"abcd"
        assert peer.send(GET).answer()[0] == 200
    first, after_body, next_request, _ = deadlines
    assert begun + 60 <= first == after_body <= latest
    assert next_request > first


def test_an_unread_body_is_discarded_for_a_limited_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LINGER_SECONDS", 0.1)
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nabc"
    with GeventPeer(start(hello)).send(request) as peer:
        assert peer.answer()[2] == b"hello"
        assert peer.is_closed()


def test_a_client_that_resets_before_its_error_comes_leaves_no_traceback(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    server = start(hello)
    server.stop_accepting()  # so that everything has happened before the server looks
    for _ in range(5):
        with GeventPeer(server).send(b"NONSENSE\r\n\r\n") as peer:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.start_accepting()
    with GeventPeer(server).send(GET) as last:
        assert last.answer()[0] == 200
    server.finish(time.monotonic() + 10)
    assert capfd.readouterr().err == ""


def test_an_application_can_check_that_its_client_is_connected(start: Start) -> None:
    entered, left = Event(), Event()
    seen: list[bool] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        seen.append(environ[CLIENT].is_connected())
        entered.set()
        left.wait(10)
        seen.append(environ[CLIENT].is_connected())
        return hello(environ, start_response)

    server = start(application)
    with GeventPeer(server).send(GET):
        assert entered.wait(10)
    left.set()
    server.finish(time.monotonic() + 10)
    assert seen == [True, False]


def test_an_exception_of_the_application_is_answered_500(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        raise ZeroDivisionError

    with GeventPeer(start(broken)).send(GET) as peer:
        check_problem(peer.answer(), 500)
        assert peer.is_closed()
    assert "ZeroDivisionError" in caplog.text


def test_stopping_finishes_what_was_accepted_and_closes_what_is_idle(start: Start) -> None:
    entered, go = Event(), Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        entered.set()
        go.wait(10)
        return hello(environ, start_response)

    server = start(slow)
    with GeventPeer(server) as idle, GeventPeer(server).send(GET) as busy:
        assert entered.wait(10)
        stopping = gevent.spawn(server.finish, time.monotonic() + 10)
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            GeventPeer(server)
        go.set()
        status, headers, _ = busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert stopping.get(timeout=10)


def test_stopping_cancels_requests_that_take_too_long(start: Start) -> None:
    entered = Event()

    def endless(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        entered.set()
        Event().wait(30)
        return hello(environ, start_response)

    server = start(endless)
    with GeventPeer(server).send(GET):
        assert entered.wait(10)
        assert not server.finish(time.monotonic() + 0.1)


def test_ipv6_is_listened_on_when_the_host_is_one() -> None:
    try:
        listener = listen("::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = Server(listener, hello, 1, Budget(0))
    assert server.url == f"http://[::1]:{server.server_port}"
    server.close()
