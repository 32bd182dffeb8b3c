"""Download one file from a URL, or copy it from a path: resumed, retried, checked by its hash.

The bytes that have arrived are in ``NAME.part`` beside the target, the server's entity tag in
``NAME.part.etag``. A later try resumes from there only if the server still has the same entity
(RFC 9110, If-Range). The target appears in one rename, when its length and hash are right.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from yolo_service.errors import PullError

USER_AGENT = "yolo-service (Darknet model client)"
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as lost."""
PAUSES = (1.0, 2.0, 4.0)
"""Seconds between tries of one URL; one more try than pauses."""
MAX_PAUSE = 60.0
"""Longest pause in seconds that a server can ask for with Retry-After."""
MAX_BYTES = 16 << 20
"""Largest file of unpublished length: lists of names, trees and .cfg files."""

_CHUNK = 1 << 18
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})

Bar = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Opens a progress bar for (label, bytes or None); its result is called with the bytes done."""


def no_bar(_label: str, _total: int | None) -> AbstractContextManager[Callable[[int], None]]:
    """Show no progress."""
    return nullcontext(lambda _done: None)


@dataclass(frozen=True)
class Wanted:
    """A file to download.

    Attributes:
        name: the file's name, for messages.
        urls: http or https addresses, or paths, tried in order.
        sizes: the lengths in bytes that it may have; empty: any up to ``MAX_BYTES``.
        sha256: of its contents in hexadecimal, or None if nobody published one.
    """

    name: str
    urls: tuple[str, ...]
    sizes: frozenset[int] = frozenset()
    sha256: str | None = None

    def fits(self, length: int) -> bool:
        """Return whether the file may have this length."""
        return length in self.sizes if self.sizes else length <= MAX_BYTES

    def is_at(self, path: Path) -> bool:
        """Return whether a path holds this file; False if no hash is known."""
        return path.is_file() and self.sha256 == sha256(path)

    def expected(self) -> str:
        """Describe the lengths that the file may have."""
        if not self.sizes:
            return f"at most {MAX_BYTES} bytes"
        return " or ".join(map(str, sorted(self.sizes))) + " bytes"


class _RefusedError(Exception):
    """This address does not have the wanted file; the next one may."""


class _RetryError(Exception):
    """The connection failed; the same address may work after ``pause`` seconds."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


def download(
    wanted: Wanted, target: Path, *, bar: Bar = no_bar, pauses: Sequence[float] = PAUSES
) -> None:
    """Save a file as ``target``, from the first address that has it.

    Args:
        wanted: the file.
        target: where to save it.
        bar: opens a progress bar.
        pauses: seconds between tries of one URL.

    Raises:
        PullError: no address has it; the message has the reason for each. A part that can be
            resumed stays, anything that is wrong is removed.
        OSError: the disk is full or cannot be written to.
    """
    failures = []
    for url in wanted.urls:
        try:
            _save(url, wanted, target, bar, pauses)
        except _RefusedError as error:
            failures.append(f"\n  {url}: {error}")
        else:
            return
    raise PullError(f"{wanted.name} could not be pulled{''.join(failures) or ': no source known'}")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save(url: str, wanted: Wanted, target: Path, bar: Bar, pauses: Sequence[float]) -> None:
    part = _Part(target)
    try:
        if re.match(r"https?://", url):
            _retried(lambda: _fetch(url, wanted, part, bar), pauses)
        else:
            _copy(Path(url), wanted, part, bar)
    except BaseException:
        part.remove_unless_resumable()
        raise
    try:
        _verify(part.path, wanted)
        part.path.replace(target)
    finally:
        part.remove()


def _retried(fetch: Callable[[], None], pauses: Sequence[float]) -> None:
    for pause in pauses:
        try:
            return fetch()
        except _RetryError as error:
            time.sleep(max(pause, error.pause))
    try:
        return fetch()
    except _RetryError as error:
        raise _RefusedError(f"{error}; gave up after {len(pauses) + 1} tries") from error


def _verify(path: Path, wanted: Wanted) -> None:
    length = path.stat().st_size
    if not wanted.fits(length):
        raise _RefusedError(f"has {length} bytes, expected {wanted.expected()}")
    if wanted.sha256 and (found := sha256(path)) != wanted.sha256:
        raise _RefusedError(
            f"has sha256 {found}, expected {wanted.sha256}; "
            "it was damaged on the way or is another file, try again or use a mirror"
        )


