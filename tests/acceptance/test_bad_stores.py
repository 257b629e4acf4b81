"""A `--db` that cannot be used: exit code 5, one line that names it, and an unchanged file."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

from tests.archive.logs import checkpoint
from tests.support.command_line import PROGRAM, Queuectl, assert_error, check_log, query

OTHER = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    db.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, command TEXT)")
    db.execute("INSERT INTO jobs VALUES ('1', 'true')")
db.close()
"""

COMMANDS = (("enqueue", "true"), ("list",), ("run", "--drain"), ("config", "show"), ("pause",))


def _assert_refused(queuectl: Queuectl, db: Path | str, *words: str) -> None:
    for command in COMMANDS:
        assert_error(queuectl("--db", str(db), *command), 5, str(db), *words)


@pytest.mark.parametrize(
    "command",
    [("rebuild",), ("resume",), ("resume", "mail"), ("config", "unset", "lease"), ("events", "-f"), ("verify",)],
    ids=" ".join,
)
def test_a_command_with_nothing_to_do_creates_no_queue(queuectl: Queuectl, command: tuple[str, ...]) -> None:
    assert_error(queuectl("--db", "dta/queue.db", *command), 5, f"there is no queue at {queuectl.folder}/dta/queue.db")
    assert list(queuectl.folder.iterdir()) == []


def test_a_folder_is_refused(queuectl: Queuectl) -> None:
    _assert_refused(queuectl, queuectl.folder, "folder")
    assert_error(queuectl("--db", ".", "recover"), 5, f"{queuectl.folder} is a folder, not a queue's database")
    assert list(queuectl.folder.iterdir()) == []


def test_a_file_that_is_not_a_database_is_refused(queuectl: Queuectl) -> None:
    file = queuectl.folder / "notes.txt"
    file.write_text("shopping\n" * 1000)
    _assert_refused(queuectl, file, "not a SQLite database", "name another file with --db", "run `queuectl --db")
    assert_error(queuectl("--db", str(file), "recover"), 5, str(file), "nothing to recover")
    assert file.read_text() == "shopping\n" * 1000
    assert list(queuectl.folder.iterdir()) == [file]


def test_an_overwritten_beginning_names_recover_which_repairs_it(queuectl: Queuectl) -> None:
    job_id = queuectl.add("true")
    checkpoint(str(queuectl.db))
    with queuectl.db.open("r+b") as file:
        file.write(bytes(100))
    for command in (*COMMANDS, ("verify",)):
        assert_error(queuectl(*command), 5, str(queuectl.db), "is damaged", "run `queuectl recover`")
    assert queuectl("recover").code == 0
    assert [row["id"] for row in queuectl.json("list")] == [job_id]


def test_another_programs_database_is_refused(queuectl: Queuectl) -> None:
    file = queuectl.folder / "other.db"
    subprocess.run([sys.executable, "-c", OTHER, str(file)], check=True, timeout=30)
    before = file.read_bytes()
    _assert_refused(queuectl, file, "another program")
    assert_error(queuectl("--db", str(file), "recover"), 5, "another program")
    assert file.read_bytes() == before
    assert list(queuectl.folder.iterdir()) == [file]


def test_a_queue_with_a_newer_format_is_refused(queuectl: Queuectl) -> None:
    queuectl.add("true")
    connection = apsw.Connection(str(queuectl.db))
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    connection.close()
    before = queuectl.position()
    _assert_refused(queuectl, queuectl.db, "99", "upgrade")
    assert queuectl.position() == before


def test_a_queue_that_moved_is_read_only(queuectl: Queuectl) -> None:
    queuectl.add("true")
    connection = apsw.Connection(str(queuectl.db))
    connection.execute("UPDATE meta SET value = '/elsewhere/queue.db' WHERE key = 'moved_to'")
    connection.close()
    for command in (("enqueue", "true"), ("run", "--drain", "--log-level", "error"), ("pause",)):
        assert_error(queuectl(*command), 5, "moved", "/elsewhere/queue.db")
    done = queuectl("list")
    assert done.code == 0
    assert "moved to /elsewhere/queue.db" in done.err


def test_a_database_with_a_second_hard_link_is_refused(queuectl: Queuectl) -> None:
    """Processes that used different names would have different -wal files: acknowledged jobs would be lost."""
    queuectl.add("--id", "a", "true")
    other = queuectl.folder / "hard.db"
    os.link(queuectl.db, other)
    for name in (queuectl.db, other):
        _assert_refused(queuectl, name, "another name (a hard link)", f"find / -xdev -samefile {name}")
    assert not list(queuectl.folder.glob("hard.db?*"))
    done = queuectl("doctor")
    assert (done.code, f"problem  queue: the queue {queuectl.db} has another name" in done.out) == (1, True)
    other.unlink()
    queuectl.drain()
    assert queuectl.state("a") == "done"


