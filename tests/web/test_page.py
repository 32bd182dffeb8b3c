"""The page at ``/`` in a real browser, with the real service behind it."""

from __future__ import annotations

import base64
import csv
import gzip
import http.server
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.browser import (
    DetectionPage,
    Driver,
    answer,
    assert_same,
    errors,
    eventually,
    requested,
)
from tests.support.fixtures import Client, ServerProcess, StartServer
from tests.web.conftest import HOSTILE, MODELS
from yolo_service.package_data import CATALOG, WEB

SAMPLE = CATALOG / "blood-cells" / "sample.jpg"


@pytest.fixture
def page(driver: Driver, server: ServerProcess) -> Iterator[DetectionPage]:
    """The page, just opened; it must not leave errors in the console."""
    errors(driver)
    requested(driver)
    yield DetectionPage(driver, server.port).ready()
    assert errors(driver) == []


def test_the_sample_shows_what_the_service_finds(page: DetectionPage, client: Client) -> None:
    page["sample"].click()
    count = int(page.wait("detections in").split()[0])
    expected = answer(client, SAMPLE.read_bytes())
    assert count == len(expected) > 10
    assert_same(page.rows(), expected)
    counts = page["classes"].text.split()
    assert counts == ["Platelets", "2", "RBC", "18", "WBC", "1"]


def test_a_file_is_chosen(page: DetectionPage, client: Client, smears: list[Path]) -> None:
    page.choose(smears[0])
    assert_same(page.rows(), answer(client, smears[0].read_bytes()))


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_file_is_dropped_or_pasted(page: DetectionPage, client: Client, event: str) -> None:
    data = SAMPLE.read_bytes()
    page.driver.execute_script(
        """
        const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
        const files = new DataTransfer();
        files.items.add(new File([bytes], "photo.jpg", {type: "image/jpeg"}));
        const given = {clipboardData: files, dataTransfer: files, bubbles: true, cancelable: true};
        const type = {drop: DragEvent, paste: ClipboardEvent}[arguments[1]];
        document.body.dispatchEvent(new type(arguments[1], given));
        """,
        base64.b64encode(data).decode(),
        event,
    )
    page.wait("detections in")
    assert_same(page.rows(), answer(client, data))


def test_an_image_is_loaded_from_an_address(page: DetectionPage, client: Client) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SAMPLE.read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        page["url"].send_keys(f"http://127.0.0.1:{site.server_port}/cells.jpg", Keys.ENTER)
        page.wait("detections in")
        site.shutdown()
    assert_same(page.rows(), answer(client, SAMPLE.read_bytes()))


def test_sliders_act_without_a_request_as_the_service_does(
    page: DetectionPage, client: Client
) -> None:
    page["sample"].click()
    page.wait("detections in")
    requested(page.driver)
    for threshold, nms in ((0.05, 0.45), (0.6, 0.45), (0.1, 0.1), (0.1, 0.9), (0.3, 0)):
        page.set("threshold", threshold)
        page.set("nms", nms)
        expected = answer(client, SAMPLE.read_bytes(), threshold=threshold, nms=nms)
        assert_same(page.rows(), expected)
    assert requested(page.driver) == []


def test_a_class_is_switched_off_and_on(page: DetectionPage) -> None:
    page["sample"].click()
    page.wait("detections in")
    box = page["classes"].find_element(By.CSS_SELECTOR, "[data-label=RBC]")
    box.click()
    assert {row[0] for row in page.rows()} == {"WBC", "Platelets"}
    page["classes"].find_element(By.CSS_SELECTOR, "[data-label=RBC]").click()
    assert "RBC" in {row[0] for row in page.rows()}


def test_models_are_picked_with_what_they_find_and_their_licence(
    page: DetectionPage, client: Client, street_photos: list[Path]
) -> None:
    options = page["model"].find_elements(By.TAG_NAME, "option")
    assert [option.text for option in options] == sorted(MODELS)
    about = page.driver.find_element(By.ID, "model-about")
    assert "Red cells" in about.text
    assert "licence: MIT" in about.text
    page.choose(street_photos[0])
    page.set("model", "fast")
    page.wait("detection")
    assert "person, bicycle" in about.text
    eventually(page.rows)
    assert_same(page.rows(), answer(client, street_photos[0].read_bytes(), model="fast"))


