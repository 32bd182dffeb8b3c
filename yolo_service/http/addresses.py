"""Check that the address of an image URL is on the public internet.

The table is used instead of ``ipaddress.is_global``, which changed between patch releases of
Python. Source: IANA's special-purpose address registries for IPv4 and IPv6.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

_SPECIAL = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform services, which is public only by its number
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # protocol assignments
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all of IPv6 that is assigned
_NAT64 = IPv6Network("64:ff9b::/96")


def may_fetch(address: IpAddress, allowed: Sequence[IpNetwork] = ()) -> bool:
    """Return whether an address is public, or in one of the allowed networks.

    Of an IPv6 address that embeds IPv4 addresses (mapped, NAT64, 6to4, Teredo) these are checked.
    """
    if any(address in network for network in allowed):
        return True
    if embedded := _embedded(address):
        return all(may_fetch(inner, allowed) for inner in embedded)
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not any(address in network for network in _SPECIAL)


def _embedded(address: IpAddress) -> tuple[IPv4Address, ...]:
    if isinstance(address, IPv4Address):
        return ()
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.teredo:
        return address.teredo
    single = address.ipv4_mapped or address.sixtofour
    return (single,) if single else ()
