"""Values that an option cannot mean, by its placeholder, and command lines whose only fault is such a value."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from queuectl.cli import run
from queuectl.cli.app import command
from tests.support.command_line import Done, query

__all__ = ["faults", "in_process", "is_refused", "options", "run_here", "stored", "tree", "values"]

NOT_TEXT = "\udcff"
HUGE = "9" * 20
NAME = ("", "a b", "*", "x" * 200)
DURATION = ("", "soon", "-5s", "nan", "10000y")
TIME = ("", "someday", "99999-01-01", "25:99")
VALUES: dict[str, tuple[str, ...]] = {
    "N": ("", "many", "1.5", "-" + HUGE, HUGE),
    "BASE": ("", "high", "nan", "inf", "-1"),
    "TIME": TIME,
    "FROM..TO": ("", "someday..now", "-1h..-2h"),
    "POSITION|TIME": (*TIME, HUGE),
    "[INTERVAL]": DURATION,
    "NAME": NAME,
    "ADDRESS": ("", "nowhere", "127.0.0.1:99999", "127.0.0.1:many", "unix:"),
    "HOST": ("", "a b"),
    "HEAD": ("", "head", "1:zz", f"{HUGE}:{'0' * 64}"),
    "SIG": ("", "xyz", "123456789"),
    "ID": ("", "a b", "no-such-job"),
    "ID[:ok|end|failed]": ("", "a b", "job:never", "no-such-job", "batch:"),
    "KIND[:NAME]": ("", "moon"),
    "[-]KEY": ("", "-", "colour"),
    "A-B[:STEP]": ("", "many", "1-", "1-5:0"),
    "K=V": ("", "novalue", "=x"),
    "K=V|K": ("", "NO_SUCH_VARIABLE_HERE", "=x"),
    "A,B,C": ("", "no-field", "id,,state"),
    "K": ("", "a=b"),
    "VARIABLE": ("", "a b", "*", "a=b"),
    "FIELD=VALUE": ("", "novalue", "colour=red", "timeout=soon"),
    "STATE": ("", "lost"),
    "TYPE": ("", "lost"),
    "LEVEL": ("", "loud"),
    "FORM": ("", "png"),
    "FORMAT": ("", "yaml"),
    "ZONE": ("", "Mars/Crater"),
    "022": ("", "rw", "1000", "-1"),
    "KEY": ("",),
    "COMMAND": ("", " "),
    "TEXT": (),
    "FILE": ("", "/nowhere/file", "/"),
    "DIR": ("",),
    "FOLDER": ("",),
    "PATH|URL": ("", "/dev/null/queue.db"),
}
"""For each placeholder, values that cannot be meant."""
WORDS = {
    "enqueue": ["echo {}"],
    "edit": ["waiting"],
    "copy": ["job"],
    "show": ["job"],
    "logs": ["job"],
    "history": ["job"],
    "explain": ["job"],
    "unblock": ["behind"],
    "dlq show": ["dead"],
    "run": ["--drain"],
    "worker start": ["--drain"],
    "worker unit": ["--drain"],
    "schedule add": ["hourly", "true"],
    "schedule show": ["nightly"],
    "schedule history": ["nightly"],
    "schedule next": ["nightly"],
    "schedule backfill": ["nightly"],
    "schedule run": ["nightly"],
    "config get": ["lease"],
    "diff": ["1"],
    "migrate": ["--yes"],
    "schedule import-crontab": ["crontab"],
}
"""The words without which a command refuses to begin."""
REQUIRED = {"schedule backfill": {"--from": "--from=2024-01-01"}, "migrate": {"--to": "--to=other.db"}}
"""The options without which a command refuses to begin."""
WITH = {
    **dict.fromkeys(("--csv", "--tsv", "--ndjson", "--range"), "--each"),
    "--limit": "--sig=00000000",
    "--set": "--queue=default",
    "--max-failures": "--batch=b",
    "--if-unmet": "--after=waiting",
}
"""The option without which another one of `enqueue`, `retry`, `dlq retry` and `schedule add` is refused."""
JOBS = {"cancel": "waiting", "retry": "job", "purge": "job", "wait": "job", "dlq retry": "dead", "dlq purge": "dead"}
"""For commands that take either filters or jobs: a job for options that are no filters."""
FILTERS = ("--state", "--queue", "--tag", "--batch", "--since", "--sig", "--older-than", "--spread", *WITH)
CODES = {"ID": {2, 3}, "ID[:ok|end|failed]": {2, 3}, "PATH|URL": {2, 5}, "FOLDER": {2, 5}}
"""Exit codes of refusals by placeholder, if not 2: there is no such job; there can be no queue at that place."""
LONGEST = 20
"""Seconds after which a command has not refused the value, but runs with it."""


def _give_up(_: int, __: FrameType | None) -> None:
    raise AssertionError("the value is accepted: the command runs")


def tree(name: str) -> Iterator[tuple[str, Any]]:
    """The commands of this name: itself, or those of a group."""
    found = command().get_command(None, name)
    for each in found.list_commands(None) if hasattr(found, "list_commands") else ():
        if not (one := found.get_command(None, each)).hidden:
            yield f"{name} {each}", one
    yield name, found


def options(found: Any) -> list[Any]:
    """The options of a command that take a value."""
    return [each for each in found.params if each.param_type_name == "option" and not (each.is_flag or each.hidden)]


def _kind(option: Any) -> str:
    """The placeholder of the option's values; those for durations are examples of them."""
    name = str(option.metavar or "TEXT")
    if re.fullmatch(r"\d+[smhd]", name):
        return "[INTERVAL]"
    return "choice" if re.fullmatch(r"[a-z]+(\|[a-z]+)+", name) else name


