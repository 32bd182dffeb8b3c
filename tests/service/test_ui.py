"""Swagger UI in a real browser, with no network but the service's own address."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.service.conftest import Client, ServerProcess


@pytest.fixture(scope="session")
def chromium() -> str:
    path = shutil.which("chromium")
    if path is None:
        message = "chromium is missing; apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def browse(chromium: str, folder: Path, url: str, *options: str) -> str:
    """Load a page, let its scripts run, and return its document."""
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking"
    command = [chromium, "--headless", "--no-sandbox", *quiet.split(), "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000"]
    # Every other address is mapped to nowhere, so the page has to be complete in itself.
    command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", *options, url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_page_shows_every_operation_of_the_contract(
    chromium: str, server: ServerProcess, tmp_path: Path
) -> None:
    page = browse(chromium, tmp_path, f"http://127.0.0.1:{server.port}/ui/", "--dump-dom")
    for operation in ("GET /detect", "POST /detect", "GET /models", "GET /healthz", "GET /readyz"):
        method, path = operation.split()
        assert f'data-path="{path}"' in page
        assert f"opblock-{method.lower()}" in page
    assert "Failed to load" not in page


def test_the_page_is_found_without_its_slash(client: Client) -> None:
    answer = client.get("/ui")
    assert answer.status in {301, 302, 307, 308}
    assert answer.headers["Location"].endswith("/ui/")
