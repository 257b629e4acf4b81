"""Replaying rows gives the same log and tables; rows whose digest does not follow are refused."""

import pytest

from queuectl.domain import events as e
from queuectl.store import open_store
from queuectl.store.errors import DamagedEventError
from tests.archive.logs import add_history
from tests.support.builders import a_spec, everything, follow, new


@pytest.fixture
def other(clock):
    store = open_store(":memory:", clock)
    yield store
    store.close()


def take_over_a_key(store, clock):
    """Append: a purged job is requeued and takes its unique key over from a job that ended meanwhile."""
    follow(store, clock, "one", a_spec(unique="k"), e.Cancelled())
    follow(store, clock, "two", a_spec(unique="k"))
    first = store.log.head().position
    follow(store, clock, "one", e.Purged())
    follow(store, clock, "two", e.Cancelled())
    follow(store, clock, "one", e.Requeued())
    return first


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_replayed_rows_give_the_same_tables(store, other, clock, pieces):
    add_history(store, clock)
    rows = list(store.log.stored())
    for start in range(0, len(rows), pieces):
        other.writer.append_stored(rows[start : start + pieces])
    assert everything(other) == everything(store)
    assert list(other.log.stored()) == rows


def test_a_unique_key_that_passes_between_jobs_is_replayed(store, other, clock):
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
def test_rows_that_do_not_follow_are_refused(store, other, change):
    store.writer.append([new(f"job-{number}") for number in range(9)], "ann@box")
    with pytest.raises(DamagedEventError):
        other.writer.append_stored(change(list(store.log.stored())))
    assert other.log.head().position == 0
