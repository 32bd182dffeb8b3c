from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from yolo_service.http.addresses import may_fetch


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("1.1.1.1", True),
        ("172.32.0.1", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::8.8.8.8", True),
        ("2002:808:808::1", True),
        ("0.1.2.3", False),
        ("127.255.255.255", False),
        ("100.127.255.255", False),
        ("192.0.0.8", False),
        ("198.19.0.1", False),
        ("224.0.0.251", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::1", False),
        ("2002:a00:1::1", False),
        ("2001:0:808:808::f5ff:fffe", False),  # Teredo: a public server, client 10.0.0.1
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("fc00::1", False),
        ("fd12:3456::1", False),
        ("fe80::1%lo", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("5f00::1", False),
    ],
)
def test_only_global_unicast_addresses_are_public(address: str, public: bool) -> None:
    assert may_fetch(ip_address(address)) is public


def test_an_allowed_network_holds_for_addresses_that_carry_it() -> None:
    home = (ip_network("192.168.1.0/24"),)
    assert may_fetch(ip_address("192.168.1.7"), home)
    assert may_fetch(ip_address("::ffff:192.168.1.7"), home)
    assert not may_fetch(ip_address("192.168.2.7"), home)
