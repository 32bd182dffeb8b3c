"""Compressed bodies of requests (``Content-Encoding``), decompressed as they are read."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import IO, cast

import gevent
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from yolo_service.errors import BadRequest
from yolo_service.http.streams import CHUNK_BYTES

_GZIP, _ZLIB = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS
_WINDOW_BITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}

_ADVICE = "send all of it, compressed once, or without Content-Encoding"


def decoded(
    body: IO[bytes], coding: str, max_bytes: int | None, hold: Callable[[int], None]
) -> IO[bytes]:
    """Return the content of a body.

    Args:
        body: as it was sent.
        coding: the value of Content-Encoding; empty if there is none.
        max_bytes: of the content; None: no limit.
        hold: called with the number of bytes that were decompressed and are kept in memory.

    Raises:
        UnsupportedMediaType: the coding is not one that is taken.
    """
    name = coding.strip().lower()
    if name in {"", "identity"}:
        return body
    if name not in _WINDOW_BITS:
        raise UnsupportedMediaType(
            f"Content-Encoding {coding[:100]!r} is not taken; send gzip, deflate or none"
        )
    content = Decompressed(body, _WINDOW_BITS[name], max_bytes, hold)
    return cast("IO[bytes]", content)  # a file for all but the type checker


class Decompressed(io.RawIOBase):
    """The content of a compressed stream, which never exceeds a number of bytes.

    A few bytes may expand to a thousand times as many, so the content is decompressed in small
    pieces, each of which is counted before the next one, and other greenlets run in between.
    """

    def __init__(
        self, raw: IO[bytes], window_bits: int, max_bytes: int | None, hold: Callable[[int], None]
    ) -> None:
        self._raw, self._hold = raw, hold
        self._decoder = zlib.decompressobj(window_bits)
        self._left = max_bytes
        self._is_empty = True

    def readable(self) -> bool:  # noqa: D102 - as in io
        return True

    def read(self, size: int = -1) -> bytes:
        """Read like a file, but at most ``CHUNK_BYTES`` at once if a size is given.

        Raises:
            BadRequest: the body is not compressed so, is cut off, or is followed by other bytes.
            RequestEntityTooLarge: the content is larger than allowed.
            Overloaded: the requests being served use all the memory allowed.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK_BYTES), b""))
        if size == 0:  # which would mean no limit below
            return b""
        while not self._decoder.eof:
            sent = self._decoder.unconsumed_tail or self._raw.read(CHUNK_BYTES)
            if not sent:
                return self._end()
            self._is_empty = False
            if piece := self._decompress(sent, min(size, CHUNK_BYTES)):
                return self._counted(piece)
        if self._decoder.unused_data or self._raw.read(1):
            raise BadRequest(f"bytes follow the compressed body; {_ADVICE}")
        return b""

    def _decompress(self, sent: bytes, size: int) -> bytes:
        try:
            return self._decoder.decompress(sent, size)
        except zlib.error as error:
            raise BadRequest(
                f"the body is not compressed as Content-Encoding says; {_ADVICE}"
            ) from error

    def _counted(self, piece: bytes) -> bytes:
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                raise RequestEntityTooLarge
        self._hold(len(piece))
        gevent.sleep(0)
        return piece

    def _end(self) -> bytes:
        """End where the stream does, which may be empty, but not in the middle."""
        if not self._is_empty:
            raise BadRequest(f"the compressed body is cut off; {_ADVICE}")
        return b""
