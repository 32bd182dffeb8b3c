"""What a user of the page waits for, in headless Chromium beside the service on one machine.

Usage: python -m benchmarks.page [SCREENSHOT]

Prints the time from choosing a file to its boxes, the frames a second while a slider moves with 500
boxes, and the frames a second of the camera with the bundled model on this device. SCREENSHOT is
where an image of the page is written.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.serving import ROOT
from tests.support.browser import DetectionPage, Driver, chromium
from tests.support.fixtures import ServerProcess, start_process

SAMPLE = ROOT / "models" / "blood-cells" / "sample.jpg"
BOXES = 500
SECONDS = 10

ANSWER = """
const detections = Array.from({length: arguments[0]}, (_, i) => ({
  label: "cell", class_id: i % 3, confidence: 1 - i / 1000,
  box: {x: 20 + (i * 37) % 600, y: 20 + (i * 53) % 440, width: 40, height: 40},
}));
window.fetch = async () => new Response(JSON.stringify({detections}));
"""
SLIDE = """
const [seconds, done] = arguments, slider = document.getElementById("threshold");
const end = performance.now() + 1000 * seconds, times = [];
requestAnimationFrame(function step(now) {
  times.push(now);
  slider.value = 0.3 + 0.2 * Math.sin(now / 100);
  slider.dispatchEvent(new Event("input"));
  if (performance.now() < end) requestAnimationFrame(step);
  else done((times.length - 1) / (times.at(-1) - times[0]) * 1000);
});
"""


def main(screenshot: str = "") -> None:
    """Print the figures."""
    server = start_process({"YOLO_MODELS_DIR": str(ROOT / "models"), "YOLO_MODEL": "blood-cells"})
    server.wait_until_ready()
    with closing_server(server), tempfile.TemporaryDirectory() as folder:
        film = Path(folder, "film.mjpeg")
        film.write_bytes(SAMPLE.read_bytes() * 3)
        options = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
        file = f"--use-file-for-fake-video-capture={film}"
        with chromium(Path(folder, "profile"), *options, file, "--window-size=1300,860") as driver:
            _measure(driver, server.port, screenshot)


@contextmanager
def closing_server(server: ServerProcess) -> Iterator[None]:
    """Stop a server at the end of a block."""
    try:
        yield
    finally:
        server.stop()


def _measure(driver: Driver, port: int, screenshot: str) -> None:
    page = DetectionPage(driver, port).ready()
    times = [_choose(page) for _ in range(9)]
    print(f"first boxes after {times[0]:.0f} ms, then {median(times[1:]):.0f} ms")
    page.use_device()
    page.wait("detections in")
    print(page.place)
    if screenshot:
        driver.save_screenshot(screenshot)
    page["camera"].click()
    time.sleep(SECONDS)
    print("camera on this device:", page.wait("frames a second"))
    page["camera"].click()
    page = DetectionPage(driver, port).ready()
    driver.execute_script(ANSWER, BOXES)
    page.choose(SAMPLE)
    rate = driver.execute_async_script(SLIDE, 5)
    print(f"{rate:.0f} frames a second while a slider moves with {BOXES} boxes")


def _choose(page: DetectionPage) -> float:
    """Return the milliseconds from choosing a file to its boxes, as the page says."""
    page.choose(SAMPLE)
    found = re.search(r"in (\d+) ms", page.status)
    assert found
    return float(found[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
