"""A folder of compiled graphs, so that a model is compiled at its first load only.

Layout of a file: SHA-256 of the graph (32 bytes), graph. A file is written under a temporary name
and renamed when it is complete, so several processes may share a folder. A damaged file counts as
missing. Runtimes do not validate compiled graphs, so everybody with write access to the folder is
trusted.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

_DIGEST_BYTES = 32


def cache_key(graph: bytes, *facts: object) -> str:
    """Return a key for a compiled graph: SHA-256 as hexadecimal digits.

    Args:
        graph: the graph with its weights.
        facts: everything else that the result depends on: version, device, settings.
    """
    digest = hashlib.sha256(graph)
    digest.update(repr(facts).encode())
    return digest.hexdigest()


class GraphCache:
    """A folder of compiled graphs; if it cannot be written to, nothing is cached.

    Args:
        folder: created if it is missing. Everything in it may be deleted at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> bytes | None:
        """Return a compiled graph, or None if it is missing or damaged."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, graph = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(graph).digest() != digest:
            log.warning("%s is damaged and not used", self._path(key))
            return None
        return graph

    def write(self, key: str, graph: bytes) -> None:
        """Store a compiled graph."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                try:
                    file.write(hashlib.sha256(graph).digest())
                    file.write(graph)
                    file.close()
                    os.replace(file.name, self._path(key))  # noqa: PTH105 - a str, not a Path
                except OSError:
                    Path(file.name).unlink()
                    raise
        except OSError as error:
            self._warn(error)

    def make_folder(self, key: str) -> Path | None:
        """Create a folder for a runtime that writes its files itself; None if that fails."""
        folder = self._folder / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._warn(error)
            return None
        return folder

    def _warn(self, error: OSError) -> None:
        log.warning("nothing is kept for the next start: %s", error)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.compiled"
