from __future__ import annotations

import contextlib
import functools
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.server
import gevent.ssl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sites import Handler, Site, resolver
from yolo_service.errors import FetchFailed, FetchForbidden, PayloadTooLarge, ServiceError
from yolo_service.http import fetch as fetch_module
from yolo_service.http.fetch import AddressInfo, FetchPolicy, HostResolver

fetch = functools.partial(fetch_module.fetch, resolve=HostResolver())

LOCAL = FetchPolicy(
    max_bytes=100_000,
    allow_networks=(ip_network("127.0.0.0/8"), ip_network("::1")),
    connect_timeout=60,
    read_timeout=60,
    total_timeout=60,
)
PUBLIC_ONLY = FetchPolicy(max_bytes=100_000)
IMAGE = bytes(range(256)) * 20
OK = "HTTP/1.1 200 OK\nContent-Type: image/jpeg"
MOVED = "HTTP/1.1 302 Found\nContent-Length: 0\nLocation: "


@pytest.fixture
def site() -> Iterator[Site]:
    with Site().running() as running:
        yield running


def forever(piece: bytes) -> Handler:
    def handler(connection: Any) -> None:
        while True:
            connection.sendall(piece)

    return handler


class TestAnswers:
    def test_the_bytes_arrive_as_they_were_sent(self, site: Site) -> None:
        url = site.on("/dog.jpg", f"{OK}\nContent-Length: {len(IMAGE)}", IMAGE)
        assert fetch(url, LOCAL) == IMAGE

    def test_a_body_without_length_ends_with_the_connection(self, site: Site) -> None:
        assert fetch(site.on("/", OK, IMAGE), LOCAL) == IMAGE

    def test_a_chunked_body_is_put_together(self, site: Site) -> None:
        half = len(IMAGE) // 2
        chunks = b"".join(
            f"{half:x}\r\n".encode() + part + b"\r\n" for part in (IMAGE[:half], IMAGE[half:])
        )
        url = site.on("/", f"{OK}\nTransfer-Encoding: chunked", chunks, b"0\r\n\r\n")
        assert fetch(url, LOCAL) == IMAGE

    def test_the_request_says_who_asks_and_wants_no_compression(self, site: Site) -> None:
        fetch(site.on("/a%20b", OK, IMAGE) + "?k=v", LOCAL)
        head = site.requests[0].split("\r\n")
        assert head[0] == "GET /a%20b?k=v HTTP/1.1"
        assert f"Host: 127.0.0.1:{site.port}" in head
        assert "Accept-Encoding: identity" in head
        assert any(line.startswith("User-Agent: yolo-service/") for line in head)

    def test_blanks_and_umlauts_in_a_url_are_escaped(self, site: Site) -> None:
        site.on("/k%C3%BCche%201.jpg", OK, IMAGE)
        assert fetch(site.url("/küche 1.jpg"), LOCAL) == IMAGE

    @pytest.mark.parametrize("kind", ["application/octet-stream", "image/x-unknown"])
    def test_an_unusual_content_type_is_left_to_the_decoder(self, site: Site, kind: str) -> None:
        url = site.on("/", f"HTTP/1.1 200 OK\nContent-Type: {kind}", IMAGE)
        assert fetch(url, LOCAL) == IMAGE

    @pytest.mark.parametrize(
        ("head", "body", "words"),
        [
            ("HTTP/1.1 404 Not Found", b"", "answered 404, expected 200"),
            ("HTTP/1.1 500 Oops", b"", "answered 500"),
            ("HTTP/1.1 204 No Content", b"", "answered 204"),
            ("HTTP/1.1 302 Found", b"", "answered 302"),
            ("HTTP/1.1 200 OK\nContent-Type: text/html; charset=x", b"<html>", "text/html"),
            ("HTTP/1.1 200 OK\nContent-Type: multipart/x-mixed-replace", b"--", "multipart/x-mi"),
            (f"{OK}\nContent-Encoding: gzip", b"\x1f\x8b", "compressed"),
            (f"{OK}\nContent-Length: 100", b"short", "broke off after 5 bytes"),
            (f"{OK}\nTransfer-Encoding: chunked", b"64\r\nshort", "valid HTTP"),
            (f"{OK}\nTransfer-Encoding: chunked", b"-5\r\nshort\r\n0\r\n\r\n", "valid HTTP"),
            ("220 smtp.example ESMTP", b"", "valid HTTP"),
            ("HTTP/1.1 200 OK\n" + "X: y\n" * 200, b"", "valid HTTP"),
            ("HTTP/1.1 200 OK\nX: " + "y" * 70_000, b"", "valid HTTP"),
        ],
    )
    def test_what_is_no_image_is_named(
        self, site: Site, head: str, body: bytes, words: str
    ) -> None:
        url = site.on("/x", head, body)
        with pytest.raises(FetchFailed, match=words):
            fetch(url, LOCAL)

    def test_messages_keep_path_and_query_to_themselves(self, site: Site) -> None:
        url = site.on("/path", "HTTP/1.1 403 Forbidden") + "?signature=hidden"
        with pytest.raises(FetchFailed, match=r"^127\.0\.0\.1 answered 403") as error:
            fetch(url, LOCAL)
        assert "hidden" not in str(error.value)
        assert "path" not in str(error.value)


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_followed_relative_to_its_url(self, site: Site, status: int) -> None:
        url = site.on("/a/old", f"HTTP/1.1 {status} Moved\nLocation: new?x=1\nContent-Length: 0")
        site.on("/a/new", OK, IMAGE)
        assert fetch(url, LOCAL) == IMAGE

    def test_a_redirect_in_utf_8_is_escaped_once(self, site: Site) -> None:
        site.on("/voil%C3%A0.jpg", OK, IMAGE)
        assert fetch(site.on("/start", f"{MOVED}/voil\u00e0.jpg"), LOCAL) == IMAGE

    def test_three_redirects_are_followed_and_four_are_not(self, site: Site) -> None:
        site.on("/0", OK, IMAGE)
        for n in range(1, 5):
            site.on(f"/{n}", f"{MOVED}/{n - 1}")
        assert fetch(site.url("/3"), LOCAL) == IMAGE
        with pytest.raises(FetchFailed, match="redirected more than 3 times"):
            fetch(site.url("/4"), LOCAL)

    def test_a_loop_ends(self, site: Site) -> None:
        url = site.on("/", f"{MOVED}/")
        with pytest.raises(FetchFailed, match="redirected more than 3 times"):
            fetch(url, LOCAL)
        assert len(site.requests) == 4

    @pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://[::1"])
    def test_a_redirect_to_another_scheme_is_refused(self, site: Site, to: str) -> None:
        with pytest.raises(FetchForbidden):
            fetch(site.on("/", MOVED + to), LOCAL)

    def test_a_redirect_into_a_forbidden_network_is_refused(self) -> None:
        only_2 = replace(LOCAL, allow_networks=(ip_network("127.0.0.2"),))
        with Site("127.0.0.2").running() as public, Site("127.0.0.3").running() as private:
            url = public.on("/", MOVED + private.on("/", OK, IMAGE))
            with pytest.raises(FetchForbidden, match=r"127\.0\.0\.3 is not on the public"):
                fetch(url, only_2)
            assert private.requests == []


