"""Starts, watches, captures and kills commands: the only file that spawns users' commands.

A job is a session of its own with stdin from /dev/null, its output in files, its lock at a high descriptor and a
token in its environment; by these, and as a descendant of the worker, its processes are found again.
"""

import errno
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from queuectl.domain.commands import Exit
from queuectl.domain.events import AnyCause, Exited, NotStarted, Signalled
from queuectl.domain.job import Job
from queuectl.errors import StoreError
from queuectl.process import job_lock as runlock
from queuectl.process import output_files as output
from queuectl.process import procfs as process
from queuectl.process.orphans import TOKEN, Traces
from queuectl.process.output_files import Capture
from queuectl.process.output_monitor import OutputWatch
from queuectl.process.protocol import SHORTAGES, Ended, Identity, ShortageError
from queuectl.process.watchdog import Lifeline
from queuectl.runtime import Clock
from queuectl.store.postgres.url import has_password

__all__ = ["Runner", "make_folder"]

SHELL = "/bin/sh"
_DEFAULT_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


@dataclass(slots=True, eq=False)
class Run:
    """One command that runs, or what is left of it."""

    job_id: str
    number: int
    position: int
    token: bytes
    lock: int | None
    capture: Capture
    pid: int = 0
    started: int = 0
    ended: int = 0


