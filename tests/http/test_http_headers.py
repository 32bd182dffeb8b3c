"""The parser of header fields: like Python's for valid ones, and strict."""

from __future__ import annotations

import http.client
import io
import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_service.http.http_headers import MAX_BYTES, MAX_FIELDS, HeaderFields, read_fields

NAMES = st.text(string.ascii_letters + string.digits + "-!#$%&'*+.^`|~", min_size=1, max_size=9)
VALUES = st.text(string.printable.strip() + " ÿ", max_size=20)


def read(text: str) -> HeaderFields:
    return read_fields(io.BytesIO(text.encode("latin-1")))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.sampled_from(["\r\n", "\n"]))
def test_valid_fields_are_read_as_by_python(fields: list[tuple[str, str]], line_end: str) -> None:
    text = "".join(f"{name}: {value}{line_end}" for name, value in fields) + line_end
    expected = http.client.parse_headers(io.BytesIO(text.encode("latin-1")))
    found = read(text)
    for name, _ in fields:
        values = [value.strip() for value in expected.get_all(name, [])]
        assert found.get_all(name.upper()) == values
        assert found.get(name.lower()) == values[0]


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(ValueError):
        read_fields(io.BytesIO(data + b"\r\n\r\n"))


def test_nothing_is_read_after_the_empty_line() -> None:
    file = io.BytesIO(b"A: 1\r\n\r\nbody")
    read_fields(file)
    assert file.read() == b"body"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("A: 1\r\n folded\r\n\r\n", id="folded line"),
        pytest.param("A : 1\r\n\r\n", id="space before the colon"),
        pytest.param(" A: 1\r\n\r\n", id="space before the name"),
        pytest.param(": 1\r\n\r\n", id="no name"),
        pytest.param("A\r\n\r\n", id="no colon"),
        pytest.param("A: 1\rB: 2\r\n\r\n", id="carriage return without line feed"),
        pytest.param("A: \0\r\n\r\n", id="zero byte"),
        pytest.param("Ä: 1\r\n\r\n", id="name that is not ASCII"),
        pytest.param("A: 1\r\n", id="no end"),
        pytest.param("A: 1", id="broken off"),
        pytest.param("A: " + "x" * MAX_BYTES + "\r\n\r\n", id="long line"),
        pytest.param("A: 1\r\n" * (MAX_FIELDS + 1) + "\r\n", id="many fields"),
    ],
)
def test_fields_that_proxies_could_read_otherwise_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="header field"):
        read(text)


def test_as_many_fields_as_allowed_are_read() -> None:
    assert len(read("A: 1\r\n" * MAX_FIELDS + "\r\n").get_all("a")) == MAX_FIELDS


def test_names_that_are_equal_in_the_environment_are_left_out() -> None:
    fields = read("X-Key: right\r\nX_Key: wrong\r\nContent-Type: a/b\r\nX-KEY: second\r\n\r\n")
    assert list(fields.environ()) == [("HTTP_X_KEY", "right"), ("HTTP_X_KEY", "second")]
