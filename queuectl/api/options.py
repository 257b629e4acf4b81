"""The options of a new job in a Python program, and their conversion to a job as written and to texts."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import Any, Protocol, Required, TypeAlias, TypedDict

import msgspec
from msgspec.structs import replace

from queuectl.application.job_fields import parsed, shown
from queuectl.application.job_json import JobInput
from queuectl.application.wrong_types import wrong_type
from queuectl.config import SETTINGS
from queuectl.errors import UsageError
from queuectl.units import format_duration

__all__ = [
    "Command",
    "Duration",
    "JobOptions",
    "JobSpec",
    "Moment",
    "as_changes",
    "as_input",
    "as_inputs",
    "aware",
    "plain",
]

Command: TypeAlias = str | Sequence[str]
"""A shell command as one text, or a program and its arguments, which runs without a shell."""
Duration: TypeAlias = timedelta | str | float
"""A timedelta, a text such as `10s` or `1h30m`, or seconds."""
Moment: TypeAlias = datetime | str
"""An aware datetime, or a text such as `2026-11-24T03:20:00Z`, `22:30`, `tomorrow 9:00` or `+1h`."""


class Named(Protocol):
    """A job, which is named by its id."""

    @property
    def id(self) -> str:
        """Its id."""


class JobOptions(TypedDict, total=False):
    """The options of a new job. One that is left out, or None, has the queue's setting or the default."""

    id: str | None
    queue: str | None
    priority: int | None
    retries: int | None
    backoff_base: float | None
    backoff_cap: Duration | None
    retry_wait: Duration | None
    jitter: bool | None
    delay: Duration | None
    at: Moment | None
    timeout: Duration | None
    cwd: str | os.PathLike[str] | None
    env: Mapping[str, str] | None
    secret_env: Sequence[str] | None
    tags: Mapping[str, str] | None
    unique: str | None
    batch: str | None
    max_failures: int | None
    after: "str | Named | Sequence[str | Named | Mapping[str, str]] | None"
    if_unmet: str | None
    merge_output: bool | None
    stdin: str | os.PathLike[str] | None


class JobSpec(JobOptions, total=False):
    """A job among many: its command and its own options."""

    command: Required[Command]


DURATIONS = ("backoff_cap", "retry_wait", "delay", "timeout")
PATHS = ("cwd", "stdin")
_OTHER_NAMES = {"retries": "max_retries"}
_IN_PYTHON = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "object": "a mapping",
    "array": "a list",
    "duration": "a timedelta",
    "datetime": "a datetime",
    "null": "None",
}
"""The decoder's types as people who write Python call them."""


def as_input(command: Command, options: JobOptions) -> JobInput:
    """The job as written. Raises UsageError, naming the option."""
    kind = "command" if isinstance(command, str) else "argv"
    _refuse_unknown(options)
    for name in ("batch", "max_failures"):
        if options.get(name) is not None:
            raise UsageError(f"{name}: give it for all jobs of a call, not for one among many")
    given = {_OTHER_NAMES.get(name, name): plain(name, value) for name, value in options.items() if value is not None}
    if "max_retries" in given:
        _check_retries(given["max_retries"])
    return _converted({**given, kind: _words(command)})


def _check_retries(given: Any) -> None:
    """Raises UsageError, with the name of the option: the reader of the job would name the setting."""
    if isinstance(given, int):
        parsed("retries", SETTINGS["max-retries"].parse, f"{int(given)}")


def _converted(fields: Mapping[str, Any]) -> JobInput:
    try:
        return msgspec.convert(fields, JobInput)
    except msgspec.ValidationError as error:
        raise UsageError(_as_called(wrong_type(error, _IN_PYTHON))) from None
    except UnicodeEncodeError as error:
        name = next((name for name, value in fields.items() if repr(error.object) in repr(value)), "command")
        raise UsageError(_as_called(f"{name}: {shown(error.object)} is not UTF-8")) from None


def _as_called(message: str) -> str:
    """The message, with the option's name as the caller wrote it."""
    for ours, written in (("retries", "max_retries"), ("command", "argv")):
        if message.startswith((f"{written}:", f"{written}[")):
            return ours + message.removeprefix(written)
    return message


def as_changes(command: Command | None, options: JobOptions, *, new: bool = False) -> JobInput:
    """The fields of a job that change. Raises UsageError, also for the id and the key unless the job is `new`."""
    for name in ("id", "unique"):
        if options.get(name) is not None and not new:
            raise UsageError(f"{name}: it cannot be changed")
    given = as_input("true" if command is None else command, options)
    return given if command is not None else replace(given, command=None)


def as_inputs(jobs: Iterable[Command | JobSpec], options: JobOptions) -> list[JobInput]:
    """The jobs as written; `options` count where a job has none of its own. Raises UsageError, naming the job."""
    if isinstance(jobs, str | bytes | Mapping) or not isinstance(jobs, Iterable):
        raise UsageError(f"jobs: expected a list of commands or mappings, got {shown(jobs)}")
    return [_numbered(order, job, options) for order, job in enumerate(jobs, 1)]


def _numbered(order: int, job: Command | JobSpec, options: JobOptions) -> JobInput:
    try:
        return _among_many(job, options) if isinstance(job, Mapping) else as_input(job, options)
    except UsageError as error:
        raise UsageError(f"job {order}: {error}") from None


def _among_many(job: Mapping[str, Any], options: JobOptions) -> JobInput:
    if "command" not in job:
        raise UsageError("it has no command")
    own = {name: value for name, value in job.items() if name != "command"}
    return as_input(job["command"], _over(options, own))


def _over(options: JobOptions, own: dict[str, Any]) -> JobOptions:
    """The job's own options over the common ones. Variables and tags are put together; a time replaces a time."""
    common: dict[str, Any] = {**options}
    if own.get("delay") is not None or own.get("at") is not None:
        common["delay"] = common["at"] = None
    for name in ("env", "tags"):
        if common.get(name) and own.get(name):
            own[name] = {**common[name], **own[name]}
    merged: Any = {**common, **own}
    found: JobOptions = merged
    return found


def _refuse_unknown(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in JobOptions.__annotations__:
            raise UsageError(f"a job has no option {name}: the options are {', '.join(JobOptions.__annotations__)}")


def _words(command: Any) -> Any:
    """The command as it is written in JSON."""
    if isinstance(command, str):
        return command
    if isinstance(command, bytes | Mapping | Set) or not isinstance(command, Iterable):
        raise UsageError(f"command: expected a text, or a list of texts, got {shown(command)}")
    return list(command)


def plain(name: str, value: Any) -> Any:
    """The value as it is written in JSON."""
    if name == "after":
        several = value if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else [value]
        return [each.id if hasattr(each, "id") else each for each in several]
    if name == "at" and isinstance(value, datetime):
        return aware(name, value).isoformat()
    if name in DURATIONS and isinstance(value, timedelta):
        return format_duration(value // timedelta(microseconds=1))
    if isinstance(value, Mapping):
        return dict(value)
    return os.fspath(value) if name in PATHS and isinstance(value, os.PathLike) else value


def aware(name: str, given: datetime) -> datetime:
    """A moment that has a time zone. Raises UsageError."""
    if given.utcoffset() is None:
        raise UsageError(f"{name}: {given} has no time zone: give an aware datetime, such as datetime.now(UTC)")
    return given
