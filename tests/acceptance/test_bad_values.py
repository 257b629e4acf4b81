"""Each option of each command refuses values that cannot be meant: one line, its exit code, and nothing written.

The options are those of the command tree, so that a new one is tried too; the values follow from its placeholder.
"""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from queuectl.cli import run
from queuectl.cli.app import COMMANDS, command
from tests.support.command_line import Done, Queuectl, query

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


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Queuectl:
    """A queue with a done job, a dead one, one that waits for its time and one that waits for it, and a schedule."""
    made = Queuectl(tmp_path_factory.mktemp("used"))
    made.add("--id", "job", "true")
    made.add("--id", "dead", "--max-retries", "0", "exit 3")
    made.drain()
    made.add("--id", "waiting", "--delay", "1d", "true")
    made.add("--id", "behind", "--after", "waiting", "true")
    made.ok("schedule", "add", "nightly", "@daily", "true")
    (made.folder / "crontab").write_text("@daily true\n", encoding="utf-8")
    return made


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that runs in this process neither changes it nor stays in it."""
    for name in [name for name in os.environ if name.startswith("QUEUECTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    umask, before = os.umask(0o077), signal.signal(signal.SIGALRM, _give_up)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    os.umask(umask)


def _give_up(_: int, __: FrameType | None) -> None:
    raise AssertionError("the value is accepted: the command runs")


def _tree(name: str) -> Iterator[tuple[str, Any]]:
    """The commands of this name: itself, or those of a group."""
    found = command().get_command(None, name)
    for each in found.list_commands(None) if hasattr(found, "list_commands") else ():
        if not (one := found.get_command(None, each)).hidden:
            yield f"{name} {each}", one
    yield name, found


def _options(found: Any) -> list[Any]:
    """The options of a command that take a value."""
    return [each for each in found.params if each.param_type_name == "option" and not (each.is_flag or each.hidden)]


def _kind(option: Any) -> str:
    """The placeholder of the option's values; those for durations are examples of them."""
    name = str(option.metavar or "TEXT")
    if re.fullmatch(r"\d+[smhd]", name):
        return "[INTERVAL]"
    return "choice" if re.fullmatch(r"[a-z]+(\|[a-z]+)+", name) else name


def _values(path: str, option: Any) -> tuple[str, ...]:
    kind = "NAME" if (path in ("enqueue", "copy") and option.name == "id") else _kind(option)
    kind = "VARIABLE" if option.name == "secret_env" else kind
    texts = () if kind in ("FILE", "FOLDER", "PATH|URL") else (NOT_TEXT,)
    return (*(("", "perhaps") if kind == "choice" else VALUES[kind]), *texts)


def _line(path: str, option: Any, value: str) -> list[str]:
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


def _run(arguments: list[str], capture: pytest.CaptureFixture[str]) -> Done:
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


def _stored(folder: Path) -> tuple[set[str], int]:
    """The files of a folder, without those that SQLite makes while someone reads, and the log's last position."""
    names = {str(path) for path in folder.rglob("*") if not path.name.endswith(("-wal", "-shm"))}
    db = folder / "data" / "queue.db"
    return names, query(db, "SELECT max(position) FROM events")[0][0] if db.exists() else 0


def _is_refused(done: Done, option: Any, value: str) -> bool:
    """Whether this is the right exit code and one line on stderr that names the option or the value."""
    name = max(option.opts, key=len)
    words = [name, name[2:], name[2:].replace("-", "_"), *value.split("="), repr(value)]
    is_line = done.err.startswith("queuectl: ") and done.err.count("\n") == 1 and done.out == ""
    names_it = any(word and word in done.err for word in ("UTF-8", "''", "�", "\\udcff", *words))
    return done.code in CODES.get(_kind(option), {2}) and is_line and names_it


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_refuses_values_that_cannot_be_meant(
    name: str,
    used: Queuectl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before, wrong = _stored(used.folder), []
    for path, found in _tree(name):
        for option in _options(found):
            lines = [(_line(path, option, value), value) for value in _values(path, option)]
            monkeypatch.chdir(used.folder)
            for line, value in lines:
                done = _run(line, capfd)
                after = _stored(used.folder)
                if not _is_refused(done, option, value) or after != before:
                    wrong.append((line, done))
                before = after
            monkeypatch.chdir(tmp_path)
            made = [line for line, _ in lines[:1] if _run(line, capfd).code == 0 or any(tmp_path.iterdir())]
            wrong += [(line, "where there is no queue") for line in made]
    assert not wrong, "\n".join(map(str, wrong))


def test_options_before_the_command_refuse_them_too(
    used: Queuectl, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(used.folder)
    before, wrong = _stored(used.folder), []
    for option in _options(command()):
        for value in _values("", option):
            done = _run([f"{option.opts[0]}={value}", "enqueue", "true"], capfd)
            if not _is_refused(done, option, value) or _stored(used.folder) != before:
                wrong.append((option.opts[0], value, done))
                before = _stored(used.folder)
    assert not wrong, "\n".join(map(str, wrong))
