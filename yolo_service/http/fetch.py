"""Download of an image from a URL of a client, guarded against server-side request forgery.

A host name is looked up once, all its addresses are checked, the connection goes to a checked
address, and redirects are checked like the URL itself. Sizes and times are limited.

Sockets and TLS are gevent's, below http.client, so that other greenlets run meanwhile. Proxies are
not supported: they would do the look-up.
"""

from __future__ import annotations

import errno
import functools
import http.client
import importlib.metadata
import io
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import gevent
import gevent.socket
import gevent.ssl

from yolo_service import metrics
from yolo_service.api.client import current_client
from yolo_service.api.waiting import wait
from yolo_service.errors import (
    DeadlineExceeded,
    FetchFailed,
    FetchForbidden,
    Overloaded,
    PayloadTooLarge,
)
from yolo_service.http.addresses import IpNetwork, may_fetch
from yolo_service.http.streams import YieldingReader
from yolo_service.settings import Settings
from yolo_service.threads import DaemonExecutor

AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
Resolve = Callable[..., Sequence[AddressInfo]]
"""Called and answering like ``socket.getaddrinfo(host, port, type=SOCK_STREAM)``."""

_HOST = re.compile(r"[A-Za-z0-9._:-]+(%\w+)?")  # a name, an IPv4 or an IPv6 address with its zone
_URL_SAFE = "/?:@!$&'()*+,;=%~[]"  # not escaped, unlike spaces and letters beyond ASCII
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_IMAGES = re.compile(r"(text|multipart|audio|video)/|application/(json|xhtml|xml)")
_PIECE = 1 << 16

_REASONS: tuple[tuple[type[Exception], str], ...] = (  # the first that fits
    (TimeoutError, "did not answer in time; try again, or check the URL"),
    (socket.gaierror, "is not a known host name; check the URL"),
    (
        ssl.SSLCertVerificationError,
        "has a certificate that is not trusted; replace it, or use http",
    ),
    (ssl.SSLError, "does not speak TLS there; check the port, or use http"),
    (ConnectionRefusedError, "refused the connection; check the host and the port"),
    (OSError, "could not be reached, or broke the connection; check the host and the port"),
    (Exception, "did not answer with valid HTTP; check the URL"),
)

RESOLVER_THREADS = 32
"""Host names that are looked up at once; one without an answer takes a thread for ten seconds."""


@dataclass(frozen=True)
class FetchPolicy:
    """Limits of downloads.

    Attributes:
        max_bytes: largest image.
        allow_networks: networks that may be fetched from although they are not public.
        connect_timeout: seconds for each address of a host, and again for TLS.
        read_timeout: seconds without a byte.
        total_timeout: seconds from the look-up to the last byte, redirects included.
        max_redirects: how many redirects are followed.
    """

    max_bytes: int
    allow_networks: tuple[IpNetwork, ...] = ()
    connect_timeout: float = 5.0
    read_timeout: float = 5.0
    total_timeout: float = 10.0
    max_redirects: int = 3


