"""The simulated world of the workers: time, hosts, a table of processes and one of locks, all virtual.

`SimulatedCommands` is the runner of one simulated worker. A `Script` says what a command does. The table of processes
keeps all that happened to them, so that the oracle can compare the log with it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from signal import SIGKILL, SIGTERM

from queuectl.domain.commands import Exit
from queuectl.domain.events import AnyCause, NotStarted, Signalled
from queuectl.domain.job import Job
from queuectl.process.protocol import Ended, Identity, ShortageError
from queuectl.runtime import Reach
from queuectl.store.rows import WorkerRow
from queuectl.worker.loop import Worker
from queuectl.worker.options import WorkerOptions
from tests.simulation.hosts import HOST, SECOND, Host, Place, VirtualClock

FOR_EVER = 10**9 * SECOND
ENDED_BY_SIGTERM = Signalled(SIGTERM)


@dataclass(frozen=True, slots=True)
class Script:
    """The behaviour of a command, in microseconds. `obeys` is the time from SIGTERM to its end; None: it ignores it.

    `cause` is its end without a signal, `signalled` its end after SIGTERM. `background`: how long another process of
    the job lives on after it. `shortage`: the machine cannot start anything.
    """

    lasts: int = SECOND
    cause: AnyCause | None = None
    obeys: int | None = 0
    signalled: AnyCause | None = ENDED_BY_SIGTERM
    background: int = 0
    background_obeys: bool = True
    why_not: str = ""
    shortage: str = ""


@dataclass(slots=True)
class Process:
    """A process of a job: the command itself, or one that it left in the background."""

    job_id: str
    run: int
    parent: int
    place: Place
    started: int
    ends: int
    cause: AnyCause | None
    obeys: int | None
    signalled: AnyCause | None
    background: int = 0
    left: "Process | None" = None
    signalled_at: int | None = None
    signals: list[tuple[int, int]] = field(default_factory=list)

    def lives(self, now: int) -> bool:
        return now < self.ends

    def signal(self, number: int, now: int) -> None:
        if not self.lives(now):
            return
        self.signals.append((number, now))
        if number == SIGKILL:
            self._end(now, Signalled(SIGKILL))
        elif self.signalled_at is None:
            self.signalled_at = now
            if self.obeys is not None and now + self.obeys < self.ends:
                self._end(now + self.obeys, self.signalled)

    def _end(self, moment: int, cause: AnyCause | None) -> None:
        self.ends, self.cause = moment, cause
        if self.left:
            self.left.ends = min(self.left.ends, moment + self.background)


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """The process of a worker. `inside`: it is suspended in the middle of a tick.

    `began_at` is the world's time at which its host's monotonic clock stood at 0.
    """

    row: WorkerRow
    options: WorkerOptions
    commands: "SimulatedCommands"
    worker: Worker
    began_at: int = 0
    alive: bool = True
    steady: bool = False
    inside: bool = False
    resumes_at: int | None = None
    wants: int = 0
    ticked_at: int = 0
    stops: int = 0

    @property
    def healthy(self) -> bool:
        return self.alive and self.resumes_at is None and not self.inside

    @property
    def place(self) -> Place:
        return Place(self.row.host, self.row.pid_namespace)

    @property
    def idle(self) -> bool:
        """Whether it can claim a job."""
        free = self.healthy and len(self.worker.slots) < self.options.slots
        return free and not (self.stops or self.options.once or self.worker.failure)

    def serves(self, queue: str) -> bool:
        return not self.options.queues or queue in self.options.queues

    def next_tick(self) -> int:
        return min([self.wants, *(run.ends for run in self.commands.runs.values())])


class World:
    """Hosts, processes and locks. `keeps_lock`: workers hold a run's lock too, next to its processes.

    `shares_locks`: all pid namespaces of a host use one lock file.
    """

    shares_locks = True

    def __init__(self, *, keeps_lock: bool = True, hosts: int = 1) -> None:
        self.clock = VirtualClock()
        self.hosts = [Host(f"node-{number}", self.clock) for number in range(1, hosts + 1)]
        self.keeps_lock = keeps_lock
        self.script: Callable[[Job], Script] = lambda job: Script()
        self.spawned: Callable[[Process], None] = lambda process: None
        self.workers: dict[int, WorkerProcess] = {}
        self.runs: dict[tuple[str, int], Process] = {}
        self.marked: set[tuple[str, int]] = set()
        self.not_started: set[tuple[str, int]] = set()
        self.refused: dict[str, int] = {}
        self.locks: dict[tuple[str, str], int] = {}
        self._processes: dict[str, list[Process]] = {}

    def living(self, job_id: str, run: int | None = None, host: str = "") -> list[Process]:
        now = self.clock.monotonic()
        return [
            process
            for process in self._processes.get(job_id, ())
            if process.lives(now) and run in (None, process.run) and host in ("", process.place.host)
        ]

    def lock_owner(self, job_id: str, host: str) -> WorkerProcess | None:
        """The living worker that holds the job's lock on a host."""
        owner = self.workers.get(self.locks.get((host, job_id), 0))
        return owner if owner and owner.alive else None

    def is_locked(self, job_id: str, host: str = HOST) -> bool:
        return bool(self.living(job_id, host=host)) or self.lock_owner(job_id, host) is not None

    def holders(self, job_id: str) -> list[Place]:
        """The places whose processes hold the job's lock."""
        owners = [self.lock_owner(job_id, host.name) for host in self.hosts]
        return [process.place for process in (*self.living(job_id), *filter(None, owners))]

    def reboot(self, host: Host) -> None:
        """End all processes of the host and restart its monotonic clock."""
        for worker in self.workers.values():
            worker.alive = worker.alive and worker.row.host != host.name
        for job_id in self._processes:
            for process in self.living(job_id, host=host.name):
                process.signal(SIGKILL, self.clock.monotonic())
        host.boots, host.booted_at = host.boots + 1, self.clock.elapsed

    def spawn(self, job: Job, script: Script, parent: WorkerRow) -> Process:
        now = self.clock.monotonic()
        who = (job.id, job.run, parent.pid, Place(parent.host, parent.pid_namespace), now)
        command = Process(*who, now + script.lasts, script.cause, script.obeys, script.signalled)
        self.spawned(command)
        self.runs[job.id, job.run] = command
        processes = self._processes.setdefault(job.id, [])
        processes[:] = [*self.living(job.id), command]
        if script.background:
            obeys = 0 if script.background_obeys else None
            command.background = script.background
            command.left = Process(*who, command.ends + script.background, None, obeys, None)
            processes.append(command.left)
        return command