class TestLimits:
    def test_a_length_beyond_the_limit_is_refused_before_the_body(self, site: Site) -> None:
        url = site.on("/", f"{OK}\nContent-Length: 100001")
        with pytest.raises(PayloadTooLarge, match="larger than 100000 bytes"):
            fetch(url, LOCAL)

    def test_as_many_bytes_as_allowed_arrive(self, site: Site) -> None:
        body = bytes(100_000)
        assert fetch(site.on("/", f"{OK}\nContent-Length: 100000", body), LOCAL) == body

    @pytest.mark.parametrize(
        ("head", "piece"),
        [
            (OK, bytes(10_000)),
            (f"{OK}\nTransfer-Encoding: chunked", b"400\r\n" + bytes(1024) + b"\r\n"),
        ],
    )
    def test_an_endless_body_is_cut_at_the_limit(self, site: Site, head: str, piece: bytes) -> None:
        head_bytes = head.replace("\n", "\r\n").encode() + b"\r\n\r\n"

        def handler(connection: Any) -> None:
            connection.sendall(head_bytes)
            forever(piece)(connection)

        with pytest.raises(PayloadTooLarge):
            fetch(site.handle("/", handler), LOCAL)

    def test_a_silent_host_is_given_up(self, site: Site) -> None:
        url = site.handle("/", lambda connection: connection.recv(1))
        with pytest.raises(FetchFailed, match="did not answer in time"):
            fetch(url, replace(LOCAL, read_timeout=0.1))

    def test_a_drip_of_bytes_ends_with_the_total_time(self, site: Site) -> None:
        def drip(connection: Any) -> None:
            connection.sendall(OK.replace("\n", "\r\n").encode() + b"\r\n\r\n")
            while True:
                gevent.sleep(0.05)
                connection.sendall(b"x")

        with pytest.raises(FetchFailed, match=r"did not send the image within 0\.4 s"):
            fetch(site.handle("/", drip), replace(LOCAL, total_timeout=0.4))

    def test_a_look_up_counts_for_the_total_time(self) -> None:
        def resolve(*_: object, **__: object) -> list[AddressInfo]:
            gevent.event.Event().wait(5)
            return []

        with pytest.raises(FetchFailed, match=r"within 0\.1 s"):
            fetch("http://slow.example/", replace(LOCAL, total_timeout=0.1), resolve=resolve)

    def test_a_fast_host_that_never_ends_its_headers_cannot_block_the_loop(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=_send_without_end, args=(server,))
            thread.start()
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
            with pytest.raises(FetchFailed, match=r"within 0\.3 s"):
                fetch(url, replace(LOCAL, total_timeout=0.3))
            thread.join()

    def test_a_hundred_waiting_fetches_do_not_hold_up_others(self, site: Site) -> None:
        silent = site.handle("/silent", lambda connection: connection.recv(1))
        image = site.on("/dog.jpg", OK, IMAGE)
        waiting = [gevent.spawn(fetch, silent, LOCAL) for _ in range(100)]
        try:
            for _ in range(10):
                assert fetch(image, LOCAL) == IMAGE
            assert not any(greenlet.ready() for greenlet in waiting)
        finally:
            gevent.killall(waiting)


