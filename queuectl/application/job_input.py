"""From what people write to the job that is stored: checks every field, and resolves what was left open.

A job in JSON, the flags, and a line of a file are one thing here, a `JobInput`; flags are the defaults of the rest.
"""

import os
import shlex
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import msgspec
from msgspec.structs import asdict, replace

from queuectl.application.queue import NewJob
from queuectl.config import SETTINGS, Config
from queuectl.domain.events import Enqueued
from queuectl.errors import UsageError
from queuectl.store.protocol import is_id
from queuectl.units import parse_coming_time, parse_duration, quoted

__all__ = ["DEFAULT_QUEUE", "Intake", "JobInput", "check_queue", "check_worker"]

DEFAULT_QUEUE = "default"
MAX_PRIORITY = 1_000_000
MAX_ARGUMENT = 131_071
"""Bytes in one argument: Linux's MAX_ARG_STRLEN (execve(2)), less the NUL."""
MAX_JSON = 1 << 20
"""Bytes in one job in JSON, and in one line of a file."""
MAX_SPEC = 4 << 20
"""Bytes in a job as it is stored, all its variables and tags included."""


class JobInput(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A job as written; None is what was not given. Numbers for `delay` and `timeout` are seconds."""

    id: str | None = None
    command: str | None = None
    argv: tuple[str, ...] | None = None
    queue: str | None = None
    priority: int | None = None
    max_retries: int | None = None
    backoff_base: float | None = None
    delay: str | float | None = None
    at: str | None = None
    timeout: str | float | None = None
    cwd: str | None = None
    env: dict[str, str] | None = None
    secret_env: tuple[str, ...] | None = None
    tags: dict[str, str] | None = None
    unique: str | None = None


class Intake:
    """Makes jobs out of inputs. `defaults` are the flags; `now` is microseconds since the epoch."""

    def __init__(self, config: Config, now: int, defaults: JobInput = JobInput()) -> None:  # noqa: B008 (immutable)
        self._config, self._now, self._defaults = config, now, defaults
        self._plain: Enqueued | None = None

    def text(self, text: str) -> NewJob:
        """The job in one text: JSON when it looks like it, else a shell command. Raises UsageError."""
        if _looks_like_json(text):
            return self.job(_from_json(text))
        if self._plain is None or self._defaults.id is not None:
            job = self.job(JobInput(command=text))
            self._plain = job.spec
            return job
        return NewJob(replace(self._plain, command=_command(text)))

    def lines(self, file: BinaryIO) -> Iterator[NewJob]:
        """One job a line, blank lines left out. Raises UsageError with the line's number."""
        for number, raw in enumerate(iter(lambda: file.readline(MAX_JSON + 1), b""), 1):
            try:
                _check_length(raw)
                line = raw.removeprefix(BOM_UTF8 if number == 1 else b"").decode().strip()
                if line:
                    yield replace(self.text(line), line=number)
            except UnicodeDecodeError:
                raise UsageError(f"line {number}: it is not UTF-8") from None
            except UsageError as error:
                raise UsageError(f"line {number}: {error}") from None

    def job(self, given: JobInput) -> NewJob:
        """The job that an input asks for. Raises UsageError, naming the field."""
        wanted = _merge(given, self._defaults)
        fields = {
            "command": _command_of(wanted),
            "argv": tuple(_argument(each) for each in wanted.argv or ()),
            "queue": check_queue(DEFAULT_QUEUE if wanted.queue is None else wanted.queue),
            "priority": _within("priority", wanted.priority or 0, -MAX_PRIORITY, MAX_PRIORITY),
            "cwd": _folder(wanted.cwd),
            "env": _variables(wanted.env or {}),
            "secret_env": tuple(_variable("secret_env", name) for name in wanted.secret_env or ()),
            "tags": {_name("tags", k): _text("tags", v) for k, v in (wanted.tags or {}).items()},
            "unique": None if wanted.unique is None else _name("unique", wanted.unique),
            **self._policy(wanted),
            **self._when(wanted),
        }
        job_id = None if wanted.id is None else _id(wanted.id)
        spec = Enqueued(**fields)
        _check_size(spec)
        return NewJob(spec, job_id)

    def _policy(self, wanted: JobInput) -> dict[str, Any]:
        config = self._config
        timeout = None if wanted.timeout is None else _timeout(wanted.timeout)
        return {
            "max_retries": self._setting("max_retries", wanted.max_retries),
            "backoff_base": self._setting("backoff_base", wanted.backoff_base),
            "backoff_cap": config["backoff-cap"],
            "jitter": config["jitter"],
            "timeout": config["timeout"] if wanted.timeout is None else timeout,
        }

    def _setting(self, field: str, given: float | None) -> Any:
        """What was given, within the setting's limits, or else the setting."""
        key = field.replace("_", "-")
        return self._config[key] if given is None else _field(field, SETTINGS[key].parse, f"{given!r}")

    def _when(self, wanted: JobInput) -> dict[str, Any]:
        if wanted.delay is not None and wanted.at is not None:
            raise UsageError("delay and at exclude each other: give one of them")
        if wanted.at is not None:
            at = _field("at", lambda text: parse_coming_time(text, self._now), wanted.at)
            # `+1h` is a promise of that length and not a moment: said again, it is the same job.
            return {"delay": at - self._now} if wanted.at.strip().startswith("+") else {"at": at}
        return {"delay": 0 if wanted.delay is None else _duration("delay", wanted.delay)}


def _looks_like_json(text: str) -> bool:
    """A brace, blanks, and a quote or the other brace: no shell command begins so."""
    text = text.lstrip()
    return text.startswith("{") and text[1:].lstrip()[:1] in ('"', "}")


def _from_json(text: str) -> JobInput:
    _check_length(text.encode(errors="surrogatepass"))
    try:
        job = msgspec.json.decode(text, type=JobInput)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UsageError(f"not a job in JSON: {error}") from None
    # Each key has a colon: only where there are more colons than keys can one be given twice.
    keys = sum(value is not None for value in asdict(job).values()) + len(job.env or ()) + len(job.tags or ())
    if text.count(":") > keys:
        _refuse_twice(text)
    return job


def _refuse_twice(text: str) -> None:
    """Of a key that is given twice the decoder would take the last, and say nothing."""
    import json

    def look(pairs: list[tuple[str, Any]]) -> None:
        seen = set[str]()
        for key, _ in pairs:
            if key in seen:
                raise UsageError(f"not a job in JSON: {quoted(key)} is given twice")
            seen.add(key)

    json.loads(text, object_pairs_hook=look, parse_int=str, parse_float=str)


def _check_length(raw: bytes) -> None:
    if len(raw) > MAX_JSON:
        raise UsageError(f"a job in JSON, or a line of a file, has at most {MAX_JSON} bytes")


def _merge(given: JobInput, defaults: JobInput) -> JobInput:
    """The given fields over the defaults; variables and tags are put together, a given time beats a default one."""
    base = asdict(defaults)
    if given.delay is not None or given.at is not None:
        base["delay"] = base["at"] = None
    over = {name: value for name, value in asdict(given).items() if value is not None}
    for name in ("env", "tags"):
        if base[name] and name in over:
            over[name] = {**base[name], **over[name]}
    return JobInput(**{**base, **over})


def _command_of(wanted: JobInput) -> str:
    if (wanted.command is None) == (wanted.argv is None):
        raise UsageError("a job has either a command or an argv: give one of them")
    if wanted.argv is not None:
        if not wanted.argv or not wanted.argv[0]:
            raise UsageError("argv is empty: give the program and its arguments")
        return shlex.join(wanted.argv)
    return _command(wanted.command or "")


def _command(text: str) -> str:
    if not text.strip():
        raise UsageError("the command is empty")
    return _argument(text)


def _argument(text: str) -> str:
    if len(_text("command", text).encode()) > MAX_ARGUMENT:
        raise UsageError(f"an argument is longer than the system takes ({MAX_ARGUMENT} bytes): put it in a script")
    return text


def _check_size(spec: Enqueued) -> None:
    if any(len(f"{name}={value}".encode()) > MAX_ARGUMENT for name, value in spec.env.items()):
        raise UsageError(f"env: a variable is longer than the system takes ({MAX_ARGUMENT} bytes)")
    size = sum(len(each.encode()) + 9 for each in (*spec.argv, spec.command, *spec.env, *spec.env.values()))
    if size > os.sysconf("SC_ARG_MAX") // 2:
        raise UsageError("the arguments and variables together are longer than the system takes")
    if len(msgspec.json.encode(spec)) > MAX_SPEC:
        raise UsageError(f"the job is longer than {MAX_SPEC} bytes: give it a file to read instead")


def _text(field: str, text: str) -> str:
    """UTF-8 without NUL: what a log that others read can hold, and what a process can be given."""
    if "\0" in text:
        raise UsageError(f"{field}: it has a NUL byte")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{field}: {quoted(text)} is not UTF-8") from None
    return text


def _name(field: str, text: str) -> str:
    if not text:
        raise UsageError(f"{field}: it is empty")
    return _text(field, text)


def _id(text: str) -> str:
    if not is_id(text):
        raise UsageError(f"id: {quoted(text)} does not match [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}")
    return text


def check_queue(text: str) -> str:
    """A queue's name. Raises UsageError."""
    if not is_id(text):
        raise UsageError(f"queue: {quoted(text)} does not match [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}")
    return text


def check_worker(text: str) -> str:
    """A worker's name. Raises UsageError."""
    if not is_id(text):
        raise UsageError(f"name: {quoted(text)} does not match [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}")
    return text


def _folder(given: str | None) -> str:
    try:
        return os.path.abspath(_text("cwd", os.getcwd() if given is None else given))
    except OSError:
        raise UsageError("cwd: the folder you are in is gone: give --cwd") from None


def _variables(env: dict[str, str]) -> dict[str, str]:
    return {_variable("env", name): _text("env", value) for name, value in env.items()}


def _variable(field: str, name: str) -> str:
    if not (name.isascii() and name.isidentifier()):
        raise UsageError(f"{field}: {quoted(name)} is not a variable's name")
    return name


def _within(field: str, number: int, low: int, high: int) -> int:
    if not low <= number <= high:
        raise UsageError(f"{field}: {number} is not between {low} and {high}")
    return number


def _timeout(given: str | float) -> int | None:
    if given in ("none", 0):
        return None
    return _duration("timeout", given) or None


def _duration(field: str, given: str | float) -> int:
    return int(_field(field, parse_duration, given if isinstance(given, str) else f"{given!r}"))


def _field(field: str, parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{field}: {error}") from None
