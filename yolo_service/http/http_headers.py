"""Strict parser of a request's header fields (RFC 9112), and checks of host and framing.

gevent uses Python's parser of e-mails, which takes a tenth of the time that a request spends on the
loop, and accepts what proxies may read differently: folded lines, and names with spaces in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

MAX_BYTES = 65_536
"""Bytes of all header fields; parsing some of them takes time that grows with their square."""
MAX_FIELDS = 100

_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)\r?\n")
_ENDS = (b"\r\n", b"\n")
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_ORIGIN = re.compile(r"\Ahttps?://[^/?#]+(?=/)", re.IGNORECASE)
_BEYOND_ASCII = re.compile(r"[\x80-\xff]")
_LENGTH = re.compile("[0-9]+")


class InvalidRequestError(ValueError):
    """A request that is not valid HTTP; the message repeats nothing of it."""


class HeadersTooLargeError(InvalidRequestError):
    """The header fields have more than ``MAX_BYTES``, or are more than ``MAX_FIELDS``."""


class HeaderFields:
    """Names and values of header fields; the methods are those that gevent's handler calls."""

    status = ""  # gevent would answer it as an error

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(name.lower(), []).append(value)

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of a name, in any case."""
        values = self._values.get(name.lower())
        return values[0] if values else default

    getheader = get

    @property
    def typeheader(self) -> str | None:
        """The type of the body."""
        return self.get("content-type")

    def get_all(self, name: str) -> list[str]:
        """Return every value of a name, in any case."""
        return self._values.get(name.lower(), [])

    def __delitem__(self, name: str) -> None:
        """Remove every value of a name; KeyError if there is none."""
        del self._values[name.lower()]

    def environ(self) -> Iterator[tuple[str, str]]:
        """Yield names and values for a WSGI environment, except the body's type and length.

        Names with an underscore are left out: in an environment ``X_Key`` and ``X-Key`` are equal.
        """
        for name, values in self._values.items():
            if "_" not in name and name not in {"content-type", "content-length"}:
                key = "HTTP_" + name.upper().replace("-", "_")
                yield from ((key, value) for value in values)


def read_fields(file: IO[bytes]) -> HeaderFields:
    """Read header fields up to the empty line after them.

    Raises:
        HeadersTooLargeError: there are more than ``MAX_BYTES`` or ``MAX_FIELDS``.
        InvalidRequestError: a line is no header field, or the empty line is missing.
    """
    fields: list[tuple[str, str]] = []
    left = MAX_BYTES
    while (line := file.readline(left + 1)) not in _ENDS:
        if (left := left - len(line)) < 0:
            raise HeadersTooLargeError(f"expected at most {MAX_BYTES} bytes of header fields")
        match = _FIELD.fullmatch(line)
        if match is None:
            raise InvalidRequestError(f"header field {len(fields) + 1} is not a line NAME: VALUE")
        if len(fields) == MAX_FIELDS:
            raise HeadersTooLargeError(f"expected at most {MAX_FIELDS} header fields")
        name, value = match[1].decode("ascii"), match[2].decode("latin-1")
        fields.append((name, value.strip(" \t")))
    return HeaderFields(fields)


def escape_beyond_ascii(line: str) -> str:
    """Escape the bytes of a request line that no URL may have but clients send, as in UTF-8."""
    return _BEYOND_ASCII.sub(lambda found: f"%{ord(found[0]):02X}", line)


def origin_form(target: str) -> str:
    """Return path and query of a request target, which may be a whole URL.

    Raises:
        InvalidRequestError: it is neither a path nor an http URL.
    """
    path = _ORIGIN.sub("", target)
    if not path.startswith("/") and path != "*":
        raise InvalidRequestError("expected a target that begins with / or http://")
    return path


def check_framing(fields: HeaderFields, version: str) -> None:
    """Refuse requests whose host or end a proxy could read otherwise (RFC 9112, 3.2 and 6).

    Raises:
        InvalidRequestError: a version other than HTTP/1.0 and HTTP/1.1; several or invalid hosts,
            or none in HTTP/1.1; a length that is not one number; a transfer coding other than
            ``chunked``, together with a length, or in HTTP/1.0.
    """
    if version not in {"HTTP/1.0", "HTTP/1.1"}:
        raise InvalidRequestError("expected version HTTP/1.0 or HTTP/1.1")
    hosts = fields.get_all("host")
    if len(hosts) > 1 or not all(_HOST.fullmatch(host) for host in hosts):
        raise InvalidRequestError("expected one Host header with a host name and a port")
    if version == "HTTP/1.1" and not hosts:
        raise InvalidRequestError("expected a Host header, which HTTP/1.1 requires")
    _check_body(fields, version)


def _check_body(fields: HeaderFields, version: str) -> None:
    lengths = fields.get_all("content-length")
    codings = fields.get_all("transfer-encoding")
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
        raise InvalidRequestError("expected one Content-Length header with a number of bytes")
    if codings and [coding.lower() for coding in codings] != ["chunked"]:
        raise InvalidRequestError("expected no Transfer-Encoding but chunked")
    if codings and (lengths or version == "HTTP/1.0"):
        raise InvalidRequestError("expected no Transfer-Encoding in HTTP/1.0 or with a length")
