"""A store of S3's protocol: moto's server in a process of its own."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import command
from tests.support.paths import ROOT
from tests.support.real_parts import missing
from yolo_service import s3, s3_objects
from yolo_service.s3 import Place

BUCKET = "models"
IN, OUT = f"s3://{BUCKET}/in", f"s3://{BUCKET}/out"
SAMPLE = ROOT / "models" / "blood-cells" / "sample.jpg"


@dataclass(frozen=True)
class Store:
    """A running store.

    Attributes:
        url: of the server.
        environment: the variables with which programs reach it.
    """

    url: str
    environment: dict[str, str]

    def put(self, key: str, data: bytes) -> str:
        """Write an object into the bucket ``models``; returns its address."""
        client().put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"


def client() -> Any:
    return s3.client()


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    """The address of a server that tests share."""
    if not (importlib.util.find_spec("moto") and importlib.util.find_spec("boto3")):
        missing("moto or boto3 is missing; pip install -r requirements-dev.txt")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    try:
        found = (re.search(r"Running on (http://[\d.:]+)", line) for line in process.stderr)
        url = next(match[1] for match in found if match)
        # It writes a line for each request, and waits when nobody reads them.
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        yield url
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


@pytest.fixture
def store(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store with a bucket, which the AWS variables of this process name."""
    urllib.request.urlopen(
        urllib.request.Request(f"{store_url}/moto-api/reset", method="POST"), timeout=10
    ).close()
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": store_url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3.forget_client()
    client().create_bucket(Bucket=BUCKET)
    yield Store(store_url, environment)
    s3.forget_client()


def keys(prefix: str = "") -> list[str]:
    return [each.key for each in s3_objects.list_objects(Place(BUCKET, prefix))]


def contents(prefix: str) -> dict[str, bytes]:
    return {key.removeprefix(prefix): s3_objects.read(Place(BUCKET, key)) for key in keys(prefix)}


def detect(store: Store, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return command.run("detect", "--model", "blood-cells", *arguments, **store.environment)