class SimulatedCommands:
    """See Commands. `visit` is called before each call: it may raise, or let time pass and other processes run."""

    def __init__(
        self,
        world: World,
        me: WorkerRow,
        visit: Callable[[str], None] = lambda point: None,
        uid: int | None = None,
    ) -> None:
        self.world, self.me, self._visit = world, me, visit
        self.runs: dict[str, Process] = {}
        self.leftovers: list[tuple[Process, int]] = []
        self.lives_until = FOR_EVER
        self.uid = uid
        self.lock_file = f"{me.boot_id} {uid} {1 if world.shares_locks else me.pid_namespace}"

    def reserve(self, job: Job) -> bool:
        self._visit("reserve")
        if self.world.is_locked(job.id, self.me.host) or job.id in self.runs:
            self.world.refused[job.id] = self.world.clock.monotonic()
            return False
        self.world.locks[self.me.host, job.id] = self.me.pid
        return True

    def unreserve(self, job_id: str) -> None:
        self._unlock(job_id)

    def start(self, job: Job, slot: int) -> Exit | None:
        self._visit("start")
        script = self.world.script(job)
        self.world.marked.add((job.id, job.run))
        if script.shortage:
            self._unlock(job.id)
            raise ShortageError(script.shortage)
        if script.why_not:
            self.world.not_started.add((job.id, job.run))
            self._unlock(job.id)
            return Exit(NotStarted(script.why_not))
        self.runs[job.id] = self.world.spawn(job, script, self.me)
        if not self.world.keeps_lock:
            self._unlock(job.id)
        self._visit("started")
        return None

    def ended(self) -> list[Ended]:
        self._visit("ended")
        now = self.world.clock.monotonic()
        over = [run for run in self.runs.values() if not run.lives(now)]
        return [self._close(run, now) for run in sorted(over, key=lambda run: run.ends)]

    def _close(self, run: Process, now: int) -> Ended:
        del self.runs[run.job_id]
        left = self.world.living(run.job_id, run.run)
        for process in left:
            process.signal(SIGTERM, now)
        if left:
            self.leftovers.append((run, now))
        else:
            self._unlock(run.job_id)
        took, said = run.ends - run.started, output_of(run.job_id, run.run)
        return Ended(run.job_id, Exit(run.cause, took, said, left_behind=len(left)))

    def end(self, job_id: str, *, force: bool) -> None:
        self._visit("end")
        for process in self.world.living(job_id, self.runs[job_id].run):
            process.signal(SIGKILL if force else SIGTERM, self.world.clock.monotonic())

    def end_leftovers(self, grace: int) -> int:
        self._visit("end_leftovers")
        now = self.world.clock.monotonic()
        for run, ended in list(self.leftovers):
            for process in self.world.living(run.job_id, run.run) if now >= ended + grace else ():
                process.signal(SIGKILL, now)
            if not self.world.living(run.job_id, run.run):
                self._unlock(run.job_id)
                self.leftovers.remove((run, ended))
        return len(self.leftovers)

    def kill_all(self) -> None:
        self._visit("kill_all")
        now = self.world.clock.monotonic()
        for run in [*self.runs.values(), *(run for run, _ in self.leftovers)]:
            for process in self.world.living(run.job_id, run.run):
                process.signal(SIGKILL, now)

    def live_until(self, moment: int) -> None:
        self.lives_until = moment

    def clear(self, job: Job) -> bool:
        self._visit("clear")
        here = Place(self.me.host, self.me.pid_namespace)
        seen = [each for each in self.world.living(job.id) if each.place == here]
        for process in seen:
            process.signal(SIGKILL, self.world.clock.monotonic())
        if seen:
            return False
        locked = self.world.is_locked(job.id, self.me.host)
        if locked and job.claim and job.claim.pid != self.me.pid and self.alive(job.claim, False):
            self.world.workers[job.claim.pid].alive = False  # it stopped between claim and start: the runner kills it
        return not locked

    def was_started(self, job: Job) -> bool:
        return (job.id, job.run) in self.world.marked

    def works(self, who: Identity) -> bool:
        worker = self.world.workers.get(who.pid)
        return worker is not None and worker.alive and worker.row.pid_started_at == who.pid_started_at

    def tails(self, job: Job) -> tuple[str, str]:
        return output_of(job.id, job.run), ""

    def alive(self, who: Identity, reach: Reach) -> bool | None:
        if who.boot_id != self.me.boot_id:
            return False if who.host == self.me.host and reach is Reach.ONE_HOST else None
        if who.pid_namespace != self.me.pid_namespace or (
            reach is Reach.SEVERAL_HOSTS and self.is_of_another_user(who)
        ):
            return None
        worker = self.world.workers.get(who.pid)
        return worker is not None and worker.alive and worker.row.pid_started_at == who.pid_started_at

    def is_of_another_user(self, who: Identity) -> bool:
        return getattr(who, "uid", None) not in (None, self.uid)

    def _unlock(self, job_id: str) -> None:
        if self.world.locks.get((self.me.host, job_id)) == self.me.pid:
            del self.world.locks[self.me.host, job_id]


def output_of(job_id: str, run: int) -> str:
    """The output of the run, by which the oracle recognises its result."""
    return f"{job_id} run {run}"
