"""Prometheus beside the service of a test module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fixtures import ServerProcess
from tests.support.prometheus import Prometheus


@pytest.fixture
def prometheus(service: ServerProcess, tmp_path: Path) -> Iterator[Prometheus]:
    """Prometheus, which scrapes the module's own ``service``."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    started = Prometheus(folder, service)
    yield started
    started.stop()
