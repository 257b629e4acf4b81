"""The SQLite file: owner and modes, many processes at once, locked, read-only, full, broken."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from queuectl.errors import StoreBusyError, StoreError
from queuectl.runtime import SystemClock
from queuectl.store import StoreOptions, open_store
from queuectl.store.rows import NEWEST_FORMAT
from queuectl.store.sqlite import connection
from tests.support.builders import (
    a_worker,
    add,
    everything,
    new,
)
from tests.support.peer import Peer, ask_all


@pytest.fixture
def store(in_a_file):
    return in_a_file


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


def modes(folder):
    """The modes of all files and folders below a folder."""
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in Path(folder).rglob("*")}


def test_files_and_folders_are_private(path, peers):
    peers.append(Peer(umask=0o022))
    peers[0].call("open", path)
    peers[0].call("append", "a")
    folder = os.path.dirname(path)
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert modes(folder).keys() >= {"queue.db", "queue.db-shm", "queue.db-wal"}
    for name, mode in modes(folder).items():
        assert mode == (0o700 if os.path.isdir(os.path.join(folder, name)) else 0o600), name


ANOTHER_PROGRAM = """
import apsw, sys
db = apsw.Connection(sys.argv[1])
db.execute("DELETE FROM workers").fetchall()
db.close()
"""


def test_opening_again_in_the_same_process_keeps_the_locks(store, path, clock, peers):
    """The last process that closes removes the -wal; without our lock another program would believe it is the last."""
    add(store, new("a"))
    before = os.stat(path + "-wal").st_ino
    open_store(path, clock).close()
    subprocess.run([sys.executable, "-c", ANOTHER_PROGRAM, path], check=True)
    assert os.stat(path + "-wal").st_ino == before
    add(store, new("b"))
    peers.append(Peer())
    peers[0].call("open", path)
    assert sorted(peers[0].call("ids")) == ["a", "b"]


def locks_on(path):
    """The locks on a file from /proc/locks, which may repeat a line while others lock and unlock."""
    inode = os.stat(path).st_ino
    with open("/proc/locks") as locks:
        return {line.split(maxsplit=1)[1] for line in locks if f":{inode} " in line}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the locks")
def test_opening_again_drops_no_lock_of_any_file(store, path, clock):
    store.log.load("a")
    before = [locks_on(path), locks_on(path + "-shm")]
    open_store(path, clock).close()
    assert [locks_on(path), locks_on(path + "-shm")] == before
    assert all(before)


def test_opening_again_under_the_lock_keeps_the_lock(store, path, clock, peers):
    peers.append(Peer())
    peers[0].call("open", path, 0)
    with store.writer.transaction():
        open_store(path, clock).close()
        assert peers[0].call("append", "theirs")["error"] == "StoreBusyError"
        add(store, new("ours"))
    assert peers[0].call("append", "theirs") == "appended"
    assert store.log.head().position == 2


PROCESSES, PATHS = 16, 5


def test_many_processes_open_a_new_path_at_once(tmp_path, peers):
    peers += [Peer() for _ in range(PROCESSES)]
    ask_all(peers, "pid")
    for number in range(PATHS):
        path = str(tmp_path / f"new-{number}" / "queue.db")
        ids = ask_all(peers, "open", path)
        assert len(set(map(str, ids))) == 1, ids
        db = apsw.Connection(path)
        assert db.execute("SELECT count(*), count(DISTINCT key) FROM meta").fetchall() == [(7, 7)]
        assert db.execute("SELECT value FROM meta WHERE key = 'log_id'").fetchall() == [(ids[0],)]
        assert db.execute("SELECT count(*), count(DISTINCT name) FROM sqlite_schema").fetchall()[0][0] > 10
        assert db.pragma("journal_mode") == "wal"
        db.close()
    assert {name.partition(".")[0] for name in os.listdir(tmp_path / "new-0")} == {"queue"}


def test_an_empty_file_becomes_a_queue(tmp_path, clock):
    path = tmp_path / "queue.db"
    path.touch()
    store = open_store(str(path), clock)
    assert add(store, new("a")) == [store.log.load("a")]
    store.close()


# ── what is not ours is refused ─────────────────────────────────────────────────────────────────────


def run_sql(path, *statements):
    db = apsw.Connection(str(path))
    for sql in statements:
        db.execute(sql).fetchall()
    db.close()


def other_program(path):
    run_sql(path, "CREATE TABLE jobs (id)", "INSERT INTO jobs VALUES (1)")


def other_program_with_an_id(path):
    run_sql(path, "PRAGMA application_id = 7", "CREATE TABLE jobs (id)")


def other_program_in_wal_mode(path):
    run_sql(path, "PRAGMA journal_mode = WAL", "CREATE TABLE jobs (id)", "PRAGMA wal_checkpoint(TRUNCATE)")


def other_program_without_tables_yet(path):
    run_sql(path, "PRAGMA application_id = 7")


def a_text(path):
    path.write_text("dear diary\n" * 100)


def a_short_text(path):
    path.write_text("milk, eggs\n")


def an_archive(path):
    path.write_bytes(b"PK\x03\x04" + bytes(5000))


def a_folder(path):
    path.mkdir()


def a_file_with_half_our_header(path):
    path.write_bytes(b"SQLite format 3\0" + bytes(50))


def newer_format(path):
    open_store(str(path), SystemClock()).close()
    run_sql(
        path, f"UPDATE meta SET value = {NEWEST_FORMAT + 1} WHERE key = 'format'", "PRAGMA wal_checkpoint(TRUNCATE)"
    )


def no_format(path):
    open_store(str(path), SystemClock()).close()
    run_sql(path, "DELETE FROM meta WHERE key = 'format'", "PRAGMA wal_checkpoint(TRUNCATE)")


def no_log_id(path):
    open_store(str(path), SystemClock()).close()
    run_sql(path, "DELETE FROM meta WHERE key = 'log_id'", "PRAGMA wal_checkpoint(TRUNCATE)")


REFUSED = [
    (other_program, "another program's"),
    (other_program_with_an_id, "another program's"),
    (other_program_in_wal_mode, "another program's"),
    (other_program_without_tables_yet, "another program's"),
    (a_text, "not a SQLite database"),
    (a_short_text, "not a SQLite database"),
    (an_archive, "not a SQLite database"),
    (a_folder, "is a folder"),
    (a_file_with_half_our_header, "not a SQLite database"),
    (newer_format, f"format {NEWEST_FORMAT + 1}, newer"),
    (no_format, "format"),
    (no_log_id, "log_id"),
]


def contents(folder):
    """The bytes of every file, without the -shm and an empty -wal."""
    return {
        file.name: file.read_bytes() if file.is_file() else None
        for file in folder.iterdir()
        if not file.name.endswith("-shm") and not (file.name.endswith("-wal") and not file.stat().st_size)
    }


@pytest.mark.parametrize(("make", "why"), REFUSED)
def test_a_foreign_file_is_refused_and_unchanged(tmp_path, clock, make, why):
    path = tmp_path / "queue.db"
    make(path)
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=why) as refusal:
        open_store(str(path), clock)
    assert refusal.value.exit_code == 5
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert str(path) not in {db.filename for db in apsw.connections()}
    assert contents(tmp_path) == before


def test_a_path_that_cannot_be_created_is_refused(tmp_path, clock):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot") as refusal:
        open_store(str(tmp_path / "file" / "queue.db"), clock)
    assert refusal.value.exit_code == 5


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (f"UPDATE meta SET value = {NEWEST_FORMAT + 1} WHERE key = 'format'", "newer"),
        ("UPDATE meta SET value = 'there' WHERE key = 'moved_to'", "moved to there"),
    ],
)
def test_a_write_is_refused_after_an_upgrade_or_a_migration(store, bare, sql, why):
    add(store, new("a"))
    before = everything(store)
    bare.execute(sql)
    for write in (
        lambda: add(store, new("b")),
        lambda: store.upkeep.quarantine("a"),
        lambda: store.workers.beat(a_worker()),
    ):
        with pytest.raises(StoreError, match=why) as refusal:
            write()
        assert refusal.value.exit_code == 5
    assert everything(store) == before
    assert not store.engine.db.in_transaction


def replaced(path):
    other = open_store(path + ".new", SystemClock())
    add(other, new("x"))
    other.close()
    os.replace(path + ".new", path)


@pytest.mark.parametrize("meanwhile", [os.unlink, lambda path: os.rename(path, path + ".old"), replaced])
def test_nothing_is_written_to_a_moved_or_replaced_file(store, path, meanwhile):
    add(store, new("a"))
    meanwhile(path)
    before = everything(store)
    with pytest.raises(StoreError, match="moved, removed or replaced") as refusal:
        add(store, new("b"))
    assert refusal.value.exit_code == 5
    assert everything(store) == before


def test_nothing_is_written_to_a_file_with_a_second_link(store, path):
    """Each name would have its own -wal and archive, and changes under one name would overwrite those of the other."""
    add(store, new("a"))
    before = everything(store)
    os.link(path, path + ".link")
    for write in (
        lambda: add(store, new("b")),
        lambda: store.upkeep.quarantine("a"),
        lambda: store.workers.beat(a_worker()),
    ):
        with pytest.raises(StoreError, match="another name") as refusal:
            write()
        assert refusal.value.exit_code == 5
    assert everything(store) == before
    assert not store.engine.db.in_transaction
    os.unlink(path + ".link")
    assert add(store, new("b")) == [store.log.load("b")]


def test_a_file_with_two_links_is_opened_by_neither_name(store, path, clock):
    add(store, new("a"))
    os.link(path, path + ".link")
    for name in (path, path + ".link"):
        with pytest.raises(StoreError, match="another name") as refusal:
            open_store(name, clock)
        assert refusal.value.exit_code == 5
    assert not os.path.exists(path + ".link-wal")
    os.unlink(path + ".link")
    open_store(path, clock).close()


# ── locked, read-only, full, broken ─────────────────────────────────────────────────────────────────


def test_a_locked_queue_can_be_read_but_not_written(store, bare, path, clock):
    add(store, new("a"))
    impatient = open_store(path, clock, StoreOptions(busy_timeout=20_000))
    bare.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError, match="locked by another process") as refusal:
        add(impatient, new("b"))
    assert refusal.value.exit_code == 5
    assert impatient.log.load("a") == store.log.load("a")
    another = open_store(path, clock)
    assert another.log.head().position == 1
    bare.execute("ROLLBACK")
    assert add(impatient, new("b")) == [another.log.load("b")]
    impatient.close()
    another.close()


PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def obey_modes():
    """Make file modes apply to root too, after its next exec."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="root writes whatever the modes are")
