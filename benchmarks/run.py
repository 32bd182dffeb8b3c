"""Engines, service, the limit of the machine, and other services, side by side in one run.

Usage: python -m benchmarks.run [--models-dir DIR] [--model NAME] [--image FILE]
       [--seconds S] [--rounds N] [--no-peers] [--no-scale] [--plot DIR] [--guard RATIO]

``make bench`` runs it with the embedded model. Needs wrk (apt-get install wrk). The ceiling is what
decoding and detecting give in a tight loop with no HTTP, with the best number of threads and of
images that each takes at once. Service and ceiling take turns, and service and each other
service, so that both meet the same neighbours on the machine; figures are medians of the rounds.
With --guard the exit code is 1 if the service gives less of the ceiling than that.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks import scale
from benchmarks.ceiling import ceiling, decode_and_detect
from benchmarks.peer_model import write_peer_model
from benchmarks.scale_rows import Effort
from benchmarks.services import BUILD, PEERS
from benchmarks.serving import Load, Server, free_port, middle, server_answers, serving
from darknet.limits import available_cpus
from darknet.model import EngineName, Precision
from darknet.network import Network
from yolo_service import benchmark, process
from yolo_service.images.decode import decode
from yolo_service.models.opening import default_files, load_files
from yolo_service.settings import Settings, load_settings

CONNECTIONS = (1, 8, 32)
PRECISIONS: tuple[Precision, ...] = ("fp32", "fast")
PACKAGES = ("openvino", "onnxruntime", "opencv-python-headless", "numpy", "gevent", "connexion")


@dataclass(frozen=True)
class Measured:
    """One service, and what clients see.

    Attributes:
        name: in the tables.
        loads: by the number of clients.
        memory: resident, in MB.
        ceiling: images per second of its parts in this process.
        inside: milliseconds that its parts take in this process.
        rivals: requests per second of this project's services, measured in turns with it.
    """

    name: str
    loads: dict[int, Load]
    memory: float
    ceiling: float | None = None
    inside: float | None = None
    rivals: tuple[float, ...] = ()

    @property
    def best(self) -> float:
        """Most requests per second with any number of clients."""
        return max(load.rate for load in self.loads.values())


def main() -> int:
    """Print every table; returns the exit code."""
    options = _options()
    settings = load_settings(models_dir=options.models_dir, model=options.model)
    process.tune()
    print(*_about(settings, options.image), sep="\n")
    _engines(settings, options)
    services = [_service(settings, precision, options) for precision in PRECISIONS]
    print(*_service_table(services), sep="\n")
    peers = list(_peers(settings, options)) if options.peers else []
    if peers:
        print(*_peer_table(services, peers), sep="\n")
    if options.plot:
        from benchmarks.plots import plot

        plot(options.plot, {item.name: item.loads for item in [*peers, *services]})
    if options.scale:
        effort = Effort(options.seconds / 2, options.rounds, http=True)
        scale.report(settings, effort, plot=options.plot)
    worst = min(s.loads[c].rate / (s.ceiling or 1) for s in services for c in CONNECTIONS[1:])
    return int(worst < options.guard)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--model")
    parser.add_argument("--image", type=Path, default=Path("/usr/share/darknet/data/dog.jpg"))
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--no-scale", dest="scale", action="store_false")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--guard", type=float, default=0.0)
    return parser.parse_args()


def _about(settings: Settings, image: Path) -> Iterator[str]:
    height, width = decode(image.read_bytes(), max_pixels=settings.max_pixels).shape[:2]
    yield f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {available_cpus()} CPUs {processor()}"
    yield f"Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in PACKAGES)
    yield f"model {default_files(settings).name}, image {image.name}: {width} x {height}"


def processor() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "")


def _engines(settings: Settings, options: argparse.Namespace) -> None:
    """The same table as ``yolo-service benchmark``."""
    files = default_files(settings)

    def load(engine: EngineName, precision: Precision, streams: int) -> Network:
        chosen = settings.model_copy(update={"engine": engine, "precision": precision})
        return load_files(files, chosen, streams)

    image = benchmark.benchmark_image(options.image)
    rows = benchmark.Benchmark(load, image, options.seconds, settings.workers).rows()
    print("", *benchmark.table(rows), sep="\n", flush=True)


def _service(settings: Settings, precision: Precision, options: argparse.Namespace) -> Measured:
    """Let ceiling and service take turns."""
    chosen = settings.model_copy(update={"precision": precision})
    files, data = default_files(chosen), options.image.read_bytes()
    ceilings, inside, rounds = [], [], []
    with (
        load_files(files, chosen, chosen.workers) as network,
        _serving(settings, precision, options) as server,
    ):
        both = decode_and_detect(network, chosen, data)
        for _ in range(options.rounds):
            ceilings.append(ceiling(both, options.seconds))
            inside.append(_p50(partial(both, 1), options.seconds / 2))
            rounds.append(_loads(server, options.seconds))
        memory = server.memory()
    name = f"this service, {precision}"
    return Measured(name, _middles(rounds), memory, median(ceilings), median(inside))


def _serving(
    settings: Settings, precision: Precision, options: argparse.Namespace
) -> AbstractContextManager[Server]:
    """Start this project's service."""
    port = free_port()
    environment = {
        "YOLO_MODELS_DIR": str(settings.models_dir.resolve()),
        "YOLO_MODEL": default_files(settings).name,
        "YOLO_PRECISION": precision,
        "YOLO_PORT": str(port),
    }
    return serving([sys.executable, "app.py"], environment, options.image, port)


