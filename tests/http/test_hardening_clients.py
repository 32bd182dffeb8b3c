"""Slow, endless and wasteful requests to the real server, which serves others meanwhile."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from tests.support.answers import problem
from tests.support.attacks import Cost, Peer, post
from tests.support.fixtures import BOUNDARY, Client, Part, ServerProcess, StartServer, multipart
from yolo_service.http.server import MAX_CONNECTIONS
from yolo_service.http.streams import GRACE_SECONDS, MIN_RATE

CHUNKED = post("/detect", "Transfer-Encoding: chunked")
FILE = b'--b\r\nContent-Disposition: form-data; name="image_file"; filename="a"\r\n\r\n'


BLOCKED_SECONDS = 5.0
"""An answer that takes longer was held up by the attack, and not by a busy machine."""


@contextmanager
def served_meanwhile(client: Client) -> Iterator[None]:
    """Check that another client is answered all the time while the block runs."""
    stop = threading.Event()
    times: list[float] = []

    def ask() -> None:
        while not stop.is_set():
            before = time.perf_counter()
            assert client.get("/healthz").status == 200
            times.append(time.perf_counter() - before)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        stop.set()
        asking.join(60)
    assert times
    assert max(times) < BLOCKED_SECONDS


@pytest.mark.parametrize(
    "wasteful",
    [
        pytest.param(b"0\r\n" + b"a: b\r\n" * 20_000, id="endless trailers"),
        pytest.param(b"1\r\na\r\n" * 20_000, id="chunks of one byte"),
        pytest.param(b"1;" + b"a" * 6000 + b"\r\na\r\n" * 20, id="chunk extensions"),
    ],
)
def test_a_body_that_is_mostly_framing_is_cut_off_while_others_are_served(
    server: ServerProcess, client: Client, wasteful: bytes
) -> None:
    with served_meanwhile(client), Peer(server.port, CHUNKED) as peer:
        assert not peer.flood(wasteful, times=1000)


def test_small_chunks_within_reason_are_read(server: ServerProcess, photo: bytes) -> None:
    body = FILE + photo + b"\r\n--b--\r\n"
    pieces = [body[i : i + 64] for i in range(0, len(body), 64)]
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    with Peer(server.port, CHUNKED + data + b"0\r\n\r\n") as peer:
        assert peer.answer().status == 200


def test_an_endless_upload_is_cut_off_at_its_limit_while_others_are_served(
    server: ServerProcess, client: Client
) -> None:
    cost = Cost(server.process.pid)
    cost.reset_peak()
    before = cost.memory
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    head = b"%x\r\n%b\r\n" % (len(FILE), FILE)
    with served_meanwhile(client), Peer(server.port, CHUNKED + head) as peer:
        assert not peer.flood(chunk, times=1_000_000)  # more than can be sent while it lingers
    assert cost.peak - before < 100_000_000


def test_a_length_beyond_the_limit_is_refused_before_the_body(server: ServerProcess) -> None:
    with Peer(server.port, post("/detect", "Content-Length: 9000000000")) as peer:
        problem(peer.answer(), 413, "YOLO_MAX_UPLOAD_MB")


def test_a_client_that_expects_100_continue_is_refused_before_its_body(
    server: ServerProcess,
) -> None:
    head = post("/detect", "Content-Length: 9000000000", "Expect: 100-continue")
    with Peer(server.port, head) as peer:
        problem(peer.answer(), 413, "YOLO_MAX_UPLOAD_MB")
        assert peer.is_closed()


def test_a_body_that_stalls_is_answered_408(start_server: StartServer, photo: bytes) -> None:
    server = start_server(request_timeout="1")
    with Peer(server.port, post("/detect", "Content-Length: 1000") + FILE) as peer:
        client = server.client()
        assert client.post([("image_file", photo)]).status == 200
        client.close()
        problem(peer.answer(), 408, "took too long to arrive")
        assert peer.is_closed()


def test_a_thousand_slow_bodies_are_refused_early_and_others_are_served(
    start_server: StartServer, photo: bytes
) -> None:
    """They take every connection; the timeout of requests would keep them for a minute."""
    server = start_server()
    begin = time.monotonic()
    with ExitStack() as stack:
        head = post("/detect", "Content-Length: 1000000") + FILE
        peers = [stack.enter_context(Peer(server.port, head)) for _ in range(MAX_CONNECTIONS)]
        sending = threading.Thread(target=send_slowly, args=(peers, begin + GRACE_SECONDS))
        sending.start()
        client = server.client()
        assert client.post([("image_file", photo)]).status == 200
        assert time.monotonic() - begin < 45  # and not the minute that a request may take
        client.close()
        sending.join()
        problem(peers[0].answer(), 408, "less than 8 kB per second")
        assert peers[0].is_closed()


def send_slowly(peers: list[Peer], until: float) -> None:
    """Send single bytes on each connection until a time."""
    while time.monotonic() < until:
        for peer in peers:
            peer.flood(b"x", times=1)


def test_a_slow_body_above_the_minimum_rate_is_read(server: ServerProcess, photo: bytes) -> None:
    """It takes longer than the grace, at three times the smallest rate."""
    body = FILE + photo + bytes(int(3 * MIN_RATE * (GRACE_SECONDS + 1))) + b"\r\n--b--\r\n"
    pieces = [body[i : i + MIN_RATE] for i in range(0, len(body), MIN_RATE)]
    with Peer(server.port, post("/detect", f"Content-Length: {len(body)}")) as peer:
        for piece in pieces:
            peer.send(piece)
            time.sleep(1 / 3)
        assert peer.answer().status == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(FILE[:-2] + b"a: b\r\n" * 3_000_000, id="endless headers of a part"),
        pytest.param(
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + b"x" * 1_000_000,
            id="a long field",
        ),
        pytest.param(FILE + b"x\r\n" + (FILE + b"x\r\n") * 100, id="many parts"),
    ],
)
def test_the_memory_of_a_form_is_bounded(server: ServerProcess, body: bytes) -> None:
    body += b"\r\n--b--\r\n"
    with Peer(server.port, post("/detect", f"Content-Length: {len(body)}") + body) as peer:
        problem(peer.answer(), 413, "the form has too many fields")


@pytest.mark.parametrize("end", [b"", b"\r\n--b", b"\r\n--b\r\n"])
def test_a_form_that_is_cut_off_is_called_so(
    server: ServerProcess, photo: bytes, end: bytes
) -> None:
    body = FILE + photo + end
    with Peer(server.port, post("/detect", f"Content-Length: {len(body)}") + body) as peer:
        problem(peer.answer(), 400, "the form is cut off: no last boundary")


@pytest.mark.parametrize("end", [b"--b--", b"--b--\r\n", b"--b--\r\ntext after it" * 1000])
def test_what_comes_after_the_last_boundary_does_not_matter(
    server: ServerProcess, photo: bytes, end: bytes
) -> None:
    body = FILE + photo + b"\r\n" + end
    request = post("/detect", f"Content-Length: {len(body)}") + body
    with Peer(server.port, request + request) as peer:
        assert [peer.answer().status, peer.answer().status] == [200, 200]


@pytest.mark.parametrize("filling", [b"\r", b"\n", b"\r\n", b"\r\n--", b"\r\n--x", b"-"])
def test_a_file_that_looks_like_boundaries_is_parsed_fast(
    server: ServerProcess, client: Client, filling: bytes
) -> None:
    body = FILE + (filling * 19_000_000)[:19_000_000] + b"\r\n--b--\r\n"
    head, cost = post("/detect", f"Content-Length: {len(body)}"), Cost(server.process.pid)
    before = cost.seconds
    with served_meanwhile(client), Peer(server.port, head + body) as peer:
        problem(peer.answer(), 415, "no image of a known format")
    assert cost.seconds - before < 5


def test_uploads_together_are_bounded(start_server: StartServer, photo: bytes) -> None:
    """Twenty clients each leave 19 MB without an end: more than all may take together."""
    server = start_server(request_timeout="20")
    cost = Cost(server.process.pid)
    head = post("/detect", "Content-Length: 19900000") + FILE
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.port, head)) for _ in range(20)]
        for peer in peers:
            peer.flood(bytes(1_000_000), times=19)
        client = server.client()
        refused = client.post([("image_file", photo + bytes(15_000_000))])
        problem(refused, 503, "MB of images are being served already")
        assert refused.headers["Retry-After"]
        assert cost.memory < 1_000_000_000
    # Their memory is free again.
    while client.post([("image_file", photo + bytes(15_000_000))]).status != 200:
        pass
    client.close()


def test_idle_connections_are_closed_for_new_ones(start_server: StartServer) -> None:
    server = start_server()
    with ExitStack() as stack:
        idle = [stack.enter_context(Peer(server.port)) for _ in range(MAX_CONNECTIONS + 20)]
        client = server.client()
        assert client.get("/healthz").status == 200
        client.close()
        assert idle[0].is_closed()


def test_slow_headers_do_not_hold_up_others(server: ServerProcess, client: Client) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(Peer(server.port, b"GET /healthz HTTP/1.1\r\nHost: a\r\nA: "))
        with served_meanwhile(client):
            client_of_all = server.client()
            assert client_of_all.get("/models").status == 200
            client_of_all.close()


def test_clients_that_do_not_read_cost_no_worker(server: ServerProcess, photo: bytes) -> None:
    """A thousand answers stay unread: sockets fill up, workers go on."""
    parts: list[Part] = [("image_file", photo), ("threshold", "0"), ("nms", "0")]
    body = multipart(parts)
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    head = f"POST /detect HTTP/1.1\r\nHost: a\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    with ExitStack() as stack:
        for _ in range(20):
            peer = stack.enter_context(Peer(server.port, timeout=0.2))
            peer.flood(request, times=50)
        client = server.client()
        assert client.post([("image_file", photo)]).status == 200
        client.close()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"[0" + b",0" * 8_000_000 + b"]"),
        ("multipart/form-data; boundary=b", FILE + bytes(16_000_000)),
        ("application/x-www-form-urlencoded", b"a=b" + b"&a=b" * 4_000_000),
    ],
    ids=["json", "multipart", "urlencoded"],
)
@pytest.mark.parametrize("path", ["/healthz", "/models", "/detect?url=http://127.0.0.1:1/"])
def test_a_body_that_no_route_takes_is_not_read(
    server: ServerProcess, client: Client, path: str, kind: str, body: bytes
) -> None:
    lines = (f"GET {path} HTTP/1.1", "Host: a", f"Content-Type: {kind}")
    head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode()
    with served_meanwhile(client), Peer(server.port, head) as peer:
        assert peer.answer().status in {200, 424}  # before the body has come
        peer.flood(body, times=1)


def test_a_list_of_models_needs_no_body_and_reads_none_but_a_form(
    server: ServerProcess, client: Client
) -> None:
    path = "/v1/vision/custom/list"
    body = b"[0" + b",0" * 8_000_000 + b"]"
    with served_meanwhile(client):
        other = server.client()
        answer = other.request("POST", path, body, {"Content-Type": "application/json"})
        other.close()
    assert answer.status == client.request("POST", path).status == 200


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_form_of_millions_of_fields_is_refused_while_others_are_served(
    server: ServerProcess, client: Client, coding: str
) -> None:
    body = b"a=1&" * 4_500_000
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": coding}
    with served_meanwhile(client), closing(server.client()) as other:
        sent = gzip.compress(body) if coding == "gzip" else body
        answer = other.request("POST", "/v1/vision/custom/list", sent, kind)
    assert answer.status == 413


def test_head_costs_no_inference(client: Client, photos: str) -> None:
    answer = client.request("HEAD", f"/detect?url={photos}/a.jpg")
    assert answer.status == 405
    assert "HEAD" not in answer.headers["Allow"]
    assert client.request("HEAD", "/healthz").status == 200


def test_no_file_stays_open_after_clients_disconnect(server: ServerProcess, photo: bytes) -> None:
    cost = Cost(server.process.pid)
    before = cost.files
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(Peer(server.port, post("/detect", "Content-Length: 10") + b"--b"))
    client = server.client()
    client.get("/healthz")  # connections are accepted in order: all before this one are
    end = time.monotonic() + 60
    while cost.files > before + 5 and time.monotonic() < end:
        client.get("/healthz")
    client.close()
    assert cost.files <= before + 5
