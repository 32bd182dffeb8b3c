"""Multipart forms are read as Werkzeug reads them; what is malformed is refused in words."""

from __future__ import annotations

import io
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from yolo_service.errors import BadRequest
from yolo_service.http.forms import (
    FORM,
    MAX_HEADERS,
    MAX_URLENCODED_BYTES,
    URLENCODED,
    FormParser,
)
from yolo_service.http.streams import CHUNK_BYTES

BOUNDARY = "edge"
NAMES = st.text("abc_-ü ", min_size=1, max_size=8)
# Bytes of which boundaries, line ends and their beginnings are made.
CONTENT = (
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"--", b"-", b"edge", b"--edgy", b"--edg"]))
    .map(b"".join)
    .filter(lambda content: b"--edge" not in content)
)
PARTS = st.lists(st.tuples(NAMES, st.none() | NAMES, CONTENT), max_size=5)

Parsed = tuple[list[tuple[str, str]], list[tuple[str, str | None, bytes]]]


def form(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    lines = []
    for name, filename, content in parts:
        extra = "" if filename is None else f'; filename="{filename}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
        lines.append(head.encode() + content + b"\r\n")
    return b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()


def parsed(parser: FormDataParser, body: bytes, boundary: str = BOUNDARY) -> Parsed:
    _, fields, files = parser.parse(io.BytesIO(body), FORM, len(body), {"boundary": boundary})
    found = [(name, file.filename, file.read()) for name, file in files.items(multi=True)]
    return list(fields.items(multi=True)), found


def werkzeug() -> FormDataParser:
    return FormDataParser(stream_factory=lambda *_, **__: io.BytesIO())


@given(PARTS, st.sampled_from([b"", b"\r\n", b"before\r\n"]), st.sampled_from([b"", b"after"]))
def test_a_form_is_read_as_werkzeug_reads_it(
    parts: list[tuple[str, str | None, bytes]], before: bytes, after: bytes
) -> None:
    body = before + form(parts) + after
    if parts:
        assert parsed(FormParser(), body) == parsed(werkzeug(), body)
    else:
        assert parsed(FormParser(), body) == ([], [])


@given(CONTENT)
def test_the_content_of_a_file_comes_back_byte_for_byte(content: bytes) -> None:
    assert parsed(FormParser(), form([("image", "a.jpg", content)])) == (
        [],
        [("image", "a.jpg", content)],
    )


class Trickle(io.BytesIO):
    """A body that arrives in pieces of a few bytes."""

    def __init__(self, body: bytes, size: int) -> None:
        super().__init__(body)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._size if size is None else min(size, self._size))


@given(PARTS, st.integers(1, 20))
def test_how_a_form_is_cut_into_pieces_does_not_matter(
    parts: list[tuple[str, str | None, bytes]], size: int
) -> None:
    body = form(parts)
    _, fields, files = FormParser().parse(Trickle(body, size), FORM, None, {"boundary": BOUNDARY})
    found = [(name, file.filename, file.read()) for name, file in files.items(multi=True)]
    assert (list(fields.items(multi=True)), found) == parsed(FormParser(), body)


@given(st.binary(max_size=200), st.sampled_from([b"", form([("image", "a", b"x")])[:-6]]))
def test_any_bytes_are_read_or_refused(body: bytes, before: bytes) -> None:
    with suppress(BadRequest):
        parsed(FormParser(), before + body)


