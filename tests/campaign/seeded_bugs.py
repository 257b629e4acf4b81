"""Builds with a seeded bug: each breaks one rule of the queue, and the campaigns have to notice it.

A bug is a function that patches; `seen` is what the simulation says of it. `rules`: it is in the queue's rules or
tables, so that no worker is needed to see it.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from queuectl.domain import backoff, commands, job
from queuectl.domain import events as e
from queuectl.domain.machine import State
from queuectl.errors import StoreBusyError
from queuectl.runtime import LogClock
from queuectl.store.sql import table_writer
from queuectl.store.sql.table_writer import TableWriter
from queuectl.store.sql.tables import Tables
from queuectl.worker.claims import Claims
from queuectl.worker.heartbeat import Heartbeat
from queuectl.worker.loop import Worker
from queuectl.worker.presence import Presence, Sender
from queuectl.worker.reclaimer import Reclaimer
from tests.simulation.world import SECOND, SimulatedCommands

__all__ = ["BUGS", "Bug"]

DAY = 86_400 * SECOND

Patch = Callable[..., None]


class Bug(Struct, frozen=True):
    """`put_in` breaks the build until the patch is undone."""

    put_in: Callable[[Patch], None]
    seen: str
    rules: bool

    @property
    def name(self) -> str:
        return self.put_in.__name__.replace("_", " ")


BUGS: list[Bug] = []


def bug(seen: str, *, rules: bool = False) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Register a seeded bug."""

    def known(put_in: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BUGS.append(Bug(put_in, seen, rules))
        return put_in

    return known


def rule(patch: Patch, command: type[commands.Command], changed: Callable[..., list[e.Event]]) -> None:
    """Replace the rule of a command; `changed` also gets the right one."""
    right = commands._RULES[command]
    patch(commands, "_RULES", {**commands._RULES, command: lambda *asked: changed(right, *asked)})


def fold(patch: Patch, event: type[e.Event], changed: Callable[..., job.Job]) -> None:
    """Replace the change by an event; `changed` also gets the right result."""
    right = job._EVOLVE[event]
    evolved = {**job._EVOLVE, event: lambda before, *more: changed(right(before, *more), before, *more)}
    patch(job, "_EVOLVE", evolved)


# ── who runs a job ──────────────────────────────────────────────────────────────────────────────────


@bug(r"starts while run .* lives")
def the_lock_is_not_asked_for(patch: Patch) -> None:
    def reserve(self: SimulatedCommands, job: Any) -> bool:
        self.world.locks[self.me.host, job.id] = self.me.pid
        return True

    patch(SimulatedCommands, "reserve", reserve)


@bug(r"run: a result of run \d+", rules=True)
def a_late_result_lands(patch: Patch) -> None:
    patch(commands, "_stale", lambda job, run: job.claim is None)


@bug(r"is said to be lost")
def everyone_else_is_dead(patch: Patch) -> None:
    patch(SimulatedCommands, "alive", lambda self, who, reach: False)


@bug(r"in processing without a worker")
def lost_jobs_are_left(patch: Patch) -> None:
    patch(Reclaimer, "_is_lost", lambda *whatever: False)


@bug(r"its command runs on|freed while its processes live")
def a_job_is_freed_before_its_processes_are_dead(patch: Patch) -> None:
    patch(SimulatedCommands, "clear", lambda self, job: True)


@bug(r"is said to be lost")
def leases_run_on_the_wall_clock(patch: Patch) -> None:
    def by_wall_clock(self: Presence, sender: Sender, beat: int, now: int) -> int:
        seen = [row.last_heartbeat * SECOND for row in self.store.workers.rows() if row.name == sender[0]]
        return self.store.log.now() - (seen[0] if seen else beat)

    patch(Presence, "_unchanged_for", by_wall_clock)


@bug(r"has sent no heartbeat")
def the_lease_is_never_renewed(patch: Patch) -> None:
    write = Heartbeat.write

    def once(self: Heartbeat, *more: Any) -> bool:
        return self.row.name in self.store._shared.beats or write(self, *more)

    patch(Heartbeat, "write", once)


@bug(r"is released by .*, which was not asked to")
def a_busy_store_loses_results(patch: Patch) -> None:
    record_and_claim = Worker._record_and_claim

    def lossy(self: Worker, now: int) -> None:
        try:
            record_and_claim(self, now)
        except StoreBusyError:
            self._results.waiting.clear()
            raise

    patch(Worker, "_record_and_claim", lossy)


# ── when, and in which order ────────────────────────────────────────────────────────────────────────


@bug(r"due: claimed", rules=True)
def a_job_is_claimed_too_early(patch: Patch) -> None:
    claimable = Tables.claimable
    patch(Tables, "claimable", lambda self, q, limit, now, *more: claimable(self, q, limit, now + DAY, *more))
    rule(patch, commands.Claim, lambda claim, command, job, now: claim(command, job, now + DAY))


@bug(r"due: claimed", rules=True)
def a_delay_is_forgotten(patch: Patch) -> None:
    enqueued = job._enqueued
    patch(job, "_enqueued", lambda record, spec: enqueued(record, replace(spec, delay=0)))


@bug(r"is due, and for .* no idle worker has taken it|is claimed before", rules=True)
def a_requeued_job_waits_for_its_old_time(patch: Patch) -> None:
    fold(patch, e.Requeued, lambda after, *_: replace(after, due_at=after.spec.at or after.due_at))


@bug(r"is changed while it runs|changed while it was processing")
def a_running_job_is_edited(patch: Patch) -> None:
    rule(patch, commands.Amend, lambda right, command, *_: [e.Amended(changes=command.changes)])


@bug(r"before it was due|is due|waits")
def an_edit_leaves_the_old_due_time(patch: Patch) -> None:
    fold(patch, e.Amended, lambda after, before, *_: replace(after, due_at=before.due_at, waits_from=before.waits_from))


@bug(r"is claimed before", rules=True)
def the_last_come_is_first_served(patch: Patch) -> None:
    claimable = Tables.claimable
    patch(Tables, "claimable", lambda self, *asked: claimable(self, *asked)[::-1])


@bug(r"is claimed before", rules=True)
def the_lowest_priority_is_first_served(patch: Patch) -> None:
    lanes = Tables._lanes
    patch(Tables, "_lanes", lambda self, queues: lanes(self, queues)[::-1])


@bug(r"pause: claimed", rules=True)
def a_pause_is_ignored(patch: Patch) -> None:
    claimable = Tables.claimable

    def unpaused(self: Any, *asked: Any) -> list[str]:
        kept = self._engine.run("SELECT * FROM pauses")
        self._engine.run("DELETE FROM pauses")
        found = claimable(self, *asked)
        for row in kept:
            self._engine.run("INSERT INTO pauses VALUES (?, ?, ?)", row)
        return found

    patch(Tables, "claimable", unpaused)


@bug(r"pause: claimed")
def a_pause_is_seen_too_late(patch: Patch) -> None:
    patch(Claims, "begin", lambda self: False)
    patch(Claims, "others_wrote", lambda self, not_within=0: self.queue.store.workers.changed())


@bug(r"is due, and for .* no idle worker has taken it")
def a_lost_wake_up_is_lost_for_ever(patch: Patch) -> None:
    follow = Worker._follow_requests

    def deaf(self: Worker, *more: Any) -> None:
        due_at = self._demand.next_at
        follow(self, *more)
        self._demand.next_at = due_at

    patch(Worker, "_follow_requests", deaf)
    patch(Claims, "when_due", lambda self: self.clock.monotonic() + DAY)


@bug(r"order: it does not follow", rules=True)
def time_goes_back(patch: Patch) -> None:
    patch(LogClock, "now", lambda self, last_recorded: self._clock.now())
    patch(LogClock, "both", lambda self, last_recorded: (self._clock.now(), self._clock.now()))


# ── how a run ends ──────────────────────────────────────────────────────────────────────────────────


@bug(r"attempts: attempt|backoff: a wait of", rules=True)
def attempts_are_forgotten(patch: Patch) -> None:
    failed = commands._failed
    patch(commands, "_failed", lambda job, command, cause: failed(replace(job, attempts=0), command, cause))


@bug(r"attempts: given up after", rules=True)
def one_retry_is_missing(patch: Patch) -> None:
    failed = commands._failed
    patch(
        commands, "_failed", lambda job, command, cause: failed(replace(job, attempts=job.attempts + 1), command, cause)
    )


@bug(r"backoff: a wait of 0 us", rules=True)
def a_retry_does_not_wait(patch: Patch) -> None:
    patch(backoff, "wait", lambda *whatever: 0)


@bug(r"but it was", rules=True)
def the_cause_of_a_failure_is_lost(patch: Patch) -> None:
    failed = commands._failed
    patch(commands, "_failed", lambda job, command, cause: failed(job, command, e.Exited(1)))


@bug(r"its row says", rules=True)
def a_release_counts_as_an_attempt(patch: Patch) -> None:
    fold(patch, e.Released, lambda after, *_: replace(after, attempts=after.attempts + 1))


@bug(r"its row says", rules=True)
def a_requeue_keeps_the_attempts(patch: Patch) -> None:
    fold(patch, e.Requeued, lambda after, before, *_: replace(after, attempts=before.attempts))


@bug(r"was cancelled, but is", rules=True)
def the_cancel_of_a_pending_job_is_lost(patch: Patch) -> None:
    rule(
        patch,
        commands.Cancel,
        lambda cancel, command, job, now: [] if job.state is State.PENDING else cancel(command, job, now),
    )


@bug(r"still have not ended")
def timeouts_are_ignored(patch: Patch) -> None:
    start = Worker._start

    def endless(self: Worker, claimed: Any) -> None:
        start(self, claimed)
        if slot := self.slots.get(claimed.job.id):
            slot.deadline = None

    patch(Worker, "_start", endless)


@bug(r"which was not asked to")
def the_first_stop_ends_what_runs(patch: Patch) -> None:
    stop = Worker.stop

    def twice(self: Worker) -> None:
        stop(self)
        stop(self)

    patch(Worker, "stop", twice)


# ── the tables ──────────────────────────────────────────────────────────────────────────────────────


@bug(r"the counts are", rules=True)
def the_counts_drift(patch: Patch) -> None:
    add = TableWriter.add
    patch(TableWriter, "add", lambda self, fresh, counts: add(self, fresh, type(counts)(list(counts)[:1])))


@bug(r"its row is", rules=True)
def rows_are_not_updated(patch: Patch) -> None:
    patch(table_writer, "_add_update", lambda updates, table, columns, values: None)


@bug(r"its row is", rules=True)
def a_purge_leaves_the_row(patch: Patch) -> None:
    rows = table_writer.rows
    as_done = {State.PURGED: State.DONE}
    patch(
        table_writer,
        "rows",
        lambda job: rows(job and replace(job, state=as_done.get(job.state, job.state))),
    )


@bug(r"its rows in the dlq are", rules=True)
def a_dead_letter_is_missing(patch: Patch) -> None:
    rows = table_writer.rows
    patch(table_writer, "rows", lambda job: {table: row for table, row in rows(job).items() if table == "jobs"})


@bug(r"answers for .* without a key", rules=True)
def a_unique_key_is_never_released(patch: Patch) -> None:
    def holder(self: Any, unique: str) -> str | None:
        found = self._engine.run("SELECT id FROM jobs WHERE unique_key = ?", (unique,))
        return found[0][0] if found else None

    patch(Tables, "holder", holder)