def test_names_of_models_and_classes_never_become_html(
    page: DetectionPage, driver: Driver, tmp_path: Path
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    file = tmp_path / f"{HOSTILE}.png".replace("/", "")
    file.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    page.set("model", HOSTILE)
    page.choose(file)
    page.set("threshold", 0.05)
    page.set("nms", 0)
    assert {row[0] for row in page.rows()} <= {HOSTILE, "'\"><b>"}
    assert page.rows()
    assert page["detections"].find_elements(By.TAG_NAME, "img") == []
    assert HOSTILE in driver.find_element(By.TAG_NAME, "body").text
    assert driver.title == "yolo-service"


def test_what_is_wrong_is_said_in_a_sentence(page: DetectionPage, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    page["file"].send_keys(str(tmp_path / "notes.txt"))
    assert page.wait("notes.txt").startswith("notes.txt is no image that this browser can show.")
    page["url"].send_keys("http://127.0.0.1:1/cells.jpg", Keys.ENTER)
    assert "127.0.0.1" in page.wait("127.0.0.1")
    page.driver.get_log("browser")  # type: ignore[no-untyped-call]  # the 424 that was wanted


def test_detections_are_saved_in_every_format(
    page: DetectionPage, driver: Driver, tmp_path: Path
) -> None:
    driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    page["sample"].click()
    page.wait("detections in")
    rows = page.rows()
    for kind in ("png", "json", "csv", "opex"):
        driver.find_element(By.CSS_SELECTOR, f"[data-save={kind}]").click()
    names = {"sample-detections.png", "sample.json", "sample.csv", "sample.opex.json"}
    eventually(lambda: names == {path.name for path in tmp_path.iterdir()})
    drawn = cv2.imread(str(tmp_path / "sample-detections.png"))
    plain = cv2.imread(str(SAMPLE))
    assert drawn is not None
    assert plain is not None
    assert drawn.shape == plain.shape
    assert 0.01 < (np.abs(drawn.astype(int) - plain).max(axis=2) > 60).mean() < 0.4
    document = json.loads((tmp_path / "sample.json").read_text())
    assert document["image"] == {"name": "sample.jpg", "width": 640, "height": 480}
    assert [found["label"] for found in document["detections"]] == [row[0] for row in rows]
    with (tmp_path / "sample.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["label"] for line in lines] == [row[0] for row in rows]
    x, _, width, _ = rows[0][2]
    assert float(lines[0]["left"]) == pytest.approx(x - width / 2, abs=0.01)
    opex = json.loads((tmp_path / "sample.opex.json").read_text())
    assert (opex["id"], len(opex["objects"])) == ("sample.jpg", len(rows))
    assert re.fullmatch(r"\d{8}_\d{6}\.\d{6}", opex["timestamp"])


def test_what_is_shown_is_copied_as_a_command_that_answers_it(
    page: DetectionPage, driver: Driver
) -> None:
    permission = {
        "origin": page.address.rstrip("/"),
        "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"],
    }
    driver.execute_cdp_cmd("Browser.grantPermissions", permission)
    page["sample"].click()
    page.wait("detections in")
    page.set("threshold", 0.9)
    driver.find_element(By.CSS_SELECTOR, "[data-copy=curl]").click()
    page.wait("Copied.")
    command = clipboard(driver)
    run = subprocess.run(command, shell=True, cwd=SAMPLE.parent, capture_output=True, check=True)
    found = [(n, s, tuple(box)) for n, s, box in json.loads(run.stdout)]
    assert_same(page.rows(), found)
    driver.find_element(By.CSS_SELECTOR, "[data-copy=python]").click()
    eventually(lambda: "import requests" in clipboard(driver))
    compile(clipboard(driver), "copied", "exec")


def clipboard(driver: Driver) -> str:
    script = "navigator.clipboard.readText().then(arguments[0])"
    return str(driver.execute_async_script(script))


def test_a_row_is_reached_and_marked_with_the_keyboard(page: DetectionPage, driver: Driver) -> None:
    page["sample"].click()
    page.wait("detections in")
    before = overlay(driver)
    page["classes"].find_elements(By.TAG_NAME, "input")[-1].send_keys(Keys.TAB)
    active = driver.switch_to.active_element
    assert active.get_attribute("data-label") == page.rows()[0][0]
    assert overlay(driver) != before
    active.send_keys(Keys.TAB)
    driver.execute_script("document.activeElement.blur()")
    assert overlay(driver) == before


def overlay(driver: Driver) -> str:
    return str(driver.execute_script("return document.getElementById('overlay').toDataURL()"))


def test_a_phone_shows_the_page_without_scrolling_sideways(
    page: DetectionPage, driver: Driver
) -> None:
    metrics = {"width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page["sample"].click()
        page.wait("detections in")
        assert driver.execute_script("return document.documentElement.scrollWidth") == 320
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_an_api_key_is_asked_for_and_kept_for_the_session(
    driver: Driver, start_server: StartServer
) -> None:
    page = DetectionPage(driver, start_server(api_key="sesame").port)
    for key in ("wrong", "sesame"):
        eventually(page["key"].is_displayed)
        page["key"].send_keys(key, Keys.ENTER)
        eventually(lambda: not page["key"].is_displayed() or not page["key"].get_attribute("value"))
    page.wait("Ready.")
    driver.refresh()
    page.wait("Ready.")
    driver.execute_script("sessionStorage.clear()")
    errors(driver)  # the two 401 that were wanted


def test_the_page_may_load_nothing_from_elsewhere(client: Client) -> None:
    headers = client.get("/").headers
    assert headers["Content-Security-Policy"].startswith("default-src 'self'; ")
    assert "http" not in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "Cross-Origin-Opener-Policy" not in client.get("/models").headers


def test_no_request_leaves_for_another_origin(page: DetectionPage, runtime: Path) -> None:
    page["sample"].click()
    page.wait("detections in")
    page.use_device()
    page.wait("detections in")
    found = requested(page.driver)
    assert any("runtime" in url for url in found)
    assert {url for url in found if not url.startswith((page.address, "blob:", "data:"))} == set()
    assert runtime.is_dir()


def test_the_page_weighs_little_without_the_runtime() -> None:
    files = [path for path in WEB.iterdir() if path.is_file() and path.name != "ui.html"]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 100_000


def test_the_page_can_be_turned_off(start_server: StartServer) -> None:
    client = start_server(page="off").client()
    found = client.get("/")
    assert (found.status, found.headers["Location"]) == (302, "ui/")
    assert client.get("/web/main.js").status == 404
    client.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_about(
    page: DetectionPage, driver: Driver, scheme: str, runtime: Path
) -> None:
    axe = runtime.parents[2] / "build" / "web" / "node_modules" / "axe-core" / "axe.min.js"
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    page["sample"].click()
    page.wait("detections in")
    driver.execute_script(axe.read_text(encoding="utf-8"))
    found: Any = driver.execute_async_script("axe.run().then(arguments[0])")
    assert found["violations"] == []
    assert found["passes"]
