"""Image URLs whose host names no DNS answers: the next one is refused, everything else served."""

from __future__ import annotations

import gevent

from tests.api.conftest import LocalClient
from tests.support.answers import problem
from tests.support.predictors import SECONDS
from tests.support.silent_dns import SILENT, SilentDns
from yolo_service.http.fetch import RESOLVER_THREADS


def test_uploads_and_metrics_are_answered_while_no_dns_answers(
    client: LocalClient, dns: SilentDns, photo: bytes
) -> None:
    path = f"/detect?url=http://{SILENT}/a.jpg"
    waiting = [gevent.spawn(client.get, path) for _ in range(RESOLVER_THREADS)]
    with gevent.Timeout(SECONDS):
        while dns.asked < RESOLVER_THREADS:
            gevent.sleep(0.001)
    problem(client.get(path), 503, "all 32 DNS threads are busy; try again")
    assert client.get("/metrics").status == 200
    assert client.post([("image_file", photo)]).status == 200
    assert not any(greenlet.ready() for greenlet in waiting)
    dns.release.set()
    gevent.joinall(waiting, timeout=SECONDS, raise_error=True)
    for greenlet in waiting:
        problem(greenlet.value, 424, f"{SILENT} is not a known host name")