class _Part:
    """The bytes that have arrived, and the entity tag of the file that they belong to."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._tag = target.with_name(f"{target.name}.part.etag")

    def resumable(self) -> tuple[int, str]:
        """Return the number of bytes and their entity tag; (0, "") without a tag."""
        if not (self.path.is_file() and self._tag.is_file()):
            return 0, ""
        return self.path.stat().st_size, self._tag.read_text(encoding="latin-1")

    def open(self, tag: str | None, *, resume: bool) -> IO[bytes]:
        """Open the file to append or to start again; weak tags are useless (RFC 9110, 13.1.5)."""
        if not resume:
            self.remove()
            if tag and not tag.startswith("W/"):
                self._tag.write_text(tag, encoding="latin-1")
        return self.path.open("ab" if resume else "wb")

    def remove_unless_resumable(self) -> None:
        """Remove the bytes if they are none or have no entity tag."""
        if not self.resumable()[0]:
            self.remove()

    def remove(self) -> None:
        """Remove the bytes and their entity tag."""
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)


def _fetch(url: str, wanted: Wanted, part: _Part, bar: Bar) -> None:
    start, tag = part.resumable()
    if start and start in wanted.sizes:
        return  # an earlier process ended between the last byte and the rename
    ranges = {"Range": f"bytes={start}-", "If-Range": tag} if start else {}
    with _opened(url, ranges, part) as response:
        resume = response.status == 206
        if resume and not (response.headers["Content-Range"] or "").startswith(f"bytes {start}-"):
            part.remove()
            raise _RetryError("answered another range than the one asked for")
        total = _total(response, start if resume else 0)
        if total is not None and not wanted.fits(total):
            raise _RefusedError(f"offers {total} bytes, expected {wanted.expected()}")
        with part.open(response.headers["ETag"], resume=resume) as file:
            done = _write(_chunks(response), file, wanted, total, bar)
    if total is not None and done < total:
        raise _RetryError(f"the connection ended after {done} of {total} bytes")


def _opened(url: str, headers: dict[str, str], part: _Part) -> http.client.HTTPResponse:
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"} | headers
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - callers pass http(s)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            raise _status_error(error, part) from error
    except (OSError, http.client.HTTPException) as error:
        raise _RetryError(f"no answer: {getattr(error, 'reason', None) or error}") from error
    if url.startswith("https:") and not response.url.startswith("https:"):
        response.close()
        raise _RefusedError(f"was redirected to {response.url}, which is not encrypted")
    return response  # type: ignore[no-any-return] # typeshed gives urlopen no better type


def _status_error(error: urllib.error.HTTPError, part: _Part) -> Exception:
    """Return the error to raise: retried, from the beginning after a wrong range, or final."""
    message = f"answered {error.code} {error.reason}"
    if error.code == 416:
        part.remove()
        return _RetryError(message)
    if error.code not in _RETRIED:
        return _RefusedError(message)
    after = error.headers.get("Retry-After", "")
    return _RetryError(message, min(float(after), MAX_PAUSE) if after.isdecimal() else 0.0)


def _total(response: http.client.HTTPResponse, start: int) -> int | None:
    length = response.headers["Content-Length"]
    return start + int(length) if length and length.isdecimal() else None


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body in chunks; errors of the network are retried, those of the disk are not."""
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _RetryError(f"the connection broke: {error or type(error).__name__}") from error
        if not chunk:
            return
        yield chunk


def _write(
    chunks: Iterator[bytes], file: IO[bytes], wanted: Wanted, total: int | None, bar: Bar
) -> int:
    """Append chunks to a file; returns its length. Stops once it is longer than allowed."""
    done, most = file.tell(), max(wanted.sizes, default=MAX_BYTES)
    with bar(wanted.name, total) as show:
        show(done)
        for chunk in chunks:
            file.write(chunk)
            file.flush()  # so that a killed process can resume
            done += len(chunk)
            show(done)
            if done > most:
                break
    return done


def _copy(source: Path, wanted: Wanted, part: _Part, bar: Bar) -> None:
    if not source.is_file():
        raise _RefusedError("no such file")
    total = source.stat().st_size
    if not wanted.fits(total):
        raise _RefusedError(f"has {total} bytes, expected {wanted.expected()}")
    with source.open("rb") as file, part.open(None, resume=False) as copy:
        _write(iter(lambda: file.read(_CHUNK), b""), copy, wanted, total, bar)
