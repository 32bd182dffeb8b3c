"""Queries in which a client has sent an address without quoting it.

Of ``img=http://camera/snap?user=a&state=b`` the part behind ``&`` looks like a parameter of this
service. It belongs to the address: only an address that is not quoted has a ``?`` of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl, unquote_plus

from werkzeug.datastructures import MultiDict


def read_query(query: str, address: str, known: Collection[str]) -> MultiDict[str, str]:
    """Read a query whose parameter ``address`` may be an address that is not quoted.

    Args:
        query: as it was sent.
        address: name of the parameter.
        known: names of all parameters; these never belong to the address.
    """
    pairs = parse_qsl(_quote_tail(query, address, known), keep_blank_values=True, errors="replace")
    return MultiDict(pairs)


def _quote_tail(query: str, address: str, known: Collection[str]) -> str:
    """Quote the ``&`` in front of what belongs to the address, as the client should have done."""
    parts = query.split("&")
    names = [unquote_plus(part.partition("=")[0]) for part in parts]
    if address not in names or "?" not in parts[names.index(address)]:
        return query
    start = names.index(address)
    after = range(start + 1, len(parts))
    tail = [parts[i] for i in after if names[i] not in known]
    others = [parts[i] for i in after if names[i] in known]
    return "&".join([*parts[:start], "%26".join([parts[start], *tail]), *others])