@pytest.mark.parametrize("folder_too", [False, True])
def test_a_read_only_queue_can_be_read_and_refuses_changes(store, path, peers, folder_too):
    add(store, new("a"))
    store.close()
    for name in os.listdir(os.path.dirname(path)):
        os.chmod(os.path.join(os.path.dirname(path), name), 0o400)
    if folder_too:
        os.chmod(os.path.dirname(path), 0o500)
    peers.append(Peer(preexec_fn=obey_modes))
    assert peers[0].call("open", path) == store.log.log_id
    assert peers[0].call("ids") == ["a"]
    refusal = peers[0].call("append", "b")
    assert (refusal["error"], refusal["exit_code"]) == ("StoreError", 5)
    assert "read-only" in refusal["message"]
    assert peers[0].call("ids") == ["a"]


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="root writes whatever the modes are")
def test_a_new_queue_needs_write_permission_for_its_folder(tmp_path, peers):
    (tmp_path / "folder").mkdir(mode=0o500)
    peers.append(Peer(preexec_fn=obey_modes))
    refusal = peers[0].call("open", str(tmp_path / "folder" / "queue.db"))
    assert (refusal["error"], refusal["exit_code"]) == ("StoreError", 5)
    assert "Permission denied" in refusal["message"]


def test_a_full_disk_is_named_and_nothing_is_written(store):
    add(store, new("a"))
    before = everything(store)
    pages = store.engine.db.pragma("page_count")
    store.engine.db.pragma("max_page_count", pages)
    with pytest.raises(StoreError, match="disk is full") as refusal:
        add(store, *(new(f"job-{i}", command="x" * 1000) for i in range(100)))
    assert refusal.value.exit_code == 5
    assert everything(store) == before
    store.engine.db.pragma("max_page_count", pages + 10_000)
    assert add(store, new("b")) == [store.log.load("b")]