@dataclass
class Runner:
    """The commands of one worker. `log_id` tells this queue's jobs from those of any other.

    `spans_hosts`: workers elsewhere run them too.
    """

    folder: str
    log_id: str
    worker: str
    clock: Clock
    max_output: int = 10 << 20
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    spans_hosts: bool = False

    def __post_init__(self) -> None:
        make_folder(self.folder)
        kept = {name: value for name, value in self.environ.items() if not _is_secret(name, value)}
        self._environ = {os.fsencode(name): os.fsencode(value) for name, value in kept.items()}
        self._locks: dict[str, int] = {}
        self._runs: dict[int, Run] = {}
        self._leftovers: list[Run] = []
        self._spare: list[output.Descriptors] = []
        self._strays: dict[int, set[int]] = {}
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.uid = os.geteuid() if self.spans_hosts else None
        self._home = process.this_folder()
        self._path = runlock.lock_file(os.path.realpath(self.folder))
        self._traces = Traces(self._path, self.log_id, self.spans_hosts)
        self._watch = OutputWatch()
        self._lifeline = Lifeline(self.clock, self.kill_all)
        self._others = set(process.children(os.getpid()))  # of whoever became this worker by exec: not ours to end
        self._adopts = process.adopt_orphans()

    # ── starting ────────────────────────────────────────────────────────────────────────────────────

    def reserve(self, job: Job) -> bool:
        """Take the job's lock; False while processes of an earlier run hold it."""
        lock = runlock.take(self._path, job.position)
        if lock is None:
            return False
        self._locks[job.id] = lock
        return True

    def unreserve(self, job_id: str) -> None:
        """Give a lock back that was taken for a claim that failed."""
        os.close(self._locks.pop(job_id))

    def start(self, job: Job) -> Exit | None:
        """Start a reserved job's command; its end at once when it cannot be started. Raises ShortageError."""
        lock = self._locks.pop(job.id)
        capture: Capture | None = None
        try:
            self._watch.begin()
            spare = self._spare.pop() if self._spare else None
            capture = Capture(self.folder, job.id, job.run, self.max_output, spare)
            run = Run(job.id, job.run, job.position, self._traces.token(job), None, capture)
            run.started = self.clock.monotonic()
            run.pid = self._spawn(job, lock, capture, self._environment(job))
            self._runs[run.pid] = run
        except (OSError, LookupError, ValueError) as error:
            if capture:
                capture.discard()
            if isinstance(error, OSError) and error.errno in SHORTAGES:
                raise ShortageError(error.strerror) from error
            return Exit(NotStarted(_why(error, job)))
        finally:
            os.close(lock)  # from here on it is held by the job's processes, and by them alone
        self._watch.add(capture)
        return None

    def _spawn(self, job: Job, lock: int, capture: Capture, environ: dict[bytes, bytes]) -> int:
        # Bytes, because the log's texts are UTF-8 whatever this worker's locale is.
        argv = [text.encode() for text in job.spec.argv or (SHELL, "-c", job.spec.command)]
        with process.in_folder(job.spec.cwd.encode(), self._home):
            return os.posix_spawn(
                _program(argv[0], environ),
                argv,
                environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, self._null, 0),
                    (os.POSIX_SPAWN_DUP2, capture.descriptors[0], 1),
                    (os.POSIX_SPAWN_DUP2, capture.descriptors[1], 2),
                    (os.POSIX_SPAWN_DUP2, lock, runlock.LOCK_DESCRIPTOR),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=_DEFAULT_SIGNALS,
            )

    def _environment(self, job: Job) -> dict[bytes, bytes]:
        for name in job.spec.secret_env:
            if name.encode() not in self._environ:
                raise LookupError(f"the secret {name} is not in the worker's environment")
        own = {
            **job.spec.env,
            "QUEUECTL_JOB_ID": job.id,
            "QUEUECTL_RUN": str(job.run),
            "QUEUECTL_ATTEMPT": str(job.attempts + 1),
            "QUEUECTL_WORKER": self.worker,
        }
        variable, _, token = self._traces.token(job).partition(b"=")
        return {**self._environ, **{name.encode(): value.encode() for name, value in own.items()}, variable: token}

    # ── watching ────────────────────────────────────────────────────────────────────────────────────

    def ended(self) -> list[Ended]:
        """Runs whose command has ended since the last call. What a job left in the background is told to end."""
        found = []
        while pid_status := _reap():
            run = self._runs.pop(pid_status[0], None)
            self._others.discard(pid_status[0])
            if run is not None:
                found.append(self._close(run, pid_status[1]))
        return found

    def _close(self, run: Run, status: int) -> Ended:
        run.ended = self.clock.monotonic()
        stdout, stderr = self._watch.finish(run.capture)
        orphans = self._orphans()
        if self._processes(run, orphans):
            self._leftovers.append(run)
            with suppress(StoreError):
                run.lock = runlock.take(self._path, run.position)  # some of them may have closed theirs
            self._signal(run, signal.SIGTERM)
        else:
            self._put_away(run.capture, alone=not orphans)
        if orphans or self._strays:
            self._end_strays(run, orphans)
        return Ended(run.job_id, Exit(_cause(status), run.ended - run.started, stdout, stderr))

    def _put_away(self, capture: Capture, *, alone: bool) -> None:
        """Files are used again only when nobody can write to them: they have no name, and no process is left."""
        self._watch.remove(capture)
        if alone and self._adopts and not capture.published:
            with suppress(OSError):
                self._spare.append(capture.emptied())
                return
        capture.discard()

    # ── ending ──────────────────────────────────────────────────────────────────────────────────────

    def end(self, job_id: str, *, force: bool) -> None:
        """Signal every process of a running job: SIGTERM, or SIGKILL by force."""
        for run in self._runs.values():
            if run.job_id == job_id:
                self._signal(run, signal.SIGKILL if force else signal.SIGTERM)

    def end_leftovers(self, grace: int) -> int:
        """Forget ended runs whose background processes are gone; SIGKILL those that had longer than `grace`."""
        for run in list(self._leftovers):
            if self.clock.monotonic() >= run.ended + grace:
                self._signal(run, signal.SIGKILL)
            if not self._processes(run, self._orphans()):
                self._leftovers.remove(run)
                self._put_away(run.capture, alone=False)
                if run.lock is not None:
                    os.close(run.lock)
        return len(self._leftovers)

    def live_until(self, moment: int) -> None:
        """Kill everything at that moment (monotonic, microseconds), unless told a later one first."""
        self._lifeline.hold_until(moment)

    def kill_all(self) -> None:
        """Kill every process of every run, also of one that was started and of which nobody was told."""
        failed = []
        for run in [*self._runs.values(), *self._leftovers]:
            try:
                self._signal(run, signal.SIGKILL)
            except Exception as error:  # the next one has to be killed all the same
                failed.append(error)
        if failed:
            raise ExceptionGroup("not all commands could be killed", failed)

    def _end_strays(self, ended: Run, orphans: Sequence[int]) -> None:
        """Kill orphans that show no sign of their run, once every run that was on when they appeared has ended."""
        known = [ended, *self._runs.values(), *self._leftovers]
        for pid in orphans:
            if pid not in self._strays and not any(self._belongs(pid, run) for run in known):
                self._strays[pid] = {ended.pid, *self._runs}
        self._strays = {pid: runs & self._runs.keys() for pid, runs in self._strays.items() if pid in orphans}
        for pid in [pid for pid, runs in self._strays.items() if not runs]:
            process.kill([pid, *process.descendants(pid)], signal.SIGKILL)

    def _signal(self, run: Run, number: int) -> None:
        own = [run.pid] if run.pid in self._runs else []
        process.kill([*own, *self._processes(run, self._orphans())], number)

    def _orphans(self) -> list[int]:
        """Processes that this worker has adopted because their parents are gone."""
        mine = self._runs.keys() | self._others
        return [pid for pid in process.children(os.getpid()) if pid not in mine and not process.is_zombie(pid)]

    def _processes(self, run: Run, orphans: Sequence[int]) -> list[int]:
        """The living processes of a run but for the command itself, among all that descend from this worker."""
        mine = process.descendants(run.pid) if run.pid in self._runs else []
        for orphan in orphans:
            if self._belongs(orphan, run):
                mine += [orphan, *process.descendants(orphan)]
        return mine

    def _belongs(self, pid: int, run: Run) -> bool:
        """Whether an adopted orphan came from this run: by session, token or lock."""
        return (
            process.session(pid) == run.pid
            or run.token in process.environment(pid).split(b"\0")
            or runlock.holds(pid, self._path, run.position)
        )

    # ── the runs of lost workers ────────────────────────────────────────────────────────────────────

    def clear(self, job: Job) -> bool:
        """Kill what is left of a lost worker's run; True once nothing is, and the job's lock can be taken."""
        return self._traces.clear(job)

    def alive(self, who: Identity, spans_hosts: bool) -> bool | None:
        """Whether a process lives; None when that cannot be seen from here."""
        return process.alive(who, spans_hosts)

    def tails(self, job: Job) -> tuple[str, str]:
        """The last output of a lost run."""
        stdout, stderr = output.paths(self.folder, job.id, job.run)
        return output.tail(stdout), output.tail(stderr)


