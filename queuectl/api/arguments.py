"""Checks and converts the arguments of a Python program: a wrong type is a UsageError that names the argument."""

import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from queuectl.api.options import Duration, Moment, aware, plain
from queuectl.api.records import Job
from queuectl.application.job_fields import check_queue, shown, text
from queuectl.application.job_fields import name as not_empty
from queuectl.errors import UsageError
from queuectl.units import format_time, parse_duration, parse_time

__all__ = [
    "as_actor",
    "as_ids",
    "as_moment",
    "as_past",
    "as_place",
    "as_queues",
    "as_span",
    "as_tags",
    "as_texts",
    "flag",
    "id_of",
    "limit_of",
    "several",
]

T = TypeVar("T")

_ALL = 1 << 62
"""More jobs than any queue has, and still a number for the database."""


def flag(name: str, given: bool) -> bool:
    """A truth value: the text "no" would be a true one."""
    if not isinstance(given, bool):
        raise UsageError(f"{name}: expected True or False, got {shown(given)}")
    return given


def limit_of(given: int) -> int:
    """How many jobs at most; 0 for all."""
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise UsageError(f"limit: expected a whole number, 0 or more, got {shown(given)}")
    return min(given, _ALL)


def several(name: str, given: Iterable[T], things: str) -> Iterable[T]:
    """A list, or anything else that is iterated like one. A text and a mapping are not."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise UsageError(f"{name}: expected a list of {things}, got {shown(given)}")
    return given


def id_of(job: str | Job) -> str:
    """The id of a job, or an id."""
    found = job.id if isinstance(job, Job) else job
    if not isinstance(found, str):
        raise UsageError(f"job: expected the id of a job, or a Job, got {shown(found)}")
    return text("job", found)


def as_ids(jobs: Iterable[str | Job]) -> list[str]:
    """The ids of several jobs, each once."""
    return list(dict.fromkeys(map(id_of, several("jobs", jobs, "ids or jobs"))))


def as_texts(name: str, given: str | Iterable[str] | None) -> tuple[str, ...]:
    """One text or several; none for None."""
    found = [given] if isinstance(given, str) else several(name, () if given is None else given, "texts")
    return tuple(text(name, each) for each in found)


def as_queues(given: str | Iterable[str]) -> tuple[str, ...]:
    """Names of queues."""
    return tuple(map(check_queue, as_texts("queue", given)))


def as_tags(given: str | Iterable[str] | Mapping[str, str] | None) -> dict[str, str]:
    """Tags as a mapping, or written NAME=VALUE."""
    if isinstance(given, Mapping):
        return {text("tag", name): text("tag", value) for name, value in given.items()}
    texts = as_texts("tag", given)
    for each in texts:
        if "=" not in each:
            raise UsageError(f"tag: {shown(each)} has no value: write it as NAME=VALUE")
    return dict(each.split("=", 1) for each in texts)


def as_span(name: str, given: Duration) -> int:
    """A duration in microseconds."""
    if isinstance(given, bool) or not isinstance(given, str | int | float | timedelta):
        raise UsageError(f"{name}: expected a timedelta, a text such as 10s, or seconds, got {shown(given)}")
    written = plain(name, given)
    try:
        return parse_duration(written if isinstance(written, str) else f"{written!r}")
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def as_moment(name: str, given: Moment, now: int) -> int:
    """A moment in microseconds since the epoch; `now` likewise."""
    if not isinstance(given, str | datetime):
        raise UsageError(f"{name}: expected an aware datetime or a text, got {shown(given)}")
    try:
        return parse_time(given if isinstance(given, str) else aware(name, given).isoformat(), now)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def as_place(given: str | os.PathLike[str] | None) -> str | None:
    """The path or URL of a queue."""
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike):
        raise UsageError(f"db: expected a path or a URL, got {shown(given)}")
    return text("db", os.fspath(given))


def as_actor(given: str | None) -> str | None:
    """The name of who makes the changes."""
    if given is not None and not not_empty("actor", text("actor", given)).isprintable():
        raise UsageError(f"actor: {shown(given)} has a control character")
    return given


def as_past(given: Moment | int) -> str:
    """A moment or a position of the log as the command line writes it."""
    if isinstance(given, datetime):
        return format_time(as_moment("as_of", given, 0))
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise UsageError(f"as_of: expected a position of the log, an aware datetime or a text, got {shown(given)}")
    if isinstance(given, int) and given < 0:
        raise UsageError(f"as_of: a position of the log is 0 or more, not {shown(given)}")
    return str(given)
