"""Hostile files on the real server: each is an error, within a second of work and 100 MB."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import sample_images
from tests.support.answers import problem
from tests.support.attacks import Cost, hostile_images
from tests.support.fixtures import Client, ServerProcess

SECONDS = 1.0  # of processor time
BYTES = 100_000_000


@pytest.fixture(scope="module")
def warm(server: ServerProcess) -> ServerProcess:
    """The shared server after a valid upload of the largest size."""
    client = server.client()
    client.post([("image_file", sample_images.jpeg() + bytes(19_000_000))])
    client.close()
    return server


def cases() -> Iterator[object]:
    for name, data, status in hostile_images():
        yield pytest.param(data, status, id=name)


@pytest.mark.parametrize(("data", "status"), list(cases()))
def test_a_hostile_file_is_an_error_that_costs_little(
    warm: ServerProcess, client: Client, data: bytes, status: int
) -> None:
    cost = Cost(warm.process.pid)
    cost.reset_peak()
    memory, seconds = cost.memory, cost.seconds
    problem(client.post([("image_file", data)]), status, "")
    assert cost.peak - memory < BYTES
    assert cost.seconds - seconds < SECONDS


def test_the_format_is_read_from_the_bytes_not_from_name_or_type(client: Client) -> None:
    """The parts of a form are all called .bin and image/jpeg here, whatever they are."""
    for kind in ("PNG", "GIF", "WEBP", "BMP", "TIFF"):
        data = sample_images.encode(sample_images.quarters(), kind)
        assert client.post([("image_file", data)]).status == 200


def test_an_archive_after_an_image_is_ignored(client: Client) -> None:
    data = sample_images.png() + b"PK\x03\x04" + bytes(1000)
    assert (
        client.post([("image_file", data)]).json
        == client.post([("image_file", sample_images.png())]).json
    )
