"""One queue whose processes are all killed sooner or later, and the check of it by a healthy worker.

The seed decides the commands, the kills and their times; how far each process has got depends on the machine.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

from msgspec import Struct, field

from queuectl.process import procfs as process
from queuectl.store.archive import archive
from tests.kill.victims import (
    OF_A_SUPERVISOR,
    OF_A_WORKER,
    OF_EVERY_COMMAND,
    Build,
    Failpoint,
    Victim,
    preload,
    start,
)
from tests.support.command_line import query
from tests.support.oracle import Acknowledged, faults, log_id, orphans, rows

__all__ = ["KILLS", "Life"]

KILLS = 60
"""In one life."""
AT_ONCE = 4
PATIENCE = 60.0
ENDED = {"completed", "dead_lettered", "cancelled", "purged"}
NOTES = {"cancel_requested", "result_rejected", "dependencies_met", "amended"}
SANE = {0, 3, 4}
"""Exit codes of a command that was left alone: done, no such job, not allowed from the job's state."""
REASONS = ("there is no queue at", "would wait for", "cannot wait for", "no such batch")
"""The messages with which a command may end in another way."""

JOB = """exec 9>>"lock-$QUEUECTL_JOB_ID"; flock -n 9 || echo "$QUEUECTL_JOB_ID" >>overlaps
echo "$QUEUECTL_JOB_ID $QUEUECTL_RUN" >>began; {then}
echo "$QUEUECTL_JOB_ID" >>ended"""
"""Its lock is held by all its processes and freed by the kernel: a run that cannot get it overlaps another run."""
WORK = (":", ":", "sleep 0.02", "sleep 0.1", "sleep 1", "sleep 0.3 & :", '[ "$QUEUECTL_RUN" != 1 ] || exit 1', "exit 1")


class _Doomed(NamedTuple):
    """A victim and when it dies; `point` is the function at which it dies, if it gets there."""

    victim: Victim
    until: float
    point: str | None = None


