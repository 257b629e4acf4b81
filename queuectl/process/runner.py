"""Starts, watches and ends the commands of one worker.

A job runs in its own session, with stdin from /dev/null or a file, its output in files, its lock at a high descriptor,
and a token in its environment. By these, and by descent from the worker, we find its processes again.
"""

import errno
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from queuectl.domain.commands import Exit
from queuectl.domain.events import AnyCause, Exited, NotStarted, Signalled
from queuectl.domain.job import Job
from queuectl.errors import StoreError, reason_of
from queuectl.process import output_files as output
from queuectl.process import procfs
from queuectl.process.descendants import Descendants
from queuectl.process.job_lock import LockFile, lock_descriptor, lock_file
from queuectl.process.launch import Launcher, why_not_started
from queuectl.process.orphans import LostRuns, queue_scope
from queuectl.process.output_files import Capture
from queuectl.process.output_monitor import OutputMonitor
from queuectl.process.protocol import SHORTAGES, Ended, Identity, ShortageError
from queuectl.process.run import Run
from queuectl.process.watchdog import LeaseWatchdog
from queuectl.runtime import Clock, Reach

__all__ = ["Runner", "make_folder"]

log = logging.getLogger("queuectl.worker")

LOOK_EVERY = 200_000
"""Microseconds between two checks of the processes that descend from running commands."""


