"""A damaged event and its job are quarantined; all other jobs run. Tested through the command line."""

import os
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from queuectl.application.queue import Queue
from queuectl.domain import events as e
from queuectl.store.rows import StoredEvent
from tests.support.builders import SettableClock, add, chained, claimed, follow, more, stored
from tests.support.command_line import Queuectl, assert_error, query
from tests.support.queues import corrupt, opened, tables


@pytest.fixture
def damaged(small: Path, tmp_path: Path) -> Queuectl:
    """The command line on the small queue, in which the first claim of `one` (event 3) is damaged."""
    corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 3")
    command_line = Queuectl(tmp_path)
    command_line.env["QUEUECTL_DB"] = str(small)
    command_line.db = small
    return command_line


def test_a_quarantined_job_is_listed_with_its_remedy(damaged):
    done = damaged("verify")
    assert done.code == 1
    assert "event 3 of one: its digest does not match" in done.out
    assert "queuectl recover" in done.err
    found = damaged("doctor", "--json")
    assert found.code == 1
    assert '"event 3 of one is quarantined (its digest does not match)"' in found.out


def test_a_quarantined_job_is_shown_up_to_the_damage(damaged):
    damaged.ok("rebuild")
    [row] = [job for job in damaged.json("list") if job["id"] == "one"]
    assert (row["state"], row["due_at"], row["next_run_at"], row["version"]) == ("pending", None, None, 1)
    assert "event 3 of one is damaged" in row["last_error"]
    assert "event 3 of one is damaged" in damaged.show("one")["damaged"]
    assert damaged.json("dlq", "list") == []


def test_a_quarantined_job_is_explained_before_a_rebuild(damaged):
    found = damaged.json("explain", "one")
    assert (found["state"], found["position"]) == ("pending", 3)
    assert found["why"][1].startswith("event 3 of one is damaged (its digest does not match)")
    assert found["next"] == ["queuectl recover", "queuectl history one"]
    assert "next: queuectl recover" in damaged.ok("explain", "one")


def test_a_job_that_was_never_readable_is_explained_too(small):
    corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 8")
    assert "job three is damaged" in Queuectl(small.parent).ok("--db", str(small), "explain", "three")


@pytest.mark.parametrize("rebuild_first", [[], ["rebuild"]])
def test_a_damaged_job_that_a_worker_met_is_listed(small, rebuild_first):
    with opened(small) as store:
        dead = replace(claimed(), host=os.uname().nodename)  # of another boot of this machine
        add(store, more(store.log.load("three"), dead), more(store.log.load("two"), e.Requeued()))
    corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 13")
    corrupt(small, "UPDATE jobs SET due_at = 0 WHERE id = 'two'")
    command_line = Queuectl(small.parent)
    command_line.env["QUEUECTL_DB"] = str(small)
    for command in rebuild_first:
        command_line.ok("--db", str(small), command)
    command_line.drain()
    [row] = [job for job in command_line.json("list") if job["id"] == "two"]
    assert row["last_error"] == "event 13 of two is damaged (its digest does not match): run `queuectl recover`"


def test_history_shows_the_damaged_event_at_its_position(damaged):
    story = damaged.ok("history", "one")
    assert "event 3 of one is damaged (its digest does not match)" in story
    assert "moved to the dead-letter queue" in story
    events = damaged.json("history", "one")
    assert [event["position"] for event in events] == [1, 3, 4, 5, 6]
    assert events[1] == {"position": 3, "stream_id": "one", "damaged": "its digest does not match"}


@pytest.mark.parametrize("command", [("cancel",), ("retry",), ("purge",), ("dlq", "retry")])
def test_no_command_changes_a_quarantined_job(damaged, command):
    before = damaged.position()
    assert_error(damaged(*command, "one"), 5, "event 3 of one", "queuectl recover")
    assert damaged.position() == before


def test_the_other_jobs_run(damaged):
    damaged.ok("rebuild")
    new = damaged.add("true")
    damaged.ok("resume", "mail")
    damaged.drain()
    assert [damaged.state(job) for job in (new, "two", "three")] == ["done", "done", "done"]
    assert damaged.types("three")[-1] == "completed"
    assert damaged.json("show", "one")["state"] == "pending"
    assert damaged.ok("status")


def test_rebuilding_twice_gives_the_same_tables(damaged):
    damaged.ok("rebuild")
    once = tables(damaged.db)
    damaged.ok("rebuild")
    assert tables(damaged.db) == once
    assert damaged("verify", "--json").out.count('"kind"') == 1


