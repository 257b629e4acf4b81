"""Damaged events: any damage is found on load and named, and all other jobs run."""

import hashlib
import shutil
from contextlib import suppress

import apsw
import pytest

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Exit, Report
from queuectl.domain.names import SETTINGS_STREAM
from queuectl.errors import StoreError
from queuectl.store import open_store
from queuectl.store.errors import DamagedEventError
from queuectl.store.rows import JobFilter
from tests.support.builders import (
    ACTOR,
    SECOND,
    SettableClock,
    a_spec,
    a_worker,
    add,
    buried,
    chained,
    claimant,
    claimed,
    completed,
    everything,
    follow,
    more,
    new,
    note,
    retried,
    stored,
)

TRIGGERS = ("events_refuse_update", "events_refuse_delete", "events_refuse_replace")
NOT_UTF8 = "CAST(x'7b2274797065223aff7d' AS TEXT)"


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """A closed queue. `victim` was run once and is due again (events 1 to 3); then follow a note and two other jobs.

    The note is in between, because a damaged digest also affects the check of the next event.
    """
    folder, clock = tmp_path_factory.mktemp("untouched"), SettableClock()
    store = open_store(str(folder / "queue.db"), clock)
    follow(store, clock, "victim", a_spec(priority=9), claimed(), retried(wait=0))
    add(store, note(store, SETTINGS_STREAM, e.SettingChanged(key="lease", value="1m")))
    add(store, new("one"), new("two"))
    store.close()
    return folder


@pytest.fixture
def store(untouched, tmp_path, clock):
    """A copy of that queue to damage."""
    shutil.copytree(untouched, tmp_path / "copy")
    clock.advance(60 * SECOND)
    store = open_store(str(tmp_path / "copy" / "queue.db"), clock)
    yield store
    store.close()


def hit(store, sql):
    """Damage the file; the triggers that protect the log are dropped first."""
    db = apsw.Connection(store.engine.path)
    for trigger in TRIGGERS:
        db.execute(f"DROP TRIGGER {trigger}")
    before = db.total_changes()
    db.execute(sql)
    assert db.total_changes() == before + 1
    db.close()


HITS = {
    "position": "position + 1000",
    "stream_id": "'elsewhere'",
    "version": "version + 1000",
    "type": "CASE type WHEN 'claimed' THEN 'completed' ELSE 'claimed' END",
    "schema": "schema + 1",
    "recorded_at": "recorded_at + 1",
    "actor": "'someone@else'",
    "data": "replace(data, ':1', ':2')",
    "data, cut": "substr(data, 1, length(data) - 1)",
    "data, emptied": "''",
    "data, gone": "NULL",
    "data, of another event": "(SELECT data FROM events AS other WHERE other.position = 4)",
    "data, no UTF-8": NOT_UTF8,
    "type, no UTF-8": "CAST(x'ff' AS TEXT)",
    "actor, no UTF-8": "CAST(x'ff' AS TEXT)",
    "salt": "x'000102030405060708090a0b0c0d0e0f'",
    "salt, gone": "NULL",
    "data_digest": "zeroblob(32)",
    "digest": "zeroblob(32)",
}


def damaging(position, name):
    return f"UPDATE events SET {name.partition(',')[0]} = {HITS[name]} WHERE position = {position}"


def cases():
    """Each event of the victim, each column. The first event's data has a `:1` of its own to change, see `a_spec`."""
    for position in (1, 2, 3):
        for name in HITS:
            if (position, name) != (3, "stream_id"):  # a stream's last event that is gone: only `verify` can know
                yield position, name


@pytest.mark.parametrize(("position", "name"), [*cases()])
def test_any_damage_is_found_on_load(store, position, name):
    if (position, name) == (1, "data"):
        hit(store, "UPDATE events SET data = replace(data, '9', '8') WHERE position = 1")
    else:
        hit(store, damaging(position, name))
    with pytest.raises(DamagedEventError, match="damaged") as found:
        store.log.load("victim")
    assert found.value.exit_code == 5
    assert found.value.stream_id == "victim"


