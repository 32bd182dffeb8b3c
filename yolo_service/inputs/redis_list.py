"""A list of Redis, from whose head images are taken.

Each process moves what it takes to a list of its own, ``NAME:taken:PROCESS``, and removes it from
there when its result is durable. ``NAME:processes`` has the processes, and ``NAME:alive:PROCESS``
expires when one has died: then its images return to the head of the list. What fails is moved to
``NAME:failed``.
"""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.exceptions import WatchError

from yolo_service.errors import InputError
from yolo_service.inputs.item import Item
from yolo_service.inputs.message import Message, names
from yolo_service.inputs.options import InputOptions
from yolo_service.inputs.redis_shared import BLOCK_SECONDS, Shared
from yolo_service.redis import PATIENCE_SECONDS, Server


@dataclass(eq=False, kw_only=True)
class ListItem(Message):
    """An element of a list."""

    list: List

    @property
    def keeps_data(self) -> bool:
        """Return True: an element is removed by its value."""
        return True

    def done(self) -> None:
        """Remove the image."""
        self.list.end(self.data)

    def failed(self, error: Exception) -> None:
        """Move the image to the list of failed ones."""
        super().failed(error)
        self.list.end(self.data, "RPUSH", ":failed")

    def release(self) -> None:
        """Move the image back."""
        with suppress(InputError):  # others take it when this process is silent
            self.list.end(self.data, "LPUSH", "", patience=0)


class List(Shared):
    """An endless ``Input``: the elements of a list, each of them an encoded image."""

    def __init__(self, server: Server, options: InputOptions) -> None:
        self._me = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._names = names(server.address.name)
        super().__init__(server, options)

    def end(
        self, data: bytes, command: str = "", suffix: str = "", patience: float = PATIENCE_SECONDS
    ) -> None:
        """Remove an image from those taken, and push it to another list if one is named."""

        def remove(client: Any) -> None:
            with client.pipeline(transaction=True) as commands:
                commands.lrem(self._taken(self._me), 1, data)
                if command:
                    commands.execute_command(command, self._key + suffix, data)
                commands.execute()

        hurried = self._options.is_stopping.is_set
        self._server.call(remove, patience=patience, is_hurried=hurried)

    @property
    def _processes(self) -> str:
        return f"{self._key}:processes"

    def _taken(self, process: str) -> str:
        return f"{self._key}:taken:{process}"

    def _enter(self, client: Any) -> None:
        client.llen(self._key)  # is it a list?
        self._renew(client)

    def _renew(self, client: Any) -> None:
        client.sadd(self._processes, self._me)
        client.set(f"{self._key}:alive:{self._me}", "", px=int(self._claim_seconds * 1000))

    def _inherit(self, client: Any) -> Item | None:
        """Return what dead processes have taken to the head of the list."""
        for process in client.smembers(self._processes):
            name = process.decode()
            if name != self._me and not client.exists(f"{self._key}:alive:{name}"):
                self._return(name, client)
        return None

    def _return(self, process: str, client: Any) -> None:
        while client.lmove(self._taken(process), self._key, "RIGHT", "LEFT") is not None:
            pass
        with client.pipeline() as commands, suppress(WatchError):  # it has taken one: it lives
            commands.watch(self._taken(process))
            if not commands.llen(self._taken(process)):
                commands.multi()
                commands.srem(self._processes, process)
                commands.execute()

    def _take(self, client: Any) -> Item | None:
        """Take an element. Others may have thought this process dead: it is named again, behind.

        The server executes both even if the process is killed when it has sent them.
        """
        block: Any = BLOCK_SECONDS  # redis' annotation knows whole seconds only
        with client.pipeline(transaction=False) as commands:
            commands.blmove(self._key, self._taken(self._me), block, "LEFT", "RIGHT")
            commands.sadd(self._processes, self._me)
            data, _ = commands.execute()
        if data is None:
            return None
        name = next(self._names)
        origin = f"{self._server.address.shown} {name}"
        return ListItem(name, origin, data=data, options=self._options, list=self)

    def _leave(self, client: Any) -> None:
        self._return(self._me, client)
        client.delete(f"{self._key}:alive:{self._me}")
