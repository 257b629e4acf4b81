"""A damaged event is set aside, and its job with it; everything else works on. All through the command line."""

import os
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from queuectl.application.queue import Queue
from queuectl.domain import events as e
from queuectl.store.protocol import StoredEvent
from tests.support.builders import SettableClock, add, chained, claimed, follow, more, stored
from tests.support.command_line import Queuectl, assert_error, query
from tests.support.queues import corrupt, opened, tables


@pytest.fixture
def damaged(small: Path, tmp_path: Path) -> Queuectl:
    """The command line at the small queue, in which the first claim of `one` (event 3) is damaged."""
    corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 3")
    command_line = Queuectl(tmp_path)
    command_line.env["QUEUECTL_DB"] = str(small)
    command_line.db = small
    return command_line


def test_it_is_listed_and_the_command_that_helps_is_named(damaged):
    done = damaged("verify")
    assert done.code == 1
    assert "event 3 of one: its digest does not match" in done.out
    assert "queuectl recover" in done.err
    found = damaged("doctor", "--json")
    assert found.code == 1
    assert '"event 3 of one is quarantined (its digest does not match)"' in found.out


def test_its_job_is_shown_as_far_as_it_can_be_believed(damaged):
    damaged.ok("rebuild")
    [row] = [job for job in damaged.json("list") if job["id"] == "one"]
    assert (row["state"], row["due_at"], row["next_run_at"], row["version"]) == ("pending", None, None, 1)
    assert "event 3 of one is damaged" in row["last_error"]
    assert "event 3 of one is damaged" in damaged.show("one")["damaged"]
    assert damaged.json("dlq", "list") == []


def test_it_is_explained_without_a_rebuild(damaged):
    found = damaged.json("explain", "one")
    assert (found["state"], found["position"]) == ("pending", 3)
    assert found["why"][1].startswith("event 3 of one is damaged (its digest does not match)")
    assert found["next"] == ["queuectl recover", "queuectl history one"]
    assert "next: queuectl recover" in damaged.ok("explain", "one")


def test_one_that_was_never_readable_is_explained_too(small):
    corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 8")
    assert "job three is damaged" in Queuectl(small.parent).ok("--db", str(small), "explain", "three")


@pytest.mark.parametrize("mend", [[], ["rebuild"]])
def test_a_job_that_a_worker_has_come_upon_is_listed_as_damaged(small, mend):
    with opened(small) as store:
        dead = replace(claimed(), host=os.uname().nodename)  # of another boot of this machine
        add(store, more(store.log.load("three"), dead), more(store.log.load("two"), e.Requeued()))
    corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 13")
    corrupt(small, "UPDATE jobs SET due_at = 0 WHERE id = 'two'")
    command_line = Queuectl(small.parent)
    command_line.env["QUEUECTL_DB"] = str(small)
    for command in mend:
        command_line.ok("--db", str(small), command)
    command_line.drain()
    [row] = [job for job in command_line.json("list") if job["id"] == "two"]
    assert row["last_error"] == "event 13 of two is damaged (its digest does not match): run `queuectl recover`"


def test_its_history_shows_the_damaged_event_in_its_place(damaged):
    told = damaged.ok("history", "one")
    assert "event 3 of one is damaged (its digest does not match)" in told
    assert "moved to the dead-letter queue" in told
    events = damaged.json("history", "one")
    assert [event["position"] for event in events] == [1, 3, 4, 5, 6]
    assert events[1] == {"position": 3, "stream_id": "one", "damaged": "its digest does not match"}


@pytest.mark.parametrize("command", [("cancel",), ("retry",), ("purge",), ("dlq", "retry")])
def test_nothing_is_done_to_it(damaged, command):
    before = damaged.position()
    assert_error(damaged(*command, "one"), 5, "event 3 of one", "queuectl recover")
    assert damaged.position() == before


def test_the_others_work_on(damaged):
    damaged.ok("rebuild")
    new = damaged.add("true")
    damaged.ok("resume", "mail")
    damaged.drain()
    assert [damaged.state(job) for job in (new, "two", "three")] == ["done", "done", "done"]
    assert damaged.types("three")[-1] == "completed"
    assert damaged.json("show", "one")["state"] == "pending"
    assert damaged.ok("status")


def test_to_rebuild_twice_gives_the_same_tables(damaged):
    damaged.ok("rebuild")
    once = tables(damaged.db)
    damaged.ok("rebuild")
    assert tables(damaged.db) == once
    assert damaged("verify", "--json").out.count('"kind"') == 1


def test_a_later_good_event_does_not_heal_it(small):
    clock = SettableClock()
    with opened(small, clock) as store:
        three = follow(store, clock, "three", claimed())
        corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 8")
        add(store, more(three, claimed(2)))
        store.upkeep.rebuild()
    assert query(small, "SELECT count(*) FROM jobs WHERE id = 'three'") == [(0,)]


def test_a_damaged_job_gives_its_unique_key_back(tmp_path):
    """Two rows with one key would not fit into the table."""
    command_line = Queuectl(tmp_path)
    command_line.env["QUEUECTL_DB"] = str(tmp_path / "data" / "queue.db")
    first = command_line.add("--unique", "k", "true")
    command_line.drain()
    second = command_line.add("--unique", "k", "true")
    corrupt(command_line.db, f"UPDATE events SET actor = 'x' WHERE stream_id = '{first}' AND version = 3")
    command_line.ok("rebuild")
    assert query(command_line.db, "SELECT id FROM jobs WHERE unique_key = 'k'") == [(second,)]


def test_a_damaged_note_is_left_out_and_the_others_count(small):
    corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 2")
    command_line = Queuectl(small.parent)
    command_line.env["QUEUECTL_DB"] = str(small)
    command_line.ok("config", "set", "grace", "7s")
    command_line.ok("rebuild")
    assert command_line.ok("config", "get", "grace") == "7s"
    assert query(small, "SELECT key FROM settings") == [("grace",)]


def test_a_damaged_job_that_was_running_is_nobodys(small):
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
    """Change an event and everything that its digest covers, as a later version would have written it."""
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
def test_an_event_of_a_later_version_is_set_aside_and_no_more(small, columns):
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
def test_a_table_that_is_gone_can_be_derived_again(small, table, command):
    corrupt(small, f"DROP TABLE {table}")
    command_line = Queuectl(small.parent)
    done = command_line("--db", str(small), *command)
    assert (done.code, f"run `queuectl --db {small} rebuild`" in done.err) == (5, True)
    command_line.ok("--db", str(small), "rebuild")
    command_line.ok("--db", str(small), *command)


def test_a_log_that_is_gone_cannot(small):
    corrupt(small, "DROP TABLE events")
    done = Queuectl(small.parent)("--db", str(small), "history", "one")
    assert (done.code, f"run `queuectl --db {small} recover`" in done.err) == (5, True)
