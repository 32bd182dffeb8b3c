"""A stream of Redis, read by a group of processes.

An entry has the field ``image``, and a field ``name`` if its sender wants one in the result. It is
acknowledged when its result is durable. Entries of a process that has died are claimed by another
one; one that several processes have not survived has failed.
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
import socket
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from yolo_service.errors import InputError
from yolo_service.inputs.item import Item
from yolo_service.inputs.message import Message, path_of
from yolo_service.inputs.options import InputOptions
from yolo_service.inputs.redis_shared import BLOCK_SECONDS, Shared
from yolo_service.redis import Server

log = logging.getLogger(__name__)

GROUP = "yolo-service"
MAX_TAKEN = 5
"""How often an entry is tried whose processes die."""
IMAGE, NAME = b"image", b"name"
"""Fields of an entry."""
_AHEAD = 4
"""Entries that are read at once."""
_LONG_MS = 10**9


class _Entry(NamedTuple):
    id: bytes
    fields: dict[bytes, bytes]
    taken: int
    """How often other processes have taken it and not given it back."""


@dataclass(eq=False, kw_only=True)
class StreamItem(Message):
    """An entry of a stream."""

    stream: Stream
    id: bytes

    def done(self) -> None:
        """Acknowledge the entry, and delete it if that was asked for."""
        self.stream.end(self.id, delete=self.options.delete)

    def failed(self, error: Exception) -> None:
        """Acknowledge the entry, which stays in the stream."""
        super().failed(error)
        self.stream.end(self.id, delete=False)

    def release(self) -> None:
        """Let others claim the entry at once."""
        self.stream.give_back(self.id)


class Stream(Shared):
    """An endless ``Input``: the entries of a stream that no process of the group has taken."""

    def __init__(self, server: Server, options: InputOptions) -> None:
        self._group = server.address.parameters.get("group") or GROUP
        self._me = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._open: set[bytes] = set()
        self._lock = threading.Lock()
        self._waiting: deque[_Entry] = deque()
        super().__init__(server, options)

    def end(self, entry: bytes, *, delete: bool) -> None:
        """Acknowledge an entry."""

        def acknowledge(client: Any) -> None:
            with client.pipeline(transaction=True) as commands:
                commands.xack(self._key, self._group, entry)
                if delete:
                    commands.xdel(self._key, entry)
                commands.execute()

        self._server.call(acknowledge, is_hurried=self._options.is_stopping.is_set)
        self._forget(entry)

    def give_back(self, entry: bytes) -> None:
        """Make an entry look as if nobody had taken it, and as if it had waited for long."""
        self._forget(entry)
        with suppress(InputError):  # others claim it when this process is silent
            self._server.call(functools.partial(self._unclaim, entry), patience=0)

    def _unclaim(self, entry: bytes, client: Any) -> None:
        me, long_ago = self._me, _LONG_MS
        client.xclaim(
            self._key, self._group, me, 0, [entry], idle=long_ago, retrycount=0, justid=True
        )

    def _enter(self, client: Any) -> None:
        try:
            client.xgroup_create(self._key, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _inherit(self, client: Any) -> Item | None:
        idle = int(self._claim_seconds * 1000)
        try:
            left = client.xpending_range(self._key, self._group, "-", "+", 1, idle=idle)
        except ResponseError as error:
            self._enter_again(client, error)
            return None
        for each in left:
            entry, taken = each["message_id"], each["times_delivered"]
            if found := client.xclaim(self._key, self._group, self._me, idle, [entry]):
                return self._item(_Entry(entry, found[0][1], taken))
        return None

    def _take(self, client: Any) -> Item | None:
        if not self._waiting:
            self._read(client)
        return self._item(self._waiting.popleft()) if self._waiting else None

    def _read(self, client: Any) -> None:
        block = int(BLOCK_SECONDS * 1000)
        try:
            found = client.xreadgroup(self._group, self._me, {self._key: ">"}, _AHEAD, block)
        except ResponseError as error:
            self._enter_again(client, error)
        else:
            entries = [_Entry(id_, fields, 0) for _, part in found or () for id_, fields in part]
            with self._lock:
                self._open.update(entry.id for entry in entries)
            self._waiting.extend(entries)

    def _enter_again(self, client: Any, error: ResponseError) -> None:
        """Make the group again if it is gone, as after a restart of a server without a disk."""
        if not str(error).startswith("NOGROUP"):
            raise error
        log.warning("%s: the group %s was gone", self._server.address.shown, self._group)
        self._enter(client)

    def _item(self, entry: _Entry) -> StreamItem:
        with self._lock:
            self._open.add(entry.id)
        number = entry.id.decode()
        given = entry.fields.get(NAME, b"").decode(errors="replace")
        name = f"{path_of(self._key)}/{number}" + (f"/{path_of(given)}" if given else "")
        return StreamItem(
            name,
            f"{self._server.address.shown} {number}",
            taken_at=int(number.split("-")[0]) / 1000 if entry.taken else None,
            details={"entry": number, **({"given_name": given} if given else {})},
            data=entry.fields.get(IMAGE, b""),
            problem=_problem(entry),
            options=self._options,
            stream=self,
            id=entry.id,
        )

    def _renew(self, client: Any) -> None:
        with self._lock:
            entries = list(self._open)
        if entries:
            client.xclaim(self._key, self._group, self._me, 0, entries, justid=True)

    def _leave(self, client: Any) -> None:
        while self._waiting:
            self._unclaim(self._waiting.popleft().id, client)
        if not client.xpending_range(self._key, self._group, "-", "+", 1, consumername=self._me):
            client.xgroup_delconsumer(self._key, self._group, self._me)

    def _forget(self, entry: bytes) -> None:
        with self._lock:
            self._open.discard(entry)


def _problem(entry: _Entry) -> str:
    if entry.taken >= MAX_TAKEN:
        return f"{entry.taken} processes that took it have died; it is not tried again"
    if IMAGE not in entry.fields:
        found = b", ".join(entry.fields).decode(errors="replace")
        return f"has no field image, but {found}; add one with an encoded image"
    return ""
