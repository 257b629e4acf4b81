"""Reads a crontab: its entries as schedules, and the lines that cannot be carried over.

Environment lines hold for the entries below them. SHELL becomes the program that runs the command, HOME the folder,
CRON_TZ the time zone; other variables go into the job's environment. MAILTO has no counterpart.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import count

from msgspec import Struct
from msgspec.structs import replace

from queuectl import timetable
from queuectl.application.job_fields import BLANKS
from queuectl.application.schedule_input import ScheduleInput
from queuectl.domain.schedule import MAX_NAME
from queuectl.units import quoted

__all__ = ["CronEntry", "Crontab", "named", "read_crontab"]

_VARIABLE = re.compile(r"""\s*(?:([A-Za-z_]\w*)|"([^"]+)"|'([^']+)')\s*=\s*(.*?)\s*""", re.ASCII)
_ENTRY = re.compile(r"\s*(@\w+|(?:\S+\s+){4}\S+)\s+(\S.*)", re.ASCII)
_USER = re.compile(r"(\S+)\s+(\S.*)", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PROGRAM = re.compile(r"[^\s;&|<>()]+")
_PREFIXES = {
    "cd",
    "env",
    "nice",
    "ionice",
    "flock",
    "timeout",
    "test",
    "sh",
    "bash",
    "sudo",
    "exec",
    "command",
    "then",
    "if",
    "[",
}
_ENDINGS = (".sh", ".py", ".pl", ".rb", ".php")
_DEFAULT_SHELLS = ("/bin/sh", "sh")


class CronEntry(Struct, frozen=True):
    """An entry of a crontab: the schedule's name, when it runs, its job, and its line."""

    line: int
    name: str
    when: ScheduleInput
    command: str
    env: dict[str, str]
    shell: str | None = None
    cwd: str | None = None
    user: str | None = None


class Crontab(Struct, frozen=True):
    """The entries of a crontab. `refused`: lines that cannot be carried over; `notes`: what the others lose."""

    entries: tuple[CronEntry, ...]
    refused: tuple[str, ...]
    notes: tuple[str, ...]


def read_crontab(text: str, *, with_users: bool, taken: set[str] = frozenset()) -> Crontab:  # type: ignore[assignment]
    """Read a crontab. `with_users`: its entries have a user before the command, as in /etc/crontab.

    `taken` are names that no entry gets.
    """
    reader = _Reader(with_users)
    for number, line in enumerate(text.split("\n"), 1):  # other line ends of Unicode are part of a command
        reader.take(number, line.removesuffix("\r"))
    return Crontab(tuple(named(reader.entries, taken)), tuple(reader.refused), tuple(reader.notes))


def named(entries: Iterable[CronEntry], taken: set[str]) -> Iterator[CronEntry]:
    """The entries with names after their programs, which neither `taken` nor another entry has."""
    used = set(taken)
    for entry in entries:
        base = _name_of(entry.command)
        names = (base if number == 1 else f"{base}-{number}" for number in count(1))
        used.add(name := next(each for each in names if each not in used))
        yield replace(entry, name=name)


class _Reader:
    def __init__(self, with_users: bool) -> None:
        self.entries: list[CronEntry] = []
        self.refused: list[str] = []
        self.notes: list[str] = []
        self._with_users = with_users
        self._env: dict[str, str] = {}

    def take(self, number: int, line: str) -> None:
        """Read the next line."""
        if line.lstrip(BLANKS)[:1] in ("", "#"):
            return
        if variable := _VARIABLE.fullmatch(line):
            self._set(number, next(filter(None, variable.groups()[:3])), _unquoted(variable[4]))
            return
        if entry := _ENTRY.fullmatch(line):
            self._entry(number, entry[1], entry[2])
        else:
            self._refuse(number, f"{quoted(line.strip(BLANKS))} is neither an entry nor NAME=VALUE")

    def _refuse(self, number: int, why: str) -> None:
        self.refused.append(f"line {number}: {why}")

    def _set(self, number: int, name: str, value: str) -> None:
        if name == "MAILTO":
            if value:
                self.notes.append(f"line {number}: MAILTO={value}: no mail is sent; `queuectl logs` has the output")
        elif name not in ("MAILFROM", "LOGNAME", "USER", "RANDOM_DELAY", "CRON_WITHIN", "CONTENT_TYPE"):
            self._env[name] = value

    def _entry(self, number: int, when: str, command: str) -> None:
        user = None
        if self._with_users:
            found = _USER.fullmatch(command)
            if found is None:
                self._refuse(number, "there is no command after the user")
                return
            user, command = found.groups()
        if when.lower() == "@reboot":
            self._refuse(number, "@reboot has no counterpart: start it with the system, as a service")
            return
        try:
            fields = timetable.five_fields(when)
            plain = _without_percent(command)
            zone = self._env.get("CRON_TZ")
            if zone is not None:
                timetable.zone(zone)
        except ValueError as error:
            self._refuse(number, str(error))
            return
        self._add(number, ScheduleInput(cron=fields, tz=zone), plain, user)

    def _add(self, number: int, when: ScheduleInput, command: str, user: str | None) -> None:
        if not self._with_users and command.startswith("root "):
            self.notes.append(f"line {number}: if root is the user and not the program, add --system")
        env = {name: value for name, value in self._env.items() if name not in ("SHELL", "CRON_TZ")}
        shell = self._env.get("SHELL")
        if user is not None:
            self.notes.append(f"line {number}: it ran as {user}; now it runs as the user of the worker")
        self.entries.append(
            CronEntry(
                number,
                "",
                when,
                command,
                env,
                shell=None if shell in _DEFAULT_SHELLS else shell,
                cwd=self._env.get("HOME"),
                user=user,
            )
        )


def _unquoted(value: str) -> str:
    quotes = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quotes else value


def _without_percent(command: str) -> str:
    r"""The command with `\%` as `%`. Raises ValueError for a bare %, after which cron has the command's input."""
    if re.search(r"(?<!\\)%", command):
        raise ValueError(r"the text after % is the command's input in cron: use printf '…' | COMMAND, and \% for a %")
    return command.replace(r"\%", "%")


def _name_of(command: str) -> str:
    """The program of a command as a name, without folder and ending: `backup` of `cd /srv && ./backup.sh -q`."""
    for word in _programs(command):
        base = word.rstrip("/").rpartition("/")[2]
        for ending in _ENDINGS:
            base = base.removesuffix(ending)
        if found := _WORD.search(base):
            return found[0][: MAX_NAME - 4]
    return "job"


def _programs(command: str) -> Iterator[str]:
    """The words of a command that may be its program, the likeliest first."""
    words = _PROGRAM.findall(command)
    plain = [word for word in words if "=" not in word and not word.startswith("-")]
    likely = [word for place, word in enumerate(plain) if word not in _PREFIXES and plain[place - 1 : place] != ["cd"]]
    yield from (word for word in likely if not word.replace(".", "").isdigit() and not word.endswith(".lock"))
    yield from plain
