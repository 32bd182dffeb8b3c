"""The header fields of a request, read as RFC 9112 writes them, and no other way.

gevent reads them with Python's parser of e-mails, which takes a tenth of the time that a request
spends on the loop, and takes what proxies may read differently: folded lines, and names with
spaces in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

MAX_LINE = 65_536
"""Bytes of a line."""
MAX_FIELDS = 100

_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)\r?\n")
_ENDS = (b"\r\n", b"\n")


class HeaderFields:
    """Names and values as they came; the methods are those that gevent's handler calls.

    Args:
        fields: names and values in order.

    Attributes:
        status: what is wrong with them, in gevent's words; never anything, see ``read_fields``.
    """

    status = ""

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
        """Forget every value of a name; KeyError if there is none."""
        del self._values[name.lower()]

    def environ(self) -> Iterator[tuple[str, str]]:
        """Yield names and values for a WSGI environment, but for the body's type and length.

        Names with an underscore are left out: in an environment they look like others' names.
        """
        for name, values in self._values.items():
            if "_" not in name and name not in {"content-type", "content-length"}:
                key = "HTTP_" + name.upper().replace("-", "_")
                yield from ((key, value) for value in values)


def read_fields(file: IO[bytes]) -> HeaderFields:
    """Read header fields and the empty line behind them.

    Raises:
        ValueError: a line is no header field or too long, there are too many, or no end.
    """
    fields: list[tuple[str, str]] = []
    while (line := file.readline(MAX_LINE)) not in _ENDS:
        match = _FIELD.fullmatch(line)
        if match is None or len(fields) == MAX_FIELDS:
            raise ValueError("a line that is no header field, or one too many")
        name, value = match[1].decode("ascii"), match[2].decode("latin-1")
        fields.append((name, value.strip(" \t")))
    return HeaderFields(fields)
