"""Edits on each kind of store: tables, earlier positions, checks, copies of the log, and races with a worker."""

import random
from threading import Thread

import pytest

from queuectl.application.editing import Edit, Editor
from queuectl.application.job_json import JobInput
from queuectl.application.queue import NewJob, Queue
from queuectl.checks.audit import audit
from queuectl.checks.verify import verify
from queuectl.config import Config
from queuectl.domain import events as e
from queuectl.domain.commands import Amend, Requeue
from queuectl.errors import RefusedError
from queuectl.store.past import Past
from queuectl.store.rows import JobFilter
from tests.support.builders import (
    ACTOR,
    HOUR,
    SECOND,
    a_spec,
    add,
    buried,
    claimant,
    claimed,
    derived,
    follow,
    new,
    projected,
)

__all__ = ["race"]

SETTINGS = Config({}, {}, {}, dict)


def queue_of(store) -> Queue:
    return Queue(store, ACTOR)


def edit(store, job_id, reason="", **changes):
    return queue_of(store).execute([Amend(job_id, e.Changes(**changes), reason)])[0]


def test_an_edit_changes_the_row_and_the_counts(store, clock):
    add(store, new("a", queue="default", priority=0, delay=HOUR))
    edit(store, "a", queue="mail", priority=7, timeout=HOUR, max_retries=9, tags={"k": "v"}, command="false", delay=0)
    row = store.tables.job("a")
    assert (row["queue"], row["priority"], row["timeout"], row["max_retries"]) == ("mail", 7, 3600.0, 9)
    assert (row["tags"], row["command"], row["due_at"]) == ('{"k":"v"}', "false", store.log.wall())
    assert [(count.queue, count.jobs) for count in store.tables.counts()] == [("mail", 1)]
    assert store.tables.claimable(("mail",), 5, store.log.wall()) == ["a"]
    assert store.tables.claimable(("default",), 5, store.log.wall()) == []
    assert projected(store) == derived(store)


def test_the_log_with_edits_is_sound(store, clock):
    add(store, new("a", delay=HOUR))
    edit(store, "a", priority=1)
    edit(store, "a", delay=0)
    follow(store, clock, "b", a_spec(max_retries=0), claimed(), buried())
    queue_of(store).execute([Requeue("b", "fixed", 5 * SECOND, e.Changes(timeout=HOUR))])
    assert verify(store).counts == {}
    assert audit(store.log.records()).found == {}
    assert not store.upkeep.rebuild().total
    assert store.log.format() == 2


def test_the_past_has_the_queue_of_that_moment(store, clock):
    add(store, new("a", queue="default"))
    before = store.log.head().position
    edit(store, "a", queue="mail")
    for position, name in ((before, "default"), (store.log.head().position, "mail")):
        past = Past.of(store, position, clock.now())
        assert [count.queue for count in past.tables.counts()] == [name]
        assert past.tables.ids(JobFilter(queues=(name,))) == ["a"]
        past.close()


def test_a_delay_of_an_edit_is_measured_when_the_clock_was_ahead(store, clock):
    add(store, new("a", at=clock.now() + 500 * HOUR))
    clock.turn(100 * HOUR)
    edit(store, "a", delay=5 * SECOND)
    clock.turn(-100 * HOUR)
    now, behind = store.log.wall(), store.log.behind_for()
    assert store.tables.claimable((), 5, now, (), behind) == []
    assert store.tables.next_due((), now, behind) == now + 5 * SECOND - behind
    clock.advance(6 * SECOND)
    assert store.tables.claimable((), 5, store.log.wall(), (), store.log.behind_for()) == ["a"]


def test_several_edits_are_all_made_or_none(store, clock):
    add(store, new("a"), new("b"))
    assert [job.id for job in queue_of(store).claim(claimant(), (), 1, lambda job: True)] == ["a"]
    head = store.log.head()
    with pytest.raises(RefusedError, match="job a is processing"):
        Editor(queue_of(store), SETTINGS).edit(["b", "a"], Edit(JobInput(priority=3)))
    assert store.log.head() == head


def test_dead_jobs_are_found_by_their_signature(store, clock):
    for job_id, code in (("a", 1), ("b", 1), ("c", 2)):
        follow(
            store, clock, job_id, a_spec(), claimed(), buried(cause=e.Exited(code), stderr=f"cannot open {code}.csv")
        )
    first, second, third = store.tables.dead((), 0)
    assert (first.signature, first.id, third.id) == (second.signature, "a", "c")
    assert store.tables.ids(JobFilter(signature=first.signature, descending=False)) == ["a", "b"]
    assert store.tables.dead(("mail",), 0) == []
    assert [row.id for row in store.tables.dead((), third.moved_at)] == ["c"]
    past = Past.of(store, store.log.head().position - 1, clock.now())
    assert [row.id for row in past.tables.dead((), 0)] == ["a", "b"]
    past.close()


# ── races ───────────────────────────────────────────────────────────────────────────────────────────────


def race(shared, jobs: int) -> None:
    """A worker claims jobs while each is edited: it is amended before its claim, or the edit is refused."""
    url = shared.new_url()
    store, other = shared.open(url), shared.open(url)
    ids = [f"job-{number}" for number in range(jobs)]
    Queue(store, ACTOR).enqueue([NewJob(a_spec("true"), job_id) for job_id in ids])
    worker = Thread(target=_claim_all, args=(Queue(other, "w1"), jobs))
    worker.start()
    refused = _edit_all(Queue(store, ACTOR), ids)
    worker.join(300)
    found = {job_id: _types(store, job_id) for job_id in ids}
    edited = ["enqueued", "amended", "claimed"]
    assert {job_id for job_id, types in found.items() if types == ["enqueued", "claimed"]} == refused
    assert all(types == edited for job_id, types in found.items() if job_id not in refused)
    assert len(found) == jobs


def _claim_all(queue: Queue, jobs: int) -> None:
    taken = 0
    while taken < jobs:
        taken += len(queue.claim(claimant("w1"), (), 3, lambda job: True))


def _edit_all(queue: Queue, ids: list[str]) -> set[str]:
    refused = set()
    editor = Editor(queue, SETTINGS)
    for job_id in random.Random(1).sample(ids, len(ids)):
        try:
            editor.edit([job_id], Edit(JobInput(timeout="1h")))
        except RefusedError:
            refused.add(job_id)
    return refused


def _types(store, job_id: str) -> list[str]:
    return [record.type for record in store.log.records(stream_id=job_id)]


def test_an_edit_comes_before_the_claim_or_is_refused(shared):
    race(shared, 100)
