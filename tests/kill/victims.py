"""Command lines that will be killed, each in its own process, at a time or at a named point of the code.

They are forked from a Python that has the program loaded, so that kills hit the program and not Python's start-up. The
workers of a supervisor are started normally.
"""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import reduce, wraps
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from queuectl import cli
from queuectl.cli.app import COMMANDS

__all__ = [
    "AROUND_THE_APPEND",
    "OF_A_SUPERVISOR",
    "OF_A_WORKER",
    "OF_EVERY_COMMAND",
    "POINTS",
    "Build",
    "Failpoint",
    "Victim",
    "preload",
    "start",
]

Build = Callable[[], None]
"""Changes the program in the process that it is called in."""

AROUND_THE_APPEND = (
    "queuectl.store.sqlite.engine:SqliteEngine.begin",
    "queuectl.store.sql.writer:Writer._record",
    "queuectl.store.sqlite.engine:SqliteEngine.insert",
    "queuectl.store.sql.writer:TableWriter.write",
    "queuectl.store.sql.waits:Waits.follow",
    "queuectl.store.sql.writer:Writer._with_consequences",
    "queuectl.store.sql.writer:Writer._react",
    "queuectl.store.sql.writer:Writer.append",
    "queuectl.store.sqlite.engine:SqliteEngine.commit",
    "queuectl.store.sql.writer:Writer.copy",
)
OF_EVERY_COMMAND = (
    *AROUND_THE_APPEND,
    "queuectl.store.sqlite.engine:connect",
    "queuectl.store.sqlite.engine:SqliteEngine.close",
    "queuectl.store.archive.sync:ArchiveSync.compare",
    "queuectl.store.archive.archive:Archive._open_folder",
    "queuectl.store.archive.archive:Archive._settled",
    "queuectl.store.archive.archive:Archive._start_segment",
    "queuectl.store.archive.archive:Archive._write",
    "queuectl.application.queue:Queue.add",
    "queuectl.application.queue:Queue.execute",
)
OF_A_WORKER = (
    "queuectl.application.queue:Queue.claim",
    "queuectl.application.queue:Queue.note_worker",
    "queuectl.worker.claims:Claims.take",
    "queuectl.process.job_lock:LockFile.take",
    "queuectl.process.runner:Runner.reserve",
    "queuectl.process.runner:Runner._spawn",
    "queuectl.process.runner:Runner.start",
    "queuectl.process.runner:Runner._close",
    "queuectl.process.runner:Runner.clear",
    "queuectl.worker.results:Results.append",
    "queuectl.worker.results:Results.remove",
    "queuectl.worker.reclaimer:Reclaimer._free",
    "queuectl.application.queue:Queue.lose_worker",
    "queuectl.worker.loop:Worker.start",
    "queuectl.worker.heartbeat:Heartbeat.write",
    "queuectl.worker.loop:Worker.finish",
)
OF_A_SUPERVISOR = (
    "queuectl.worker.supervisor:Supervisor._start",
    "queuectl.worker.supervisor:Supervisor._ended",
)
POINTS = (*OF_EVERY_COMMAND, *OF_A_WORKER, *OF_A_SUPERVISOR)
"""Functions before or after which a process can be killed: between any two things that it does to the world."""


class Failpoint(NamedTuple):
    """A point of the code: just before, or just after, the n-th call of a function."""

    function: str
    after: bool
    call: int

    def arm(self) -> None:
        """Kill this process when it gets there."""
        module, _, name = self.function.partition(":")
        *owners, attribute = name.split(".")
        owner: Any = reduce(getattr, owners, import_module(module))
        whole, calls = getattr(owner, attribute), count(1)

        @wraps(whole)
        def deadly(*arguments: Any, **options: Any) -> Any:
            fatal = next(calls) == self.call
            if fatal and not self.after:
                _die()
            result = whole(*arguments, **options)
            if fatal:
                _die()
            return result

        setattr(owner, attribute, deadly)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Victim(NamedTuple):
    """A process: its command line, and the files of its output."""

    pid: int
    arguments: Sequence[str]
    out: Path
    err: Path

    def printed(self) -> list[str]:
        """The complete lines that it printed on stdout."""
        return [line for line in self.out.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]

    def last_error_line(self) -> str:
        """The last line on its stderr, without the name of its folder."""
        lines = self.err.read_text(encoding="utf-8").splitlines()
        return lines[-1].replace(str(self.err.parent), "…")[:120] if lines else ""


def preload() -> None:
    """Import the modules that commands import when they are called, so that no victim has to."""
    commands = [f"queuectl.cli.{where.partition(':')[0]}" for where in COMMANDS.values()]
    for module in (
        *commands,
        "queuectl.store.sqlite.store",
        "queuectl.application.time_travel",
        "transitions",
        "tabulate",
        "logging",
        "ctypes",
    ):
        import_module(module)


def start(arguments: Sequence[str], place: Path, name: str, builds: Sequence[Build] = ()) -> Victim:
    """Run a command line in the folder `place`; what it prints goes to files called `name`."""
    out, err = place / f"{name}.out", place / f"{name}.err"
    for file in (out, err):
        file.touch()  # also for one that is killed before it can
    pid = os.fork()
    if not pid:
        _become(arguments, place, out, err, builds)
    return Victim(pid, arguments, out, err)


def _become(arguments: Sequence[str], place: Path, out: Path, err: Path, builds: Sequence[Build]) -> NoReturn:
    """Run as `queuectl` from here on; never returns into the test."""
    code = 70
    try:
        _settle(place, out, err)
        for build in builds:
            build()
        code = cli._exit_code(arguments)  # not `run`: the command's module has taken its name by now
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _settle(place: Path, out: Path, err: Path) -> None:
    """Set streams, signals, environment and folder as a shell would."""
    os.setpgid(0, 0)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), os.open(out, flags), os.open(err, flags))):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
        for number, mode in enumerate("rww")
    )
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for name in [name for name in os.environ if name.startswith(("QUEUECTL_", "COV_"))]:
        del os.environ[name]
    os.umask(0o077)
    gc.set_threshold(100_000)
    os.chdir(place)
