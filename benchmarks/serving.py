"""Servers in processes of their own, and load on them by wrk."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
START_SECONDS = 60.0


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests per second, percentiles of the latency in ms, failed requests."""

    rate: float
    p50: float
    p99: float
    failed: int


@dataclass(frozen=True)
class Server:
    """A process that serves ``POST /detect``."""

    port: int
    pid: int
    image: Path

    def load(self, connections: int, seconds: float) -> Load:
        """Ask as many times as it answers, over kept-alive connections."""
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
        command += ["--timeout", "60s", "-s", str(HERE / "upload.lua")]
        command.append(f"http://127.0.0.1:{self.port}/detect")
        environment = {**os.environ, "IMAGE": str(self.image)}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        line = next(text for text in run.stdout.splitlines() if text.startswith("FIGURES"))
        rate, p50, p99, failed = map(float, line.split()[1:])
        return Load(rate, p50, p99, int(failed))

    def memory(self) -> float:
        """Return the resident memory in MB; several processes count what they share once."""
        family = list(_family(self.pid))
        kind = "Rss:" if len(family) == 1 else "Pss:"
        return sum(_resident(pid, kind) for pid in family) / 1000


def middle(loads: Sequence[Load]) -> Load:
    """Return the medians of several measurements."""
    rates, p50s, p99s = ([getattr(x, name) for x in loads] for name in ("rate", "p50", "p99"))
    return Load(median(rates), median(p50s), median(p99s), sum(load.failed for load in loads))


@contextmanager
def serving(
    command: Sequence[str], environment: Mapping[str, str], image: Path, port: int
) -> Iterator[Server]:
    """Start a server and wait until it has answered an image.

    Raises:
        RuntimeError: it ended, or does not answer.
    """
    process = subprocess.Popen(
        command,
        cwd=HERE / "peers" if environment.get("PEER_PORT") else ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,  # so that its children end with it
    )
    try:
        server = Server(port, process.pid, image)
        _wait(process, server)
        yield server
    finally:
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], server: Server) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            server_answers(server)
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("the server does not start")


def server_answers(server: Server) -> bytes:
    """Post the image once and return the answer.

    Raises:
        OSError: nobody listens yet, or the answer is an error.
    """
    part = b'--b\r\nContent-Disposition: form-data; name="image_file"; filename="a.jpg"\r\n\r\n'
    body = part + server.image.read_bytes() + b"\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/detect", body, kind)
    with urllib.request.urlopen(request, timeout=30) as answer:
        content: bytes = answer.read()
    return content


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _resident(pid: int, kind: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(kind))
