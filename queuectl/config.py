"""The settings: one table of them, and where each value comes from.

A flag wins over the environment, that over the working directory's `.env`, that over `config set`, and that
over the default. A variable that is set but empty counts as not set.
"""

import os
import stat
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from queuectl.errors import UsageError
from queuectl.units import DAY, SECOND, format_duration, format_size, parse_duration, parse_size, quoted

DEFAULT_DATABASE = "./data/queue.db"
STORED, DEFAULT = "config set", "default"
_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


def _variable(key: str) -> str:
    return "QUEUECTL_" + key.upper().replace("-", "_")


class Setting(msgspec.Struct, frozen=True):
    """A setting: `parse` reads its text or raises ValueError; `show` writes the value in a form that `parse` reads."""

    key: str
    default: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str]
    help: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return _variable(self.key)


class Value(msgspec.Struct, frozen=True):
    """A setting's value as typed and as written, and its origin: `flag`, `environment`, `.env`, `config set`
    or `default`."""

    key: str
    value: Any
    text: str
    origin: str


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18 and low <= int(digits) <= high):
            raise ValueError(f"{quoted(text)} is not a whole number from {low} to {high}")
        return int(digits)

    return parse


def _decimal(low: int, high: int) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text) if text.isascii() and "_" not in text else -1.0
        except ValueError:
            number = -1.0
        if not low <= number <= high:
            raise ValueError(f"{quoted(text)} is not a number from {low} to {high}")
        return abs(number)  # -0.0 becomes 0.0

    return parse


