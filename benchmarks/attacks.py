"""What an honest client sees while one other client attacks, and the memory that the attack takes.

Usage: python -m benchmarks.attacks [SECONDS]

The honest client uploads a small JPEG again and again. For each attack the table has its slowest
answer, the answers that were no 200, and by how much the memory of the service and its decoder
processes was above its rest at most, and ten seconds after the attack.
"""

from __future__ import annotations

import gzip
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import ROOT
from tests.support import hostile, sample_images
from tests.support.attacks import Peer
from tests.support.fixtures import Client, ServerProcess, multipart, start_process

FORM = b"Content-Type: multipart/form-data; boundary=----boundary\r\n"
Attack = Callable[[int, threading.Event], None]


@dataclass
class Seen:
    """What the honest client has seen: seconds of each answer, and statuses other than 200."""

    seconds: list[float] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)


def main(seconds: float = 10.0) -> None:
    """Print a line for each attack."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    print(f"{'attack':<44}{'slowest s':>10}{'not 200':>9}{'peak MB':>9}{'left MB':>9}")
    for name, attack in _attacks():
        process = start_process(
            {"YOLO_MODELS_DIR": str(ROOT / "models"), "YOLO_MODEL": "blood-cells"}
        )
        process.wait_until_ready()
        seen = Seen()
        with _honest(process, seen), _peak(process.process.pid) as peak:
            _run(attack, process.port, seconds)
        before = peak[0]
        time.sleep(10)
        after = _memory(process.process.pid)
        print(
            f"{name:<44}{max(seen.seconds):>10.2f}{len(seen.failures):>9}"
            f"{max(peak) - before:>9.0f}{after - before:>9.0f}",
            flush=True,
        )
        process.stop()


def _attacks() -> Iterator[tuple[str, Attack]]:
    yield "none", _waiting
    for name, make in hostile.FILES.items():
        yield name, _posting("/detect", FORM, multipart([("image_file", make())]))
    accept = b"Accept: " + b"image/png, " * 5900 + b"\r\n"
    yield "64 kB of Accept", _posting("/annotate", FORM + accept, multipart([("image_file", b"x")]))
    digest = b"Authorization: Digest " + b"a=b," * 15_000 + b"\r\n"
    yield "64 kB of Authorization", _posting("/healthz", digest, None)
    tensor = {"name": "image_uint8", "datatype": "UINT8", "shape": [1, 1, 10_000, 3]}
    texts = ["x" * 200_000, *["y"] * 29_999]
    body = json.dumps({"inputs": [{**tensor, "data": texts}]}).encode()
    yield "a tensor of texts", _posting("/v2/models/blood-cells/infer", b"", body)
    packed = b"Content-Encoding: gzip\r\n"
    form = gzip.compress(multipart([("image_file", bytes(19_900_000))]))
    yield "19 kB of gzip, a form of 20 MB", _posting("/detect", FORM + packed, form)
    blanks = gzip.compress(b"[" + b" " * 19_900_000 + b"]")
    yield "19 kB of gzip, JSON of 20 MB", _posting("/v2/models/blood-cells/infer", packed, blanks)
    fields = gzip.compress(b"a=1&" * 4_900_000)
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n" + packed
    yield "19 kB of gzip, fields of 20 MB", _posting("/v1/vision/custom/list", kind, fields)
    yield "16 clients that do not read", _not_reading
    yield "2,000 connections of 34 bytes", _slow_heads


def _waiting(_: int, stop: threading.Event) -> None:
    stop.wait()


def _posting(path: str, headers: bytes, body: bytes | None) -> Attack:
    method = b"GET" if body is None else b"POST"
    data = body or b""
    head = b"%b %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (
        method,
        path.encode(),
        headers,
        len(data),
    )

    def attack(port: int, stop: threading.Event) -> None:
        def post() -> None:
            while not stop.is_set():
                with suppress(OSError, IndexError), Peer(port, head + data, timeout=60) as peer:
                    peer.answer()

        threads = [threading.Thread(target=post, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        stop.wait()

    return attack


def _not_reading(port: int, stop: threading.Event) -> None:
    photo = sample_images.encode(sample_images.quarters(6000, 6000), "JPEG")
    body = multipart([("image_file", photo)])
    head = b"POST /annotate HTTP/1.1\r\nHost: a\r\nAccept: image/png\r\n" + FORM
    request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with ExitStack() as stack:
        while not stop.wait(0.5):
            for _ in range(16):
                with suppress(OSError):
                    stack.enter_context(Peer(port, request))
            stop.wait(3)


def _slow_heads(port: int, stop: threading.Event) -> None:
    with ExitStack() as stack:
        for _ in range(2000):
            with suppress(OSError):
                stack.enter_context(Peer(port, b"GET /healthz HTTP/1.1\r\nHost: a\r\nX"))
        stop.wait()


def _run(attack: Attack, port: int, seconds: float) -> None:
    stop = threading.Event()
    attacking = threading.Thread(target=attack, args=(port, stop), daemon=True)
    attacking.start()
    time.sleep(seconds)
    stop.set()
    attacking.join(10)


@contextmanager
def _honest(process: ServerProcess, seen: Seen) -> Iterator[None]:
    """Upload a small JPEG again and again, on a new connection each time, while the block runs."""
    stop, photo = threading.Event(), sample_images.jpeg(640, 480)

    def ask() -> None:
        while not stop.is_set():
            client, began = Client(process.port), time.monotonic()
            status = client.post([("image_file", photo)]).status
            seen.seconds.append(time.monotonic() - began)
            client.close()
            if status != 200:
                seen.failures.append(status)
            time.sleep(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(2)
    try:
        yield
    finally:
        stop.set()
        asking.join()


@contextmanager
def _peak(pid: int) -> Iterator[list[float]]:
    """Measure the memory of a process and its children, first at rest, while the block runs."""
    stop, found = threading.Event(), [_memory(pid)]

    def watch() -> None:
        while not stop.wait(0.1):
            found.append(_memory(pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield found
    finally:
        stop.set()
        watching.join()


def _memory(pid: int) -> float:
    """Return the memory of a process and its children in MB; what they share counts once."""
    return sum(map(_proportional, (pid, *_children(pid))))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def _proportional(pid: int) -> float:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith("Pss:")), 0) / 1000
    return 0.0


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
