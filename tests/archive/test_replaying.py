"""Rows put back as they were: the same log and the same tables, nothing whose digest does not follow."""

import pytest

from queuectl.domain import events as e
from queuectl.store import open_store
from queuectl.store.protocol import DamagedEventError
from tests.archive.logs import live
from tests.support.builders import a_spec, everything, follow, new


@pytest.fixture
def other(clock):
    store = open_store(":memory:", clock)
    yield store
    store.close()


def take_over_a_key(store, clock):
    """A job that ended, was purged, and is put back takes its key over from one that ends in between."""
    follow(store, clock, "one", a_spec(unique="k"), e.Cancelled())
    follow(store, clock, "two", a_spec(unique="k"))
    first = store.log.head().position
    follow(store, clock, "one", e.Purged())
    follow(store, clock, "two", e.Cancelled())
    follow(store, clock, "one", e.Requeued())
    return first


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_the_tables_follow(store, other, clock, pieces):
    live(store, clock)
    rows = list(store.log.stored())
    for start in range(0, len(rows), pieces):
        other.writer.append_stored(rows[start : start + pieces])
    assert everything(other) == everything(store)
    assert list(other.log.stored()) == rows


def test_a_key_that_passes_from_job_to_job(store, other, clock):
    first = take_over_a_key(store, clock)
    rows = list(store.log.stored())
    other.writer.append_stored(rows[:first])
    other.writer.append_stored(rows[first:])
    assert everything(other) == everything(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: [*rows[:3], *rows[4:]],
        lambda rows: [*rows[:3], rows[3]._replace(actor="eve"), *rows[4:]],
        lambda rows: [*rows[:3], rows[3]._replace(data=rows[3].data.replace("a", "b")), *rows[4:]],
        lambda rows: [*rows[:3], rows[3]._replace(digest=bytes(32)), *rows[4:]],
        lambda rows: [*rows[:3], rows[3]._replace(data_digest=bytes(32)), *rows[4:]],
        lambda rows: rows[1:],
    ],
)
def test_rows_that_do_not_follow_are_not_taken(store, other, change):
    store.writer.append([new(f"job-{number}") for number in range(9)], "ann@box")
    with pytest.raises(DamagedEventError):
        other.writer.append_stored(change(list(store.log.stored())))
    assert other.log.head().position == 0