def _loads(server: Server, seconds: float) -> dict[int, Load]:
    return {count: server.load(count, seconds) for count in CONNECTIONS}


def _middles(rounds: Sequence[dict[int, Load]]) -> dict[int, Load]:
    return {count: middle([loads[count] for loads in rounds]) for count in CONNECTIONS}


def _p50(call: Callable[[], object], seconds: float) -> float:
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        before = time.perf_counter()
        call()
        times.append((time.perf_counter() - before) * 1000)
    return median(times)


def _service_table(services: list[Measured]) -> Iterator[str]:
    yield ""
    yield (
        f"{'':<22} {'clients':>7} {'ceiling/s':>9} {'req/s':>7} {'ratio':>6} {'p50 ms':>7} "
        f"{'p99/p50':>7} {'failed':>6} {'MB':>5}"
    )
    for service in services:
        assert service.ceiling
        assert service.inside
        for count, load in service.loads.items():
            yield (
                f"{service.name:<22} {count:>7} {service.ceiling:>9.0f} {load.rate:>7.0f} "
                f"{load.rate / service.ceiling:>6.2f} {load.p50:>7.1f} {load.p99 / load.p50:>7.2f} "
                f"{load.failed:>6} {service.memory:>5.0f}"
            )
        added = service.loads[1].p50 - service.inside
        yield (
            f"{service.name}: one client waits {service.loads[1].p50:.2f} ms, "
            f"{added:.2f} more than the {service.inside:.2f} of decoding and detecting"
        )


def _peers(settings: Settings, options: argparse.Namespace) -> Iterator[Measured]:
    files = default_files(settings)
    write_peer_model(files, BUILD / "model")
    with ExitStack() as stack:
        started = (_serving(settings, precision, options) for precision in PRECISIONS)
        services = [stack.enter_context(server) for server in started]
        for peer in PEERS:
            port = free_port()
            try:
                arguments = peer.arguments(port)
                variables = peer.variables(files, BUILD / "model", port)
                with serving(arguments, variables, options.image, port) as server:
                    yield _peer(peer.name, server, services, options)
            except (OSError, RuntimeError) as error:
                print(f"{peer.name}: not measured: {error}")


def _peer(
    name: str, peer: Server, services: Sequence[Server], options: argparse.Namespace
) -> Measured:
    """Let another service and this project's take turns."""
    server_answers(peer)
    servers = (peer, *services)
    rounds = [
        [_loads(server, options.seconds) for server in servers] for _ in range(options.rounds)
    ]
    one, *rivals = (
        Measured(name, _middles(loads), server.memory())
        for server, loads in zip(servers, zip(*rounds, strict=True), strict=True)
    )
    return replace(one, rivals=tuple(rival.best for rival in rivals))


def _peer_table(services: list[Measured], peers: list[Measured]) -> Iterator[str]:
    yield ""
    heads = "".join(f"{f'req/s at {count}':>13}" for count in CONNECTIONS[1:])
    times = "".join(f" {f'{s.name.split()[-1]} is':>9}" for s in services)
    yield f"{'':<36} {'p50 ms at 1':>11}{heads} {'MB':>6}{times}"
    for item in [*peers, *services]:
        rates = "".join(f"{item.loads[count].rate:>13.0f}" for count in CONNECTIONS[1:])
        rivals = item.rivals or tuple(service.best for service in services)
        ratios = "".join(f"{rival / item.best:>9.2f}x" for rival in rivals)
        yield f"{item.name:<36} {item.loads[1].p50:>11.1f}{rates} {item.memory:>6.0f}{ratios}"


if __name__ == "__main__":
    raise SystemExit(main())
