"""Opening compares the database with its archive: behind is repaired; diverged or lost is refused."""

import os
import shutil

import pytest

from queuectl.errors import StoreError
from queuectl.store import open_store
from tests.archive.logs import checkpoint, closed_queue, is_prefix, remove, rows, segment_files, tables
from tests.support.builders import add, everything, new
from tests.support.peer import Peer, ask_all
from tests.support.queues import WARNING


def old_copy(path):
    """Copy the database, to restore this state later."""
    checkpoint(path)
    remove(path, "-wal", "-shm") if os.path.exists(path + "-wal") else None
    shutil.copy(path, path + ".old")


def put_back(path):
    for suffix in ("-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.unlink(path + suffix)
    shutil.copy(path + ".old", path)


@pytest.fixture
def behind(path, clock):
    """A database that is 20 events behind its archive; returns all rows."""
    closed_queue(path, 3)
    old_copy(path)
    store = open_store(path, clock, WARNING)
    store.writer.append([new(f"later-{number}", unique=f"u{number}") for number in range(20)], "ann@box")
    store.close()
    whole = rows(path), tables(path)
    put_back(path)
    assert len(rows(path)) == len(whole[0]) - 20
    return whole


def test_a_database_that_is_behind_gets_the_missing_events(behind, path, clock, capsys):
    store = open_store(path, clock, WARNING)
    assert (rows(path), tables(path)) == behind
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "events 33 to 52 were put back" in said
    add(store, new("next"))
    assert is_prefix(path) == 53
    store.close()
    open_store(path, clock, WARNING).close()
    assert capsys.readouterr().err == ""


def test_one_missing_event_is_reported_in_the_singular(path, clock, capsys):
    store = open_store(path, clock, WARNING)
    add(store, new("a"))
    store.close()
    old_copy(path)
    store = open_store(path, clock, WARNING)
    add(store, new("b"))
    store.close()
    put_back(path)
    open_store(path, clock, WARNING).close()
    assert "its archive: event 2 was put back" in capsys.readouterr().err


def test_several_processes_that_open_restore_once(behind, path, peers):
    peers += [Peer() for _ in range(5)]
    assert len(set(map(str, ask_all(peers, "open", path)))) == 1
    assert (rows(path), tables(path)) == behind


def test_a_database_that_is_ahead_is_fine(path, clock, capsys):
    closed_queue(path, 3)
    lines = segment_files(path)[0].read_bytes().splitlines(keepends=True)
    segment_files(path)[0].write_bytes(b"".join(lines[:10]))
    store = open_store(path, clock, WARNING)
    assert is_prefix(path) == 9
    add(store, new("next"))
    assert is_prefix(path) == store.log.head().position
    assert capsys.readouterr().err == ""
    store.close()


def test_a_database_without_events_gets_all_back(path, clock):
    open_store(path, clock, WARNING).close()
    old_copy(path)
    store = open_store(path, clock, WARNING)
    add(store, new("a"))
    store.close()
    put_back(path)
    store = open_store(path, clock, WARNING)
    assert store.log.load("a") is not None
    store.close()


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


def other_events(path, clock):
    """The same log got other events in a copy."""
    closed_queue(path, 2)
    old_copy(path)
    store = open_store(path, clock, WARNING)
    add(store, new("here"), new("there"))
    store.close()
    put_back(path)
    os.rename(f"{path}.archive", f"{path}.kept")
    store = open_store(path, clock, WARNING)
    add(store, new("beside"))
    store.close()
    shutil.rmtree(f"{path}.archive")
    os.rename(f"{path}.kept", f"{path}.archive")


def as_long(path, clock):
    other_events(path, clock)
    store = open_store(path + ".x", clock)
    store.close()
    lines = segment_files(path)[0].read_bytes().splitlines(keepends=True)
    segment_files(path)[0].write_bytes(b"".join(lines[:-1]))


def another_log(path, clock):
    closed_queue(path, 2)
    closed_queue(path + "2", 2)
    shutil.rmtree(f"{path}.archive")
    os.rename(f"{path}2.archive", f"{path}.archive")


def a_bad_line(path, clock):
    """The database is behind, and the archive's line for the next event is damaged."""
    closed_queue(path, 2)
    old_copy(path)
    store = open_store(path, clock, WARNING)
    add(store, *(new(f"job-{number}") for number in range(9)))
    store.close()
    put_back(path)
    file = segment_files(path)[0]
    file.write_bytes(file.read_bytes().replace(b'"stream_id":"job-4"', b'"stream_id":"job-x"'))


@pytest.mark.parametrize("make", [other_events, as_long, another_log, a_bad_line])
def test_a_diverged_database_is_read_only(path, clock, make):
    make(path, clock)
    before = rows(path)
    lines = [file.read_bytes() for file in segment_files(path)]
    store = open_store(path, clock, WARNING)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"run `queuectl recover`, or move .* away") as error:
            add(store, new("next"))
        assert "\n" not in str(error.value)
        assert str(error.value).count("run `") == 1
    assert store.log.load("done-0") is not None
    everything(store)
    store.close()
    assert rows(path) == before
    assert [file.read_bytes() for file in segment_files(path)] == lines


@pytest.mark.parametrize("ahead", [1, 2])
def test_a_database_that_diverges_later_becomes_read_only(store, path, capsys, ahead):
    """Its tail vanished while a process had it open, and others appended other events."""
    add(store, new("a"), new("b"))
    foreign = segment_files(path)[0].read_bytes().splitlines(keepends=True)[-1]
    with segment_files(path)[0].open("ab") as file:
        file.write(foreign.replace(b'{"position":2,', b'{"position":%d,' % (2 + ahead)))
    add(store, new("c"))
    assert "not in the archive" in capsys.readouterr().err
    with pytest.raises(StoreError, match="run `queuectl recover`"):
        add(store, new("d"))
    assert store.log.load("c") is not None


def missing(path):
    remove(path, "", "-wal", "-shm")


def emptied(path):
    remove(path, "-wal", "-shm")
    os.truncate(path, 0)


def without_its_wal(path):
    remove(path, "-wal", "-shm")


@pytest.mark.parametrize("lose", [missing, emptied, without_its_wal])
def test_a_lost_database_is_not_recreated_next_to_its_archive(path, clock, lose):
    closed_queue(path, 1)
    lose(path)
    for _ in range(2):
        with pytest.raises(StoreError, match="run `queuectl recover` to get them back, or move") as error:
            open_store(path, clock, WARNING)
        assert error.value.exit_code == 5
    assert is_empty(path)
    os.rename(f"{path}.archive", f"{path}.elsewhere")
    store = open_store(path, clock, WARNING)
    assert store.log.head().position == 0
    store.close()


def is_empty(path):
    return not os.path.exists(path) or os.path.getsize(path) in (0, 4096)


def test_an_unreachable_archive_is_not_taken_for_an_empty_one(path, clock, tmp_path):
    closed_queue(path, 1)
    os.rename(f"{path}.archive", tmp_path / "disk")
    os.symlink(tmp_path / "disk", f"{path}.archive")
    missing(path)
    os.rename(tmp_path / "disk", tmp_path / "unmounted")
    with pytest.raises(StoreError, match=f"{tmp_path / 'disk'} cannot be reached"):
        open_store(path, clock, WARNING)
