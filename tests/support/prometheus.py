"""Prometheus with the configuration of deploy/, as a process that scrapes a service."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.support.fixtures import ServerProcess
from tests.support.paths import ROOT
from tests.support.real_parts import installed

CONFIG = ROOT / "deploy" / "prometheus.yml"
INTERVAL = "250ms"
SECONDS = 60


class Prometheus:
    """Prometheus with the rules of deploy/, which scrapes one service."""

    def __init__(self, folder: Path, service: ServerProcess) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
        config["rule_files"] = [str(CONFIG.parent / name) for name in config["rule_files"]]
        (job,) = config["scrape_configs"]
        del job["authorization"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{service.port}"]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._log = folder / "log"
        command = [
            installed("prometheus", "prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self._address}",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log)

    def ask(self, path: str) -> Any:
        """Return the data of an answer of the API; None while Prometheus starts."""
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"http://{self._address}/api/v1/{path}") as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def scrapes(self) -> int:
        """How often the service was scraped."""
        return int(self.value("count_over_time(up[1h])") or 0)

    def value(self, query: str) -> float | None:
        """Return the one value of a query; None: there is none."""
        found = self.ask(f"query?{urllib.parse.urlencode({'query': query})}")
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    def firing(self) -> set[str]:
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)
