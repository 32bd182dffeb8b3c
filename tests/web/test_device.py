"""Models that compute in the browser find what the service finds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from darknet.decode.nms import suppress
from tests.support.browser import (
    DetectionPage,
    Driver,
    answer,
    assert_same,
    errors,
    requested,
)
from tests.support.fixtures import Client, ServerProcess


@pytest.fixture
def page(driver: Driver, server: ServerProcess, runtime: Path) -> DetectionPage:
    assert runtime.is_dir()
    return DetectionPage(driver, server.port).ready()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("model", "photos"), [("blood-cells", "smears"), ("fast", "street_photos")]
)
def test_detections_on_the_device_are_those_of_the_service(
    page: DetectionPage, client: Client, model: str, photos: str, request: pytest.FixtureRequest
) -> None:
    page.set("model", model)
    page.use_device()
    for path in request.getfixturevalue(photos)[:20]:
        page.choose(path)
        page.set("threshold", 0.25)
        expected = answer(client, path.read_bytes(), model=model)
        assert_same(page.rows(), expected, confidence=1e-3, pixels=0.5)


def test_it_works_without_a_network_and_sends_nothing(
    page: DetectionPage, driver: Driver, server: ServerProcess, smears: list[Path]
) -> None:
    page.use_device()
    logged = len(server.log)
    requested(driver)
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        page.choose(smears[0])
        assert page.rows()
    finally:
        online = {**offline, "offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", online)
    assert requested(driver) == []
    assert server.log[logged:] == []
    assert "nothing is sent" in page.place


def test_a_model_that_is_not_public_stays_at_the_service(page: DetectionPage) -> None:
    page.set("model", "<img src=x onerror=document.title='harm'>")
    assert not page["device-switch"].is_enabled()
    assert "may not be handed out" in page.place


def test_without_the_runtime_the_page_says_why_the_switch_is_off(
    driver: Driver, server: ServerProcess
) -> None:
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/web/runtime/*"]})
    try:
        page = DetectionPage(driver, server.port).ready()
        assert not page["device-switch"].is_enabled()
        assert "without the runtime for browsers" in page.place
        page["sample"].click()
        page.wait("detections in")
    finally:
        driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    errors(driver)


@pytest.mark.parametrize("beta", [None, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_boxes_are_suppressed_as_by_the_library(
    page: DetectionPage, driver: Driver, beta: float | None, seed: int
) -> None:
    random = np.random.default_rng(seed)
    boxes = (random.random((200, 4)) * (100, 100, 60, 60) + (0, 0, 5, 5)).astype(np.float32)
    scores = np.sort(random.random(200).astype(np.float32))[::-1].copy()
    classes = random.integers(0, 3, 200).astype(np.int32)
    sides = np.array((200, 120, 200, 120), np.float32)
    expected = suppress(boxes / sides, scores, classes, 0.4, beta)
    rows = [
        {"label": str(c), "classId": int(c), "confidence": float(s), "box": b.tolist()}
        for b, s, c in zip(boxes, scores, classes, strict=True)
    ]
    kept = driver.execute_async_script(
        "const [rows, beta, done] = arguments;"
        "import('./web/detections.js').then(({suppress}) =>"
        "  done(suppress(rows, 0.4, beta, {width: 200, height: 120})"
        "    .map((row) => rows.indexOf(row))))",
        rows,
        beta,
    )
    assert kept == np.flatnonzero(expected).tolist()
    assert 10 < len(kept) < 200
    assert page.status == "Ready."


def test_a_transparent_image_does_not_show_the_one_before(
    page: DetectionPage, tmp_path: Path
) -> None:
    page.use_device()
    page["sample"].click()
    page.wait("detections in")
    assert page.rows()
    file = tmp_path / "transparent.png"
    file.write_bytes(cv2.imencode(".png", np.zeros((480, 640, 4), np.uint8))[1].tobytes())
    page.choose(file)
    assert page.rows() == []
