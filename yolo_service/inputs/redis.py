"""Images from Redis: a channel, a list or a stream.

All three are endless: they wait for more until they are stopped. A channel keeps nothing, so what
was received and has no result yet is lost with its process; lists and streams lose nothing.
"""

from __future__ import annotations

from yolo_service.errors import ConfigurationError, InputError
from yolo_service.inputs.item import Input
from yolo_service.inputs.options import InputOptions
from yolo_service.inputs.redis_channel import Channel
from yolo_service.inputs.redis_list import List
from yolo_service.inputs.redis_stream import Stream
from yolo_service.redis import Server, parse

_PARAMETERS = {"channel": ("buffer_mb",), "list": ("claim",), "stream": ("group", "claim")}


def open_input(address: str, options: InputOptions) -> Input:
    """Open an address.

    Raises:
        ConfigurationError: it is wrong.
        InputError: the server cannot be reached, or refuses the password.
    """
    parsed = parse(address, _PARAMETERS)
    if options.move_to or options.move_to_store:
        raise ConfigurationError(
            f"{parsed.shown}: --move-input is for files and objects of S3; leave it out"
        )
    server = Server(parsed, InputError)
    try:
        if parsed.kind == "channel":
            return Channel(server, options)
        return (List if parsed.kind == "list" else Stream)(server, options)
    except BaseException:
        server.close()
        raise
