"""The service alone and behind Ray Serve: requests per second, latency, and the first answer.

``python -m benchmarks.ray_serve MODELS_DIR MODEL IMAGE [SECONDS]``; needs wrk and the extra
``ray``.
Variables of Ray Serve in the environment count.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks.serving import Server, free_port, server_answers, serving
from tests.support.command import COMMAND
from tests.support.ray_serve import RayServe, start_ray_serve

CONNECTIONS = (1, 16)
IDLE_SECONDS = 3.0
"""How long nothing was asked before a first request is measured."""


def main(models: str, model: str, image: str, seconds: float = 6.0) -> None:
    """Print the tables."""
    environment = {"YOLO_MODELS_DIR": str(Path(models).resolve()), "YOLO_MODEL": model}
    print("| | connections | requests/s | p50 | p99 | failed |\n|---|---|---|---|---|---|")
    starts = {"`yolo-service serve`, from the start of the process": 0.0}
    port, began = free_port(), time.monotonic()
    command = [str(COMMAND), "serve", "--port", str(port)]
    with serving(command, environment, Path(image), port) as plain:
        starts[next(iter(starts))] = time.monotonic() - began
        _print_loads("`yolo-service serve`", plain, seconds)
    of_ray = {name: value for name, value in os.environ.items() if name.startswith("RAY_SERVE_")}
    ray_serve = start_ray_serve(environment | of_ray)
    try:
        server = Server(ray_serve.port, ray_serve.process.pid, Path(image))
        for replicas, cpus in ((1, 2), (2, 1)):
            ray_serve.deploy("default", "/", num_replicas=replicas, num_cpus=cpus)
            server_answers(server)
            _print_loads(f"Ray Serve, {replicas} x {cpus} CPUs", server, seconds)
        starts["Ray Serve, from no replica"] = _from_zero(ray_serve, Path(image))
    finally:
        ray_serve.stop()
    print("\n| | seconds to the first answer |\n|---|---|")
    for name, took in starts.items():
        print(f"| {name} | {took:.1f} |")


def _print_loads(name: str, server: Server, seconds: float) -> None:
    for connections in CONNECTIONS:
        server.load(connections, 2)
        load = server.load(connections, seconds)
        figures = f"{load.rate:.0f} | {load.p50:.1f} ms | {load.p99:.1f} ms | {load.failed}"
        print(f"| {name} | {connections} | {figures} |", flush=True)


def _from_zero(ray_serve: RayServe, image: Path) -> float:
    """Return the seconds from a request to its answer where no replica runs."""
    ray_serve.deploy("zero", "/zero", min_replicas=0, num_cpus=2)
    time.sleep(IDLE_SECONDS)
    client, began = ray_serve.client(), time.monotonic()
    answer = client.post([("image_file", image.read_bytes())], "/zero/detect")
    took = time.monotonic() - began
    client.close()
    if answer.status != 200:
        raise RuntimeError(f"the first request was answered {answer.status}")
    return took


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], *map(float, sys.argv[4:5]))