def test_a_damaged_due_job_releases_its_unique_key(store):
    queue = Queue(store, ACTOR)
    add(store, new("held", unique="key", priority=9))
    hit(store, "UPDATE events SET data = replace(data, 'key', 'kex') WHERE stream_id = 'held'")
    assert "held" not in [job.id for job in queue.claim(claimant(), (), 9, lambda job: True)]
    assert (store.tables.job("held")["unique_key"], store.tables.job("held")["due_at"]) == (None, None)
    [receipt] = queue.enqueue([NewJob(a_spec(unique="key"), "next")])
    assert (receipt.id, receipt.created) == ("next", True)


@pytest.mark.parametrize(("position", "name"), [*cases()])
def test_other_jobs_run_in_spite_of_the_damage(store, clock, position, name):
    hit(store, damaging(position, name) if (position, name) != (1, "data") else damaging(1, "data, cut"))
    queue = Queue(store, ACTOR)
    assert [job.id for job in queue.claim(claimant(), (), 1, lambda job: True)] == ["one"]
    queue.execute([Report("one", 1, Exit())])
    queue.enqueue([])
    add(store, new("three"))
    assert [job.id for job in queue.claim(claimant(), (), 9, lambda job: True)] == ["two", "three"]
    assert queue.claim(claimant(), (), 9, lambda job: True) == []
    assert store.tables.next_due(()) is None  # nobody waits for it
    assert store.tables.job("victim") is not None


def test_the_damaged_event_is_named(store):
    hit(store, damaging(2, "actor"))
    with pytest.raises(DamagedEventError) as found:
        store.log.load("victim")
    assert (found.value.position, found.value.stream_id) == (2, "victim")
    assert str(found.value) == "event 2 of victim is damaged (its digest does not match): run `queuectl recover`"


def test_reading_the_log_stops_at_the_damaged_event(store):
    hit(store, damaging(2, "data"))
    with pytest.raises(DamagedEventError) as found:
        list(store.log.records())
    assert found.value.position == 2
    assert [record.position for record in store.log.records(after=2)] == [3, 4, 5, 6]


@pytest.mark.parametrize(("position", "name"), [*cases()])
def test_damaged_rows_are_returned_unchanged(store, position, name):
    before = stored(store)
    hit(store, damaging(position, name) if (position, name) != (1, "data") else damaging(1, "data, cut"))
    after = stored(store)
    assert [row for row in after if row.position != position and row in before] == before[: position - 1] + before[
        position:
    ]
    assert len(after) == len(before)
    assert before[position - 1] not in after


def test_an_event_missing_inside_a_stream_is_noticed(store, clock):
    follow(store, clock, "two", claimed())
    add(store, note(store, SETTINGS_STREAM, e.SettingChanged(key="grace", value="1m")))
    follow(store, clock, "two", completed())
    hit(store, "DELETE FROM events WHERE stream_id = 'two' AND version = 2")
    with pytest.raises(DamagedEventError):
        store.log.load("two")


def test_data_changed_without_its_digest_is_found(store):
    """A `data_digest` stands for data that was redacted, not for other data."""
    old = stored(store)[1]
    body = hashlib.sha256(old.salt + old.data.encode()).hexdigest()
    hit(store, f"UPDATE events SET data_digest = x'{body}', data = replace(data, ':1', ':2') WHERE position = 2")
    assert [row.digest for row in stored(store)] == chained(stored(store))
    with pytest.raises(DamagedEventError):
        store.log.load("victim")


def test_an_event_of_an_unknown_type_asks_for_an_upgrade(store):
    """An event of a later version with the right digest is not damaged, but this version must not skip it."""
    *rows, last = stored(store)
    later = last._replace(type="split", data='{"type":"split"}')
    digest = chained([*rows, later])[-1].hex()
    hit(
        store,
        f"UPDATE events SET type = 'split', data = '{later.data}', digest = x'{digest}' WHERE position = 6",
    )
    with pytest.raises(DamagedEventError, match="cannot read 'split' events"):
        store.log.load("two")
    assert store.log.load("one") is not None


def test_corrupt_tables_do_not_run_a_job_that_the_log_has_ended(store):
    """A row that says `pending` for a job that is done is quarantined, not claimed."""
    db = apsw.Connection(store.engine.path)
    queue = Queue(store, ACTOR)
    queue.cancel(["one"])
    db.execute("UPDATE jobs SET state = 'pending', due_at = 1 WHERE id = 'one'")
    db.execute(
        "INSERT INTO jobs (id, state, queue, priority, due_at, position)"
        " VALUES ('ghost', 'pending', 'default', 0, 1, 99)"
    )
    db.close()
    assert [job.id for job in queue.claim(claimant(), (), 9, lambda job: True)] == ["victim", "two"]
    assert [store.tables.job(job_id)["due_at"] for job_id in ("one", "ghost")] == [None, None]