class Life(Struct):
    """One queue, its victims and their output. `points`: those at which every victim is killed, if it gets there.

    `calls`: which call of the point is fatal, one of these. `patience`: seconds in which a healthy worker has to be
    through with everything.
    """

    place: Path
    rng: Random
    build: Build | None = None
    kills: int = 0
    started: int = 0
    at_points: Counter[str] = field(default_factory=Counter)
    jobs: set[str] = field(default_factory=set)
    changes: set[tuple[str, str]] = field(default_factory=set)
    heads: set[tuple[int, str]] = field(default_factory=set)
    doomed: list[_Doomed] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    pace: float = 0.0
    supervised: bool = False
    points: Sequence[str] = ()
    calls: Sequence[int] = range(1, 8)
    patience: float = PATIENCE
    killed: set[int] = field(default_factory=set)
    workers: int = 0

    @property
    def db(self) -> str:
        """The path of the database."""
        return str(self.place / "queue.db")

    # ── killing ─────────────────────────────────────────────────────────────────────────────────────

    def live(self, kills: int) -> None:
        """Start and kill processes until there were `kills` kills; then kill the last victims too."""
        preload()
        self.supervised = self.rng.random() < 0.25
        self._measure()
        while self.kills < kills:
            while len(self.doomed) < AT_ONCE:
                self._start_victim()
            self._pass_by()
        self.leave()

    def _measure(self) -> None:
        """Measure how long a command takes on this machine now, so that kills hit the middle of it."""
        began = time.monotonic()
        victim = start(["--db", str(self.place / "measured.db"), "enqueue", "true"], self.place, "measured")
        os.waitpid(victim.pid, 0)
        self.pace = time.monotonic() - began

    def _doom(self, victim: Victim, longest: float, point: str | None = None) -> None:
        """Choose when the victim is killed, at most `longest` commands from now."""
        self.doomed.append(_Doomed(victim, time.monotonic() + self.rng.uniform(0, longest) * self.pace, point))

    def _pass_by(self) -> None:
        """Wait until the next victim's time has come, or one has ended by itself."""
        for each in [each for each in self.doomed if time.monotonic() >= each.until]:
            workers = _workers(each.victim)
            if workers and self.rng.random() < 0.7:
                self._kill_other(self.rng.choice(workers))  # the supervisor starts another
                self.doomed.remove(each)
                self._doom(each.victim, 30, each.point)
            else:
                self._kill(each.victim.pid)
        self._reap()
        time.sleep(0.001)

    def _kill_all(self) -> None:
        for each in self.doomed:
            self._kill(each.victim.pid)

    def _kill(self, pid: int) -> None:
        """Kill a child of this process."""
        self.killed.add(pid)
        os.kill(pid, signal.SIGKILL)

    def _kill_other(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills += 1

    def _reap(self) -> None:
        for each in list(self.doomed):
            pid, status = os.waitpid(each.victim.pid, os.WNOHANG)
            if pid:
                self.doomed.remove(each)
                if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
                    self._died(each)
                self._ended(each.victim, os.waitstatus_to_exitcode(status))

    def _died(self, each: _Doomed) -> None:
        """Count the kill; kill also the workers of a supervisor, which would run on without it."""
        self.kills += 1
        if each.victim.pid not in self.killed and each.point:
            self.at_points[each.point] += 1
        self.killed.discard(each.victim.pid)
        for worker in _called_with(self.db) if _supervises(each.victim) else ():
            self._kill_other(worker)

    def _ended(self, victim: Victim, code: int) -> None:
        """Read its output; a victim that was not killed must have succeeded."""
        verb = victim.arguments[2]
        excused = any(each in victim.last_error_line() for each in REASONS)
        if code != -signal.SIGKILL and code not in SANE and not excused:
            self.faults.append(f"exit: `{verb}` ended with exit code {code}: {victim.last_error_line()}")
        if "Traceback" in victim.err.read_text(encoding="utf-8"):
            self.faults.append(f"traceback: `{verb}` showed one: {victim.last_error_line()}")
        self._record_output(verb, victim, code)

    def _record_output(self, verb: str, victim: Victim, code: int) -> None:
        said = [line.strip() for line in victim.printed()]
        if verb == "enqueue":
            self.jobs.update(said)
        elif verb == "head":
            self.heads.update((int(position), digest) for position, _, digest in (line.partition(" ") for line in said))
        elif verb in ("retry", "purge") and code == 0:
            self.changes.add((victim.arguments[3], {"retry": "requeued", "purge": "purged"}[verb]))

    # ── victims ─────────────────────────────────────────────────────────────────────────────────────

    def _start_victim(self) -> None:
        [(make, longest)] = self.rng.choices([*_VICTIMS], [*_VICTIMS.values()])
        if self.supervised and not any(_supervises(each.victim) for each in self.doomed):
            make, longest = Life._supervisor, 30
        builds, point = [self.build] if self.build else [], None
        if self.points or self.rng.random() < 0.5:
            point = self.rng.choice(self.points or _POINTS.get(make, OF_EVERY_COMMAND))
            calls = self.calls if self.points else (1, 1, 2, 3)
            builds.append(Failpoint(point, self.rng.random() < 0.5, self.rng.choice(calls)).arm)
        self._doom(self._run(make(self), builds), longest, point)

    def _run(self, arguments: Sequence[str], builds: Sequence[Build] = ()) -> Victim:
        self.started += 1
        builds = builds if self.supervised else [_small_segments, *builds]  # all have to have the same
        return start(["--db", self.db, *arguments], self.place, f"victim-{self.started}", builds)

    def _work(self) -> str:
        return JOB.format(then=self.rng.choice(WORK[:2] if self.points else WORK))

    def _enqueue(self) -> list[str]:
        options = ["--max-retries", self.rng.choice(("0", "6")), "--backoff-base", "0"]
        options += self.rng.choice(([], [], ["--delay", "0.2"], ["--unique", "key"], ["--queue", "mail"]))
        limited = ["--batch", f"b{self.started % 4}", "--max-failures", "1"]
        options += self.rng.choice(([], ["--batch", "grid"], limited))
        return ["enqueue", *options, *self._perhaps_after(), self._work()]

    def _perhaps_after(self) -> list[str]:
        return self._after() if self.rng.random() < (0.8 if self.points else 0.4) else []

    def _after(self) -> list[str]:
        """Dependencies on one or two jobs or batches."""
        causes = [*sorted(self.jobs)[-8:], *sorted(self.jobs)[-8:], "batch:grid", "batch:b1"]
        chosen = [f"{self.rng.choice(causes)}:{self.rng.choice(('ok', 'end', 'end', 'failed'))}" for _ in range(2)]
        return ["--after", chosen[0], *self.rng.choice(([], ["--after", chosen[1]], ["--if-unmet", "cancel"]))]

    def _enqueue_many(self) -> list[str]:
        file = self.place / f"jobs-{self.started}"
        lines = [self._work().replace("\n", "; ") for _ in range(self.rng.randint(2, 8))]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return ["enqueue", "--max-retries", "6", "--backoff-base", "0", *self._perhaps_after(), "--file", str(file)]

    def _worker(self) -> list[str]:
        self.workers += 1
        name = self.rng.choice((f"w{self.workers}", f"w{self.workers}", "again"))
        how = self.rng.choice(([], [], ["--drain"], ["--once"]))
        slots = str(self.rng.randint(1, 4))
        return ["run", "--name", name, "--concurrency", slots, "--lease", "3s", "--grace", "200ms", *how]

    def _supervisor(self) -> list[str]:
        name = self.rng.choice((f"pair{self.started}", "pair"))
        return ["worker", "start", "--count", "2", "--name", name, "--lease", "3s"]

    def _change(self) -> list[str]:
        verb = self.rng.choice(("cancel", "retry", "purge", "edit", "edit", "unblock"))
        options: Sequence[str] = ()
        if verb == "edit":
            options = self.rng.choice((["--priority", "2"], ["--no-after"], self._after()[:2], self._after()[:2]))
        return [verb, self.rng.choice(sorted(self.jobs) or ["nobody"]), *options]

    def _other(self) -> list[str]:
        copy = str(self.place / f"copy-{self.started}")
        others = (["pause", "mail"], ["resume", "mail"], ["rebuild"], ["head"], ["head"], ["export", copy])
        return list(self.rng.choice((*others, ["backup", copy], ["config", "set", "lease", "3s"])))

    # ── what a healthy worker makes of it ───────────────────────────────────────────────────────────

    def end(self) -> None:
        """Let one worker run all remaining jobs, then check the queue."""
        if not os.path.exists(self.db):
            self.faults += ["lost: there is no queue"] if self.jobs else []
            return
        try:
            self._let_drain()
        finally:
            left = orphans(log_id(self.db))
            for pid in left:
                self._kill_other(pid)
        self.faults += ["orphan: a process of a run is left"] if left else []
        self.faults += [
            *self._differences(),
            *faults(self.db, Acknowledged(self.jobs, self.changes, self.heads)),
        ]

    def _let_drain(self) -> None:
        for arguments in (["resume", "mail"], ["run", "--drain", "--concurrency", "8", "--lease", "3s"]):
            victim = self._run(arguments)
            deadline = time.monotonic() + self.patience
            self.doomed.append(_Doomed(victim, deadline))
            while self.doomed and time.monotonic() < deadline:
                self._reap()
                time.sleep(0.005)
            if self.doomed:
                self.faults.append(f"stuck: a healthy `{arguments[0]}` is not through after {self.patience:.0f} s")
                self._kill_all()
                os.waitpid(victim.pid, 0)
                self.doomed.clear()

    def leave(self) -> None:
        """End all processes."""
        while self.doomed:
            self._kill_all()
            self._reap()

    def _differences(self) -> list[str]:
        """The differences between what the jobs recorded themselves and what the log says."""
        log = rows(self.db)
        last = {row["stream_id"]: row["type"] for row in log if row["type"] not in NOTES}
        live = {job for job, move in last.items() if not job.startswith("$") and move not in ENDED}
        live -= {job for (job,) in query(Path(self.db), "SELECT id FROM jobs WHERE state = 'pending' AND waiting = 1")}
        claims = {(row["stream_id"], _run_of(row)) for row in log if row["type"] == "claimed"}
        completed = {row["stream_id"] for row in log if row["type"] == "completed"}
        began = Counter(tuple(line.split()) for line in self._lines("began"))
        return [
            *(["stuck: a job is not through"] if live else []),
            *(["twice: two runs of a job at once"] if self._lines("overlaps") else []),
            *(["twice: a run began twice"] if any(times > 1 for times in began.values()) else []),
            *(["unclaimed: a run began that was not claimed"] if began.keys() - claims else []),
            *(
                ["unreal: a job is completed that did not run to its end"]
                if completed - {*self._lines("ended")}
                else []
            ),
        ]

    def _lines(self, name: str) -> list[str]:
        file = self.place / name
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


_VICTIMS: dict[tuple[Callable[[Life], list[str]], float], int] = {
    (Life._enqueue, 4): 6,
    (Life._enqueue_many, 4): 3,
    (Life._worker, 24): 8,
    (Life._change, 3): 3,
    (Life._other, 4): 3,
}
"""Programs to start: the longest time before they are killed (counted in commands), and how often they start."""
_POINTS = {Life._worker: (*OF_EVERY_COMMAND, *OF_A_WORKER * 2), Life._supervisor: OF_A_SUPERVISOR}
"""Points at which workers and supervisors can be killed; those that only they reach are chosen more often."""


def _small_segments() -> None:
    archive.SEAL_AT = 10_000


def _workers(victim: Victim) -> list[int]:
    """The pids of a supervisor's living workers."""
    children = process.children(victim.pid) if _supervises(victim) else []
    return [pid for pid in children if not process.is_zombie(pid)]


def _supervises(victim: Victim) -> bool:
    return victim.arguments[2] == "worker"


def _called_with(db: str) -> Iterator[int]:
    """The pids of processes that were started, not forked, for this queue: the workers of supervisors."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            if db.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                yield int(pid)


def _run_of(row: dict[str, str]) -> str:
    return str(json.loads(row["data"])["run"])
