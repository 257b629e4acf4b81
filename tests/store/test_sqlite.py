"""What SQLite alone promises: the file, its guards, the pragmas, whose file it is, many processes at once."""

import ctypes
import gc
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from queuectl.domain import events as e
from queuectl.errors import StoreBusyError, StoreError
from queuectl.runtime import SystemClock
from queuectl.store import codec, open_store
from queuectl.store.connection import CHECKPOINT_AFTER, JOURNAL_LIMIT, _check_library
from queuectl.store.connection import APPLICATION_ID, FORMAT
from queuectl.store.schema import SCHEMA
from tests.store.peer import Peer, ask_all
from tests.store.vocabulary import (
    EVENT_COLUMNS,
    SettableClock,
    a_spec,
    a_worker,
    add,
    chained,
    claimed,
    everything,
    follow,
    more,
    new,
    retried,
    stored,
)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "place" / "queue.db")


@pytest.fixture
def store(path, clock):
    store = open_store(path, clock)
    yield store
    store.close()


@pytest.fixture
def bare(store, path):
    """Another program that has the queue's file open, and none of our code."""
    db = apsw.Connection(path)
    yield db
    db.close()


# ── the log is append-only ──────────────────────────────────────────────────────────────────────────

REDACT = "UPDATE events SET data = NULL, salt = NULL, data_digest = {}"
SOME_HASH = f"x'{hashlib.sha256(b'any').hexdigest()}'"