def test_a_later_intact_event_does_not_end_the_quarantine(small):
    clock = SettableClock()
    with opened(small, clock) as store:
        three = follow(store, clock, "three", claimed())
        corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 8")
        add(store, more(three, claimed(2)))
        store.upkeep.rebuild()
    assert query(small, "SELECT count(*) FROM jobs WHERE id = 'three'") == [(0,)]


def test_a_quarantined_job_releases_its_unique_key(tmp_path):
    """Two rows with one key would violate the table's constraint."""
    command_line = Queuectl(tmp_path)
    command_line.env["QUEUECTL_DB"] = str(tmp_path / "data" / "queue.db")
    first = command_line.add("--unique", "k", "true")
    command_line.drain()
    second = command_line.add("--unique", "k", "true")
    corrupt(command_line.db, f"UPDATE events SET actor = 'x' WHERE stream_id = '{first}' AND version = 3")
    command_line.ok("rebuild")
    assert query(command_line.db, "SELECT id FROM jobs WHERE unique_key = 'k'") == [(second,)]


def test_a_damaged_note_is_skipped_and_the_others_count(small):
    corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 2")
    command_line = Queuectl(small.parent)
    command_line.env["QUEUECTL_DB"] = str(small)
    command_line.ok("config", "set", "grace", "7s")
    command_line.ok("rebuild")
    assert command_line.ok("config", "get", "grace") == "7s"
    assert query(small, "SELECT key FROM settings") == [("grace",)]


def test_a_damaged_running_job_has_no_worker(small):
    clock = SettableClock()
    with opened(small, clock) as store:
        follow(store, clock, "three", claimed())
        add(store, more(store.log.load("three"), e.CancelRequested(run=1)))
        corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 13")
        store.upkeep.rebuild()
        assert store.tables.processing() == []
        assert store.tables.job("three")["state"] == "processing"
        assert not Queue(store, "ann").unfinished(())


def as_if_written(path: Path, position: int, **columns: object) -> None:
    """Change an event and all digests from it on, as if a later version had written it."""
    with opened(path) as store:
        rows = [row._replace(**columns) if row.position == position else row for row in stored(store)]
    corrupt(path)
    db = apsw.Connection(str(path))
    for row, digest in zip(rows, chained(rows), strict=True):
        placeholders = ", ".join(f"{name} = ?" for name in StoredEvent._fields)
        values = row._replace(digest=digest)
        db.execute(f"UPDATE events SET {placeholders} WHERE position = ?", (*values, row.position))
    db.close()


@pytest.mark.parametrize("columns", [{"schema": 2}, {"type": "split", "data": '{"type":"split"}'}])
def test_only_an_event_of_a_later_version_is_quarantined(small, columns):
    as_if_written(small, 9, **columns)
    command_line = Queuectl(small.parent)
    command_line.env["QUEUECTL_DB"] = str(small)
    command_line.ok("rebuild")
    assert "this version cannot read" in command_line("verify").out
    assert "what to do: upgrade queuectl" in command_line("verify").err
    assert "->  upgrade queuectl" in command_line("doctor").out
    assert "recover" not in command_line("verify").err + command_line("doctor").out
    assert "cannot be read" in command_line("show", "two").out + command_line("show", "two").err
    assert command_line.state("three") == "pending"
    command_line.drain()
    assert command_line.state("three") == "done"
    assert query(small, "SELECT state, due_at FROM jobs WHERE id = 'two'") == [("pending", None)]


@pytest.mark.parametrize(("table", "command"), [("jobs", ["list"]), ("dlq", ["dlq", "list"]), ("counts", ["status"])])
def test_a_dropped_table_can_be_rebuilt(small, table, command):
    corrupt(small, f"DROP TABLE {table}")
    command_line = Queuectl(small.parent)
    done = command_line("--db", str(small), *command)
    assert (done.code, f"run `queuectl --db {small} rebuild`" in done.err) == (5, True)
    command_line.ok("--db", str(small), "rebuild")
    command_line.ok("--db", str(small), *command)


def test_a_dropped_log_cannot_be_rebuilt(small):
    corrupt(small, "DROP TABLE events")
    done = Queuectl(small.parent)("--db", str(small), "history", "one")
    assert (done.code, f"run `queuectl --db {small} recover`" in done.err) == (5, True)
