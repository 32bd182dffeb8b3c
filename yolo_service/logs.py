"""One line per event on standard error, for people or for collectors.

Text of clients is escaped, so that it can neither begin a line nor send control characters to a
terminal.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Literal

request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The request that a greenlet serves."""

ACCESS: Final = "yolo_service.access"
"""The logger of one line per request, which has the request's id in it."""


class TextLines(logging.Formatter):
    """Lines for people: time, level, message; further lines of a record are indented."""

    def formatTime(self, record: logging.LogRecord, _: str | None = None) -> str:  # noqa: N802 - logging's name
        """Write the second of a record."""
        return _clock(int(record.created))

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as text."""
        lines = super().format(record).splitlines()
        if (name := request_id.get()) and record.name != ACCESS:
            lines[0] += f" (request {name})"
        return "\n    ".join(map(_printable, lines))


class JsonLines(logging.Formatter):
    """One JSON object per line; the items of ``extra={"fields": {...}}`` become its members."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as JSON, in ASCII."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if name := request_id.get():
            line["request_id"] = name
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


@functools.lru_cache(maxsize=1)
def _clock(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


def configure(style: Literal["text", "json"]) -> None:
    """Send the log of the whole process to standard error."""
    handler = logging.StreamHandler()
    text = TextLines("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if style == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Not shown in any line: place in the code, thread and process.
    logging._srcfile = None  # the documented way to turn it off
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Connexion's own remarks repeat URLs with their queries, which may hold secrets.
    logging.getLogger("connexion").setLevel(logging.CRITICAL)


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
