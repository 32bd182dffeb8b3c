"""Multipart forms are read as Werkzeug reads them, only faster."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from yolo_service.http.forms import FORM, FormParser, split

BOUNDARY = "edge"
NAMES = st.text("abc_-ü ", min_size=1, max_size=8)
# Bytes of which boundaries, line ends and their beginnings are made.
CONTENT = (
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"--", b"-", b"edge", b"--edgy", b"--edgeX"]))
    .map(b"".join)
    .filter(lambda content: b"--edge" not in content.replace(b"--edgeX", b"-"))
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


@given(st.binary(max_size=200), st.binary(max_size=3))
def test_any_bytes_are_split_or_refused(body: bytes, boundary: bytes) -> None:
    try:
        for part in split(body, boundary):
            assert bytes(part) in body
    except ValueError:
        pass


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        form([("image", "a", b"x")])[:-6],  # the last boundary is cut off
        b"--edge\r\nContent-Disposition: form-data\r\n\r\nx\r\n--edge--\r\n",
        b"--edge\r\nContent-Disposition: form-data; name=a\r\n--edge--\r\n",
        b"--edge\r\nContent-\xff: form-data; name=a\r\n\r\nx\r\n--edge--\r\n",
    ],
)
def test_a_malformed_form_counts_as_empty(body: bytes) -> None:
    assert parsed(FormParser(), body) == ([], [])


@pytest.mark.parametrize("boundary", ["", "ü"])
def test_a_boundary_that_cannot_be_counts_as_an_empty_form(boundary: str) -> None:
    assert parsed(FormParser(), form([("image", "a", b"x")]), boundary) == ([], [])


def test_more_parts_than_allowed_are_refused() -> None:
    parser = FormParser(max_form_parts=2)
    parts: list[tuple[str, str | None, bytes]] = [("a", None, b"")] * 3
    assert len(parsed(parser, form(parts[:2]))[0]) == 2
    with pytest.raises(RequestEntityTooLarge):
        parsed(parser, form(parts))


def test_text_that_is_too_long_is_refused_and_a_file_is_not() -> None:
    parser = FormParser(max_form_memory_size=10)
    assert parsed(parser, form([("a", "file", bytes(11))]))[1]
    with pytest.raises(RequestEntityTooLarge):
        parsed(parser, form([("a", None, bytes(11))]))


def test_other_forms_are_left_to_werkzeug() -> None:
    body = io.BytesIO(b"a=1&b=2")
    _, fields, _ = FormParser().parse(body, "application/x-www-form-urlencoded", 7)
    assert fields.to_dict() == {"a": "1", "b": "2"}


def test_a_body_full_of_beginnings_of_boundaries_takes_no_longer_than_its_length() -> None:
    before = time.process_time()
    with pytest.raises(ValueError, match="no last boundary"):
        list(split(b"\r\n--edg" * 500_000, b"edge"))
    with pytest.raises(ValueError, match="no last boundary"):
        list(split(b"\r\n--edge" * 500_000, b"edge"))
    assert time.process_time() - before < 5
