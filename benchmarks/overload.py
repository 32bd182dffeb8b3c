"""What clients meet when more is asked than the machine can do.

Usage: python -m benchmarks.overload MODELS_DIR IMAGE [SECONDS [MODEL]]

Measures the capacity with as many clients as keep all workers busy, then asks a quarter of it, four
times of it for SECONDS (60), and a quarter again. The load comes from this machine, too, so it
takes its share of the processor from the service. "but queue" is the time of accepted requests
without their wait for a worker, which QUEUE_SIZE bounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from darknet.limits import available_cpus
from tests.support.attacks import Cost
from tests.support.fixtures import Client, start_process
from tests.support.load import Sample, detect_request, percentile, send


def capacity(port: int, photo: bytes, seconds: float = 5.0) -> float:
    """Return images per second with four clients per worker, each waiting for its answer."""
    end = time.perf_counter() + seconds

    def work(_: int) -> int:
        client, count = Client(port), 0
        while time.perf_counter() < end:
            assert client.post([("image_file", photo)]).status == 200
            count += 1
        client.close()
        return count

    clients = 4 * available_cpus()
    with ThreadPoolExecutor(clients) as threads:
        return sum(threads.map(work, range(clients))) / seconds


def row(name: str, samples: Sequence[Sample], cost: Cost) -> str:
    """Write one line of the table."""
    accepted = [sample for sample in samples if sample.status == 200]
    rejected = [sample for sample in samples if sample.status == 503]
    other = len(samples) - len(accepted) - len(rejected)
    times = (
        _milliseconds([sample.seconds for sample in accepted], 50),
        _milliseconds([sample.seconds for sample in accepted], 95),
        _milliseconds([sample.seconds - sample.queued for sample in accepted], 95),
        _milliseconds([sample.seconds for sample in rejected], 50),
        _milliseconds([sample.seconds for sample in rejected], 95),
    )
    return (
        f"{name:<14} {len(samples):>8} {len(accepted):>8} {len(rejected):>8} {other:>6} "
        + " ".join(f"{text:>9}" for text in times)
        + f" {cost.memory / 1e6:>7.0f}"
    )


def _milliseconds(seconds: Sequence[float], percent: float) -> str:
    return f"{percentile(seconds, percent) * 1000:.1f}" if seconds else "-"


def main(models: str, image: str, seconds: str = "60", model: str = "") -> None:
    """Print the table; times in milliseconds, memory in MB."""
    photo = Path(image).read_bytes()
    data = detect_request(photo)
    chosen = {"YOLO_MODEL": model} if model else {}
    server = start_process({"YOLO_MODELS_DIR": models, **chosen})
    server.wait_until_ready()
    cost = Cost(server.process.pid)
    try:
        rate = capacity(server.port, photo)
        print(f"capacity {rate:.0f} images/s")
        print(
            f"{'load':<14} {'requests':>8} {'200':>8} {'503':>8} {'other':>6} {'200 p50':>9} "
            f"{'200 p95':>9} {'but queue':>9} {'503 p50':>9} {'503 p95':>9} {'memory':>7}"
        )
        for name, factor, duration in (
            ("a quarter", 0.25, 10.0),
            ("four times", 4.0, float(seconds)),
            ("a quarter", 0.25, 10.0),
        ):
            print(row(name, send(server.port, data, factor * rate, duration), cost), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
