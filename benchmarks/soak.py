"""The service under mixed good, bad and hostile requests: what breaks, what grows, what is left.

Usage: python -m benchmarks.soak [SECONDS] [MODELS_DIR]

SECONDS is 600 unless given; MODELS_DIR holds the default model, random small ones are made without
it. Clients use all routes all the time; two more models are loaded at their first use and leave the
memory whenever nobody asked for them for a second. Ends with exit code 1 if an answer was a server
error other than 503 and 504, a connection was reset, memory grew by more than 5 % after the first
tenth of the time (a minute of ten), or files, threads or temporary files were left over.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from urllib.parse import quote

from tests.support import sample_images
from tests.support.attacks import Cost, Peer, hostile_images, post
from tests.support.fixtures import Answer, Client, Part, ServerProcess, start_process
from tests.support.networks import write_model

GROWTH = 1.05
CLIENTS = 4
OTHERS = ("x-other", "y-other")

Action = Callable[[Client, random.Random], Answer]


def actions(default: str) -> dict[str, Action]:
    """Return what clients do, by name."""
    photo = sample_images.jpeg(640, 480)
    hostile = [data for _, data, _ in hostile_images() if len(data) < 1_000_000]
    parts: list[Part] = [("image_file", photo)]
    image: list[Part] = [("image", photo)]

    def get(path: str) -> Action:
        return lambda client, _: client.get(path)

    def form(parts: list[Part], path: str) -> Action:
        return lambda client, _: client.post(parts, path)

    def raw(client: Client, _: random.Random) -> Answer:
        return client.request("POST", "/invocations", photo, {"Content-Type": "image/jpeg"})

    def hostile_file(client: Client, rng: random.Random) -> Answer:
        return client.post([("image_file", rng.choice(hostile))])

    def other(client: Client, rng: random.Random) -> Answer:
        return client.post([*parts, ("model", rng.choice(OTHERS))])

    return {
        "detect": form(parts, "/detect"),
        "detect everything": form([*parts, ("threshold", "0"), ("nms", "0")], "/detect"),
        "objects": form([*parts, ("format", "objects")], "/detect"),
        "several": form(parts * 3, "/detect"),
        "other model": other,
        "annotate": form(parts, "/annotate"),
        "deepstack": form(image, "/v1/vision/detection"),
        "custom": form(image, f"/v1/vision/custom/{default}"),
        "raw": raw,
        "hostile file": hostile_file,
        "bad threshold": form([*parts, ("threshold", "2")], "/detect"),
        "no such model": form([*parts, ("model", "none")], "/detect"),
        "no file": form([("threshold", "0.5")], "/detect"),
        "forbidden url": get(f"/detect?url={quote('http://169.254.169.254/')}"),
        "obico": get(f"/p/?img={quote('http://127.0.0.1:1/')}"),
        "models": get("/models"),
        "oip": get(f"/v2/models/{default}"),
        "health": get("/healthz"),
        "ready": get("/readyz"),
        "metrics": get("/metrics"),
        "ui": get("/ui/"),
        "no such page": get("/nope"),
    }


class Soak:
    """Clients and attackers of a server, and what they met."""

    def __init__(self, server: ServerProcess, default: str) -> None:
        self.answers: Counter[int] = Counter()
        self.unexpected: Counter[str] = Counter()
        self._server, self._actions = server, actions(default)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._use, args=(i,)) for i in range(CLIENTS)]
        self._threads.append(threading.Thread(target=self._attack))

    def run(self, seconds: float, cost: Cost) -> list[int]:
        """Go on for some time; returns the memory at each second."""
        for thread in self._threads:
            thread.start()
        memory: list[int] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1)
            memory.append(cost.memory)
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return memory

    def _use(self, seed: int) -> None:
        rng = random.Random(seed)
        names = sorted(self._actions)
        client = self._server.client()
        while not self._stop.is_set():
            name = rng.choice(names)
            try:
                status = self._actions[name](client, rng).status
            except OSError as error:
                self.unexpected[f"{name}: {type(error).__name__}"] += 1
                client = self._server.client()
                continue
            self.answers[status] += 1
            if status >= 500 and status not in (503, 504):
                self.unexpected[f"{name}: {status}"] += 1
        client.close()

    def _attack(self) -> None:
        """Break off in the middle of everything, and never read an answer."""
        chunked = post("/detect", "Transfer-Encoding: chunked")
        cases = [b"", b"GET /", b"NONSENSE\r\n\r\n", chunked + b"xyz\r\n", chunked + b"5\r\nab"]
        cases += [
            post("/detect", "Content-Length: 1000") + b"--b",
            b"GET /ui/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ]
        while not self._stop.is_set():
            for data in cases:
                Peer(self._server.port, data).close()
            with Peer(self._server.port, chunked) as peer:
                peer.flood(b"1\r\na\r\n" * 1000, times=50)
            self._stop.wait(0.2)


def settled(cost: Cost, server: ServerProcess) -> tuple[int, int]:
    """Return files and threads once connections are closed and models unloaded."""
    time.sleep(5)
    client = server.client()
    client.get("/healthz")
    client.close()
    time.sleep(1)
    return cost.files, cost.threads


def main(seconds: float = 600.0, models: str | None = None) -> int:
    """Run, print the figures and say whether all is well."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch:
        root = Path(folder, "models")
        root.mkdir()
        if models:
            shutil.copytree(models, root, dirs_exist_ok=True)
        else:
            write_model(root / "a-default")
        default = min(path.name for path in root.iterdir())
        for name in OTHERS:
            write_model(root / name)
        settings = {"YOLO_MODELS_DIR": str(root), "YOLO_MODEL_IDLE_TIMEOUT": "1"}
        server = start_process({**settings, "YOLO_MODEL": default, "TMPDIR": scratch})
        server.wait_until_ready()
        try:
            return _report(Soak(server, default), server, seconds, scratch)
        finally:
            print(f"exit code {server.stop()}")


def _report(soak: Soak, server: ServerProcess, seconds: float, scratch: str) -> int:
    cost = Cost(server.process.pid)
    Soak(server, "warm").run(min(5, seconds / 10), cost)  # threads that are made when needed
    files, threads = settled(cost, server)
    memory = soak.run(seconds, cost)
    files_after, threads_after = settled(cost, server)
    tenth = max(1, len(memory) // 10)
    early, late = median(memory[tenth : 2 * tenth]), median(memory[-tenth:])
    unloads = sum("unloaded" in line for line in server.log)
    print(f"{sum(soak.answers.values())} answers in {seconds:g} s: {sorted(soak.answers.items())}")
    print(f"unexpected: {dict(soak.unexpected) or 'nothing'}; models unloaded {unloads} times")
    print(f"memory {early / 1e6:.1f} MB after the first tenth, {late / 1e6:.1f} MB at the end")
    print(f"files {files} -> {files_after}, threads {threads} -> {threads_after}")
    print(f"temporary files left: {os.listdir(scratch) or 'none'}")  # noqa: PTH208 - names only
    traces = sum("Traceback" in line for line in server.log)
    print(f"tracebacks in the log: {traces}")
    if traces:
        first = next(i for i, line in enumerate(server.log) if "Traceback" in line)
        print("".join(server.log[first - 1 : first + 40]))
    well = late <= GROWTH * early and files_after <= files and threads_after <= threads
    return 0 if well and not (soak.unexpected or traces or os.listdir(scratch)) else 1  # noqa: PTH208


if __name__ == "__main__":
    duration = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    raise SystemExit(main(duration, sys.argv[2] if len(sys.argv) > 2 else None))