def test_a_file_larger_than_a_chunk_comes_back_byte_for_byte() -> None:
    content = bytes(range(256)) * (3 * CHUNK_BYTES // 256) + b"\r\n--edg"
    assert parsed(FormParser(), form([("image", "a.jpg", content)]))[1][0][2] == content


def part(header: bytes, content: bytes = b"x") -> bytes:
    return b"--edge\r\n" + header + b"\r\n\r\n" + content + b"\r\n--edge--\r\n"


@pytest.mark.parametrize(
    ("header", "filename"),
    [
        pytest.param(b'form-data; name="image";\r\n filename="a.jpg"', "a.jpg", id="folded"),
        pytest.param(b"form-data;name=image;filename=a.jpg", "a.jpg", id="without quotes"),
        pytest.param(b'form-data; filename="a.jpg"; name="image"', "a.jpg", id="other order"),
        pytest.param(b'form-data; name="image"; filename=""', "", id="empty"),
        pytest.param('form-data; name="image"; filename="ü.jpg"'.encode(), "ü.jpg", id="UTF-8"),
        pytest.param(
            'form-data; name="image"; filename="ü.jpg"'.encode("latin-1"),
            "\N{REPLACEMENT CHARACTER}.jpg",
            id="Latin-1",
        ),
        pytest.param(
            b'form-data; name="image"; filename="\x95\x5c.jpg"',
            "\N{REPLACEMENT CHARACTER}\\.jpg",
            id="Shift-JIS",
        ),
        pytest.param(
            b"form-data; name=\"image\"; filename*=utf-8''%C3%BC.jpg", "ü.jpg", id="RFC 2231"
        ),
    ],
)
def test_a_file_is_taken_however_its_name_is_written(header: bytes, filename: str) -> None:
    body = part(b"Content-Disposition: " + header)
    assert parsed(FormParser(), body) == ([], [("image", filename, b"x")])


@pytest.mark.parametrize(
    ("kind", "content", "value"),
    [
        (b"text/plain", "ü".encode(), "ü"),
        (b"text/plain; charset=ISO-8859-1", "ü".encode("latin-1"), "ü"),
        (b"text/plain; charset=unknown", "ü".encode(), "ü"),
        (b"text/plain", b"\xff", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_text_field_is_decoded_as_its_part_says(kind: bytes, content: bytes, value: str) -> None:
    header = b'Content-Disposition: form-data; name="a"\r\nContent-Type: ' + kind
    assert parsed(FormParser(), part(header, content)) == ([("a", value)], [])


def test_an_empty_body_is_an_empty_form() -> None:
    assert parsed(FormParser(), b"") == ([], [])


@pytest.mark.parametrize(
    "body",
    [
        b"no form at all",
        form([("image", "a", b"x")])[:-6],
        form([("image", "a", b"x" * 1000)])[:500],
        form([("image", "a", b"x")])[:30],
    ],
)
def test_a_form_that_is_cut_off_is_called_so(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"the form is cut off: no last boundary; .*--edge--"):
        parsed(FormParser(), body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(part(b"Content-Type: text/plain"), id="no disposition"),
        pytest.param(part(b"Content-Disposition: inline; name=a"), id="other disposition"),
        pytest.param(part(b"Content-\xff: form-data; name=a"), id="header name"),
        pytest.param(part(b"no header"), id="no header"),
        pytest.param(
            part(
                b"Content-Disposition: form-data; name=a; filename=b\r\nContent-Type: image/j\rpg"
            ),
            id="carriage return",
        ),
        pytest.param(
            part(
                b"Content-Disposition: form-data; name=a; filename=b\r\nContent-Type: image/j\npg"
            ),
            id="line feed",
        ),
        pytest.param(form([("a", "b", b"x")]).replace(b"\r\n", b"\n"), id="line feeds"),
        pytest.param(form([("a", "b", b"\r\n--edgeX")]), id="boundary in content"),
        pytest.param(b"text " + form([("a", "b", b"x")]), id="boundary inside a line"),
    ],
)
def test_a_malformed_form_is_called_so(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"the form is malformed: .*; .*curl -F"):
        parsed(FormParser(), body)


def test_a_form_without_a_boundary_is_called_so() -> None:
    with pytest.raises(BadRequest, match=r"has no boundary; .*curl -F"):
        parsed(FormParser(), form([("image", "a", b"x")]), boundary="")


def test_a_boundary_with_a_line_end_is_refused() -> None:
    """It can come as boundary*=utf-8''a%0Ab."""
    with pytest.raises(BadRequest, match="boundary"):
        parsed(FormParser(), form([("image", "a", b"x")]), boundary="a\nb")


def test_more_parts_than_allowed_are_refused() -> None:
    parser = FormParser(max_form_parts=2)
    parts: list[tuple[str, str | None, bytes]] = [("a", None, b"")] * 3
    assert len(parsed(parser, form(parts[:2]))[0]) == 2
    with pytest.raises(RequestEntityTooLarge):
        parsed(parser, form(parts))


@pytest.mark.parametrize("header", [b"A: b\r\n" * (MAX_HEADERS + 1), b"A: " + bytes(10_000)])
def test_more_headers_of_a_part_than_allowed_are_refused(header: bytes) -> None:
    with pytest.raises(RequestEntityTooLarge):
        parsed(FormParser(), part(header))


def test_text_that_is_too_long_is_refused_and_a_file_is_not() -> None:
    parser = FormParser(max_form_memory_size=10)
    assert parsed(parser, form([("a", "file", bytes(11))]))[1]
    with pytest.raises(RequestEntityTooLarge):
        parsed(parser, form([("a", None, bytes(11))]))


def test_a_form_without_files_is_read_up_to_a_limit() -> None:
    def read(body: bytes) -> dict[str, str]:
        _, fields, _ = FormParser().parse(io.BytesIO(body), URLENCODED, None)
        return dict(fields.items())

    assert read(b"a=1&b=%C3%BC+2&c=") == {"a": "1", "b": "ü 2", "c": ""}
    for body in (b"a=" + bytes(MAX_URLENCODED_BYTES), b"&a=1" * 51):
        with pytest.raises(RequestEntityTooLarge):
            read(body)


@pytest.mark.parametrize("filling", [b"\r", b"\r\n--edg", b"\r\n--edge\r\n\r\n"])
def test_a_body_full_of_beginnings_of_boundaries_takes_no_longer_than_its_length(
    filling: bytes,
) -> None:
    before = time.process_time()
    with pytest.raises(BadRequest):
        parsed(FormParser(), form([("a", "b", filling * 500_000)])[:-6])
    assert time.process_time() - before < 5
