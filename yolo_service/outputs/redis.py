"""Results to Redis: published on a channel, or added to the end of a list or stream.

A result is one line of JSON. An entry of a stream has it in the field ``result``, and the item's
name in ``name``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Event
from typing import Any

from yolo_service.errors import ConfigurationError, OutputError
from yolo_service.formats import FORMATS
from yolo_service.formats.json import to_json
from yolo_service.formats.opex import TIMESTAMP
from yolo_service.inputs.item import Item
from yolo_service.outputs.options import OutputOptions
from yolo_service.outputs.output import Acknowledge, StaysWhenPut
from yolo_service.predictor.answer import Answer
from yolo_service.redis import Server, parse

DEFAULT_FORMAT = "opex"
_PARAMETERS = {"stream": ("maxlen",)}


def open_output(address: str, options: OutputOptions) -> RedisOutput:
    """Open an address.

    Raises:
        ConfigurationError: it is wrong, or the options do not fit.
        OutputError: the server cannot be reached, or refuses the password.
    """
    parsed = parse(address, _PARAMETERS)
    form = options.format or DEFAULT_FORMAT
    if not FORMATS[form].is_json:
        known = ", ".join(name for name, each in FORMATS.items() if each.is_json)
        raise ConfigurationError(f"{parsed.shown} takes JSON; expected one of {known}, not {form}")
    if options.draw:
        raise ConfigurationError(f"{parsed.shown} takes results, no annotated images")
    if options.resume:
        raise ConfigurationError(f"--resume: nobody can tell what was sent to {parsed.shown}")
    maxlen = int(parsed.number("maxlen", 1)) if "maxlen" in parsed.parameters else None
    return RedisOutput(Server(parsed, OutputError), form, maxlen, options.is_stopping)


class RedisOutput(StaysWhenPut):
    """An ``Output``: a message for each item; also for one that has failed, with its error.

    Args:
        server: is closed at the end.
        form: a name of ``formats.FORMATS`` that is JSON.
        maxlen: entries after which a stream loses its oldest ones, about; None: never.
        is_stopping: when it is set, a server that is gone is waited for no longer.
    """

    needs_image = False
    needs_sha256 = True

    def __init__(self, server: Server, form: str, maxlen: int | None, is_stopping: Event) -> None:
        self._is_stopping = is_stopping
        self._server, self._form, self._maxlen = server, form, maxlen
        self._kind, self._key = server.address.kind, server.address.name

    def has(self, _: Item) -> bool:
        """Return False: what was sent is gone."""
        return False

    def encode(self, item: Item, answer: Answer) -> bytes:
        """Make the message of an item."""
        value = FORMATS[self._form].make(answer)
        return self._message(value, about(item) | {"model": answer.model})

    def put(self, item: Item, encoded: bytes, acknowledge: Acknowledge) -> None:
        """Send a message; waits for a server that is gone.

        Raises:
            OutputError: it does not come back, or refuses the message.
        """
        send = functools.partial(self._send, item, encoded)
        self._server.call(send, is_hurried=self._is_stopping.is_set)
        acknowledge()

    def put_error(self, item: Item, error: Exception, acknowledge: Acknowledge) -> None:
        """Send a message without objects, whose ``meta`` has the error.

        Raises:
            OutputError: likewise.
        """
        now = datetime.now(UTC).strftime(TIMESTAMP)
        nothing: Any = {"timestamp": now, "id": item.name, "objects": []}
        value = nothing if self._form == "opex" else []
        self.put(item, self._message(value, about(item) | {"error": str(error)}), acknowledge)

    def flush(self) -> None:
        """Do nothing: everything is sent."""

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def abort(self) -> None:
        """Close the connections."""
        self._server.close()

    def _message(self, value: Any, meta: Mapping[str, str]) -> bytes:
        """Put facts about the item into a result: OPEX has ``meta`` for that, others get it."""
        if not isinstance(value, dict):
            value = {"detections": value}
        return to_json({**value, "meta": dict(meta)})

    def _send(self, item: Item, message: bytes, client: Any) -> None:
        if self._kind == "channel":
            client.publish(self._key, message)
        elif self._kind == "list":
            client.rpush(self._key, message)
        else:
            fields = {"name": item.name, "result": message}
            client.xadd(self._key, fields, maxlen=self._maxlen, approximate=True)


def about(item: Item) -> dict[str, str]:
    """Return what a result says about its item: texts only, as OPEX wants them."""
    facts = {**item.details, "name": item.name, "sha256": item.sha256}
    return {key: str(value) for key, value in facts.items() if value is not None}
