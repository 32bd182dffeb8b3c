"""The commands of simple-redis-helper on both sides of ``yolo-service detect``, unchanged."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

from tests.support.detecting import detecting
from tests.support.paths import ROOT
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

SAMPLE = ROOT / "models" / "blood-cells" / "sample.jpg"
SECONDS = 60


def whole(path: Path) -> bool:
    return path.read_bytes().endswith(b"}\n")


def test_broadcast_and_listen_on_channels(
    clients_python: Path, redis_server: RedisServer, tmp_path: Path
) -> None:
    received, client, port = tmp_path / "received", redis_server.client(), str(redis_server.port)
    received.mkdir()
    (tmp_path / "broken.jpg").write_bytes(b"broken")

    def command(name: str, channel: str, *more: str | Path) -> list[str | Path]:
        return [clients_python.with_name(name), "--port", port, "--channel", channel, *more]

    listening = subprocess.Popen(command("srh-listen", "out", "--data_only", "-o", received))
    address = redis_server.address
    with (
        listening,
        detecting(f"{address}?channel=in", f"{address}?channel=out", tmp_path / "log"),
    ):
        try:
            wait_until(
                lambda: client.pubsub_numsub("in")[0][1] == 1 and client.pubsub_numpat() == 1
            )
            for path in (SAMPLE, tmp_path / "broken.jpg"):
                sending = command("srh-broadcast", "in", "--binary", "--file", path)
                subprocess.run(sending, check=True, timeout=SECONDS)
            wait_until(
                lambda: len(list(received.iterdir())) == 2 and all(map(whole, received.iterdir()))
            )
        finally:
            listening.kill()
    found, failed = (json.loads(path.read_text()) for path in sorted(received.iterdir()))
    assert found["meta"]["sha256"] == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()
    assert found["meta"]["model"] == "blood-cells"
    assert "RBC" in {each["label"] for each in found["objects"]}
    assert failed["objects"] == []
    assert "no image of a known format" in failed["meta"]["error"]
