"""Requests that are too large, ambiguous or unusual, and responses that nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from tests.support.wsgi import CHUNKED, GET, GeventPeer, Start, check_problem, hello
from yolo_service.http import server as wsgi
from yolo_service.http.cors import Cors

TOO_LARGE = {
    "many headers": b"A: b\r\n" * 200,
    "one long header": b"Accept: " + b"image/png, " * 7000 + b"\r\n",
    "long headers": (b"Authorization: Digest " + b"a=b," * 1000 + b"\r\n") * 20,
}


@pytest.mark.parametrize("lines", TOO_LARGE.values(), ids=TOO_LARGE)
def test_headers_that_are_too_large_are_answered_431_and_the_connection_closed(
    start: Start, lines: bytes
) -> None:
    with GeventPeer(start(hello)).send(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n") as peer:
        check_problem(peer.answer(), 431)
        assert peer.is_closed()


@pytest.mark.parametrize(
    "chunks",
    [
        b"1;a=b\nc\r\na\r\n0\r\n\r\n",
        b"\r\na\r\n0\r\n\r\n",
        b"+1\r\na\r\n0\r\n\r\n",
        b"0x1\r\na\r\n0\r\n\r\n",
        b"1 \r\na\r\n0\r\n\r\n",
        b"1\na\n0\n\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"1\r\na\r\n0\r\nno field\r\n\r\n",
        b"1\r\na\r\n0\r\n folded: x\r\n\r\n",
    ],
)
def test_chunks_that_can_be_read_in_two_ways_end_the_connection(
    start: Start, chunks: bytes
) -> None:
    def reading(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["wsgi.input"].read()
        return hello(environ, start_response)

    with GeventPeer(start(reading)).send(CHUNKED + chunks + GET) as peer:
        check_problem(peer.answer(), 400)
        assert peer.is_closed()


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        (b"http://a/b?c=d", "/b?c=d"),
        (b"/?url=http://x/voil\xc3\xa0\xc2\x85.jpg", "/?url=http://x/voil%C3%A0%C2%85.jpg"),
        (b"/?\xff", "/?%FF"),
    ],
)
def test_a_whole_url_and_bytes_beyond_ascii_are_taken_as_targets(
    start: Start, target: bytes, seen: str
) -> None:
    def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        told.append(f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}")
        return hello(environ, start_response)

    told: list[str] = []
    with GeventPeer(start(echo)).send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n") as peer:
        assert peer.answer()[0] == 200
    assert told == [seen]


def test_a_target_without_a_slash_is_answered_400(start: Start) -> None:
    with GeventPeer(start(hello)).send(b"POST detect HTTP/1.1\r\nHost: a\r\n\r\n") as peer:
        check_problem(peer.answer(), 400)


def test_responses_that_nobody_reads_are_refused_beyond_their_memory(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi, "RESPONSES_BYTES", 25_000_000)

    def large(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "10000000")])
        return [bytes(10_000_000)]

    server = start(Cors(large, ["*"]))
    with GeventPeer(server).send(GET) as first, GeventPeer(server).send(GET) as second:
        while server.responses._left > 5_000_000:
            gevent.sleep(0.01)
        from_a_page = GET.replace(b"Host: a", b"Host: a\r\nOrigin: http://b")
        with GeventPeer(server).send(from_a_page) as third:
            answer = third.answer()
            check_problem(answer, 503)
            assert answer[1]["access-control-allow-origin"] == "*"
        assert first.answer()[0] == second.answer()[0] == 200
    with GeventPeer(server).send(GET) as fourth:
        assert fourth.answer()[0] == 200