def _reap() -> tuple[int, int] | None:
    """(pid, wait status) of one ended child, whichever; None when there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _cause(status: int) -> AnyCause | None:
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return None
    return Exited(code) if code > 0 else Signalled(-code)


def _program(name: bytes, environ: Mapping[bytes, bytes]) -> bytes:
    if b"/" in name:
        return name
    found = shutil.which(os.fsdecode(name), path=os.fsdecode(environ.get(b"PATH", os.defpath.encode())))
    if found is None:
        raise LookupError(f"no program {name.decode()!r} in PATH")
    return os.fsencode(found)


def _why(error: Exception, job: Job) -> str:
    if not isinstance(error, OSError):
        return str(error.args[0])
    if os.path.isdir(job.spec.cwd.encode()):
        return f"{error.strerror}: {(job.spec.argv or (SHELL,))[0]}"
    return f"{error.strerror}: the folder {job.spec.cwd}"


def _is_secret(name: str, value: str) -> bool:
    """A store's URL may tell a password; run variables of an outer job are not this job's."""
    return (name == "QUEUECTL_DB" and has_password(value)) or name in ("QUEUECTL_JOB_ID", "QUEUECTL_RUN", TOKEN)


def make_folder(folder: str) -> None:
    """Where the output files, the locks and the wake file are. Raises StoreError."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        why = "the disk is read-only" if error.errno == errno.EROFS else error.strerror
        raise StoreError(f"cannot make the folder {folder} for the jobs' output: {why}") from error
