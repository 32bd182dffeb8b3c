"""One line per event on standard error, for people or for collectors."""

from __future__ import annotations

import json
import logging
from typing import Literal


class JsonLines(logging.Formatter):
    """One JSON object per line; what ``extra={"fields": {...}}`` holds become its members."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as JSON."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(style: Literal["text", "json"]) -> None:
    """Send the log of the whole process to standard error."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    handler.setFormatter(JsonLines() if style == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Connexion's own remarks repeat URLs with their queries, which may hold secrets.
    logging.getLogger("connexion").setLevel(logging.CRITICAL)
