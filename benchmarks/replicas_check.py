"""The simulation of ``benchmarks.replicas`` against real replicas on this machine.

Usage: python -m benchmarks.replicas_check MODELS_DIR MODEL [--image FILE] [--times DIR]
       [--seconds S] [--nginx PROGRAM] [--replicas N]

Without --replicas one replica has all cores; with it so many have one core each, and a real nginx
spreads the requests by ``least_conn``. Requests come at the same Poisson times in both worlds. The
client and nginx run on the same cores: their processor time for a request is measured while they
run, and given to the simulation. "alone" is what the simulation says of replicas without them.
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
from dataclasses import replace
from pathlib import Path

from benchmarks.open_loop import Answers, send
from benchmarks.replicas import TIMES
from benchmarks.scale_rows import progress
from benchmarks.service_times import read_times, replica_environment
from benchmarks.serving import free_port, serving
from benchmarks.simulation import Outcome, Service, poisson, simulate
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


def main() -> None:
    """Print a row for each rate; times in milliseconds."""
    options = _options()
    count = options.replicas or 1
    cpus = sorted(os.sched_getaffinity(0))
    cores = [[cpu] for cpu in cpus[:count]] if options.replicas else [cpus]
    times = read_times(options.times / f"{options.model}-{len(cores[0])}.json")
    settings = load_settings(
        models_dir=options.models_dir, model=options.model, workers=len(times.group_ms)
    )
    data = detect_request(options.image.read_bytes(), keep_alive=True)
    with ExitStack() as stack:
        ports = [stack.enter_context(_replica(settings, options.image, own)) for own in cores]
        port, proxy = ports[0], None
        if options.replicas:
            port, proxy = stack.enter_context(_nginx(options.nginx, ports))
        warm = send(port, data, poisson(10 * count, 5))
        service = Service(times, neighbour_seconds=warm.client_seconds)
        rows = []
        for share in progress(SHARES, "real runs"):
            arrivals = poisson(share * count * service.capacity(), options.seconds, seed=1)
            before = proxy.seconds if proxy else 0.0
            real = send(port, data, arrivals)
            spent = proxy.seconds - before if proxy else 0.0
            beside = real.client_seconds + spent / len(arrivals)
            beside_client = replace(service, neighbour_seconds=beside)
            both = [
                simulate(arrivals, one, count)
                for one in (beside_client, replace(service, neighbour_seconds=0.0))
            ]
            rows.append(_row(len(arrivals) / options.seconds, beside, real, both))
    print(
        "| requests/s | p50: real | simulated | p95: real | simulated | alone | 503: real "
        "| simulated | broken | client and nginx |"
    )
    print("|---|" + "---|" * 9)
    print(*rows, sep="\n")


def _row(rate: float, beside: float, real: Answers, simulated: Sequence[Outcome]) -> str:
    """Write one line of the table."""
    same, alone = simulated
    p50, p95 = (
        f"{1000 * real.percentile(percent):.1f} | {1000 * same.percentile(percent):.1f}"
        for percent in (50, 95)
    )
    return (
        f"| {rate:.0f} | {p50} | {p95} | {1000 * alone.percentile(95):.1f} "
        f"| {100 * real.refused:.1f} % | {100 * same.lost:.1f} % | {100 * real.broken:.1f} % "
        f"| {1000 * beside:.2f} |"
    )


@contextlib.contextmanager
def _replica(settings: Settings, image: Path, cpus: Sequence[int]) -> Iterator[int]:
    """Start a replica on these cores; yields its port."""
    port = free_port()
    command = ["taskset", "--cpu-list", ",".join(map(str, cpus)), sys.executable, "app.py"]
    with serving(command, replica_environment(settings, port), image, port):
        yield port


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
