"""Starts one command as a process: its program, environment and folder, and why it could not be started."""

import errno
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from shlex import quote
from typing import Any

from msgspec import Struct

from queuectl.domain.events import Enqueued
from queuectl.domain.job import Job
from queuectl.process import procfs
from queuectl.process.orphans import OUTER, TOKEN
from queuectl.process.run import Run
from queuectl.process.simple_command import without_shell
from queuectl.process.stdin_file import open_unchanged

__all__ = ["Launcher", "why_not_started"]

SHELL = "/bin/sh"
_DEFAULT_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_NOT_INHERITED = ("QUEUECTL_JOB_ID", "QUEUECTL_RUN", TOKEN, "OLDPWD")
"""Variables of the worker that would be wrong in a job: those of an outer job, and the previous working directory."""
_FIRST_LINE = 256


class _Start(Struct, gc=False):
    """The environment and descriptors of a command to start. `mark` is called last before: see `Launcher.spawn`."""

    environ: dict[bytes, bytes]
    actions: list[Any]
    mark: Callable[[], None]


class Launcher:
    """Starts commands for the worker `worker`, with its environment `environ`."""

    def __init__(self, worker: str, environ: Mapping[str, str]) -> None:
        self._worker = worker.encode()
        self._environ = {os.fsencode(k): os.fsencode(v) for k, v in environ.items() if k not in _NOT_INHERITED}
        if outer := " ".join(filter(None, (environ.get(OUTER), environ.get(TOKEN)))):
            self._environ[OUTER.encode()] = os.fsencode(outer)
        self._null_action = (os.POSIX_SPAWN_DUP2, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
        self._home = procfs.this_folder()

    def spawn(self, job: Job, run: Run, lock: int, lock_number: int, mark: Callable[[], None]) -> int:
        """Start the job's command in a new session, with its lock at `lock_number`, and return its pid.

        `mark` notes that the run has started, as the last step before: if this process is killed between the two, the
        run counts although its command did not begin. Raises OSError, LookupError or ValueError when it cannot be
        started, and what `mark` raises.
        """
        environ = self._environment(job, run)
        stdout, stderr = run.capture.descriptors
        stdin = None if job.spec.stdin is None else open_unchanged(job.spec.stdin)
        actions = [
            self._null_action if stdin is None else (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_DUP2, stdout if job.spec.merge_output else stderr, 2),
            (os.POSIX_SPAWN_DUP2, lock, lock_number),
        ]
        try:
            return self._spawn_in_folder(job.spec, _Start(environ, actions, mark))
        finally:
            if stdin is not None:
                os.close(stdin)

    def _spawn_in_folder(self, spec: Enqueued, start: _Start) -> int:
        """Spawn in a folder and with a umask, which the child inherits: both are this process's own for that moment.

        Relative paths of .env and libpq refer to the folder in which we started, and our own files are private.
        """
        os.chdir(spec.cwd.encode())
        before = os.umask(spec.umask)
        try:
            return _spawn_command(spec, start)
        finally:
            os.umask(before)
            with suppress(OSError):  # the command was started all the same
                os.fchdir(self._home)

    def _environment(self, job: Job, run: Run) -> dict[bytes, bytes]:
        for name in job.spec.secret_env:
            if name.encode() not in self._environ:
                raise LookupError(f"the secret {name} is not in the worker's environment")
        variable, _, value = run.token.partition(b"=")
        return {
            **self._environ,
            b"PWD": job.spec.cwd.encode(),
            **{name.encode(): text.encode() for name, text in job.spec.env.items()},
            b"QUEUECTL_JOB_ID": job.id.encode(),
            b"QUEUECTL_RUN": b"%d" % job.run,
            b"QUEUECTL_ATTEMPT": b"%d" % (job.attempts + 1),
            b"QUEUECTL_QUEUE": job.spec.queue.encode(),
            b"QUEUECTL_SLOT": b"%d" % run.slot,
            b"QUEUECTL_WORKER": self._worker,
            **_in_batch(job),
            variable: value,
        }


def _spawn_command(spec: Enqueued, start: _Start) -> int:
    """Spawn a program with arguments, or a command: by itself if the shell would only start it, which saves a start."""
    if spec.argv:
        return _spawn(spec.argv, start)
    if words := without_shell(spec.command, start.environ):
        with suppress(OSError, LookupError):  # the shell says why not, or runs a script that has no #! line
            return _spawn(words, start)
    return _spawn((SHELL, "-c", spec.command), start)


def _spawn(argv: Sequence[str], start: _Start) -> int:
    # Bytes, because texts in the log are UTF-8 whatever this worker's locale is.
    words = [word.encode() for word in argv]
    program = words[0] if b"/" in words[0] else _program(words[0], start.environ)
    start.mark()
    return os.posix_spawn(
        program,
        words,
        start.environ,
        file_actions=start.actions,
        setsid=True,
        setsigmask=(),
        setsigdef=_DEFAULT_SIGNALS,
    )


def _in_batch(job: Job) -> dict[bytes, bytes]:
    """The variables of a job that belongs to a batch: its batch, and its number in it."""
    if job.spec.batch is None:
        return {}
    number = {b"QUEUECTL_SEQ": b"%d" % job.spec.seq} if job.spec.seq else {}
    return {b"QUEUECTL_BATCH": job.spec.batch.encode(), **number}


def _program(name: bytes, environ: Mapping[bytes, bytes]) -> bytes:
    """The path of a program that is looked for in PATH. Raises LookupError."""
    found = shutil.which(os.fsdecode(name), path=os.fsdecode(environ.get(b"PATH", os.defpath.encode())))
    if found is None:
        raise LookupError(f"no program {name.decode()!r} in PATH")
    return os.fsencode(found)


def why_not_started(error: Exception, job: Job) -> str:
    """One line on why a command could not be started, and what to do."""
    if not isinstance(error, OSError):
        return str(error.args[0])
    if not os.path.isdir(job.spec.cwd.encode()):
        return f"cannot enter the folder {job.spec.cwd}: {error.strerror}"
    program = (job.spec.argv or (SHELL,))[0]
    return _wrong_script(program, job.spec.cwd, error.errno) or f"{error.strerror}: {program}"


def _wrong_script(program: str, folder: str, number: int | None) -> str:
    """Why a file that exists is not executed, judged by its first line."""
    path = os.path.join(folder, program)
    if number == errno.EACCES and os.path.isfile(path):
        return f"{program} is not executable: chmod +x {quote(program)}"
    first = _first_line(path)
    if number == errno.ENOEXEC and not first.startswith(b"#!"):
        return f"{program} has no #! line and is no program: begin it with #!/bin/sh, or run `sh {quote(program)}`"
    if number != errno.ENOENT or not first.startswith(b"#!"):
        return ""
    if first.endswith(b"\r"):
        what = f"{program} has Windows line ends (its #! line ends in a carriage return)"
        return f"{what}: sed -i 's/\\r$//' {quote(program)}"
    interpreter = first[2:].split()[:1] or [b"(nothing)"]
    return f"{program} needs {interpreter[0].decode(errors='replace')} (its #! line), which is not on this machine"


def _first_line(path: str) -> bytes:
    with suppress(OSError, ValueError):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.readline(_FIRST_LINE).removesuffix(b"\n")
    return b""
