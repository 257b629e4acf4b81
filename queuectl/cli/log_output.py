"""A worker's log on stderr, as text for people or one JSON object a line for programs."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from queuectl.render.terminal import clean, terminal_width, to_ndjson, wrapped
from queuectl.worker.log import RunFields, RunLines

__all__ = ["log_queue", "log_to", "log_to_stderr"]


class _Seconds:
    """The text of a moment to the second, made once a second: a busy worker logs a thousand lines in one."""

    def __init__(self, form: str, to_fields: Callable[[int], Any]) -> None:
        self._form, self._to_fields = form, to_fields
        self._second, self._text = -1, ""

    def text(self, moment: float) -> str:
        """The text of a moment in seconds since the epoch."""
        second = int(moment)
        if second != self._second:
            self._second, self._text = second, time.strftime(self._form, self._to_fields(second))
        return self._text


class _Text(logging.Formatter):
    """`2026-11-24 03:20:00 info the message`, harmless on a terminal, and broken there between words."""

    _seconds = _Seconds("%Y-%m-%d %H:%M:%S", time.localtime)

    def __init__(self) -> None:
        super().__init__()
        self._is_on_terminal = sys.stderr.isatty()  # asked once, because a busy worker logs thousands of lines

    def format(self, record: logging.LogRecord) -> str:
        """One line, or several."""
        start = f"{self._seconds.text(record.created)} {record.levelname.lower()} "
        lines = [f"{start}{text if text.isprintable() else clean(text, newlines=False)}" for text, _ in _lines(record)]
        if self._is_on_terminal:
            width = terminal_width(sys.stderr)
            lines = [wrapped(line, width, "  ") for line in lines]
        return "\n".join(lines)


class _Json(logging.Formatter):
    """`{"time": …, "level": …, "logger": …, "message": …}`, times in UTC; a line on a run has its fields too."""

    _seconds = _Seconds("%Y-%m-%dT%H:%M:%SZ", time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """One line, or several."""
        fields = {"time": self._seconds.text(record.created), "level": record.levelname.lower(), "logger": record.name}
        lines = [{**fields, "message": text, **(of_run.as_json() if of_run else {})} for text, of_run in _lines(record)]
        return "\n".join(map(to_ndjson, lines))


def _lines(record: logging.LogRecord) -> list[tuple[str, RunFields | None]]:
    """The lines of a record, each with its further fields: a worker's record may stand for several lines on runs."""
    if isinstance(record.msg, RunLines):
        return [(line.text, line.fields) for line in record.msg.lines]
    return [(record.getMessage(), None)]


def log_to_stderr(level: str, form: str) -> None:
    """Send queuectl's log to stderr, from `level` on, as `text` or `json`."""
    log_to(logging.StreamHandler(), level, form)


def log_to(handler: logging.Handler, level: str, form: str) -> None:
    """Send queuectl's log to a handler, from `level` on, as `text` or `json`."""
    _collect_only_what_is_shown()
    handler.setFormatter(_Json() if form == "json" else _Text())
    logger = logging.getLogger("queuectl")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def log_queue(name: str) -> None:
    """Name the queue, in the first line of a log."""
    logging.getLogger("queuectl.worker").info("Queue %s", name)


def _collect_only_what_is_shown() -> None:
    """No line names the caller, the thread or the process: looking them up is half of what a line costs."""
    logging._srcfile = None  # as the how-to of logging says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
