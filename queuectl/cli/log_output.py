"""A worker's log on stderr, as text for people or one JSON object a line for programs."""

import logging
import sys
import time

from queuectl.render.terminal import clean, terminal_width, to_ndjson, wrapped

__all__ = ["log_to_stderr"]


class _Text(logging.Formatter):
    """`2026-11-24 03:20:00 info the message`, harmless on a terminal, and broken there between words."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{moment} {record.levelname.lower()} {clean(record.getMessage(), newlines=False)}"
        return wrapped(line, terminal_width(sys.stderr), "  ")


class _Json(logging.Formatter):
    """`{"time": …, "level": …, "logger": …, "message": …}`, times in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        fields = {"time": moment, "level": record.levelname.lower(), "logger": record.name}
        return to_ndjson({**fields, "message": record.getMessage()})


def log_to_stderr(level: str, form: str) -> None:
    """Send queuectl's log to stderr, from `level` on, as `text` or `json`."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if form == "json" else _Text())
    logger = logging.getLogger("queuectl")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
