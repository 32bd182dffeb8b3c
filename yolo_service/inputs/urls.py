"""Images at http and https addresses.

The addresses are those of the user, not of a client: private networks are allowed.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from yolo_service.errors import ItemError
from yolo_service.inputs.item import Input, Item
from yolo_service.inputs.options import InputOptions
from yolo_service.predictor.job import Image

_PIECE = 1 << 16


def open_input(address: str, options: InputOptions) -> Input:
    """Open one address."""
    return Url(address, options)


@dataclass(eq=False)
class UrlItem(Item):
    """An image at an address."""

    options: InputOptions = field(default_factory=InputOptions)

    @classmethod
    def of(cls, address: str, options: InputOptions) -> UrlItem:
        """Make the item of an address; its name is host, path and query."""
        parts = urlsplit(address)
        segments = [unquote(part) for part in parts.path.split("/")]
        names = [parts.netloc.rpartition("@")[2], *segments]
        if parts.query:
            names[-1] += f"?{parts.query}"
        usual = (quote(name, safe=" @:,;=+&?!()[]'") for name in names if name.strip("."))
        return cls("/".join(usual) or "image", address, options=options)

    def read(self) -> Image:
        """Download the image.

        Raises:
            ItemError: the address does not answer, or with something else.
        """
        try:
            return self._download()
        except urllib.error.HTTPError as error:
            raise ItemError(f"answered {error.code} {error.reason}, expected 200") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise ItemError(f"could not be fetched: {reason}; check the URL") from error

    def _download(self) -> bytes:
        limit, until = self.options.max_bytes, time.monotonic() + self.options.timeout
        version = importlib.metadata.version("yolo-service")
        headers = {"User-Agent": f"yolo-service/{version}", "Accept": "image/*, */*;q=0.5"}
        request = urllib.request.Request(self.origin, headers=headers)  # noqa: S310 - http only
        body = bytearray()
        with urllib.request.urlopen(request, timeout=self.options.timeout) as answer:  # noqa: S310
            while piece := answer.read1(_PIECE):
                body += piece
                if len(body) > limit:
                    raise ItemError(f"has more than {limit} bytes; set YOLO_MAX_UPLOAD_MB")
                if time.monotonic() > until:
                    raise ItemError(
                        f"did not arrive within {self.options.timeout:g} s; set YOLO_URL_TIMEOUT"
                    )
            if answer.length:
                raise ItemError(f"broke off after {len(body)} bytes; try again")
        return bytes(body)


class Url:
    """An ``Input``: one image at an address."""

    def __init__(self, address: str, options: InputOptions) -> None:
        self._item = UrlItem.of(address, options)
        self._is_stopped = False

    def __iter__(self) -> Iterator[Item]:
        if not self._is_stopped:
            yield self._item

    def count(self) -> int | None:
        """Return 1."""
        return 1

    def stop(self) -> None:
        """Yield nothing."""
        self._is_stopped = True

    def close(self) -> None:
        """Do nothing: each download has a connection of its own."""