def a_log(store, clock):
    follow(store, clock, "a", a_spec(), claimed(), retried())
    add(store, new("b"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A store and another program at the same file, for attempts that all fail."""
    path = str(tmp_path_factory.mktemp("guarded") / "queue.db")
    clock = SettableClock()
    store, bare = open_store(path, clock), apsw.Connection(path)
    a_log(store, clock)
    yield store, bare
    bare.close()
    store.close()


def redact(db, position):
    [(salt, data)] = db.execute("SELECT salt, data FROM events WHERE position = ?", (position,)).fetchall()
    body = hashlib.sha256(salt + data.encode()).digest()
    db.execute(f"{REDACT.format('?')} WHERE position = ?", (body, position))


OTHER_VALUES = {
    "position": "99",
    "stream_id": "'z'",
    "version": "99",
    "type": "'completed'",
    "schema": "2",
    "recorded_at": "recorded_at + 1",
    "actor": "'z'",
    "data": "'{}'",
    "salt": "x'00'",
    "data_digest": "x'00'",
    "digest": "x'00'",
}
COPY = ", ".join(EVENT_COLUMNS[1:])
FORBIDDEN = [
    *(f"UPDATE events SET {column} = {value} WHERE position = 2" for column, value in OTHER_VALUES.items()),
    *(f"UPDATE events SET {column} = NULL WHERE position = 2" for column in ("data", "salt")),
    *(f"UPDATE OR REPLACE events SET {column} = {value} WHERE position = 2" for column, value in OTHER_VALUES.items()),
    "UPDATE events SET position = position + 10",
    "DELETE FROM events",
    "DELETE FROM events WHERE position = 4",
    "REPLACE INTO events SELECT * FROM events WHERE position = 2",
    "REPLACE INTO events SELECT * FROM events",
    f"REPLACE INTO events SELECT 5, {COPY} FROM events WHERE position = 2",
    f"REPLACE INTO events SELECT NULL, {COPY} FROM events WHERE position = 4",
    "INSERT INTO events SELECT * FROM events WHERE true ON CONFLICT DO UPDATE SET actor = 'z'",
    f"INSERT INTO events SELECT 5, {COPY} FROM events WHERE position = 2",
    *(
        f"{REDACT.format(SOME_HASH)}, {column} = {value} WHERE position = 2"
        for column, value in OTHER_VALUES.items()
        if column not in ("data", "salt", "data_digest")
    ),
    f"UPDATE events SET data = NULL, data_digest = {SOME_HASH} WHERE position = 2",
    f"UPDATE events SET salt = NULL, data_digest = {SOME_HASH} WHERE position = 2",
    f"UPDATE events SET data = '{{}}', salt = NULL, data_digest = {SOME_HASH} WHERE position = 2",
    f"{REDACT.format('NULL')} WHERE position = 2",
]


@pytest.mark.parametrize("recursive_triggers", ["OFF", "ON"])
@pytest.mark.parametrize("sql", FORBIDDEN)
def test_the_database_itself_refuses_to_change_the_log(guarded, sql, recursive_triggers):
    store, bare = guarded
    before = stored(store)
    bare.pragma("recursive_triggers", recursive_triggers)
    with pytest.raises(apsw.ConstraintError):
        bare.execute(sql)
    assert stored(store) == before


def test_redaction_is_let_through_and_the_chain_still_holds(store, bare, clock):
    a_log(store, clock)
    before = stored(store)
    redact(bare, 2)
    rows = stored(store)
    assert (rows[1].data, rows[1].salt) == (None, None)
    assert [row.digest for row in rows] == [row.digest for row in before] == chained(rows)
    kept = StoredEvent(*(getattr(rows[1], column) for column in EVENT_COLUMNS))
    assert codec.body_digest(kept) == hashlib.sha256(before[1].salt + before[1].data.encode()).digest()
    assert store.load("b") is not None
    assert add(store, new("c")) == [store.load("c")]


def test_what_is_redacted_stays_so(store, bare, clock):
    a_log(store, clock)
    redact(bare, 2)
    before = stored(store)
    for change in ("data = '{}'", "salt = x'00'", "data_digest = x'00'", "data_digest = NULL"):
        with pytest.raises(apsw.ConstraintError):
            bare.execute(f"UPDATE events SET {change} WHERE position = 2")
    assert stored(store) == before


# ── the connection ──────────────────────────────────────────────────────────────────────────────────

FULL, NORMAL = 2, 1


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", FULL),
        ("mmap_size", 0),
        ("cell_size_check", 1),
        ("trusted_schema", 0),
        ("journal_size_limit", JOURNAL_LIMIT),
        ("wal_autocheckpoint", CHECKPOINT_AFTER),
        ("application_id", APPLICATION_ID),
    ],
)
def test_pragmas(store, path, clock, pragma, value):
    assert store._db.pragma(pragma) == value
    again = open_store(path, clock)
    assert again._db.pragma(pragma) == value
    again.close()


def test_only_claims_do_not_wait_for_the_disk(store):
    for durable, level in ((True, FULL), (False, NORMAL), (True, FULL)):
        with store.transaction(durable=durable):
            assert store._db.pragma("synchronous") == level
    with store.transaction(durable=False):
        add(store, new("a"))
        assert store._db.pragma("synchronous") == NORMAL
    with store.transaction():
        store.beat(a_worker())
        assert store._db.pragma("synchronous") == FULL


def test_closing_does_not_checkpoint(store, path):
    add(store, new("a"))
    store.close()
    assert os.path.getsize(path + "-wal") > 0


def test_zero_counts_leave_no_row_behind(store, bare):
    [job, _] = add(store, new("a", priority=1), new("b", priority=2))
    add(store, more(job, e.Cancelled()))
    assert sorted(bare.execute("SELECT priority, state, jobs FROM counts").fetchall()) == [
        (1, "cancelled", 1),
        (2, "pending", 1),
    ]


SOUND = ["3.44.6", "3.44.7", "3.50.7", "3.51.3", "3.53.0", "3.54.1", "3.60.0", "4.0.0"]
AFFECTED = ["3.7.0", "3.40.1", "3.44.5", "3.45.0", "3.46.1", "3.50.4", "3.50.6", "3.51.0", "3.51.2", "3.52.0"]


@pytest.mark.parametrize("version", SOUND)
def test_libraries_without_the_wal_reset_race_are_taken(version):
    _check_library(version)


@pytest.mark.parametrize("version", AFFECTED)
def test_libraries_with_the_wal_reset_race_are_refused(version):
    with pytest.raises(StoreError, match=re.escape(version)):
        _check_library(version)


def test_the_library_is_checked_at_every_open(path, clock, monkeypatch):
    open_store(path, clock).close()
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StoreError, match="WAL-reset"):
        open_store(path, clock)


def test_the_linked_library_does_not_lose_rows_under_a_hot_checkpointer():
    """The WAL-reset race, see wal_reset.py; `QUEUECTL_STRESS_SECONDS` makes it longer."""
    seconds = os.environ.get("QUEUECTL_STRESS_SECONDS", "5")
    program = Path(__file__).with_name("wal_reset.py")
    done = subprocess.run([sys.executable, program, seconds, "apsw"], capture_output=True, text=True, check=True)
    rounds = json.loads(done.stdout)
    assert [each["damage"] for each in rounds] == [""] * len(rounds)
    assert all(each["written"] > 0 and min(each["checkpoints"]) > 0 for each in rounds)


# ── the schema ──────────────────────────────────────────────────────────────────────────────────────

NEWER_THAN_3_37 = (
    r"->", r"\bRETURNING\b", r"\bRIGHT\s+JOIN\b", r"\bFULL\s+(OUTER\s+)?JOIN\b", r"\bIS\s+(NOT\s+)?DISTINCT\b",
    r"\b(unixepoch|format|timediff|octet_length|string_agg|concat|concat_ws|jsonb\w*|json_error_position|unhex|unistr)\s*\(",
    r"\d_\d", r"\bGENERATED\b", r"\bORDER\s+BY\b[^()]*\)\s*FILTER",
)  # fmt: skip


def sql_alone(text):
    """Without comments and strings."""
    return re.sub(r"--[^\n]*|'[^']*'", "", text)


@pytest.mark.parametrize("feature", NEWER_THAN_3_37)
def test_the_schema_uses_nothing_newer_than_sqlite_3_37(feature):
    assert not re.search(feature, sql_alone(SCHEMA), re.IGNORECASE)


def test_every_table_is_strict(store, bare):
    tables = bare.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    assert {name for name, strict in tables if not strict} <= {"sqlite_schema"}


def test_people_read_the_file_with_their_own_sqlite(store, path, clock):
    follow(store, clock, "a", a_spec("echo hi"), claimed(), retried(wait=0))
    query = (
        "import sqlite3, sys\n"
        "if sqlite3.sqlite_version_info < (3, 37): print('too old'); sys.exit()\n"
        "db = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True)\n"
        "print(db.execute('SELECT id, command, state, attempts FROM jobs').fetchall())\n"
    )
    done = subprocess.run([sys.executable, "-c", query, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[('a', 'echo hi', 'pending', 1)]", "too old")


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


def modes(folder):
    return {name: oct(os.stat(os.path.join(folder, name)).st_mode & 0o777) for name in sorted(os.listdir(folder))}


def test_files_and_folder_are_for_their_owner_alone(path, peers):
    peers.append(Peer(umask=0o022))
    peers[0].told("open", path)
    peers[0].told("append", "a")
    folder = os.path.dirname(path)
    assert modes(folder) == {"queue.db": "0o600", "queue.db-shm": "0o600", "queue.db-wal": "0o600"}
    assert os.stat(folder).st_mode & 0o777 == 0o700


def test_opening_again_in_the_same_process_keeps_the_locks(store, path, clock, peers):
    peers.append(Peer())
    peers[0].told("open", path, 0)
    with store.transaction():
        open_store(path, clock).close()
        assert peers[0].told("append", "theirs")["error"] == "StoreBusyError"
        add(store, new("ours"))
    assert peers[0].told("append", "theirs") == "appended"
    assert store.head().position == 2


PROCESSES, PATHS = 16, 5


def test_many_processes_open_a_new_path_at_once(tmp_path, peers):
    peers += [Peer() for _ in range(PROCESSES)]
    ask_all(peers, "pid")
    for number in range(PATHS):
        path = str(tmp_path / f"new-{number}" / "queue.db")
        ids = ask_all(peers, "open", path)
        assert len(set(map(str, ids))) == 1, ids
        db = apsw.Connection(path)
        assert db.execute("SELECT count(*), count(DISTINCT key) FROM meta").fetchall() == [(6, 6)]
        assert db.execute("SELECT value FROM meta WHERE key = 'log_id'").fetchall() == [(ids[0],)]
        assert db.execute("SELECT count(*), count(DISTINCT name) FROM sqlite_schema").fetchall()[0][0] > 10
        assert db.pragma("journal_mode") == "wal"
        db.close()
    assert sorted(os.listdir(tmp_path / "new-0")) == ["queue.db", "queue.db-shm", "queue.db-wal"]


def test_an_empty_file_becomes_a_queue(tmp_path, clock):
    path = tmp_path / "queue.db"
    path.touch()
    store = open_store(str(path), clock)
    assert add(store, new("a")) == [store.load("a")]
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
    run_sql(path, f"UPDATE meta SET value = {FORMAT + 1} WHERE key = 'format'", "PRAGMA wal_checkpoint(TRUNCATE)")


def no_format(path):
    open_store(str(path), SystemClock()).close()
    run_sql(path, "DELETE FROM meta WHERE key = 'format'", "PRAGMA wal_checkpoint(TRUNCATE)")


def moved(path):
    open_store(str(path), SystemClock()).close()
    run_sql(path, "UPDATE meta SET value = 'there' WHERE key = 'moved_to'", "PRAGMA wal_checkpoint(TRUNCATE)")


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
    (newer_format, f"format {FORMAT + 1}, newer"),
    (no_format, "format"),
    (moved, "moved to there"),
]


def contents(folder):
    """Every file's bytes. SQLite's shared memory and an empty -wal are not contents."""
    return {
        file.name: file.read_bytes() if file.is_file() else None
        for file in folder.iterdir()
        if not file.name.endswith("-shm") and not (file.name.endswith("-wal") and not file.stat().st_size)
    }


@pytest.mark.parametrize(("make", "why"), REFUSED)
def test_what_is_not_ours_is_refused_and_left_as_it_was(tmp_path, clock, make, why):
    path = tmp_path / "queue.db"
    make(path)
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=why) as refusal:
        open_store(str(path), clock)
    assert refusal.value.exit_code == 5
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    refusal.value.__traceback__ = None
    del refusal
    gc.collect()  # the refused connection goes before the files are read
    assert contents(tmp_path) == before


def test_a_place_that_cannot_be_made_is_refused(tmp_path, clock):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot") as refusal:
        open_store(str(tmp_path / "file" / "queue.db"), clock)
    assert refusal.value.exit_code == 5


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (f"UPDATE meta SET value = {FORMAT + 1} WHERE key = 'format'", "newer"),
        ("UPDATE meta SET value = 'there' WHERE key = 'moved_to'", "moved to there"),
    ],
)
def test_the_next_write_is_refused_when_another_upgrades_or_moves_the_queue(store, bare, sql, why):
    add(store, new("a"))
    before = everything(store)
    bare.execute(sql)
    for write in (lambda: add(store, new("b")), lambda: store.hold("a"), lambda: store.forget("w1")):
        with pytest.raises(StoreError, match=why) as refusal:
            write()
        assert refusal.value.exit_code == 5
    assert everything(store) == before
    assert not store._db.in_transaction


def replaced(path):
    os.rename(path, path + ".old")
    other = open_store(path, SystemClock())
    add(other, new("x"))
    other.close()


@pytest.mark.parametrize("meanwhile", [os.unlink, lambda path: os.rename(path, path + ".old"), replaced])
def test_nothing_is_written_to_a_file_that_is_no_longer_at_its_path(store, path, meanwhile):
    add(store, new("a"))
    meanwhile(path)
    before = everything(store)
    with pytest.raises(StoreError, match="moved, removed or replaced") as refusal:
        add(store, new("b"))
    assert refusal.value.exit_code == 5
    assert everything(store) == before


# ── locked, read-only, full, broken ─────────────────────────────────────────────────────────────────


def test_a_locked_queue_is_busy_for_writers_and_open_to_readers(store, bare, path, clock):
    add(store, new("a"))
    impatient = open_store(path, clock, busy_timeout=20_000)
    bare.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError, match="locked by another process") as refusal:
        add(impatient, new("b"))
    assert refusal.value.exit_code == 5
    assert impatient.load("a") == store.load("a")
    another = open_store(path, clock)
    assert another.head().position == 1
    bare.execute("ROLLBACK")
    assert add(impatient, new("b")) == [another.load("b")]
    impatient.close()
    another.close()


PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def obey_modes():
    """Root too is held to the files' modes, after its next exec."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="root writes whatever the modes are")
@pytest.mark.parametrize("folder_too", [False, True])
def test_a_read_only_queue_can_be_read_and_says_why_not_when_written(store, path, peers, folder_too):
    add(store, new("a"))
    store.close()
    for name in os.listdir(os.path.dirname(path)):
        os.chmod(os.path.join(os.path.dirname(path), name), 0o400)
    if folder_too:
        os.chmod(os.path.dirname(path), 0o500)
    peers.append(Peer(preexec_fn=obey_modes))
    assert peers[0].told("open", path) == store.log_id
    assert peers[0].told("ids") == ["a"]
    refusal = peers[0].told("append", "b")
    assert (refusal["error"], refusal["exit_code"]) == ("StoreError", 5)
    assert "read-only" in refusal["message"]
    assert peers[0].told("ids") == ["a"]


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="root writes whatever the modes are")
def test_a_new_queue_in_a_folder_that_cannot_be_written(tmp_path, peers):
    (tmp_path / "folder").mkdir(mode=0o500)
    peers.append(Peer(preexec_fn=obey_modes))
    refusal = peers[0].told("open", str(tmp_path / "folder" / "queue.db"))
    assert (refusal["error"], refusal["exit_code"]) == ("StoreError", 5)
    assert "Permission denied" in refusal["message"]


def test_a_full_disk_is_named_and_nothing_is_written(store):
    add(store, new("a"))
    before = everything(store)
    pages = store._db.pragma("page_count")
    store._db.pragma("max_page_count", pages)
    with pytest.raises(StoreError, match="disk is full") as refusal:
        add(store, *(new(f"job-{i}", command="x" * 1000) for i in range(100)))
    assert refusal.value.exit_code == 5
    assert everything(store) == before
    store._db.pragma("max_page_count", pages + 10_000)
    assert add(store, new("b")) == [store.load("b")]


def test_a_broken_file_is_called_damaged(store, path, clock):
    add(store, *(new(f"job-{i}") for i in range(50)))
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    store.close()
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with pytest.raises(StoreError, match="damaged: run `queuectl recover`") as refusal:
        open_store(path, clock).load("job-1")
    assert refusal.value.exit_code == 5
