"""Download a file from a URL or S3, or copy it from a path: resumed, retried, checked by its hash.

``NAME.part`` beside the target holds the bytes received, ``NAME.part.etag`` the server's entity
tag. A later try resumes only if the server still has the same entity (RFC 9110, If-Range). The
target appears in one rename, when its length and hash are right.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from yolo_service.errors import PullError
from yolo_service.models.sources import RefusedError, RetryError, is_url, opener

PAUSES = (1.0, 2.0, 4.0)
"""Seconds between tries of one URL; one more try than pauses."""
MAX_BYTES = 16 << 20
"""Largest file of unpublished length: lists of names, trees and .cfg files."""

_CHUNK = 1 << 18

Bar = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Opens a progress bar for (label, bytes or None), to be called with the bytes done."""


def no_bar(_label: str, _total: int | None) -> AbstractContextManager[Callable[[int], None]]:
    """Show no progress."""
    return nullcontext(lambda _done: None)


@dataclass(frozen=True)
class Wanted:
    """A file to download.

    Attributes:
        name: the file's name, for messages.
        urls: http, https or s3 addresses, or paths, tried in order.
        sizes: the lengths in bytes that it may have; empty: any up to ``MAX_BYTES``.
        sha256: of its contents in hexadecimal, or None if it is not known.
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
            resumed is kept, anything else is removed.
        OSError: the disk is full or cannot be written to.
    """
    failures = []
    for url in wanted.urls:
        try:
            _Download(wanted, target, bar).save(url, pauses)
        except RefusedError as error:
            failures.append(f"\n  {url}: {error}")
        else:
            return
    raise PullError(f"{wanted.name} could not be pulled{''.join(failures) or ': no source known'}")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Download:
    """The files of a download: the bytes received, and the entity tag that they belong to."""

    def __init__(self, wanted: Wanted, target: Path, bar: Bar) -> None:
        self._wanted, self._target, self._bar = wanted, target, bar
        self._part = target.with_name(f"{target.name}.part")
        self._tag = target.with_name(f"{target.name}.part.etag")

    def save(self, url: str, pauses: Sequence[float]) -> None:
        try:
            if is_url(url):
                self._retry(url, pauses)
            else:
                self._copy(Path(url))
        except BaseException:
            if not self._resumable()[0]:
                self._remove()
            raise
        try:
            self._verify()
            self._part.replace(self._target)
        finally:
            self._remove()

    def _retry(self, url: str, pauses: Sequence[float]) -> None:
        for pause in (*pauses, None):
            try:
                self._fetch(url)
            except RetryError as error:
                if pause is None:
                    tries = f"gave up after {len(pauses) + 1} tries"
                    raise RefusedError(f"{error}; {tries}") from error
                time.sleep(max(pause, error.pause))
            else:
                return

    def _fetch(self, url: str) -> None:
        start, tag = self._resumable()
        if start and start in self._wanted.sizes:
            return  # an earlier process ended between the last byte and the rename
        try:
            with opener(url)(url, start, tag) as body:
                if body.total is not None:
                    self._check_length(body.total, "offers")
                done = self._write(body.chunks, body.total, body.tag, resume=body.start > 0)
        except RetryError as error:
            if error.is_stale:
                self._remove()
            raise
        if body.total is not None and done < body.total:
            raise RetryError(f"the connection ended after {done} of {body.total} bytes")

    def _copy(self, source: Path) -> None:
        if not source.is_file():
            raise RefusedError("no such file")
        total = source.stat().st_size
        self._check_length(total)
        with source.open("rb") as file:
            self._write(iter(lambda: file.read(_CHUNK), b""), total, None, resume=False)

    def _write(
        self, chunks: Iterator[bytes], total: int | None, tag: str | None, *, resume: bool
    ) -> int:
        """Save chunks; returns the bytes done. Stops once they are more than allowed."""
        if not resume:
            self._remove()
            if tag:
                self._tag.write_text(tag, encoding="latin-1")
        most = max(self._wanted.sizes, default=MAX_BYTES)
        with self._part.open("ab") as file, self._bar(self._wanted.name, total) as show:
            done = file.tell()
            show(done)
            for chunk in chunks:
                file.write(chunk)
                file.flush()  # so that the next process can resume if this one is killed
                done += len(chunk)
                show(done)
                if done > most:
                    break
        return done

    def _verify(self) -> None:
        self._check_length(self._part.stat().st_size)
        expected = self._wanted.sha256
        if expected and (found := sha256(self._part)) != expected:
            raise RefusedError(
                f"has sha256 {found}, expected {expected}; "
                "it was damaged on the way or is another file, try again or use a mirror"
            )

    def _check_length(self, length: int, verb: str = "has") -> None:
        if not self._wanted.fits(length):
            raise RefusedError(f"{verb} {length} bytes, expected {self._wanted.expected()}")

    def _resumable(self) -> tuple[int, str]:
        """Return the number of bytes and their entity tag; (0, "") without a tag."""
        if not (self._part.is_file() and self._tag.is_file()):
            return 0, ""
        return self._part.stat().st_size, self._tag.read_text(encoding="latin-1")

    def _remove(self) -> None:
        self._part.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)
