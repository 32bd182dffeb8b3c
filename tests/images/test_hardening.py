"""Hostile files reach the real server: an error in under a second and under 100 MB, each."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.api.test_detect import problem
from tests.support import sample_images
from tests.support.attacks import Cost, hostile_images
from tests.support.fixtures import Client, ServerProcess

SECONDS = 1.0
BYTES = 100_000_000


@pytest.fixture(scope="module")
def warm(server: ServerProcess) -> ServerProcess:
    """The shared server after an honest upload of the largest size."""
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
    before, start = cost.memory, time.perf_counter()
    answer = client.post([("image_file", data)])
    seconds = time.perf_counter() - start
    problem(answer, status, "")
    assert cost.peak - before < BYTES
    assert seconds < SECONDS


def test_a_name_and_a_type_that_lie_play_no_part(client: Client) -> None:
    """The parts of a form are all called .bin and image/jpeg here, whatever they are."""
    for kind in ("PNG", "GIF", "WEBP", "BMP", "TIFF"):
        data = sample_images.encode(sample_images.quarters(), kind)
        assert client.post([("image_file", data)]).status == 200


def test_an_image_with_an_archive_behind_it_is_only_an_image(client: Client) -> None:
    data = sample_images.png() + b"PK\x03\x04" + bytes(1000)
    assert (
        client.post([("image_file", data)]).json
        == client.post([("image_file", sample_images.png())]).json
    )
