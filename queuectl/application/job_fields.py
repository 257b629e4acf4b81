"""Checks the fields of a job, one function a kind of field. Each raises UsageError and names the field."""

import os
import re
from collections.abc import Callable
from typing import Any

from queuectl.config import SETTINGS, is_variable
from queuectl.domain.names import is_id
from queuectl.errors import UsageError
from queuectl.units import parse_duration, quoted

__all__ = [
    "BLANKS",
    "MAX_ARGUMENT",
    "argument",
    "background_hint",
    "batch",
    "check_queue",
    "check_worker",
    "command",
    "duration",
    "folder",
    "job_id",
    "name",
    "parsed",
    "shown",
    "text",
    "timeout",
    "umask",
    "variable",
    "variables",
    "within",
]

BLANKS = " \t\r\n\v\f"
"""White space as a shell sees it. A no-break space is part of a word."""
_QUOTED = r"""(?s)'[^']*'|"(?:[^"\\]|\\.)*"|\\."""
"""Quoted text and escaped characters: an & there is no operator."""
MAX_ARGUMENT = 131_071
"""Bytes in one argument: Linux's MAX_ARG_STRLEN (execve(2)), less the NUL."""
LONGEST_SHOWN = 60
"""Characters of a value in an error message."""


def command(given: str) -> str:
    """A shell command."""
    if not given.strip(BLANKS):
        raise UsageError("the command is empty")
    return argument(given)


def background_hint(command: str) -> str:
    """A hint for a command that sh would run in the background, or nothing. Such a process ends with the job."""
    if "&" not in command:
        return ""
    text = re.sub(_QUOTED, "", command).rstrip(BLANKS)
    if "&>" in text:
        return (
            "sh, unless it is bash, reads &> as & and >, so the command would run in the background:"
            " write >FILE 2>&1, or bash -c '...'"
        )
    if text.endswith("&") and not text.endswith("&&"):
        return "the command ends in &: a background process is ended when the job ends. Leave the & out"
    return ""


def shown(given: object) -> str:
    """A value of any type for an error message: on one line, and not too long."""
    found = " ".join(repr(given).split())
    return found if len(found) <= LONGEST_SHOWN else f"{found[: LONGEST_SHOWN - 1]}…"


def argument(given: str) -> str:
    """One argument of a program, or a shell command."""
    if len(text("command", given).encode()) > MAX_ARGUMENT:
        raise UsageError(f"an argument is longer than the system takes ({MAX_ARGUMENT} bytes): put it in a script")
    return given


def text(field: str, given: str) -> str:
    """Text in UTF-8 without NUL. Other text cannot be stored in the log, or cannot be passed to a process."""
    if not isinstance(given, str):  # Python programs give anything
        raise UsageError(f"{field}: expected a text, got {shown(given)}")
    if "\0" in given:
        raise UsageError(f"{field}: NUL bytes are not allowed")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{field}: {quoted(given)} is not UTF-8") from None
    return given


def name(field: str, given: str) -> str:
    """A text that is not empty."""
    if not given:
        raise UsageError(f"{field}: empty text is not allowed")
    return text(field, given)


def job_id(given: str) -> str:
    """A job's id."""
    return _identifier("id", given)


def batch(given: str) -> str:
    """A batch's name."""
    return _identifier("batch", given)


def check_queue(given: str) -> str:
    """A queue's name."""
    return _identifier("queue", given)


def check_worker(given: str) -> str:
    """A worker's name."""
    return _identifier("name", given)


def _identifier(field: str, given: str) -> str:
    if not is_id(text(field, given)):
        allowed = "use up to 128 letters, digits and . _ -, the first a letter or digit"
        raise UsageError(f"{field}: {quoted(given)} is not allowed: {allowed}")
    return given


def folder(given: str | None) -> str:
    """The absolute path of a folder, by default the one we are in."""
    try:
        return os.path.abspath(name("cwd", os.getcwd() if given is None else given))
    except OSError:
        raise UsageError("cwd: the current folder was deleted: give --cwd") from None


def variables(env: dict[str, str]) -> dict[str, str]:
    """Environment variables and their values."""
    return {variable("env", key): text("env", value) for key, value in env.items()}


def variable(field: str, given: str) -> str:
    """The name of an environment variable."""
    if not is_variable(given):
        raise UsageError(f"{field}: {quoted(given)} is not the name of a variable")
    return given


def within(field: str, number: int, low: int, high: int) -> int:
    """A number from `low` to `high`."""
    if not low <= number <= high:
        raise UsageError(f"{field}: {number} is not between {low} and {high}")
    return number


def timeout(given: str | float) -> int | None:
    """A time limit in microseconds; None for no limit."""
    if given in ("none", 0):
        return None
    return duration("timeout", given) or None


def umask(given: str) -> int | None:
    """A umask; None for the caller's."""
    found: int | None = parsed("umask", SETTINGS["umask"].parse, given)
    return found


def duration(field: str, given: str | float) -> int:
    """A duration in microseconds; numbers are seconds."""
    return int(parsed(field, parse_duration, given if isinstance(given, str) else f"{given!r}"))


def parsed(field: str, parse: Callable[[str], Any], given: str) -> Any:
    """The value that `parse` reads."""
    try:
        return parse(given)
    except ValueError as error:
        raise UsageError(f"{field}: {error}") from None