@pytest.mark.parametrize(
    "stray",
    [
        "INSERT INTO dlq (id, command, attempts, moved_at, original_created_at) VALUES ('one', '', 0, 0, 0)",
        "INSERT INTO jobs (id, state) VALUES ('fresh', 'done')",
        "INSERT INTO jobs (id, state, position) VALUES ('ghost', 'done', 8)",
        "DELETE FROM jobs WHERE id = 'one'",
        "DELETE FROM counts",
    ],
)
def test_corrupt_tables_do_not_stop_the_log(store, stray):
    """A stray row is not a conflict: deciding again would never succeed."""
    db = apsw.Connection(store.engine.path)
    db.execute(stray)
    db.close()
    [one] = add(store, more(store.log.load("one"), claimed()))
    [_, one] = add(store, new("fresh"), more(one, buried()))
    assert store.log.load("one") == one
    assert (store.tables.job("fresh")["state"], [row["id"] for row in store.tables.dlq()]) == ("pending", ["one"])


NO_TEXT = "CAST(x'ff' AS TEXT)"
DAMAGED_TABLES = {
    "jobs, output": f"UPDATE jobs SET stdout = {NO_TEXT} WHERE id = 'one'",
    "jobs, id": f"UPDATE jobs SET id = {NO_TEXT} WHERE id = 'one'",
    "jobs, state": "UPDATE jobs SET state = 'pen@ing' WHERE id = 'one'",
    "dlq": f"INSERT INTO dlq VALUES ('one', {NO_TEXT}, 0, NULL, 0, 0, NULL)",
    "counts, queue": f"INSERT INTO counts VALUES ({NO_TEXT}, 0, 'pending', 1)",
    "counts, state": "INSERT INTO counts VALUES ('default', 0, 'pen@ing', 1)",
    "settings": f"UPDATE settings SET value = {NO_TEXT}",
    "pauses": f"INSERT INTO pauses VALUES ('mail', 0, {NO_TEXT})",
    "schedules": f"INSERT INTO schedules VALUES"
    f" ({NO_TEXT}, NULL, 1, 'UTC', 'x', 0, 0, NULL, 0, NULL, NULL, 0, 0, 1, '')",
    "workers": "UPDATE workers SET queues = '['",
}


@pytest.mark.parametrize("table", DAMAGED_TABLES)
def test_a_damaged_table_is_read_or_refused_in_one_line(store, table):
    store.workers.beat(a_worker())
    db = apsw.Connection(store.engine.path)
    db.execute(DAMAGED_TABLES[table])
    db.close()
    reads = {
        "jobs": lambda: store.tables.jobs(JobFilter()),
        "dlq": store.tables.dlq,
        "counts": store.tables.counts,
        "settings": store.tables.settings,
        "pauses": store.tables.pauses,
        "schedules": store.schedules.all,
        "due schedules": lambda: store.schedules.due(1),
        "workers": store.workers.rows,
        "claiming": lambda: Queue(store, ACTOR).claim(claimant(), (), 9, lambda job: True),
    }
    for read in reads.values():
        with suppress(StoreError):
            read()
    assert store.log.load("two") is not None


@pytest.mark.parametrize("key", ["format", "log_id", "base_position", "base_digest"])
def test_a_queue_without_a_row_of_meta_is_refused(store, clock, key):
    path = store.engine.path
    store.close()
    db = apsw.Connection(path)
    db.execute("DELETE FROM meta WHERE key = ?", (key,))
    db.close()
    with pytest.raises(StoreError):
        open_store(path, clock)


def test_reading_damage_changes_nothing(store):
    hit(store, damaging(2, "data"))
    before = stored(store), store.tables.job("victim")
    with pytest.raises(DamagedEventError):
        everything(store)
    with pytest.raises(DamagedEventError):
        store.log.load("victim")
    assert (stored(store), store.tables.job("victim")) == before
