"""Random histories: the tables are derived from the log, and the log is complete."""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queuectl.application.queue import NewJob, Queue
from queuectl.application.schedules import Put, Schedules
from queuectl.domain import events as e
from queuectl.domain.commands import Amend, Exit, Release, Report
from queuectl.domain.job import fold
from queuectl.domain.machine import FINISHED, State
from queuectl.domain.names import PAUSE_ALL
from queuectl.errors import NoSuchJobError, RefusedError
from queuectl.store.rows import JobFilter
from tests.support.builders import (
    ACTOR,
    HOUR,
    SECOND,
    SettableClock,
    a_spec,
    chained,
    claimant,
    counted,
    derived,
    projected,
    scanned,
    stored,
    streams_of,
)

JOBS = [f"job-{number}" for number in range(6)]
QUEUES = ("default", "mail")


class Step(NamedTuple):
    """The next action, the job, and a number that selects a variant."""

    action: str
    job_id: str
    how: int


class Player:
    """Runs steps on a queue. A step may be refused."""

    def __init__(self, queue: Queue, clock: SettableClock) -> None:
        self.queue, self.clock = queue, clock

    def play(self, steps: list[Step]) -> None:
        for step in steps:
            self.clock.advance(step.how * SECOND // 3)
            with suppress(RefusedError, NoSuchJobError):
                ACTIONS[step.action](self, step.job_id, step.how)

    def enqueue(self, job_id: str, how: int) -> None:
        batch = [JOBS[(JOBS.index(job_id) + i) % len(JOBS)] for i in range(how % 2 + 1)]
        jobs = [NewJob(self._spec(each, how), each) for each in batch]
        self.queue.enqueue(jobs, e.BatchOpened(jobs=0, template="echo {}") if jobs[0].spec.batch else None)

    def _spec(self, job_id: str, how: int) -> e.Enqueued:
        number = JOBS.index(job_id)
        return a_spec(
            f"echo {number}",
            queue=QUEUES[number % 2],
            priority=number % 3,
            max_retries=number % 2,
            delay=how * SECOND,
            unique="key" if number < 2 else None,
            tags={"n": str(number)} if number % 2 else {},
            batch=(None, "odd", "even")[number % 3],
            seq=number % 3 and number,
        )

    def claim(self, job_id: str, how: int) -> None:
        self.queue.claim(claimant(), QUEUES[: how % 3], how % 2 + 1, lambda job: how < 4 or job.id != job_id)

    def complete(self, job_id: str, how: int) -> None:
        self._report(job_id, how, None)

    def fail(self, job_id: str, how: int) -> None:
        causes = [e.Exited(how + 1), e.Signalled(9), e.TimedOut(SECOND), e.NotStarted("no shell"), e.LostWorker("w1")]
        self._report(job_id, how, causes[how])

    def _report(self, job_id: str, how: int, cause: e.AnyCause | None) -> None:
        ended = Exit(cause, duration=how * 1234, stdout="o" * how, stderr=f"line\n{how}\n")
        self.queue.execute([Report(job_id, self._run(job_id) - (how == 4), ended)])

    def _run(self, job_id: str) -> int:
        job = self.queue.store.log.load(job_id)
        return job.run if job else 1

    def release(self, job_id: str, how: int) -> None:
        self.queue.execute([Release(job_id, self._run(job_id), "stopping")])

    def cancel(self, job_id: str, how: int) -> None:
        self.queue.cancel([job_id], "no longer wanted")

    def finish(self, job_id: str, how: int) -> None:
        """Requeue or purge several finished jobs at once."""
        ended = [row["id"] for row in self.queue.store.tables.jobs(JobFilter(states=FINISHED, limit=0))][: how + 1]
        (self.queue.requeue if how % 2 else self.queue.purge)(ended)

    def requeue(self, job_id: str, how: int) -> None:
        self.queue.requeue([job_id])

    def amend(self, job_id: str, how: int) -> None:
        self.queue.execute([Amend(job_id, e.Changes(priority=how), "sooner")])

    def purge(self, job_id: str, how: int) -> None:
        self.queue.purge([job_id])

    def pause(self, job_id: str, how: int) -> None:
        self.queue.pause((*QUEUES, PAUSE_ALL)[how % 3])

    def resume(self, job_id: str, how: int) -> None:
        self.queue.resume((*QUEUES, PAUSE_ALL)[how % 3])

    def configure(self, job_id: str, how: int) -> None:
        self.queue.change_setting(("lease", "grace")[how % 2], f"{how}s" if how < 3 else None)

    def schedule(self, job_id: str, how: int) -> None:
        """Change something about a schedule, or add its job by hand."""
        schedules, name = Schedules(self.queue), f"s{JOBS.index(job_id) % 2}"
        if how == 0:
            schedules.add(Put(name, self._definition(job_id)), change=True)
        else:
            change = (schedules.pause, schedules.resume, schedules.remove, lambda names: schedules.run(names[0]))
            change[how - 1]([name])

    def _definition(self, job_id: str) -> e.ScheduleSet:
        number, now = JOBS.index(job_id), self.clock.now()
        when = {"cron": "*/7 * * * *", "tz": "Europe/Berlin"} if number % 2 else {"every": 40 * SECOND, "start": now}
        overlap = ("skip", "allow")[number // 2 % 2]
        return e.ScheduleSet(job=a_spec("true", queue=QUEUES[number % 2]), overlap=overlap, **when)

    def fire(self, job_id: str, how: int) -> None:
        """Let time pass, and then a worker decide on the slots that are due."""
        self.clock.advance(how * 100 * SECOND)
        now = self.clock.now()
        for name, version in self.queue.store.schedules.due(now):
            with self.queue.store.writer.transaction():
                Schedules(self.queue).fire(name, version)

    def turn_the_clock(self, job_id: str, how: int) -> None:
        self.clock.turn((how - 3) * HOUR)


ACTIONS: dict[str, Callable[[Player, str, int], None]] = {
    name: getattr(Player, name)
    for name in (
        "enqueue", "claim", "complete", "fail", "release", "cancel", "finish", "requeue", "purge", "pause", "resume",
        "configure", "amend", "schedule", "fire", "turn_the_clock",
    )
}  # fmt: skip
OFTEN = ("enqueue", "claim", "complete", "fail")

steps = st.builds(Step, st.sampled_from([*ACTIONS, *OFTEN, *OFTEN]), st.sampled_from(JOBS), st.integers(0, 4))
histories = st.lists(steps, min_size=1, max_size=60)
any_history = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # every example asks the fixture for a new store


def lived(places, history):
    clock = SettableClock()
    store = places.new_store(clock)
    Player(Queue(store, ACTOR), clock).play(history)
    return store


@any_history
@given(histories)
def test_the_tables_equal_a_fold_of_the_log(places, history):
    store = lived(places, history)
    assert projected(store) == derived(store)
    store.close()


@any_history
@given(histories)
def test_counts_are_what_a_scan_finds_and_never_zero(places, history):
    store = lived(places, history)
    assert store.tables.counts() == scanned(store)
    assert all(jobs > 0 for jobs in counted(store).values())
    store.close()


@any_history
@given(histories)
def test_batches_count_what_the_log_says(places, history):
    store = lived(places, history)
    known = [fold(records) for stream, records in streams_of(store).items() if not stream.startswith("$")]
    jobs = [job for job in known if job and job.spec.batch and job.state is not State.PURGED]
    keys = sorted({(job.spec.batch, job.state) for job in jobs})
    assert [(count.batch, count.state) for count in store.batches.all()] == keys
    for count in store.batches.all():
        group = [job for job in jobs if (job.spec.batch, job.state) == (count.batch, count.state)]
        assert (count.jobs, count.number) == (len(group), min(job.position for job in group))
        assert count.first == min(job.created_at for job in group) // SECOND
        assert count.last == max(job.updated_at for job in group) // SECOND
        wanted = JobFilter(states=(count.state,), batch=count.batch, limit=0)
        assert sorted(store.tables.ids(wanted)) == sorted(job.id for job in group)
    store.close()


@any_history
@given(histories)
def test_the_log_has_no_gap_and_right_digests(places, history):
    store = lived(places, history)
    rows = stored(store)
    assert [row.position for row in rows] == [*range(1, len(rows) + 1)]
    assert [row.digest for row in rows] == chained(rows)
    assert [row.recorded_at for row in rows] == sorted(row.recorded_at for row in rows)
    for stream_id, records in streams_of(store).items():
        assert [record.version for record in records] == [*range(1, len(records) + 1)]
        assert stream_id.startswith("$") or store.log.load(stream_id) == fold(records)
    store.close()


def test_a_long_random_history_has_every_move(places):
    """The tests above would prove little if some kind of event never occurred."""
    rng = random.Random(5)
    names = [*ACTIONS, *OFTEN, *OFTEN]
    history = [Step(rng.choice(names), rng.choice(JOBS), rng.randrange(5)) for _ in range(1500)]
    store = lived(places, history)
    found = {record.type for record in store.log.records()}
    known = {e.type_of(event) for event in e.EVENT_TYPES}
    others = {"dependencies_met", "worker_started", "worker_stopped", "worker_lost"}  # in the simulation
    assert found == known - others
    assert projected(store) == derived(store)


@pytest.mark.parametrize("column", ["due_at", "attempts", "state"])
def test_the_comparison_notices_a_table_that_differs(places, column):
    store = lived(places, [Step("enqueue", "job-0", 0)])
    store.engine.run(f"UPDATE jobs SET {column} = '7'")
    assert projected(store) != derived(store)
