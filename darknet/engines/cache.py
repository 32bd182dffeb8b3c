"""Compiled graphs on disk, so that a start does not compile again what it compiled before.

Made by code of this machine for this machine: whoever may write to the folder is trusted, because
a runtime takes a compiled graph as it is. A file is a SHA-256 (32 bytes) and the graph that it is
of. It appears under its name only when it is complete, so several processes may share a folder;
one that is damaged nevertheless counts as missing.
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
    """Return a name for what a runtime makes of a graph.

    Args:
        graph: with its weights.
        facts: all else that the result depends on: version, device, settings.
    """
    digest = hashlib.sha256(graph)
    digest.update(repr(facts).encode())
    return digest.hexdigest()


class GraphCache:
    """A folder of compiled graphs; where it cannot be written to, nothing is kept.

    Args:
        folder: made if it is missing. Everything in it may be deleted at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> bytes | None:
        """Return a compiled graph, or None if there is none that is whole."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, graph = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(graph).digest() != digest:
            log.warning("%s is damaged; compiling again", self._path(key))
            return None
        return graph

    def write(self, key: str, graph: bytes) -> None:
        """Keep a compiled graph."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                try:
                    file.write(hashlib.sha256(graph).digest())
                    file.write(graph)
                    file.close()
                    os.replace(file.name, self._path(key))  # noqa: PTH105 - of a name, not a Path
                except OSError:
                    Path(file.name).unlink()
                    raise
        except OSError as error:
            log.warning("compiled graphs are not kept: %s", error)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.compiled"
