"""Real parts for the tests: Darknet's own files, real weights, labelled photos.

A test that needs one of them skips with a reason where it is missing; with ``CI`` set in the
environment a missing part is an error instead, so that nothing is skipped there silently.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from darknet.engines.libdarknet_abi import load_shared
from tests.support.paths import DARKNET, LIBRARY, ROOT
from tests.support.real_parts import existing, installed

if TYPE_CHECKING:
    from tests.support.redis_server import MakeRedis, RedisServer

pytest.register_assert_rewrite(
    "tests.support.answers",
    "tests.support.heads",
    "tests.support.input_suite",
    "tests.support.output_suite",
    "tests.support.pipelines",
    "tests.support.redis_runs",
    "tests.support.sinks",
    "tests.support.targets",
)
pytest_plugins = [
    "tests.support.fixtures",
    "tests.support.predictors",
    "tests.support.silent_dns",
    "tests.support.stores",
]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real weights (models/), photos (datasets/) and recorded answers."""
    default = ROOT.parent / "shared"
    return existing(Path(os.environ.get("YOLO_TEST_SHARED", default)), "see CONTRIBUTING.md")


@pytest.fixture(scope="session")
def darknet_data() -> Path:
    """Debian's darknet files: cfg/ and data/ with six photos."""
    return existing(DARKNET, "apt-get install darknet")


@pytest.fixture(scope="session")
def libdarknet() -> Path:
    """The real C library, as Debian builds it (pjreddie's fork of 2018)."""
    path = existing(LIBRARY, "apt-get install darknet")
    load_shared(str(path))  # in a thread of its own: it sets flush-to-zero where it is loaded
    return path


@pytest.fixture(scope="session")
def xl(shared: Path) -> Path:
    """The folder of Yolo-Fastest-1.1-XL: cfg, weights and names, trained on COCO."""
    return existing(shared / "models" / "yolo-fastest-1.1-xl", "see CONTRIBUTING.md")


@pytest.fixture(scope="session")
def clients_python() -> Path:
    """The interpreter of the environment with the clients of tests/clients/requirements.txt."""
    default = ROOT / "build" / "clients" / "bin" / "python"
    return existing(Path(os.environ.get("YOLO_TEST_CLIENTS", default)), "make clients")


@pytest.fixture
def make_redis(tmp_path: Path) -> Iterator[MakeRedis]:
    """Start servers of Redis, with arguments of redis-server."""
    installed("redis-server", "redis-server")
    from tests.support.redis_server import RedisServer

    numbers = itertools.count()
    with ExitStack() as started:

        def make(*arguments: str) -> RedisServer:
            folder = tmp_path / f"redis-{next(numbers)}"
            folder.mkdir()
            server = RedisServer(folder, *arguments)
            started.callback(server.kill)
            return server

        yield make


@pytest.fixture
def redis_server(make_redis: MakeRedis) -> RedisServer:
    """A server of Redis that keeps what it has over a restart."""
    return make_redis("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder in another file system."""
    root = existing(Path("/dev/shm"), "needs a second file system")
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield Path(folder)
