"""Multipart forms, read in one go.

Werkzeug's parser works piece by piece, for forms of any length; half of the time that a request
spent on the loop went there. Here a body is bounded and in memory anyway, so its parts are found
with a plain search: a photo of 160 kB takes 0.05 ms instead of 0.2.

Source: RFC 7578 and, for the boundaries, RFC 2046, section 5.1.1.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import IO, Any

from werkzeug.datastructures import FileStorage, Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from yolo_service.http.streams import PIECE

FORM = "multipart/form-data"

MAX_HEAD = 8192
"""Bytes of the headers of a part; reading them is slow, for millions takes seconds."""

MAX_LOOKALIKES = 1000
"""Lines of content that begin like a boundary; clients choose one that none does."""

_PLAIN_DISPOSITION = re.compile(
    r'form-data; name="(?P<name>[\w. -]*)"(?:; filename="(?P<filename>[\w. -]*)")?', re.ASCII
)
_LINE_END = re.compile(rb"(--)?[ \t]*(?:\r\n|\Z)")


class FormParser(FormDataParser):
    """Werkzeug's parser of forms, but for ``multipart/form-data``."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Any:
        """Read a form; one that is malformed counts as empty, as with Werkzeug.

        Args:
            stream: the body, limited to what may be read.
            mimetype: without parameters.
            content_length: of the body; None if the client does not say.
            options: the parameters of the type, with ``boundary``.

        Returns:
            The stream, the text fields and the files.

        Raises:
            RequestEntityTooLarge: more bytes, text or parts than allowed.
        """
        if mimetype != FORM:
            return super().parse(stream, mimetype, content_length, options)
        body = b"".join(iter(lambda: stream.read(PIECE), b""))
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        try:
            for part in self._parts(body, (options or {}).get("boundary", "")):
                self._sort(part, fields, files)
        except ValueError:
            return stream, self.cls(), self.cls()
        return stream, self.cls(fields), self.cls(files)

    def _parts(self, body: bytes, boundary: str) -> Iterator[memoryview]:
        for count, part in enumerate(split(body, boundary.encode("ascii")), start=1):
            if self.max_form_parts is not None and count > self.max_form_parts:
                raise RequestEntityTooLarge
            yield part

    def _sort(
        self, part: memoryview, fields: list[tuple[str, str]], files: list[tuple[str, FileStorage]]
    ) -> None:
        """Put a part where it belongs: what has a file name is a file."""
        head, blank, _ = bytes(part[: MAX_HEAD + 4]).partition(b"\r\n\r\n")
        if len(head) > MAX_HEAD:
            raise RequestEntityTooLarge
        content = bytes(part[len(head) + 4 :])
        headers = _headers(head)
        about = _disposition(headers.get("Content-Disposition", ""))
        if not blank or "name" not in about:
            raise ValueError("a part without a name")
        name, filename = about["name"], about.get("filename")
        if filename is not None:
            files.append((name, FileStorage(io.BytesIO(content), filename, name, headers=headers)))
        elif self.max_form_memory_size is not None and len(content) > self.max_form_memory_size:
            raise RequestEntityTooLarge
        else:
            fields.append((name, content.decode(errors="replace")))


def split(body: bytes, boundary: bytes) -> Iterator[memoryview]:
    """Yield the parts of a multipart body, each from its headers to its last byte, uncopied.

    Args:
        body: the whole of it; what stands before the first and after the last boundary is ignored.
        boundary: of the content type, without dashes.

    Raises:
        ValueError: there is no boundary, the last part has no end, or content is taken for one.
    """
    if not boundary:
        raise ValueError("no boundary")
    delimiter = b"\r\n--" + boundary
    first = body.startswith(delimiter[2:])  # no line has to stand before the first one
    start, end, lookalikes = -1, -2 if first else body.find(delimiter), 0
    content = memoryview(body)
    while end != -1:
        behind = end + len(delimiter)
        # What only begins like a boundary is content.
        if line_end := _LINE_END.match(body, behind):
            if start >= 0:
                yield content[start:end]
            if line_end[1]:
                return
            start = line_end.end()
            behind = start - 2  # the end of this line may be the start of the next delimiter
        elif (lookalikes := lookalikes + 1) > MAX_LOOKALIKES:
            raise ValueError("a boundary that the content is full of")
        end = body.find(delimiter, behind)
    raise ValueError("no last boundary")


def _disposition(value: str) -> dict[str, str]:
    """Return the parameters of a part's disposition; what nearly all clients write, at once."""
    if plain := _PLAIN_DISPOSITION.fullmatch(value):
        return {name: text for name, text in plain.groupdict().items() if text is not None}
    return parse_options_header(value)[1]


def _headers(head: bytes) -> Headers:
    lines = (line.partition(":") for line in head.decode().split("\r\n"))
    return Headers([(name.strip(), value.strip()) for name, _, value in lines])