def _send_without_end(server: socket.socket) -> None:
    """A host on another thread: its bytes are there before they are asked for."""
    connection, _ = server.accept()
    with connection, contextlib.suppress(OSError):
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("file:///etc/passwd", "only http and https"),
            ("ftp://example.com/dog.jpg", "only http and https"),
            ("gopher://example.com/", "only http and https"),
            ("dog.jpg", "only http and https"),
            ("", "only http and https"),
            ("localhost:8080/dog.jpg", "only http and https"),
            ("http://", "no valid host"),
            ("http:///dog.jpg", "no valid host"),
            ("http://example.com:0/", "no valid host and port"),
            ("http://example.com:65536/", "malformed"),
            ("http://example.com:http/", "malformed"),
            ("http://[::1", "malformed"),
            ("http://two words/", "no valid host"),
            ("http://nul\0.example/", "no valid host"),
            (f"http://{'a' * 64}.example/", "malformed"),
            ("http://user:secret@example.com/", "user name or password"),
            ("http://example.com\\@127.0.0.1/", "user name or password"),
        ],
    )
    def test_a_url_that_is_none_is_refused_with_a_reason(self, url: str, words: str) -> None:
        with pytest.raises(FetchForbidden, match=words) as error:
            fetch(url, PUBLIC_ONLY)
        assert "secret" not in str(error.value)

    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1", "localhost", "127.1", "2130706433", "0177.0.0.1", "0x7f.1"),
            *("①②⑦.0.0.1", "0.0.0.0", "0", "[::1]", "[::]", "[::ffff:127.0.0.1]"),
            *("[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[fe80::1]"),
            *("10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1"),
        ],
    )
    def test_every_spelling_of_a_private_address_is_refused(self, host: str) -> None:
        with pytest.raises(FetchForbidden, match="YOLO_URL_ALLOW_NETWORKS"):
            fetch(f"http://{host}/", PUBLIC_ONLY)

    @given(st.text(max_size=40))
    def test_no_text_raises_anything_but_service_errors(self, text: str) -> None:
        for url in (text, f"http://{text}", f"http://127.0.0.1:1/{text}"):
            with pytest.raises(ServiceError):
                fetch(url, PUBLIC_ONLY, resolve=resolver())