def test_no_queue_is_created_without_wal_mode(tmp_path, clock, monkeypatch):
    """When the disk is full, SQLite returns the unchanged journal mode instead of an error."""
    ask = connection._value
    answers = {"PRAGMA journal_mode=WAL": "delete"}
    monkeypatch.setattr(connection, "_value", lambda db, sql: answers.get(sql) or ask(db, sql))
    path = str(tmp_path / "queue.db")
    with pytest.raises(StoreError, match=r"cannot use the queue .*queue.db: it cannot be given a -wal"):
        open_store(path, clock)
    answers.clear()
    open_store(path, clock).close()


def test_a_broken_file_is_reported_as_damaged(store, path, clock):
    add(store, *(new(f"job-{i}") for i in range(50)))
    store.engine.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    store.close()
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with pytest.raises(StoreError, match="damaged: run `queuectl recover`") as refusal:
        open_store(path, clock).log.load("job-1")
    assert refusal.value.exit_code == 5


def test_the_wal_grows_under_a_long_reader_and_shrinks_after_it(path, clock, monkeypatch):
    limit = 1 << 20
    monkeypatch.setattr(connection, "JOURNAL_LIMIT", limit)
    monkeypatch.setattr(connection, "CHECKPOINT_AFTER", 100)
    store, reader = open_store(path, clock), apsw.Connection(path)
    add(store, new("first"))
    reader.execute("BEGIN; SELECT count(*) FROM events").fetchall()
    for number in range(8):
        add(store, new(f"large-{number}", command="x" * limit))
    assert os.path.getsize(path + "-wal") > 8 * limit
    assert reader.execute("SELECT count(*) FROM events").fetchall() == [(1,)]
    reader.execute("COMMIT")
    for number in range(3):
        add(store, new(f"small-{number}"))
    assert os.path.getsize(path + "-wal") <= limit
    assert store.log.head().position == 12
    reader.close()
    store.close()
