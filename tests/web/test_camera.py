"""The camera of the page: one frame at a time, and a sentence where there is none."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.browser import DetectionPage, Driver, chromium, eventually
from tests.support.fixtures import ServerProcess
from yolo_service.package_data import CATALOG

ELSEWHERE = "another-machine.test"
SAMPLE = CATALOG / "blood-cells" / "sample.jpg"


@pytest.fixture(scope="module")
def with_camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A browser whose camera films the sample, and which is never asked for permission."""
    folder = tmp_path_factory.mktemp("camera")
    (folder / "sample.mjpeg").write_bytes(SAMPLE.read_bytes() * 3)
    options = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={folder / 'sample.mjpeg'}",
    )
    with chromium(folder / "profile", *options) as driver:
        yield driver


@pytest.mark.parametrize("place", ["service", "device"])
def test_the_camera_shows_live_boxes_one_request_at_a_time(
    with_camera: Driver, server: ServerProcess, place: str, runtime: Path
) -> None:
    assert runtime.is_dir()
    page = DetectionPage(with_camera, server.port).ready()
    if place == "device":
        page.use_device()
    page["camera"].click()
    status = page.wait("frames a second")
    assert re.fullmatch(r"[\d.]+ frames a second, \d+ ms each, \d+ detections?\.", status)
    eventually(lambda: len(page.rows()) > 10)
    assert {row[0] for row in page.rows()} == {"RBC", "WBC", "Platelets"}
    assert page["camera"].get_attribute("aria-pressed") == "true"
    if place == "service":
        eventually(lambda: len(detections(with_camera)) > 5)
        pairs = itertools.pairwise(detections(with_camera))
        assert all(end <= start for (_, end), (start, _) in pairs)
    page["camera"].click()
    assert page["camera"].get_attribute("aria-pressed") == "false"


def detections(driver: Driver) -> list[tuple[float, float]]:
    """Return start and end of the requests for detections, in milliseconds."""
    found: list[tuple[float, float]] = driver.execute_script(
        "return performance.getEntriesByType('resource')"
        ".filter(({name}) => name.endsWith('/detect'))"
        ".map(({startTime, responseEnd}) => [startTime, responseEnd])"
    )
    return found


def test_a_camera_that_is_not_allowed_is_said_so(driver: Driver, server: ServerProcess) -> None:
    page = DetectionPage(driver, server.port).ready()
    page["camera"].click()
    assert "Allow it in the address bar" in page.wait("camera.") or "no camera" in page.status


def test_over_plain_http_from_another_machine_the_browsers_rule_is_explained(
    server: ServerProcess, tmp_path: Path
) -> None:
    rule = f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with chromium(tmp_path, rule) as driver:
        page = DetectionPage(driver, server.port)
        driver.get(f"http://{ELSEWHERE}:{server.port}/")
        page.ready()
        page["camera"].click()
        assert "only over https" in page.wait("https")
        page["sample"].click()
        page.wait("detections in")


def test_the_camera_goes_on_while_the_place_changes(
    with_camera: Driver, server: ServerProcess, runtime: Path
) -> None:
    assert runtime.is_dir()
    page = DetectionPage(with_camera, server.port).ready()
    page["camera"].click()
    page.wait("frames a second")
    for text in ("stay on this device", "are sent to this service"):
        page["device-switch"].click()
        eventually(partial(is_in_place, page, text))
        page.wait("frames a second")
        assert page["camera"].get_attribute("aria-pressed") == "true"
    page["camera"].click()


def is_in_place(page: DetectionPage, text: str) -> bool:
    return text in page.place
