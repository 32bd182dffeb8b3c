"""What HTTP adds to decoding and detecting: one client, kept-alive connection, in one run.

Usage: python benchmarks/http_overhead.py MODELS_DIR IMAGE [REQUESTS]

Requests and calls in this process take turns, so that both meet the same neighbours on the
machine. The server is ``python app.py`` with its defaults.
"""

from __future__ import annotations

import http.client
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from yolo_service.images.decode import DecodeOptions, decode_image
from yolo_service.models.repository import default_files, load_files
from yolo_service.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
BOUNDARY = "boundary"
MAX_PIXELS = 50_000_000


@contextmanager
def server(models: str) -> Iterator[http.client.HTTPConnection]:
    """Start the service on a free port and connect to it."""
    environment = {**os.environ, "YOLO_MODELS_DIR": models, "YOLO_PORT": "0"}
    command = [sys.executable, str(ROOT / "app.py")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        lines = iter(process.stderr.readline, "")
        port = next(m.group(1) for line in lines if (m := re.search(r"serving .*:(\d+)/ui/", line)))
        # Nobody reads the log any more, and it must not fill the pipe.
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield http.client.HTTPConnection("127.0.0.1", int(port))
        process.terminate()
        process.wait()
        drain.wait()


def milliseconds(call: Callable[[], object]) -> float:
    """Time a call."""
    before = time.perf_counter()
    call()
    return (time.perf_counter() - before) * 1000


def main(models: str, image: str, requests: int = 200) -> None:
    """Print medians and their difference."""
    data = Path(image).read_bytes()
    settings = load_settings(models_dir=models)
    network = load_files(default_files(settings), settings)
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image_file"; filename="a"\r\n\r\n'
    )
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    with server(models) as connection:

        def through_http() -> None:
            connection.request("POST", "/detect", body, headers)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()

        def in_process() -> None:
            decoded = decode_image(data, DecodeOptions.for_network(network), max_pixels=MAX_PIXELS)
            network.detect([decoded.pixels])

        for _ in range(10):
            through_http()
            in_process()
        pairs = [(milliseconds(in_process), milliseconds(through_http)) for _ in range(requests)]
        connection.close()
    inside, outside = ([pair[i] for pair in pairs] for i in (0, 1))
    print(f"{'':<22}{'p50':>8}{'min':>8}  ms, {requests} images of {len(data)} bytes")
    for name, times in (("decode + detect", inside), ("the same over HTTP", outside)):
        print(f"{name:<22}{statistics.median(times):>8.2f}{min(times):>8.2f}")
    difference = statistics.median(outside) - statistics.median(inside)
    print(f"{'HTTP adds':<22}{difference:>8.2f}{min(outside) - min(inside):>8.2f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
