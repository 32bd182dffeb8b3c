"""The simulation of ``benchmarks.replicas`` against real replicas on this machine.

Usage: python -m benchmarks.replicas_check MODELS_DIR MODEL [--image FILE] [--times DIR]
       [--seconds S] [--nginx PROGRAM] [--replicas N]

Without --replicas one replica has all cores; with it so many have one core each, and a real nginx
spreads the requests by ``least_conn``. Requests come at the same Poisson times in both worlds. The
client and nginx run on the same cores: their processor time for a request is measured while they
run, and given to the simulation. "alone" is what the simulation says of replicas without them, and
"others" the cores that other programs took in the less disturbed of two runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.open_loop import Answers, send
from benchmarks.quiet import own_seconds, quietest
from benchmarks.replicas import TIMES
from benchmarks.scale_rows import progress
from benchmarks.service_times import read_times, replica_environment
from benchmarks.serving import Server, free_port, serving
from benchmarks.simulation import Seconds, Service, poisson, simulate
from tests.support.attacks import Cost
from tests.support.load import detect_request
from yolo_service.settings import Settings, load_settings

SHARES = (0.25, 0.5, 0.7, 0.8, 0.9, 1.3)
"""Parts of the capacity that the simulation says the replicas have beside the client."""

NGINX = """
daemon off;
error_log stderr;
pid nginx.pid;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_max_body_size 20m;
  client_body_buffer_size 1m;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream replicas {{ least_conn; {servers} keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://replicas;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Bench:
    """The same replicas, real and simulated.

    Attributes:
        service: one replica.
        count: of replicas.
        port: of the replica, or of nginx.
        request: what is sent.
        replicas: cost of the real ones.
        proxies: cost of nginx, if it is there.
    """

    service: Service
    count: int
    port: int
    request: bytes
    replicas: Sequence[Cost]
    proxies: Sequence[Cost]

    def capacity(self) -> float:
        """Return the images per second that the replicas should answer beside the client."""
        _, beside = self.measure(poisson(10 * self.count, 5))
        return self.count * replace(self.service, neighbour_seconds=beside).capacity()

    def measure(self, arrivals: Seconds) -> tuple[Answers, float]:
        """Send requests; also returns the processor time of client and nginx for each."""
        before = self._neighbours()
        answers = send(self.port, self.request, arrivals)
        return answers, (self._neighbours() - before) / len(arrivals)

    def row(self, rate: float, seconds: float) -> str:
        """Return one line of the table."""
        arrivals = poisson(rate, seconds, seed=1)
        (real, beside), others = quietest(lambda: self.measure(arrivals), self._all, attempts=2)
        same, alone = (
            simulate(real.sent, replace(self.service, neighbour_seconds=spent), self.count)
            for spent in (beside, 0.0)
        )
        p50, p95 = (
            f"{1000 * real.percentile(part):.1f} | {1000 * same.percentile(part):.1f}"
            for part in (50, 95)
        )
        return (
            f"| {len(arrivals) / seconds:.0f} | {p50} | {p95} | {1000 * alone.percentile(95):.1f} "
            f"| {100 * real.refused:.1f} % | {100 * same.lost:.1f} % | {100 * real.broken:.1f} % "
            f"| {1000 * beside:.2f} | {others:.2f} |"
        )

    def _neighbours(self) -> float:
        return own_seconds() + sum(cost.seconds for cost in self.proxies)

    def _all(self) -> float:
        return self._neighbours() + sum(cost.seconds for cost in self.replicas)


def main() -> None:
    """Print a row for each rate; times in milliseconds."""
    options = _options()
    print(
        "| requests/s | p50: real | simulated | p95: real | simulated | alone | 503: real "
        "| simulated | broken | client and nginx | others |"
    )
    print("|---|" + "---|" * 10, flush=True)
    with _bench(options) as bench:
        capacity = bench.capacity()
        for share in progress(SHARES, "real runs"):
            print(bench.row(share * capacity, options.seconds), flush=True)


@contextlib.contextmanager
def _bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the replicas, and nginx in front of several."""
    cpus = sorted(os.sched_getaffinity(0))
    cores = [[cpu] for cpu in cpus[: options.replicas]] if options.replicas else [cpus]
    times = read_times(options.times / f"{options.model}-{len(cores[0])}.json")
    settings = load_settings(
        models_dir=options.models_dir, model=options.model, workers=len(times.group_ms)
    )
    request = detect_request(options.image.read_bytes(), keep_alive=True)
    with ExitStack() as stack:
        servers = [stack.enter_context(_replica(settings, options.image, own)) for own in cores]
        port, proxies = servers[0].port, []
        if options.replicas:
            ports = [server.port for server in servers]
            port, proxy = stack.enter_context(_nginx(options.nginx, ports))
            proxies = [proxy]
        costs = [Cost(server.pid) for server in servers]
        yield Bench(Service(times), len(servers), port, request, costs, proxies)


@contextlib.contextmanager
def _replica(settings: Settings, image: Path, cpus: Sequence[int]) -> Iterator[Server]:
    """Start a replica on these cores."""
    port = free_port()
    command = ["taskset", "--cpu-list", ",".join(map(str, cpus)), sys.executable, "app.py"]
    with serving(command, replica_environment(settings, port), image, port) as server:
        yield server


@contextlib.contextmanager
def _nginx(program: str, ports: Sequence[int]) -> Iterator[tuple[int, Cost]]:
    """Start nginx in front of replicas; yields its port, and the cost of its worker process."""
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{each};" for each in ports)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # nginx gives up root's rights
        (Path(folder) / "nginx.conf").write_text(NGINX.format(servers=servers, port=port))
        process = subprocess.Popen([program, "-p", folder, "-c", "nginx.conf"])
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while not (workers := children.read_text().split()):
                process.poll()
            yield port, Cost(int(workers[0]))
        finally:
            process.terminate()
            process.wait(10)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("model")
    parser.add_argument("--image", type=Path, default=Path("/usr/share/darknet/data/dog.jpg"))
    parser.add_argument("--times", type=Path, default=TIMES)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--nginx", default=shutil.which("nginx", path="/usr/sbin:/usr/bin"))
    parser.add_argument("--replicas", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main()