class TestNames:
    def test_a_name_is_looked_up_once_and_its_checked_address_is_used(self) -> None:
        only_2 = replace(LOCAL, allow_networks=(ip_network("127.0.0.2"),))
        with Site("127.0.0.2").running() as public, Site("127.0.0.3").running() as private:
            public.on("/", OK, IMAGE)
            rebinding = resolver([("127.0.0.2", public.port)], [("127.0.0.3", private.port)])
            assert fetch("http://rebind.example/", only_2, resolve=rebinding) == IMAGE
            with pytest.raises(FetchForbidden):
                fetch("http://rebind.example/", only_2, resolve=rebinding)
            assert private.requests == []

    def test_one_forbidden_address_among_several_is_enough(self, site: Site) -> None:
        mixed = resolver([("93.184.215.14", 80), ("127.0.0.1", site.port)])
        with pytest.raises(FetchForbidden, match=r"mixed\.example is not on the public internet"):
            fetch("http://mixed.example/", PUBLIC_ONLY, resolve=mixed)

    def test_the_next_address_is_tried_where_one_refuses(self, site: Site) -> None:
        site.on("/", OK, IMAGE)
        both = resolver([("127.0.0.9", site.port), ("127.0.0.1", site.port)])
        assert fetch("http://two.example/", LOCAL, resolve=both) == IMAGE
        assert "Host: two.example\r\n" in site.requests[0]

    def test_an_unknown_name_is_called_unknown(self) -> None:
        with pytest.raises(FetchFailed, match=r"nowhere\.example is not a known host name"):
            fetch("http://nowhere.example/", LOCAL, resolve=resolver())

    def test_a_closed_port_is_called_refused(self) -> None:
        with pytest.raises(FetchFailed, match="refused the connection"):
            fetch("http://127.0.0.9:9/", LOCAL)

    def test_ipv6_is_fetched_where_it_is_allowed(self) -> None:
        if not socket.has_ipv6:
            pytest.skip("this Python has no IPv6")
        with contextlib.ExitStack() as stack:
            try:
                site = stack.enter_context(Site("::1").running())
            except OSError:
                pytest.skip("this machine has no IPv6 loopback")
            site.on("/", OK, IMAGE)
            assert fetch(site.url("/", "[::1]"), LOCAL) == IMAGE
            assert f"Host: [::1]:{site.port}\r\n" in site.requests[0]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("the command openssl is missing; apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([openssl, *command.split(), *subject, *files], check=True, capture_output=True)
    return certificate, key


class TestTls:
    @pytest.fixture
    def secure(self, certificate: tuple[Path, Path]) -> Iterator[Site]:
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        with Site(tls=context).running() as running:
            running.on("/", OK, IMAGE)
            yield running

    @pytest.fixture
    def trusted(
        self, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        fetch_module._tls.cache_clear()
        yield
        fetch_module._tls.cache_clear()

    def test_a_self_signed_certificate_is_refused(self, secure: Site) -> None:
        with pytest.raises(FetchFailed, match="certificate that is not trusted"):
            fetch(secure.url("/", "localhost"), LOCAL)
        assert secure.requests == []

    @pytest.mark.usefixtures("trusted")
    def test_a_trusted_certificate_is_checked_against_the_name(self, secure: Site) -> None:
        here = resolver(*[[("127.0.0.1", secure.port)]] * 2)
        assert fetch("https://localhost/", LOCAL, resolve=here) == IMAGE
        assert "Host: localhost\r\n" in secure.requests[0]
        with pytest.raises(FetchFailed, match=r"other\.example has a certificate"):
            fetch("https://other.example/", LOCAL, resolve=here)

    def test_https_to_a_port_that_speaks_http_is_explained(self) -> None:
        plain = gevent.server.StreamServer(
            ("127.0.0.1", 0), lambda connection, _: connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")
        )
        plain.start()
        with contextlib.closing(plain), pytest.raises(FetchFailed, match="does not speak TLS"):
            fetch(f"https://127.0.0.1:{plain.server_port}/", LOCAL)