@dataclass
class Runner:
    """The commands of one worker. `log_id` distinguishes this queue's jobs from those of other queues.

    `environ` is the environment that jobs inherit. `reach` says which hosts' workers run jobs of this queue.
    """

    folder: str
    log_id: str
    worker: str
    clock: Clock
    max_output: int = 10 << 20
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    reach: Reach = Reach.ONE_HOST

    def __post_init__(self) -> None:
        make_folder(self.folder)
        is_shared = self.reach is Reach.SEVERAL_HOSTS
        self.uid = os.geteuid() if is_shared else None
        self._runs: dict[int, Run] = {}
        self._leftovers: list[Run] = []
        self._reserved: dict[str, int] = {}
        self._spare: list[output.Descriptors] = []
        self._look_at = 0
        self._locks = LockFile(
            lock_file(os.path.realpath(self.folder)), procfs.this_process(), self.reach is Reach.SEVERAL_HOSTS
        )
        self.lock_file = self._locks.identity
        self._lost = LostRuns(self._locks, queue_scope(self.log_id, self.folder, self.reach))
        self._launcher = Launcher(self.worker, self.environ)
        self._lock_number = lock_descriptor()
        self._nameless = output.can_name_files(self.folder)
        self._monitor = OutputMonitor()
        self._watchdog = LeaseWatchdog(self.clock, self.kill_all)
        self._descendants = Descendants(self._locks)
        self._adopts = procfs.adopt_orphans()

    # ── starting ────────────────────────────────────────────────────────────────────────────────────

    def reserve(self, job: Job) -> bool:
        """Take the job's lock. Returns False while processes of an earlier run hold it."""
        lock = self._locks.take(job.position)
        if lock is None:
            return False
        self._reserved[job.id] = lock
        return True

    def unreserve(self, job_id: str) -> None:
        """Release the lock of a job that was not claimed."""
        os.close(self._reserved.pop(job_id))

    def start(self, job: Job, slot: int) -> Exit | None:
        """Start a reserved job's command in a slot. If it cannot be started, returns its end. Raises ShortageError."""
        lock = self._reserved.pop(job.id)
        try:
            run = self._prepared(job, slot)
            failed = self._spawn(run, job, lock)
        finally:
            os.close(lock)  # from here on only the job's processes hold it
        if failed is None:
            self._monitor.add(run.capture)
        return failed

    def _prepared(self, job: Job, slot: int) -> Run:
        """Make what the run needs before its command is started. Raises ShortageError, also when the disk is full."""
        self._monitor.start()
        spare = self._spare.pop() if self._spare else None
        try:
            capture = Capture(self.folder, job.id, job.run, self.max_output, spare, self._nameless)
        except OSError as error:
            raise ShortageError(f"{error.strerror}: {self.folder}") from error
        return Run(job.id, job.run, job.position, self._lost.token(job), capture, slot)

    def _spawn(self, run: Run, job: Job, lock: int) -> Exit | None:
        try:
            run.started = self.clock.monotonic()
            mark = partial(self._mark_started, run, lock)
            run.pid = self._launcher.spawn(job, run, lock, self._lock_number, mark)
        except (OSError, LookupError, ValueError, ShortageError) as error:
            run.capture.discard()
            self._raise_shortage(error)
            return Exit(NotStarted(why_not_started(error, job)))
        self._runs[run.pid] = run
        return None

    def _mark_started(self, run: Run, lock: int) -> None:
        try:
            self._locks.mark_started(lock, run.position, run.number)
        except OSError as error:
            raise ShortageError(f"{error.strerror}: {self._locks.path}") from error

    def _raise_shortage(self, error: Exception) -> None:
        """Raises ShortageError for errors that are not the job's fault. EBADF: the limit on open files was lowered."""
        if isinstance(error, OSError) and error.errno == errno.EBADF:
            self._lock_number = lock_descriptor()
        if isinstance(error, OSError) and error.errno in (*SHORTAGES, errno.EBADF):
            raise ShortageError(error.strerror) from error
        if isinstance(error, ShortageError):
            raise error

    # ── watching ────────────────────────────────────────────────────────────────────────────────────

    def ended(self) -> list[Ended]:
        """The runs whose command has ended since the last call. Asks processes that a job left behind to end."""
        batch, is_alone = self._reaped()
        if not batch:
            return []
        # Listed before any output is read: only these processes can still write.
        orphans = [] if is_alone else self._orphans()
        return [self._close(run, status, orphans, batch[number:]) for number, (run, status) in enumerate(batch, 1)]

    def _reaped(self) -> tuple[list[tuple[Run, int]], bool]:
        """The runs whose command has ended, with its wait status; and whether no child is left, not even an orphan."""
        found: list[tuple[Run, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return found, True
            if not pid:
                return found, False
            run = self._runs.pop(pid, None)
            self._descendants.reaped(pid)
            if run is not None:
                run.ended = self.clock.monotonic()
                found.append((run, status))

    def _close(self, run: Run, status: int, orphans: list[int], rest: Sequence[tuple[Run, int]]) -> Ended:
        """Close an ended run and return what to record. `rest` ended with it and is closed next."""
        left = self._processes(run, orphans) if orphans else []
        stdout, stderr = self._monitor.finish(run.capture, is_over=not left)
        if left:
            self._end_leftovers_of(run, left)
        else:
            self._put_away(run.capture, alone=not orphans)
        strays = self._end_strays(run, orphans, rest) if orphans or self._descendants.strays else 0
        return Ended(run.job_id, Exit(_cause(status), run.ended - run.started, stdout, stderr, len(left) + strays))

    def _end_leftovers_of(self, run: Run, left: Sequence[int]) -> None:
        for text in procfs.named(left):
            log.warning("job %s run %d: ending what it left in the background: %s", run.job_id, run.number, text)
        self._leftovers.append(run)
        with suppress(StoreError):
            run.lock = self._locks.take(run.position)  # some of these processes may have closed theirs
        self._signal(run, signal.SIGTERM)

    def _end_strays(self, ended: Run, orphans: Sequence[int], rest: Sequence[tuple[Run, int]]) -> int:
        running = self._runs | {run.pid: run for run, _ in rest}
        return self._descendants.end_strays(ended, running.keys(), [*running.values(), *self._leftovers], orphans)

    def _put_away(self, capture: Capture, *, alone: bool) -> None:
        """Reuse output files only when no process can write to them: they have no name and no process is left."""
        if alone and self._adopts and not capture.published:
            with suppress(OSError):
                self._spare.append(capture.emptied())
                return
        capture.discard()

    # ── ending ──────────────────────────────────────────────────────────────────────────────────────

    def end(self, job_id: str, *, force: bool) -> None:
        """Send SIGTERM to every process of a running job, or SIGKILL with `force`."""
        for run in self._runs.values():
            if run.job_id == job_id:
                self._signal(run, signal.SIGKILL if force else signal.SIGTERM)

    def end_leftovers(self, grace: int) -> int:
        """Forget ended runs whose background processes are gone. Kill those that had more than `grace` microseconds.

        Returns how many runs still have some.
        """
        self._look()
        for run in list(self._leftovers):
            if self.clock.monotonic() >= run.ended + grace:
                self._signal(run, signal.SIGKILL)
            if not self._processes(run, self._orphans()):
                self._leftovers.remove(run)
                self._monitor.remove(run.capture)
                self._put_away(run.capture, alone=False)
                if run.lock is not None:
                    os.close(run.lock)
        return len(self._leftovers)

    def _look(self) -> None:
        if self._runs and (now := self.clock.monotonic()) >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._descendants.look(self._runs)

    def live_until(self, moment: int) -> None:
        """Kill everything at that moment (monotonic, microseconds) unless a later one is set before then."""
        self._watchdog.extend_to(moment)

    def kill_all(self) -> None:
        """Kill every process of every run, including one whose start the worker has not recorded."""
        failed = []
        for run in [*self._runs.values(), *self._leftovers]:
            try:
                self._signal(run, signal.SIGKILL)
            except Exception as error:  # the others must still be killed
                failed.append(error)
        if failed:
            raise ExceptionGroup("not all commands could be killed", failed)

    def _signal(self, run: Run, number: int) -> None:
        own = [run.pid] if run.pid in self._runs else []
        procfs.kill([*own, *self._processes(run, self._orphans())], number)

    def _orphans(self) -> list[int]:
        return self._descendants.orphans(self._runs.keys())

    def _processes(self, run: Run, orphans: list[int]) -> list[int]:
        return self._descendants.of_run(run, run.pid in self._runs, orphans)

    # ── other workers and their runs ────────────────────────────────────────────────────────────────

    def clear(self, job: Job) -> bool:
        """Kill what is left of a lost worker's run. True once nothing is left and the job's lock can be taken."""
        return self._lost.clear(job)

    def was_started(self, job: Job) -> bool:
        """Whether the job's current run was started since this machine booted, by a worker that used this lock file."""
        return self._locks.was_started(job.position, job.run)

    def alive(self, who: Identity, reach: Reach) -> bool | None:
        """Whether a process is alive; None when that cannot be seen from here."""
        return procfs.alive(who, reach)

    def works(self, who: Identity) -> bool:
        """Whether a worker with its lock in this lock file is alive, in any pid namespace."""
        return self._locks.works(who)

    def tails(self, job: Job) -> tuple[str, str]:
        """The last output of a lost run."""
        stdout, stderr = output.paths(self.folder, job.id, job.run)
        return output.tail(stdout), output.tail(stderr)


def _cause(status: int) -> AnyCause | None:
    if status == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    return Exited(code) if code > 0 else Signalled(-code)


def make_folder(folder: str) -> None:
    """Make the folder for output files, locks and the wake file. Raises StoreError."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        why = "the disk is read-only" if error.errno == errno.EROFS else reason_of(error)
        raise StoreError(f"cannot make the folder {folder} for the jobs' output: {why}") from error
