"""The signature of a failure: eight hex digits that are the same for failures of one kind.

It is made from the cause (its kind, and the exit code or signal) and the last line of stderr in its general form. Its
rules have a version, because signatures are stored: other rules need another `VERSION` here, and another one of the
tables to compute them again.
"""

import re
from hashlib import sha256

from queuectl.domain import events as e
from queuectl.domain.general_form import general_form

__all__ = ["VERSION", "last_line", "signature"]

VERSION = 4

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def signature(cause: e.AnyCause, stderr: str = "") -> str:
    """The signature of a failed attempt."""
    match cause:
        case e.Exited(code):
            parts = ("exited", str(code), general_form(last_line(stderr)))
        case e.Signalled(number):
            parts = ("signalled", str(number), general_form(last_line(stderr)))
        case e.TimedOut():
            parts = ("timed_out", "", general_form(last_line(stderr)))
        case e.NotStarted(why):
            parts = ("not_started", "", general_form(why))
        case e.LostWorker():
            parts = ("worker_lost", "", "")
    return sha256("\n".join((str(VERSION), *parts)).encode(errors="replace")).hexdigest()[:8]


def last_line(text: str) -> str:
    """The last line that is not blank, without escape sequences; empty when there is none."""
    return next((line.strip() for line in reversed(_ESCAPE.sub("", text).splitlines()) if line.strip()), "")
