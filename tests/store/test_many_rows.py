"""Many changes in one append: the tables are as the log says, whatever statements an engine uses for many rows."""

import pytest

from queuectl.domain import events as e
from queuectl.errors import StoreError
from queuectl.store.errors import VersionConflictError
from tests.support.builders import add, buried, claimed, completed, derived, everything, more, new, projected

MANY = 120
ODD = "a \\ 'b' \"c\"\t\n\u2028 ü€😀 {1,NULL} \\N"
"""A text with what means something in SQL, JSON, arrays and the text form of COPY."""


def added(store, **promises):
    return add(store, *(new(f"j{number}", max_retries=0, **promises) for number in range(MANY)))


def test_many_moves_at_once_make_the_rows_that_the_log_says(store):
    jobs = added(store, command=ODD, tags={ODD: ODD}, timeout=1_500_000, priority=-3)
    for *_, event in [(claimed(),), (buried(stderr=ODD),), (e.Requeued(reason=ODD),), (e.Cancelled(reason=ODD),)]:
        jobs = add(store, *(more(job, event) for job in jobs))
        assert projected(store) == derived(store)
    add(store, *(more(job, e.Purged()) for job in jobs))
    assert projected(store) == derived(store)


def test_many_jobs_are_freed_and_their_waits_removed(store):
    cause = add(store, new("cause"))
    added(store, after=(e.After("cause"),))
    add(store, more(cause[0], claimed(), completed()))
    assert store.engine.run("SELECT count(*) FROM waits") == [(0,)]
    assert store.engine.run("SELECT count(*) FROM jobs WHERE due_at IS NOT NULL") == [(MANY,)]
    assert projected(store) == derived(store)


def test_many_rows_are_all_written_or_none(store):
    jobs = added(store)
    add(store, more(jobs[-1], claimed()))
    before = everything(store)
    with pytest.raises(VersionConflictError):
        add(store, *(more(job, e.Cancelled()) for job in jobs))
    assert everything(store) == before


def test_a_number_that_is_too_large_among_many_is_refused(store):
    before = everything(store)
    with pytest.raises(StoreError):
        added(store, priority=1 << 70)
    assert everything(store) == before