def values(path: str, option: Any) -> tuple[str, ...]:
    """Values that this option of a command cannot mean."""
    kind = "NAME" if (path in ("enqueue", "copy") and option.name == "id") else _kind(option)
    kind = "VARIABLE" if option.name == "secret_env" else kind
    assert kind in (*VALUES, "choice"), f"say in VALUES which values {kind} cannot have"
    texts = () if kind in ("FILE", "FOLDER", "PATH|URL") else (NOT_TEXT,)
    return (*(("", "perhaps") if kind == "choice" else VALUES[kind]), *texts)


def line(path: str, option: Any, value: str) -> list[str]:
    """A command line whose only fault is this value."""
    name = max(option.opts, key=len)
    others = [given for flag, given in REQUIRED.get(path, {}).items() if flag != name]
    others += [WITH[name]] if path in ("enqueue", "retry", "dlq retry") and name in WITH else []
    words = WORDS.get(path, [])
    if path == "schedule add":
        others += [] if name == "--every" else ["--every=1h"]
    if name == "--spread" and path != "schedule add":
        others += [WITH["--limit"]]
    if path in JOBS and name not in FILTERS:
        words = [JOBS[path], *(["--yes"] if path == "dlq purge" else [])]
    if name == "--set":
        words = ["--yes"]
    if (path, name) == ("enqueue", "--file"):
        words = []
    if (path, name) == ("edit", "--reason"):
        words = ["waiting", "--priority=5"]
    return [*path.split(), *others, f"{name}={value}", *words]


def run_here(arguments: list[str], capture: pytest.CaptureFixture[str]) -> Done:
    """Run one command in this process."""
    capture.readouterr()
    signal.alarm(LONGEST)
    try:
        run(arguments)
    except SystemExit as ended:
        return Done(int(ended.code or 0), *capture.readouterr())
    finally:
        signal.alarm(0)
    raise AssertionError("a command ends with its exit code")


def stored(folder: Path) -> tuple[set[str], int]:
    """The files of a folder, without those that SQLite makes while someone reads, and the log's last position."""
    names = {str(path) for path in folder.rglob("*") if not path.name.endswith(("-wal", "-shm"))}
    db = folder / "data" / "queue.db"
    return names, query(db, "SELECT max(position) FROM events")[0][0] if db.exists() else 0


def is_refused(done: Done, option: Any, value: str) -> bool:
    """Whether this is the right exit code and one line on stderr that names the option or the value."""
    name = max(option.opts, key=len)
    words = [name, name[2:], name[2:].replace("-", "_"), *value.split("="), repr(value)]
    is_line = done.err.startswith("queuectl: ") and done.err.count("\n") == 1 and done.out == ""
    names_it = any(word and word in done.err for word in ("UTF-8", "''", "�", "\\udcff", *words))
    return done.code in CODES.get(_kind(option), {2}) and is_line and names_it


@contextmanager
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands that run in this process neither change it nor stay in it."""
    for name in [name for name in os.environ if name.startswith("QUEUECTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    umask, before = os.umask(0o077), signal.signal(signal.SIGALRM, _give_up)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        os.umask(umask)


def faults(
    name: str, folder: Path, empty: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
) -> list[str]:
    """The command lines of this command that are not refused as they should be, in a folder with a queue and without.

    Each is to be refused with its exit code and one line, and to write nothing.
    """
    before, wrong = stored(folder), list[str]()
    for path, found in tree(name):
        for option in options(found):
            lines = [(line(path, option, value), value) for value in values(path, option)]
            monkeypatch.chdir(folder)
            for words, value in lines:
                done, after = run_here(words, capture), stored(folder)
                wrong += [f"{words}: {done}"] if not is_refused(done, option, value) or after != before else []
                before = after
            monkeypatch.chdir(empty)
            made = [words for words, _ in lines[:1] if run_here(words, capture).code == 0 or any(empty.iterdir())]
            wrong += [f"{words}: where there is no queue" for words in made]
    return wrong
