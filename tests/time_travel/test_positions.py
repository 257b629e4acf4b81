"""At any position of a history the past equals a fold of the events up to it; at the head it equals the live store."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings

from queuectl.application.queue import Queue
from queuectl.application.time_travel import as_of
from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import fold
from queuectl.domain.machine import State
from queuectl.domain.names import SCHEDULES
from queuectl.domain.schedule import Schedule, evolve_schedule
from queuectl.store import open_store, past_folds, projections
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter
from tests.store.test_histories import ACTIONS, JOBS, OFTEN, Player, Step, histories
from tests.support.builders import ACTOR, SECOND, START, SettableClock

FILTERS = [
    JobFilter(),
    JobFilter(limit=2),
    JobFilter(limit=3, descending=False),
    JobFilter(states=(State.PENDING,), limit=1, descending=False),
    JobFilter(states=(State.DONE, State.DLQ)),
    JobFilter(failed=True, limit=1),
    JobFilter(queues=("mail",), limit=1),
    JobFilter(queues=("mail", "default"), limit=3),
    JobFilter(tags={"n": "3"}, limit=1),
    JobFilter(since=START + 9 * SECOND, limit=2),
    JobFilter(sort="attempts", limit=2),
    JobFilter(sort="updated", limit=2, descending=False),
    JobFilter(sort="due", limit=3),
    JobFilter(sort="duration", limit=2),
    JobFilter(sort="finished", limit=2, descending=False),
    JobFilter(sort="priority", limit=2, queues=("default",)),
]


def lived(history: list[Step]) -> Store:
    clock = SettableClock()
    store = open_store(":memory:", clock)
    Player(Queue(store, ACTOR), clock).play(history)
    return store


def answers(store: Store) -> dict[str, Any]:
    """All answers that reading commands need from a store, sorted."""
    return {
        "jobs": {row["id"]: row for row in store.tables.jobs(JobFilter(limit=0))},
        "dlq": {row["id"]: row for row in store.tables.dlq()},
        "settings": store.tables.settings(),
        "pauses": store.tables.pauses(),
        "schedules": {schedule.name: schedule for schedule in store.schedules.all()},
        "counts": {(count.queue, count.state.value): count.jobs for count in store.tables.counts()},
    }


def folded(records: list[RecordedEvent]) -> dict[str, Any]:
    """The same answers, folded from events alone."""
    found: dict[str, Any] = {"jobs": {}, "dlq": {}, "settings": {}, "pauses": {}, "schedules": {}, "counts": {}}
    streams: dict[str, list[RecordedEvent]] = {}
    for record in records:
        streams.setdefault(record.stream_id, []).append(record)
    for stream, events in streams.items():
        for table, row in projections.rows(fold(events)).items():
            if table in found:
                found[table][stream] = dict(zip(projections.TABLES[table], row, strict=True))
    for row in found["jobs"].values():
        row["waits"] = row["held"] = 0  # no job of these histories waits for another
        key = (row["queue"], row["state"])
        found["counts"][key] = found["counts"].get(key, 0) + 1
    found["schedules"] = folded_schedules(streams)
    notes = [projections.note_row(record) for record in records if projections.place_of(record) is None]
    for note in filter(None, notes):
        found[note.table].pop(note.key, None)
        if note.values and note.table == "settings":
            found["settings"][note.key] = note.values[1]
        elif note.values:
            found["pauses"][note.key] = dict(zip(("paused_at", "paused_by"), note.values[1:], strict=True))
    return found


def folded_schedules(streams: dict[str, list[RecordedEvent]]) -> dict[str, Schedule]:
    found = {}
    for stream, events in streams.items():
        schedule = None
        for record in events if stream.startswith(SCHEDULES) else ():
            schedule = evolve_schedule(schedule, record)
        if schedule is not None:
            found[schedule.name] = schedule
    return found


def check_every_position(store: Store) -> None:
    """From the begin of the log, and back from the present."""
    records = list(store.log.records())
    for from_begin in (True, False):
        with read_from(begin=from_begin):
            for position in range(len(records) + 1):
                past = as_of(store, str(position))
                assert answers(past) == folded(records[:position]), position
                past.close()


@contextmanager
def read_from(*, begin: bool) -> Iterator[None]:
    """The past is read from this end of the log, whichever is nearer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(past_folds, "is_nearer_the_begin", lambda *_: begin)
        yield


@settings(max_examples=25, deadline=None)
@given(histories)
def test_each_position_equals_a_fold_of_the_events_up_to_it(history):
    store = lived(history)
    check_every_position(store)
    store.close()


def test_each_position_of_a_long_history():
    rng = random.Random(11)
    names = [*ACTIONS, *OFTEN, *OFTEN]
    store = lived([Step(rng.choice(names), rng.choice(JOBS), rng.randrange(5)) for _ in range(500)])
    reached = {record.type for record in store.log.records()}
    assert reached >= {"completed", "dead_lettered", "requeued", "purged", "setting_changed", "queue_resumed"}
    check_every_position(store)


@pytest.mark.parametrize("begin", [True, False], ids=["from the begin", "from the present"])
@settings(max_examples=40, deadline=None)
@given(histories)
def test_the_past_at_the_head_equals_the_live_store(begin, history):
    with read_from(begin=begin):
        check_head(lived(history))


def check_head(store: Store) -> None:
    past = as_of(store, "head")
    assert answers(past) == answers(store)
    assert past.log.head() == store.log.head()
    for job_id in JOBS:
        assert past.tables.job(job_id) == store.tables.job(job_id)
        assert past.log.load(job_id) == store.log.load(job_id)
        assert past.log.version(job_id) == store.log.version(job_id)
    for job in store.tables.jobs(JobFilter(limit=0)):
        assert past.tables.dlq(job["id"]) == store.tables.dlq(job["id"])
    now = store.log.now()
    assert past.tables.claimable((), 9, now) == store.tables.claimable((), 9, now)
    past.close()
    store.close()


@pytest.mark.parametrize("wanted", FILTERS, ids=repr)
def test_a_list_at_the_head_equals_the_live_list(wanted):
    """Each on a new past: it must fold all that the list needs."""
    for begin in (True, False):
        with read_from(begin=begin):
            check_lists(wanted)


def check_lists(wanted: JobFilter) -> None:
    rng = random.Random(3)
    names = [*ACTIONS, *OFTEN, *OFTEN]
    for _ in range(8):
        store = lived([Step(rng.choice(names), rng.choice(JOBS), rng.randrange(5)) for _ in range(60)])
        assert as_of(store, "head").tables.jobs(wanted) == store.tables.jobs(wanted)