class Fetcher:
    """Downloads images for requests that are being handled, within the limits of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._policy = FetchPolicy(
            allow_networks=settings.url_allow_networks,
            max_bytes=settings.max_upload_bytes,
            total_timeout=settings.url_timeout,
        )
        self._resolve = HostResolver()

    def __call__(self, url: str) -> bytes:
        """Download an image.

        Raises:
            ClientGone: the client closed its connection.
            DeadlineExceeded: the request's time is over.
            Overloaded: too many host names are being looked up, or images fill the memory.
            ServiceError: see ``fetch``.
        """
        client = current_client()
        seconds = max(0.001, client.deadline - time.monotonic())
        limit = gevent.Timeout(None if seconds == math.inf else seconds, DeadlineExceeded())
        with metrics.FETCH_SECONDS.time(), limit, client.while_connected():
            return fetch(url, self._policy, resolve=self._resolve, received=client.hold)


class HostResolver:
    """Looks host names up on threads of its own.

    gevent's resolver shares ten threads with everything else: ten names whose DNS does not answer
    would stop all downloads.
    """

    def __init__(self, threads: int = RESOLVER_THREADS) -> None:
        self._executor = DaemonExecutor("DNS", threads, max_waiting=0)

    def __call__(self, host: str, port: int, **options: Any) -> Sequence[AddressInfo]:
        """Look a host name up as ``socket.getaddrinfo`` does, without blocking other greenlets.

        Raises:
            OSError: the name is not known.
            Overloaded: all threads are waiting for the DNS.
        """
        return wait(self._executor.submit(socket.getaddrinfo, host, port, **options))


def fetch(
    url: str,
    policy: FetchPolicy,
    *,
    resolve: Resolve,
    received: Callable[[int], None] = lambda _: None,
) -> bytes:
    """Download an image; other greenlets run meanwhile.

    Messages name the host, but neither path nor query, which may hold a signature.

    Args:
        url: http or https, without user name and password, any port.
        policy: networks, sizes and times.
        resolve: how a host name becomes addresses.
        received: called with the length of each piece of the image; may raise to end the download.

    Returns:
        The body of the response; whether it is an image is not checked.

    Raises:
        FetchForbidden: the URL, or one it redirects to, is malformed, has another scheme, or leads
            to an address that is neither public nor allowed.
        FetchFailed: no response, not in time, not 200, or not an image by its content type.
        PayloadTooLarge: more than ``policy.max_bytes``.
    """
    download = _Download(_parse(url), policy, resolve, received)
    host = download.target.host
    try:
        with gevent.Timeout(policy.total_timeout) as limit:
            return download.run()
    except gevent.Timeout as expired:
        if expired is not limit:
            raise
        seconds = f"{policy.total_timeout:g} s"
        raise FetchFailed(
            f"{host} did not send the image within {seconds}; try again, or check the URL"
        ) from None


@dataclass(frozen=True)
class _Target:
    """A URL that passed the checks that need no look-up; ``path`` is escaped, with its query."""

    scheme: str
    host: str
    port: int
    path: str
    url: str


def _parse(url: str, base: str = "") -> _Target:
    try:
        parts = urlsplit(urljoin(base, url.strip()))
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = parts.port
    except ValueError:
        raise FetchForbidden("the URL is malformed; expected http://host/path") from None
    if parts.scheme not in ("http", "https"):
        raise FetchForbidden("only http and https are fetched; expected http://host/path")
    if not _HOST.fullmatch(host) or port == 0:
        raise FetchForbidden("the URL has no valid host and port; expected http://host:port/path")
    if "@" in parts.netloc:
        raise FetchForbidden("a URL with user name or password is not fetched; leave them out")
    port = port or (443 if parts.scheme == "https" else 80)
    path = quote(parts.path or "/", safe=_URL_SAFE)
    query = quote(f"?{parts.query}", safe=_URL_SAFE) if parts.query else ""
    return _Target(parts.scheme, host, port, path + query, parts.geturl())


@dataclass
class _Download:
    """The download of one image; ``target`` is the URL that is requested next."""

    target: _Target
    policy: FetchPolicy
    resolve: Resolve
    received: Callable[[int], None]

    def run(self) -> bytes:
        for _ in range(self.policy.max_redirects + 1):
            answer = self._request()
            if isinstance(answer, bytes):
                return answer
            self.target = _parse(answer, base=self.target.url)
        raise self._failed(
            f"redirected more than {self.policy.max_redirects} times; use the final URL"
        )

    def _request(self) -> bytes | str:
        """Return the image, or the URL that the host redirects to."""
        try:
            with closing(_Connection(self.target, self._addresses(), self.policy)) as connection:
                connection.request("GET", self.target.path, headers=_request_headers())
                with connection.getresponse() as response:
                    location = response.headers.get("Location")
                    if response.status in _REDIRECTS and location:
                        # http.client decodes as Latin-1 what is usually UTF-8.
                        return quote(location.encode("latin-1"), safe=f"{_URL_SAFE}#")
                    self._check_headers(response)
                    return self._read(response)
        # http.client raises ValueError for chunks whose size is no number or negative.
        except (OSError, ValueError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
                raise Overloaded("too many files and connections are open; try later") from error
            reason = next(text for kind, text in _REASONS if isinstance(error, kind))
            raise self._failed(reason) from error

    def _addresses(self) -> list[AddressInfo]:
        """Look the host up and check all its addresses, so that no other can be connected to."""
        found = list(self.resolve(self.target.host, self.target.port, type=socket.SOCK_STREAM))
        if not all(may_fetch(ip_address(info[4][0]), self.policy.allow_networks) for info in found):
            raise FetchForbidden(
                f"{self.target.host} is not on the public internet; to fetch from it nevertheless, "
                "set YOLO_URL_ALLOW_NETWORKS on the server to its network"
            )
        return found

    def _check_headers(self, response: http.client.HTTPResponse) -> None:
        kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if response.status != http.client.OK:
            raise self._failed(f"answered {response.status}, expected 200; check the URL")
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise self._failed("answered with compressed data, expected identity; check the URL")
        if _NOT_IMAGES.match(kind):
            raise self._failed(f"answered {kind[:50]}, expected an image; check the URL")
        self._check_size(response.length or 0)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        body = bytearray()
        while piece := response.read(_PIECE):
            body += piece
            self.received(len(piece))
            self._check_size(len(body))
        if response.length:  # what is missing of the Content-Length; None without one
            raise self._failed(f"broke off after {len(body)} bytes; try again")
        return bytes(body)

    def _check_size(self, length: int) -> None:
        if length > self.policy.max_bytes:
            raise PayloadTooLarge(
                f"the image at {self.target.host} is larger than {self.policy.max_bytes} bytes; "
                "send a smaller one, or set YOLO_MAX_UPLOAD_MB on the server"
            )

    def _failed(self, reason: str) -> FetchFailed:
        return FetchFailed(f"{self.target.host} {reason}")


@functools.cache
def _request_headers() -> dict[str, str]:
    return {
        "User-Agent": f"yolo-service/{importlib.metadata.version('yolo-service')}",
        "Accept": "image/*, */*;q=0.5",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(YieldingReader(self.fp.detach()))


class _Connection(http.client.HTTPConnection):
    """A connection to one of the addresses given; the host name is not looked up again."""

    response_class = _Response

    def __init__(self, target: _Target, addresses: list[AddressInfo], policy: FetchPolicy) -> None:
        super().__init__(target.host, target.port)
        self._addresses, self._policy = addresses, policy
        self._is_secure = target.scheme == "https"
        self.default_port = 443 if self._is_secure else 80

    def connect(self) -> None:
        self.sock = _connect(self._addresses, self._policy.connect_timeout)
        if self._is_secure:
            self.sock = _tls().wrap_socket(self.sock, server_hostname=self.host)
        self.sock.settimeout(self._policy.read_timeout)


def _connect(addresses: list[AddressInfo], timeout: float) -> Any:
    """Return a socket to the first address that answers; raise the last one's error."""
    problem: OSError = socket.gaierror("no address")
    for family, _, _, _, address in addresses:
        connection = gevent.socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(address)
        except BaseException as error:  # also the total timeout, which is raised in any place
            connection.close()
            if not isinstance(error, OSError):
                raise
            problem = error
        else:
            return connection
    raise problem


@functools.cache
def _tls() -> Any:
    """Make the TLS settings once: reading the system's certificates takes a while."""
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context
