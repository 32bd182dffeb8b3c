"""A DNS that does not answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.predictors import SECONDS

SILENT = "silent.test"


class SilentDns:
    """``socket.getaddrinfo`` that does not answer for ``SILENT`` until it is released.

    Attributes:
        release: look-ups wait for this event.
        asked: how many look-ups have begun.
    """

    def __init__(self) -> None:
        self.release = threading.Event()
        self.asked = 0
        self._lock = threading.Lock()
        self._real = socket.getaddrinfo

    def __call__(self, host: str, *args: Any, **options: Any) -> Any:
        if host != SILENT:
            return self._real(host, *args, **options)
        with self._lock:
            self.asked += 1
        assert self.release.wait(6 * SECONDS)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentDns]:
    """Replace the system's look-ups of this process."""
    silent = SilentDns()
    monkeypatch.setattr(socket, "getaddrinfo", silent)
    yield silent
    silent.release.set()
