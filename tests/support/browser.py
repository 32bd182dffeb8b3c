"""Debian's Chromium, without a network but the service's own address, driven by selenium."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.fixtures import Client
from tests.support.real_parts import installed

SECONDS = 30
PACKAGES = "chromium chromium-driver"
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --window-size=1300,1600"
).split()
# Every other address is mapped to nowhere, so a page has to be complete in itself.
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"

T = TypeVar("T")
Row = tuple[str, float, tuple[float, ...]]
"""Label, confidence and box of a detection: centre x, centre y, width, height."""
Driver = webdriver.Chrome


@contextmanager
def chromium(folder: Path, *more: str) -> Iterator[Driver]:
    """Start a browser whose profile is a folder; its log has what pages say and request."""
    options = webdriver.ChromeOptions()
    options.binary_location = installed("chromium", PACKAGES)
    for option in (*OPTIONS, OFFLINE, f"--user-data-dir={folder}", *more):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(
        options, webdriver.ChromeService(installed("chromedriver", PACKAGES))
    ) as driver:
        driver.set_script_timeout(SECONDS)
        yield driver


def eventually(get: Callable[[], T], seconds: float = SECONDS) -> T:
    """Return the result of a function as soon as it is true."""
    until = time.monotonic() + seconds
    while True:
        try:
            if result := get():
                return result
            error: WebDriverException | None = None
        except WebDriverException as failed:
            error = failed
        assert time.monotonic() < until, error
        time.sleep(0.02)


def requested(driver: Driver) -> list[str]:
    """Return the addresses that the browser has requested since the last call, in order."""
    entries = driver.get_log("performance")  # type: ignore[no-untyped-call]  # has no types
    messages = (json.loads(entry["message"])["message"] for entry in entries)
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def errors(driver: Driver) -> list[Any]:
    """Return what pages have written to the console as errors since the last call."""
    entries = driver.get_log("browser")  # type: ignore[no-untyped-call]  # has no types
    return [entry for entry in entries if entry["level"] == "SEVERE"]


class DetectionPage:
    """The page at ``/``, as a user sees it."""

    def __init__(self, driver: Driver, port: int) -> None:
        self.driver, self.address = driver, f"http://127.0.0.1:{port}/"
        driver.get(self.address)

    def __getitem__(self, name: str) -> WebElement:
        """Return the element with this data-testid."""
        return self.driver.find_element(By.CSS_SELECTOR, f"[data-testid='{name}']")

    @property
    def status(self) -> str:
        return self["status"].text

    @property
    def place(self) -> str:
        return self.driver.find_element(By.ID, "place").text

    def wait(self, text: str) -> str:
        """Wait until the status has a text, and return it."""
        try:
            return eventually(lambda: self.status if text in self.status else "")
        except AssertionError:
            raise AssertionError(f"expected {text!r}, the status is {self.status!r}") from None

    def ready(self) -> DetectionPage:
        self.wait("Ready.")
        return self

    def choose(self, file: Path) -> None:
        """Choose a file and wait for its detections."""
        self.driver.execute_script("document.getElementById('status').textContent = ''")
        self["file"].send_keys(str(file))
        self.wait(" in ")

    def set(self, name: str, value: float | str) -> None:
        """Move a slider, or pick an option."""
        self.driver.execute_script(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input'));"
            "arguments[0].dispatchEvent(new Event('change'));",
            self[name],
            str(value),
        )
        self.next_frame()

    def next_frame(self) -> None:
        """Wait until the page is drawn again."""
        self.driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0]))")

    def use_device(self) -> None:
        """Switch to computing on this device, and wait until the model is loaded."""
        self["device-switch"].click()
        eventually(lambda: "stay on this device" in self.place)

    def rows(self) -> list[Row]:
        """Return label, confidence and box of each row."""
        found = self.driver.execute_script(
            "return [...document.querySelectorAll('[data-testid=detections] > *')]"
            ".map(({dataset: d}) => [d.label, Number(d.confidence), d.box.split(',').map(Number)])"
        )
        return [(label, confidence, tuple(box)) for label, confidence, box in found]


def answer(client: Client, image: bytes, **fields: object) -> list[Row]:
    """Return what the service itself finds, by falling confidence."""
    values = [(name, str(value)) for name, value in fields.items()]
    found = client.post([("image_file", image), *values]).json
    return sorted(((n, s, tuple(box)) for n, s, box in found), key=lambda row: -row[1])


def assert_same(
    rows: list[Row], expected: list[Row], *, confidence: float = 1e-6, pixels: float = 0.01
) -> None:
    def ordered(found: list[Row]) -> list[Row]:
        return sorted(found, key=lambda row: (row[0], row[2]))

    rows, expected = ordered(rows), ordered(expected)
    assert [row[0] for row in rows] == [row[0] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert row[1] == pytest.approx(other[1], abs=confidence)
        assert row[2] == pytest.approx(other[2], abs=pixels)
