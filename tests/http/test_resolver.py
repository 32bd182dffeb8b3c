"""Host names whose DNS does not answer stop neither other downloads nor the service."""

from __future__ import annotations

import socket

import gevent
import pytest

from tests.support.predictors import SECONDS, eventually
from tests.support.silent_dns import SILENT, SilentDns
from yolo_service.errors import FetchFailed, Overloaded
from yolo_service.http.fetch import RESOLVER_THREADS, FetchPolicy, HostResolver, fetch


def occupy(resolver: HostResolver, dns: SilentDns, count: int) -> list[gevent.Greenlet]:
    """Ask for as many silent names; returns when all of them are being looked up."""
    waiting = [gevent.spawn(resolver, SILENT, 80) for _ in range(count)]
    with gevent.Timeout(SECONDS):
        while dns.asked < count:
            gevent.sleep(0.001)
    return waiting


def test_one_more_name_than_there_are_threads_is_refused_at_once(dns: SilentDns) -> None:
    resolver = HostResolver()
    waiting = occupy(resolver, dns, RESOLVER_THREADS)
    with pytest.raises(Overloaded, match="all 32 DNS threads are busy; try again"):
        resolver("localhost", 80)
    with pytest.raises(Overloaded):
        fetch(f"http://{SILENT}/", FetchPolicy(max_bytes=1), resolve=resolver)
    assert not any(greenlet.ready() for greenlet in waiting)
    dns.release.set()
    for greenlet in gevent.joinall(waiting, timeout=SECONDS):
        assert isinstance(greenlet.exception, socket.gaierror)
    eventually(lambda: resolver._executor._pending == 0)
    assert resolver("127.0.0.1", 80)[0][4] == ("127.0.0.1", 80)


def test_a_silent_name_leaves_the_other_threads_to_other_names(dns: SilentDns) -> None:
    resolver = HostResolver(threads=2)
    (waiting,) = occupy(resolver, dns, 1)
    assert resolver("127.0.0.1", 80)[0][4] == ("127.0.0.1", 80)
    assert not waiting.ready()
    dns.release.set()
    waiting.join(SECONDS)


def test_a_name_that_is_given_up_keeps_its_thread_until_the_dns_answers(dns: SilentDns) -> None:
    resolver = HostResolver(threads=1)
    (waiting,) = occupy(resolver, dns, 1)
    waiting.kill()
    with pytest.raises(Overloaded):
        resolver("localhost", 80)


def test_a_download_ends_in_its_own_time_though_the_dns_is_silent(dns: SilentDns) -> None:
    policy = FetchPolicy(max_bytes=1, total_timeout=0.05)
    with pytest.raises(FetchFailed, match=r"silent\.test did not send the image within 0\.05 s"):
        fetch(f"http://{SILENT}/", policy, resolve=HostResolver())
