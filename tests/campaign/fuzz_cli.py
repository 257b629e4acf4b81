"""Command lines: real commands and options with hostile values, on a queue full of hostile texts.

Only the documented exit codes, errors of one line, no control character on a terminal, nothing half-written and
nothing left behind. Most run in this process; one of each seed is a process of its own, and a worker.
"""

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from unittest.mock import patch

import apsw
from msgspec import Struct

from queuectl import cli
from queuectl.render import terminal as render
from tests.campaign.command_lines import command_line, worker_line
from tests.campaign.hostile import altered, steering, text
from tests.campaign.hostile_queue import fill
from tests.campaign.plan import Attempt, Campaign, Control

__all__ = ["CAMPAIGN"]

LINES = 150
CODES = frozenset({0, 1, 2, 3, 4, 5, 124})
ERRORS = frozenset({2, 3, 4, 5})
PATIENCE = 10
"""Seconds after which a command that does not end is a fault."""
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where nothing waits for a disk."""
RAW = frozenset({"--raw", "export", "always"})
"""Options that ask for unchanged bytes, or for colours."""
NOTE = re.compile(r"job \S+(: |$)|no worker serves these queues: |not carried over, line \d+: ")
"""A line that goes before an error: which job is read, that no worker runs, or what a crontab has that does not fit."""
READING = frozenset(
    {"status", "list", "show", "history", "logs", "events", "diff", "explain", "verify", "head", "doctor"}
)


class Done(Struct, frozen=True):
    """The result of a command line; `error` is an exception that was not turned into an exit code."""

    code: int
    out: str
    err: str
    error: str = ""


def attempt(seed: int, suspect: str = render._SUSPECT) -> Attempt:
    """Run 150 command lines and a worker on one queue. `suspect` is the pattern that the cleaning removes."""
    rng = Random(seed)
    codes: Counter[str] = Counter()
    faults: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="queuectl-fuzz-", dir=MEMORY) as folder,
        patch.object(render, "_SUSPECT", suspect),
    ):
        fill(Path(folder), rng)
        with chdir(folder), _surroundings(folder), _head() as head:
            for _ in range(LINES):
                name, arguments = command_line(rng)
                before, done = head(), _call(arguments, rng)
                codes[f"exit code {done.code}"] += 1
                faults += [f"{fault} [{name}]" for fault in _judged(name, arguments, done, before != head())]
            name, arguments = worker_line(rng)
            faults += [f"{fault} [{name}]" for fault in _judged(name, arguments, _process(arguments), False)]
            faults += _left_behind(folder)
    return Attempt(LINES + 1, faults, codes)


# ── the judgement ───────────────────────────────────────────────────────────────────────────────────────


def _judged(name: str, arguments: Sequence[str], done: Done, wrote: bool) -> Iterator[str]:
    """The faults in the result of a command line."""
    if done.error or "Traceback" in done.err:
        yield f"traceback: {done.error}"
        return
    if done.code not in CODES and name != "wait":
        yield f"exit code {done.code}: it is not among the documented ones"
    if done.code in ERRORS and name != "wait" and not _is_message(done.err):
        yield "message: an error is not one line"
    raw = name == "logs" and done.code not in ERRORS  # into a pipe, `logs` writes the job's bytes
    shown = "" if raw else done.out + done.err
    if not RAW & {*arguments} and (found := steering(shown)):
        yield f"terminal: {', '.join(f'U+{ord(each):04X}' for each in sorted(found)[:1])} reached it"
    if wrote and (name in READING or done.code in ERRORS):
        yield f"half-written: exit code {done.code}, and the log has grown"


def _is_message(err: str) -> bool:
    """Whether stderr has one error, at most after notes on what is read; a group without a command prints its help."""
    lines = [line for line in err.splitlines() if not NOTE.match(line)]
    return all(line.startswith("queuectl: ") for line in lines) or err.startswith("Usage: ")


def _left_behind(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        if any(".part-" in name or name.endswith(".whole") for name in names):
            yield "left behind: a file that was not finished"
        if any(os.stat(os.path.join(place, name)).st_mode & 0o077 for name in names if name.startswith("new")):
            yield "permissions: others can read what was written"
    Path(folder, ".env").unlink(missing_ok=True)
    if _call(["verify"], Random(0)).code:
        yield "damage: the queue does not verify"


# ── the queue's surroundings ────────────────────────────────────────────────────────────────────────────


@contextmanager
def _surroundings(folder: str) -> Iterator[None]:
    """An environment of this folder's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_")}
    before = os.umask(0o077)
    try:
        with patch.dict(os.environ, {**kept, "HOME": folder, "QUEUECTL_DB": "queue.db"}, clear=True):
            yield
    finally:
        os.umask(before)


@contextmanager
def _head() -> Iterator[object]:
    """A function that reads the log's last position without `queuectl`."""
    db = apsw.Connection("queue.db", flags=apsw.SQLITE_OPEN_READONLY)
    try:
        yield lambda: db.execute("SELECT max(position) FROM events").fetchall()
    finally:
        db.close()


# ── calling ─────────────────────────────────────────────────────────────────────────────────────────────


def _call(arguments: Sequence[str], rng: Random) -> Done:
    """Run a command line in this process."""
    given = altered(rng, text(rng, 9).encode())
    stdin, stdout, stderr = (io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8") for raw in (given, b"", b""))
    error, code = "", -1
    with patch.multiple(sys, stdin=stdin, stdout=stdout, stderr=stderr), patch.object(cli, "_give_up_stdout"):
        try:
            with _alarm():
                cli._open_standard_streams()
                code = cli._exit_code(list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else -1
        except BaseException as escaped:
            error = type(escaped).__name__
        return Done(code, _written(stdout), _written(stderr), error)


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]


@contextmanager
def _alarm() -> Iterator[None]:
    """Raise an exception in a command that does not end."""
    before = signal.signal(signal.SIGALRM, _raise_timeout)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise_timeout(*_: object) -> None:
    raise TimeoutError(f"not ended within {PATIENCE} s")


def _process(arguments: Sequence[str]) -> Done:
    """Run a command line as a process."""
    command = [sys.executable, "-P", "-m", "queuectl", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return Done(-1, "", "", "TimeoutExpired")
    err = re.sub(r"^\d{4}-\d\d-\d\d \S+ ", "queuectl: ", done.stderr.decode("utf-8", "replace"), flags=re.MULTILINE)
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"), err)


CAMPAIGN = Campaign(
    name="fuzz-cli",
    unit="command lines",
    short=1_500,
    full=100_000,
    attempt=attempt,
    controls=(
        Control("without the cleaning control characters reach the terminal", partial(attempt, suspect="(?!)"), 3),
    ),
)
