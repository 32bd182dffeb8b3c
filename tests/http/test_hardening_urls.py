"""Image URLs of private addresses and hostile hosts, over HTTP; test_fetch.py has the rest."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support import sample_images
from tests.support.answers import problem
from tests.support.attacks import Cost, Peer, zipped
from tests.support.fixtures import Answer, Client, ServerProcess, StartServer, start_process

OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
Respond = Callable[[socket.socket], None]
Site = Callable[[Respond], str]


@pytest.fixture
def site() -> Iterator[Site]:
    """Start web servers whose answers a function writes; returns the URL of each."""
    listeners: list[socket.socket] = []

    def serve(listener: socket.socket, respond: Respond) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection, respond), daemon=True).start()

    def answer(connection: socket.socket, respond: Respond) -> None:
        with connection, suppress(OSError):
            connection.recv(65_536)
            respond(connection)

    def start(respond: Respond) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, respond), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/image.png"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture(scope="module")
def guarded(models: Path) -> Iterator[ServerProcess]:
    """A server that fetches from public addresses only, as it does by default."""
    process = start_process({"YOLO_MODELS_DIR": str(models)})
    process.wait_until_ready()
    yield process
    assert process.stop() == 0


def detect(client: Client, url: str) -> Answer:
    return client.get(f"/detect?url={quote(url, safe='')}")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
    ],
)
def test_no_spelling_of_a_private_address_is_fetched_from(
    guarded: ServerProcess, host: str
) -> None:
    client = guarded.client()
    answer = detect(client, f"http://{host}/")
    client.close()
    problem(answer, 400, "not on the public internet")


def test_a_refused_address_is_never_connected_to(guarded: ServerProcess, site: Site) -> None:
    connected = threading.Event()
    url = site(lambda _: connected.set())
    client = guarded.client()
    assert detect(client, url).status == 400
    assert client.get(f"/annotate?url={quote(url)}").status == 400
    assert client.get(f"/p/?img={quote(url)}").status == 400
    client.close()
    assert not connected.is_set()


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "http://10.0.0.1/", "file:///etc"])
def test_a_redirect_is_checked_like_the_url(client: Client, site: Site, target: str) -> None:
    moved = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
    answer = detect(client, site(lambda connection: connection.sendall(moved)))
    assert answer.status == 400
    assert answer.json["type"] == "url-not-allowed"


def drip(connection: socket.socket) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def endless(connection: socket.socket) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(bytes(1_000_000))


def endless_headers(connection: socket.socket) -> None:
    connection.sendall(OK)
    while True:
        connection.sendall(b"A: b\r\n" * 1000)


def chunked_without_end(connection: socket.socket) -> None:
    connection.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\na\r\n" * 10_000)


def bomb(connection: socket.socket) -> None:
    data = zipped(bytes(10_000_000))
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(data)
    connection.sendall(OK + head + data)


def too_short(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: 1000000\r\n\r\n" + sample_images.png())


def silent(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize(
    ("respond", "status"),
    [
        (drip, 424),
        (endless, 413),
        (endless_headers, 424),
        (chunked_without_end, 424),
        (bomb, 424),
        (too_short, 424),
        (silent, 424),
    ],
)
def test_a_hostile_host_costs_bounded_time_and_memory_while_others_are_served(
    start_server: StartServer, site: Site, photo: bytes, respond: Respond, status: int
) -> None:
    server = start_server(url_allow_networks="127.0.0.0/8", url_timeout="1", max_upload_mb="5")
    slow, other = server.client(), server.client()
    answers: list[Answer] = []
    url, cost = site(respond), Cost(server.process.pid)
    cost.reset_peak()
    before = cost.memory
    asking = threading.Thread(target=lambda: answers.append(detect(slow, url)))
    asking.start()
    served = 0
    while asking.is_alive():
        assert other.post([("image_file", photo)]).status == 200
        served += 1
    assert served > 0
    problem(answers[0], status, "127.0.0.1")
    assert cost.peak - before < 100_000_000
    slow.close()
    other.close()


def test_a_client_that_leaves_ends_its_download_at_once(
    start_server: StartServer, site: Site
) -> None:
    server = start_server(url_allow_networks="127.0.0.0/8", url_timeout="60")
    asked, left = threading.Event(), threading.Event()

    def wait(connection: socket.socket) -> None:
        connection.sendall(OK + b"\r\n")
        asked.set()
        with suppress(ConnectionResetError):  # if it has not read the headers yet
            assert not connection.recv(1)
        left.set()  # the service has closed its side

    url = quote(site(wait), safe="")
    with Peer(server.port, f"GET /detect?url={url} HTTP/1.1\r\nHost: a\r\n\r\n".encode()):
        assert asked.wait(10)
    assert left.wait(30)  # half of the time that the download may take
    server.wait_for(r"GET /detect 400 .* ms", seconds=30)


def test_a_client_that_sends_its_next_request_early_gets_its_download(
    server: ServerProcess, site: Site
) -> None:
    proceed = threading.Event()

    def wait(connection: socket.socket) -> None:
        assert proceed.wait(10)
        connection.sendall(OK + b"\r\n" + sample_images.png())

    head = f"GET /detect?url={quote(site(wait), safe='')} HTTP/1.1\r\nHost: a\r\n\r\n"
    with Peer(server.port, head.encode()) as peer:
        peer.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        proceed.set()
        assert peer.answer().status == 200
        assert peer.answer().json == {"status": "ok"}