def _duration(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        us = parse_duration(text)
        if not low <= us <= high:
            limits = f"{format_duration(low)} to {format_duration(high)}"
            raise ValueError(f"{quoted(text)} is not a duration from {limits}")
        return us

    return parse


def _limit(text: str) -> int | None:
    us = None if text.strip() == "none" else parse_duration(text)
    if us == 0:
        raise ValueError(f"{quoted(text)} leaves no time to run: write none, or a duration such as 5m")
    return us


def _stop_timeout(text: str) -> int | None:
    return None if text.strip() == "none" else _duration(0, DAY)(text)


def _size_from(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        size = parse_size(text)
        if size < low:
            raise ValueError(f"{quoted(text)} is less than {format_size(low)}")
        return size

    return parse


def is_variable(name: str) -> bool:
    """Whether an environment variable may have this name. Dots are allowed: build tools use them."""
    plain = name.replace(".", "_")
    return plain.isascii() and plain.isidentifier() and not name.startswith(".")


def _names(text: str) -> tuple[str, ...]:
    """Names of variables, between commas or blanks."""
    names = () if text.strip() == "none" else tuple(text.replace(",", " ").split())
    for name in names:
        if not is_variable(name):
            raise ValueError(f"{quoted(name)} is not the name of a variable")
    return names


def _show_names(names: tuple[str, ...]) -> str:
    return ",".join(names) or "none"


def _umask(text: str) -> int | None:
    """None for `caller`."""
    word = text.strip().lower()
    if word == "caller":
        return None
    if not (3 <= len(word) <= 4 and set(word) <= set("01234567") and int(word, 8) <= 0o777):
        raise ValueError(f"{quoted(text)} is not an octal number such as 022, nor caller")
    return int(word, 8)


def _show_umask(number: int | None) -> str:
    return "caller" if number is None else f"{number:03o}"


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word not in _SWITCH:
        raise ValueError(f"{quoted(text)} is neither on nor off")
    return _SWITCH[word]


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            raise ValueError(f"{quoted(text)} is not one of {', '.join(words)}")
        return word

    return parse


def _show_decimal(number: float) -> str:
    return repr(number).removesuffix(".0")


def _show_limit(us: int | None) -> str:
    return "none" if us is None else format_duration(us)


def _show_size(size: int) -> str:
    text = format_size(size)
    try:
        exact = parse_size(text) == size
    except ValueError:
        exact = False  # the largest one, rounded up
    return text if exact else f"{size}B"


def _show_switch(on: bool) -> str:
    return "on" if on else "off"


_TABLE = (
    Setting("max-retries", "3", _whole(0, 10_000), str, "retries after the first attempt"),
    Setting("backoff-base", "2", _decimal(0, 1000), _show_decimal, "the wait is base ** attempts seconds"),
    Setting("backoff-cap", "1h", parse_duration, format_duration, "the longest wait between attempts"),
    Setting("jitter", "off", _switch, _show_switch, "make the waits random, so that jobs do not retry together"),
    Setting("timeout", "none", _limit, _show_limit, "how long one attempt may run"),
    Setting(
        "umask", "caller", _umask, _show_umask, "umask of jobs: octal, or `caller`: that of the user who adds the job"
    ),
    Setting("carry-env", "none", _names, _show_names, "variables that `enqueue` copies from its caller into jobs"),
    Setting(
        "max-machine-losses",
        "3",
        _whole(0, 10_000),
        str,
        "runs in a row that may be lost with their machine without costing an attempt",
    ),
    Setting("if-unmet", "hold", _one_of("hold", "cancel"), str, "hold or cancel a job that waits for one that failed"),
    Setting(
        "lease",
        "30s",
        _duration(3 * SECOND, DAY),
        format_duration,
        "a worker silent this long loses its jobs to another",
    ),
    Setting("grace", "10s", _duration(0, DAY), format_duration, "time a job gets to stop before it is killed"),
    Setting("stop-timeout", "none", _stop_timeout, _show_limit, "time that running jobs get when a worker stops"),
    Setting("max-output", "10MiB", _size_from(8192), _show_size, "how much output of each stream of a run is kept"),
    Setting("log-level", "info", _one_of("debug", "info", "warning", "error"), str, "the least level that workers log"),
    Setting("log-format", "text", _one_of("text", "json"), str, "the form of the workers' log"),
    Setting(
        "durability",
        "safe",
        _one_of("safe", "paranoid", "fast"),
        str,
        "how safely a change is written before the command returns",
    ),
    Setting("busy-timeout", "10s", _duration(0, DAY), format_duration, "how long to wait for a locked store"),
)
SETTINGS: dict[str, Setting] = {setting.key: setting for setting in _TABLE}


class Config:
    """The settings as one command sees them; `stored` reads the store, at most once and only when needed.

    A stored value may be corrupt or from another version: it is reported, and the default is used.
    """

    def __init__(
        self,
        flags: Mapping[str, str | None],
        environ: Mapping[str, str],
        dotenv: Mapping[str, str],
        stored: Callable[[], Mapping[str, str]],
        warn: Callable[[str], None] = lambda what: None,
    ) -> None:
        self._flags, self._environ, self._dotenv = flags, environ, dotenv
        self._read_stored, self._warn = stored, warn
        self._stored: Mapping[str, str] | None = None

    def over(self, stored: Callable[[], Mapping[str, str]]) -> "Config":
        """The same flags and variables over the values of a store, which are read again."""
        return Config(self._flags, self._environ, self._dotenv, stored, self._warn)

    def __getitem__(self, key: str) -> Any:
        """The typed value: durations in microseconds, sizes in bytes. Raises UsageError as `value` does."""
        return self._typed(_setting(key))[0]

    def typed(self, keys: Iterable[str]) -> dict[str, Any]:
        """The typed values of several settings. Raises UsageError as `value` does."""
        return {key: self[key] for key in keys}

    def value(self, key: str) -> Value:
        """The value and its origin. Raises UsageError for an unknown key and for a given value that does not parse."""
        setting = _setting(key)
        typed, origin = self._typed(setting)
        return Value(key, typed, setting.show(typed), origin)

    def _typed(self, setting: Setting) -> tuple[Any, str]:
        """The typed value and its origin."""
        text, origin = self._source(setting)
        try:
            return _parsed(setting.key, text), origin
        except ValueError as error:
            what = f"{_spelling(setting, origin)}={quoted(text)[1:-1]} ({origin}): {error}"
            if origin != STORED:
                raise UsageError(what) from None
            self._warn(f"{what}; using the default {setting.default}")
            return setting.parse(setting.default), DEFAULT

    def all(self) -> list[Value]:
        """Every setting in the table's order. Raises UsageError as `value` does."""
        return [self.value(key) for key in SETTINGS]

    def _source(self, setting: Setting) -> tuple[str, str]:
        above = _outside(self._flags.get(setting.key), setting.variable, self._environ, self._dotenv)
        if above:
            return above
        if self._stored is None:
            self._stored = self._read_stored()
        text = self._stored.get(setting.key)
        return (setting.default, DEFAULT) if text is None else (text, STORED)


def _outside(
    flag: str | None, variable: str, environ: Mapping[str, str], dotenv: Mapping[str, str]
) -> tuple[str, str] | None:
    """The text and its origin, if a flag, the environment or .env has one."""
    if flag is not None:
        return flag, "flag"
    if text := environ.get(variable):
        return text, "environment"
    if text := dotenv.get(variable):
        return text, ".env"
    return None


def _spelling(setting: Setting, origin: str) -> str:
    """The setting's name as it is written in that place."""
    if origin == "flag":
        return f"--{setting.key}"
    return setting.variable if origin in ("environment", ".env") else setting.key


def _setting(key: str) -> Setting:
    if key in SETTINGS:
        return SETTINGS[key]
    import difflib

    near = difflib.get_close_matches(key.lower().replace("_", "-"), SETTINGS)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the settings are {', '.join(SETTINGS)}"
    raise UsageError(f"{quoted(key)} is not a setting: {hint}")


@lru_cache(64)
def _parsed(key: str, text: str) -> Any:
    """The typed value of a text. A program that adds jobs asks for the same ones with each. Raises ValueError."""
    return SETTINGS[key].parse(text)


def check(key: str, text: str) -> str:
    """The text as `config set` stores it. Raises UsageError for an unknown key or a value that does not parse."""
    setting = _setting(key)
    try:
        return setting.show(setting.parse(text))
    except ValueError as error:
        raise UsageError(f"{key}: {error}") from None


def archive_dir(flag: str | None, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> str | None:
    """The folder for a new queue's archive; None: next to the database. No setting: it is needed to open the queue."""
    return (_outside(flag, _variable("archive-dir"), environ, dotenv) or (None, ""))[0]


def home(environ: Mapping[str, str], dotenv: Mapping[str, str]) -> str | None:
    """The folder for files of queues on a server, None for the user's default."""
    return (_outside(None, _variable("home"), environ, dotenv) or (None, ""))[0]


def read_dotenv(
    directory: str = ".", overruled: Collection[str] = (), warn: Callable[[str], None] = lambda message: None
) -> dict[str, str]:
    """The QUEUECTL_ variables of the directory's `.env`; none without one.

    The file may belong to another program, so only lines that name a QUEUECTL_ variable are checked. A file that
    cannot be read is a warning. Raises UsageError if such a line cannot be read, or if the file belongs to another
    user and sets a variable that is not in `overruled`.
    """
    path = f"{directory}/.env"
    text, owner = _dotenv_text(path, warn)
    if "QUEUECTL_" not in text:
        return {}
    found = _variables(text, path)
    if owner in (0, os.geteuid()):
        return found
    if found.keys() - set(overruled):  # it could name a queue with jobs for this user's worker to run
        raise UsageError(f"{path} belongs to another user and is ignored: set the variables in the environment")
    return {}


def _dotenv_text(path: str, warn: Callable[[str], None]) -> tuple[str, int]:
    """The text of a regular file, with other bytes than UTF-8 as surrogates, and its owner."""
    try:
        # O_NONBLOCK: do not wait for a named pipe
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return "", 0
    except OSError as error:
        warn(f"{path} cannot be read and is ignored: {error.strerror}")
        return "", 0
    try:
        status = os.fstat(descriptor)
        raw = b""
        if stat.S_ISREG(status.st_mode):
            with open(descriptor, "rb", closefd=False) as file:
                raw = file.read()
    finally:
        os.close(descriptor)
    return raw.removeprefix(BOM_UTF8).decode(errors="surrogateescape"), status.st_uid


def _variables(text: str, path: str) -> dict[str, str]:
    import re
    from io import StringIO

    from dotenv.parser import parse_stream

    found = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error and re.search(r"(?<![A-Za-z0-9_])QUEUECTL_", binding.original.string):
            raise UsageError(f"{path}: line {binding.original.line} cannot be read: write NAME=VALUE")
        if binding.key is not None and binding.key.startswith("QUEUECTL_") and binding.value is not None:
            found[binding.key] = _utf8(binding.value, f"{path}: {binding.key}")
    return found


def _utf8(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{where} is not UTF-8 text: save the file as UTF-8") from None
    return value