def test_recover_makes_a_database_without_the_second_link(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    os.link(queuectl.db, queuectl.folder / "hard.db")
    queuectl.ok("recover")
    queuectl.drain()
    assert queuectl.state("a") == "done"
    assert queuectl.db.stat().st_nlink == 1


def test_a_path_below_a_file_is_refused(queuectl: Queuectl) -> None:
    (queuectl.folder / "file").write_text("")
    for place in ("file/queue.db", "/proc/nowhere/queue.db", "/dev/null/queue.db"):
        assert_error(queuectl("--db", place, "enqueue", "true"), 5, place)


def test_an_unknown_url_scheme_is_refused(queuectl: Queuectl) -> None:
    shapes = ("a path", "sqlite:///PATH", "postgresql://USER@HOST/DATABASE")
    for url in ("mysql://ann:secret@localhost/queue", "postgresl://localhost/queue", "POSTGRESQL://localhost/queue"):
        for command in (("enqueue", "true"), ("list",), ("doctor",), ("migrate", "--yes", "--to", "there.db")):
            done = queuectl("--db", url, *command)
            assert_error(done, 2, f"no store for {url.partition(':')[0]}://", *shapes)
            assert "secret" not in done.err


@pytest.mark.parametrize(
    ("place", "shape"),
    [
        ("postgresql:/jobs@db/jobs", "write postgresql://USER@HOST/DATABASE (for a file of that name: ./postgresql:…)"),
        ("postgres:jobs", "write postgresql://USER@HOST/DATABASE (for a file of that name: ./postgres:…)"),
        ("sqlite:/tmp/x.db", "write sqlite:///PATH (for a file of that name: ./sqlite:…)"),
    ],
)
def test_a_url_without_slashes_is_not_taken_for_a_file(queuectl: Queuectl, place: str, shape: str) -> None:
    assert_error(queuectl("--db", place, "enqueue", "true"), 2, shape)
    assert list(queuectl.folder.iterdir()) == []
    queuectl.ok("--db", f"./{place}", "enqueue", "true")
    assert (queuectl.folder / place).exists()


def test_a_path_with_a_colon_is_a_path(queuectl: Queuectl) -> None:
    queuectl.ok("--db", "at 10:30.db", "enqueue", "true")
    queuectl.ok("--db", "a:b.db", "enqueue", "true")
    assert {each.name for each in queuectl.folder.glob("*.db")} == {"at 10:30.db", "a:b.db"}


def test_a_change_fails_when_the_lock_is_held_too_long(queuectl: Queuectl) -> None:
    queuectl.add("--id", "job", "true")
    before = queuectl.position()
    holder = apsw.Connection(str(queuectl.db))
    holder.execute("BEGIN IMMEDIATE")
    try:
        for command in (("enqueue", "true"), ("cancel", "job"), ("pause",), ("config", "set", "jitter", "on")):
            assert_error(queuectl(*command, env={"QUEUECTL_BUSY_TIMEOUT": "100ms"}), 5, "locked")
        assert queuectl.state("job") == "pending"
        assert queuectl.ok("list", env={"QUEUECTL_BUSY_TIMEOUT": "0s"})
    finally:
        holder.close()
    assert queuectl.position() == before


# ── read-only ───────────────────────────────────────────────────────────────────────────────────────────

READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


@pytest.mark.parametrize("wal", ["with", "without"])
def test_a_queue_on_a_read_only_disk_can_be_read(queuectl: Queuectl, namespace: list[str], wal: str) -> None:
    """`wal`: whether the database has a -wal and a -shm file."""
    queuectl.add("--id", "job", "true")
    before = queuectl.position()
    if wal == "without":
        connection = apsw.Connection(str(queuectl.db))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    command = [*namespace, "sh", "-c", READ_ONLY, "sh", str(queuectl.db.parent), PROGRAM]
    changes = (
        ("enqueue", "true"),
        ("cancel", "job"),
        ("run", "--drain", "--log-level", "error"),
        ("config", "set", "jitter", "on"),
    )
    for arguments in changes:
        assert_error(queuectl.start_program(*command, *arguments).ended(), 5, "read-only")
    done = queuectl.start_program(*command, "list").ended()
    assert done.code == 0, done
    assert "job" in done.out
    assert queuectl.position() == before


SHARED = """
import sys
from queuectl import parallel
from queuectl.checks.verify import verify
from queuectl.runtime import SystemClock
from queuectl.store import StoreOptions, open_store
from queuectl.store.ranges import Shares

begun = []
start = parallel.Children.__init__
parallel.Children.__init__ = lambda *given, **named: (begun.append(1), start(*given, **named))[1]
if __name__ == "__main__":
    store = open_store(sys.argv[1], SystemClock(), StoreOptions(archived=False))
    for processes in (1, 2):
        report = verify(store, shares=Shares(sys.argv[1], 10_000_000, processes, small=0))
        print(processes, bool(begun), report.events, sorted(report.counts))
"""
"""`verify` by one process and by two, however small the log."""


@pytest.mark.parametrize("wal", ["with", "without"])
def test_several_processes_verify_a_queue_on_a_read_only_disk(
    queuectl: Queuectl, namespace: list[str], wal: str
) -> None:
    """`wal`: as above."""
    for _ in range(20):
        queuectl.add("true")
    if wal == "without":
        connection = apsw.Connection(str(queuectl.db))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    program = queuectl.folder / "shared.py"
    program.write_text(SHARED)
    command = [*namespace, "sh", "-c", READ_ONLY, "sh", str(queuectl.db.parent), sys.executable, str(program)]
    done = queuectl.start_program(*command, str(queuectl.db)).ended()
    events = queuectl.position()
    assert (done.out, done.code) == (f"1 False {events} []\n2 True {events} []\n", 0), done


@pytest.mark.skipif(os.geteuid() == 0, reason="modes do not bind root; the read-only mount covers it")
def test_a_folder_without_write_permission_is_named(queuectl: Queuectl) -> None:
    queuectl.db.parent.mkdir(mode=0o500)
    assert_error(queuectl("enqueue", "true"), 5, str(queuectl.db))


# ── a full disk ─────────────────────────────────────────────────────────────────────────────────────────

FULL = """
mount -t tmpfs -o size=400k none "$1" || exit 9
queuectl=$2 db=$1/queue.db
i=0
while [ $i -lt 400 ]; do
    i=$((i + 1))
    # Batches, so that the disk is full soon.
    n=0; while [ $n -lt 20 ]; do n=$((n + 1)); echo '{"id": "'$i-$n'", "command": "true"}'; done > batch
    "$queuectl" --db "$db" enqueue --file batch >> acknowledged 2> error; code=$?
    [ $code -eq 0 ] || break
done
echo $code > code
"$queuectl" --db "$db" enqueue --id late true 2> late > late.out; echo $? > late.code
"$queuectl" --db "$db" list --json --limit 0 > listed || exit 8
mount -o remount,size=64m "$1" || exit 7
"$queuectl" --db "$db" enqueue --id after true || exit 6
"$queuectl" --db "$db" run --drain -c 2 --log-level error || exit 5
cp "$db" "$db-wal" "$3"
"""


class _Full(NamedTuple):
    acknowledged: set[str]
    error: str
    code: int


def _fill(queuectl: Queuectl, namespace: list[str]) -> _Full:
    folder = queuectl.folder
    for name in ("disk", "copy"):
        (folder / name).mkdir()
    script = queuectl.start_program(
        *namespace, "sh", "-c", FULL, "sh", str(folder / "disk"), PROGRAM, str(folder / "copy")
    )
    done = script.ended(120)
    if done.code == 9:
        pytest.skip(f"no small file system of a test's own here: {done.err.strip()}")
    assert done.code == 0, done
    return _Full(
        set((folder / "acknowledged").read_text().split()),
        (folder / "error").read_text(),
        int((folder / "code").read_text()),
    )


def test_no_acknowledged_job_is_lost_on_a_full_disk(queuectl: Queuectl, namespace: list[str]) -> None:
    full = _fill(queuectl, namespace)
    assert full.code == 5
    assert len(full.error.splitlines()) == 1
    assert "full" in full.error
    copy = queuectl.folder / "copy" / "queue.db"
    check_log(copy)
    kept = {row[0] for row in query(copy, "SELECT id FROM jobs WHERE state = 'done'")}
    assert len(full.acknowledged) >= 20
    assert full.acknowledged | {"after"} <= kept
    late = (queuectl.folder / "late.code").read_text().strip()
    assert kept - full.acknowledged - {"after"} == ({"late"} if late == "0" else set())
