"""Every kind of damage: with the archive every event is restored bit for bit, without it all undamaged ones."""

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from queuectl.application.queue import Queue
from queuectl.errors import StoreError
from queuectl.maintenance import recover as recovery
from queuectl.maintenance.lost_jobs import LostJob
from queuectl.maintenance.old_files import copies_and_size
from queuectl.maintenance.recover import NothingToRecoverError
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from queuectl.store.archive import archive
from queuectl.store.options import StoreOptions
from queuectl.store.rows import JobFilter
from tests.archive.damage import DAMAGE, PAGE, flip, is_of, swap_pages
from tests.archive.logs import checkpoint, closed_queue, is_prefix, remove, rows, segment_files, tables
from tests.support.builders import add, new
from tests.support.command_line import eventually
from tests.support.queues import corrupt

TRIES = int(os.environ.get("QUEUECTL_DAMAGE_TRIES", "24"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A queue with half of its events in the database file and half in the -wal; its folder, rows and tables."""
    folder = tmp_path_factory.mktemp("whole")
    path = str(folder / "queue.db")
    sealed, archive.SEAL_AT = archive.SEAL_AT, 8192
    closed_queue(path, 6)
    checkpoint(path)
    store = open_store(path, SystemClock())
    for number in range(40):
        add(store, new(f"late-{number}", command=f"echo {'late' * 10}"))
    store.close()
    archive.SEAL_AT = sealed
    assert os.path.getsize(path + "-wal") > 20 * PAGE
    assert os.path.getsize(path) > 10 * PAGE
    return folder, rows(path), tables(path)


@pytest.fixture
def damaged(whole, tmp_path):
    """A function that makes a new copy to damage."""

    def copy(number=0):
        place = tmp_path / f"try-{number}"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole[0], place)
        os.unlink(place / "queue.db-shm") if (place / "queue.db-shm").exists() else None
        return str(place / "queue.db")

    return copy


def recover(path, *, force=True):
    """Recover with `force`, since random damage may leave the file intact."""
    return recovery.recover(path, SystemClock(), StoreOptions(), lambda position: None, force=force)


def files(path):
    """Every file of the queue by name, with its content and time."""
    found = [each for each in Path(path).parent.rglob("*") if each.is_file() and not each.name.endswith("-shm")]
    return {str(each): (each.read_bytes(), each.stat().st_mtime_ns) for each in found}


def test_a_sound_queue_is_left_as_it_is(damaged):
    path = damaged()
    before = files(path)
    with pytest.raises(NothingToRecoverError, match="nothing to recover"):
        recover(path, force=False)
    assert files(path) == before
    assert recover(path).lost == []


HARM = {
    "an event": lambda path: corrupt(path, "UPDATE events SET actor = 'x' WHERE position = 5"),
    "a table": lambda path: corrupt(path, "UPDATE jobs SET command = 'x' WHERE id = 'late-3'"),
    "the archive": lambda path: segment_files(path)[0].unlink(),
    "no archive": lambda path: shutil.rmtree(f"{path}.archive"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_queue_is_recovered_without_force(damaged, whole, harm):
    path = damaged()
    HARM[harm](path)
    check_whole(path, whole, recover(path, force=False))


def check_whole(path, whole, report):
    assert rows(path) == whole[1]
    assert tables(path) == whole[2]
    assert report.lost == []
    assert is_prefix(path) == len(whole[1])
    store = open_store(path, SystemClock())
    assert store.log.log_id == log_id_of(whole[0])
    add(store, new("next"))
    store.close()
    assert is_prefix(path) == len(whole[1]) + 1


def log_id_of(folder):
    store = open_store(str(folder / "queue.db"), SystemClock(), StoreOptions(archived=False))
    store.close()
    return store.log.log_id


# ── what comes back ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["", "-wal", "both"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_with_the_archive_every_event_is_restored_exactly(whole, damaged, kind, where):
    rng = random.Random(f"{kind} {where}")
    for number in range(1 if kind == "deleted" else max(1, TRIES // 20)):
        path = damaged(number)
        for suffix in ("", "-wal") if where == "both" else (where,):
            DAMAGE[kind](path + suffix, rng)
        check_whole(path, whole, recover(path))


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind != "two pages swapped"])
def test_a_damaged_archive_is_rebuilt_from_the_database(whole, damaged, kind):
    rng = random.Random(kind)
    for number in range(max(1, TRIES // 20)):
        path = damaged(number)
        DAMAGE[kind](rng.choice(segment_files(path)), rng)
        check_whole(path, whole, recover(path))


@pytest.mark.parametrize("kind", ["a byte flipped", "ten bytes flipped", "a page zeroed", "garbage"])
def test_database_and_archive_repair_each_others_damage(whole, damaged, kind):
    rng = random.Random(kind)
    path = damaged()
    DAMAGE[kind](path, rng)
    flip(segment_files(path)[-1], rng, 3)
    flip(path + "-wal", rng, 1)
    report = recover(path)
    assert rows(path) == whole[1][: report.head.position]
    assert report.head.position == len(whole[1]) or report.lost


def test_single_bytes_of_the_database_without_its_archive(whole, damaged):
    """The events before the damaged one are restored. Those after it cannot be checked."""
    rng = random.Random(1)
    complete = 0
    for number in range(TRIES):
        path = damaged(number % 2)
        shutil.rmtree(f"{path}.archive")
        file = path + rng.choice(["", "-wal"])
        offset = rng.randrange(os.path.getsize(file))
        with open(file, "rb") as data:
            content = data.read()
        hit = bytes([content[offset] ^ rng.randrange(1, 256)])
        with open(file, "r+b") as data:
            data.seek(offset)
            data.write(hit)
        report = recover(path)
        found = rows(path)
        assert found == whole[1][: len(found)]
        assert len(found) == report.head.position
        if len(found) < len(whole[1]):
            assert is_of(content, offset, whole[1][len(found)])
            assert report.lost[0][0] == len(found) + 1 or len(found) + 1 == len(whole[1])
            assert not report.lost or report.lost[-1][1] == len(whole[1])
        complete += len(found) == len(whole[1])
        assert tables_follow(path)
    assert complete > TRIES / 2


def tables_follow(path):
    """Assert that the tables are derived from the remaining events."""
    store = open_store(path, SystemClock())
    jobs = {row["id"]: row["version"] for row in store.tables.jobs(JobFilter(limit=0))}
    expected = {job_id: store.log.version(job_id) for job_id in jobs}
    store.close()
    return jobs == expected


def test_swapped_pages_lose_nothing_without_the_archive(whole, damaged):
    """An event that is longer than a page names the pages of its rest by their numbers; those are not swapped."""
    rng = random.Random(2)
    for number in range(5):
        path = damaged(number)
        shutil.rmtree(f"{path}.archive")
        swap_pages(path, rng, spared=b"longlong")
        recover(path)
        assert rows(path) == whole[1]


def test_without_an_archive_only_the_cut_tail_of_the_wal_is_lost(whole, damaged):
    path = damaged()
    shutil.rmtree(f"{path}.archive")
    os.truncate(path + "-wal", os.path.getsize(path + "-wal") // 2)
    report = recover(path)
    assert 0 < report.head.position < len(whole[1])
    assert rows(path) == whole[1][: report.head.position]


# ── diverged ────────────────────────────────────────────────────────────────────────────────────────


def test_an_old_backup_put_back_gets_the_rest(whole, damaged):
    path = damaged()
    shutil.copy(path, path + ".old")
    remove(path, "-wal")
    report = recover(path)
    check_whole(path, whole, report)
    assert report.restored


def test_the_longer_of_two_branches_is_kept(whole, damaged):
    path = damaged()
    remove(path, "-wal")
    os.rename(f"{path}.archive", f"{path}.kept")
    store = open_store(path, SystemClock())
    at = store.log.head().position
    add(store, new("beside-1"), new("beside-2"))
    store.close()
    shutil.rmtree(f"{path}.archive")
    os.rename(f"{path}.kept", f"{path}.archive")
    report = recover(path)
    assert rows(path) == whole[1]
    assert report.lost == [(at + 1, at + 2)]
    assert report.lost_jobs == [LostJob(f"beside-{n}", "true", ["enqueued"], gone=True) for n in (1, 2)]


def test_a_job_that_only_lost_its_last_events_is_not_gone(tmp_path):
    path = str(tmp_path / "queue.db")
    store = open_store(path, SystemClock())
    add(store, new("a", command="echo a"), new("b", command="echo b"))
    Queue(store, "me").cancel(["b"])
    store.close()
    shutil.rmtree(f"{path}.archive")
    corrupt(path, "UPDATE events SET salt = zeroblob(16) WHERE position = 3")
    report = recover(path)
    assert report.lost == [(3, 3)]
    assert report.lost_jobs == [LostJob("b", "echo b", ["cancelled"], gone=False)]


def test_jobs_after_a_damaged_event_are_named_without_an_archive(tmp_path):
    path = str(tmp_path / "queue.db")
    store = open_store(path, SystemClock())
    add(store, *(new(name, command=f"echo {name}") for name in ("one", "two", "three")))
    store.close()
    shutil.rmtree(f"{path}.archive")
    corrupt(path, "UPDATE events SET data = 'garbage' WHERE position = 2")
    report = recover(path)
    assert report.lost == [(2, 3)]
    assert report.lost_jobs == [
        LostJob("two", None, ["enqueued"], gone=True),
        LostJob("three", "echo three", ["enqueued"], gone=True),
    ]


@pytest.mark.parametrize("linked", [False, True])
def test_another_logs_archive_is_moved_away_and_not_used(whole, damaged, tmp_path, linked):
    path, other = damaged(), str(tmp_path / "other.db")
    closed_queue(other, 12)
    shutil.rmtree(f"{path}.archive")
    os.symlink(f"{other}.archive", f"{path}.archive") if linked else shutil.copytree(
        f"{other}.archive", f"{path}.archive"
    )
    before = [file.read_bytes() for file in segment_files(other)]
    report = recover(path)
    check_whole(path, whole, report)
    assert report.archive_aside == f"{path}.archive.foreign-1"
    assert os.path.islink(report.archive_aside) == linked
    assert [file.read_bytes() for file in segment_files(other)] == before
    assert is_prefix(other) == len(rows(other))


def test_its_own_archive_is_kept_when_the_databases_log_id_is_wrong(whole, damaged):
    path = damaged()
    with apsw.Connection(path) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'log_id'", ("f" * 32,))
    db.close()
    checkpoint(path)
    os.truncate(path, os.path.getsize(path) // 2)
    report = recover(path)
    assert (report.lost, report.archive_aside) == ([], None)
    assert rows(path) == whole[1]


@pytest.mark.parametrize("again", [False, True])
def test_an_uncommitted_change_does_not_come_back(damaged, whole, again):
    """SQLite had spilled a large transaction to the -wal when its process was killed."""
    path = damaged()
    program = (
        "import os, sys\nfrom queuectl.store import open_store\nfrom queuectl.runtime import SystemClock\n"
        "from tests.support.builders import new\n"
        "store = open_store(sys.argv[1], SystemClock())\nstore.engine.db.pragma('cache_size', 10)\n"
        "with store.writer.transaction():\n"
        "    store.writer.append([new(f'half-{n}', command='x' * 500) for n in range(500)], 'a@b')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    before = os.path.getsize(path + "-wal")
    db = apsw.Connection(path)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    if again:  # the -wal starts again, over frames of commits that are long in the database
        db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        program = program.replace("range(500)", "range(60)")
    subprocess.run([sys.executable, "-c", program, path], check=False, cwd=os.getcwd())
    db.close()
    assert os.path.getsize(path + "-wal") > before + 20 * PAGE or again
    shutil.rmtree(f"{path}.archive")
    recover(path)
    assert rows(path) == whole[1]


def test_a_later_segment_is_not_taken_for_the_beginning_of_the_log(damaged):
    """Its header has a base too; the events before it would be lost silently."""
    path = damaged()
    remove(path, "", "-wal")
    first, *others = segment_files(path)
    first.unlink()
    with pytest.raises(StoreError, match=r"nothing to recover: neither .* contains the start of a log"):
        recover(path)
    assert segment_files(path) == others


# ── the procedure ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "value"), [("base_digest", b"\x01" * 32), ("base_position", 1), ("log_id", "f" * 32), ("log_id", "\x01")]
)
def test_wrong_metadata_in_the_database_loses_no_event(whole, damaged, key, value):
    path = damaged()
    db = apsw.Connection(path)
    db.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
    db.close()
    report = recover(path)
    assert report.lost == []
    assert (rows(path), tables(path)) == whole[1:]


def test_an_intact_queue_is_unchanged(whole, damaged):
    path = damaged()
    report = recover(path)
    assert report.kept == [(1, len(whole[1]))]
    assert (report.restored, report.archive_aside) == ([], None)
    check_whole(path, whole, report)


def test_the_old_files_stay(damaged):
    """A copy may have the only trace of a lost event. Other files with such a name are not touched."""
    path = damaged()
    with open(f"{path}.damaged-notes.txt", "w", encoding="utf-8") as notes:
        notes.write("what I did")
    rng, copies = random.Random(3), {}
    for _ in range(5):
        flip(path, rng)
        with open(path, "rb") as file:
            before = file.read()
        copies[recover(path).aside] = before
    assert len(copies) == 5
    for aside, before in copies.items():
        with open(os.path.join(aside, "queue.db"), "rb") as file:
            assert file.read() == before
    sizes = [os.path.getsize(os.path.join(place, name)) for place in copies for name in os.listdir(place)]
    assert copies_and_size(path) == (5, sum(sizes))
    assert os.path.exists(f"{path}.damaged-notes.txt")
    assert [name for name in os.listdir(os.path.dirname(path)) if "recover" in name] == []


def test_a_disk_without_room_for_copies_is_reported_and_unchanged(damaged, whole, monkeypatch):
    """Exit code 1 would mean that events are lost."""
    path = damaged()
    before = set(os.listdir(os.path.dirname(path)))

    def full(name, part):
        shutil.copyfile(name, os.path.join(part, os.path.basename(name)))
        raise OSError(errno.ENOSPC, "No space left on device", part)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copy2", full)
        with pytest.raises(StoreError, match=r"cannot recover .*: the disk is full: free space"):
            recover(path)
    assert set(os.listdir(os.path.dirname(path))) == before
    assert rows(path) == whole[1]


def test_the_same_damage_is_copied_once(damaged):
    path = damaged()
    shutil.copytree(os.path.dirname(path), f"{path}-again")
    first = os.path.basename(recover(path).aside)
    assert os.path.basename(recover(f"{path}-again/queue.db").aside) == first


def test_a_queue_in_use_is_not_recovered(damaged, whole):
    path = damaged()
    program = (
        "import apsw, sys\ndb = apsw.Connection(sys.argv[1])\n"
        "print(db.execute('SELECT 1 FROM meta').fetchone(), flush=True)\ninput()"
    )
    user = subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        user.stdout.readline()
        with pytest.raises(StoreError, match=rf"is open in python.*pid {user.pid}") as error:
            recover(path)
        assert error.value.exit_code == 5
    finally:
        user.communicate(b"\n", timeout=30)
    check_whole(path, whole, recover(path))


WRITER = """
import sys
from queuectl.store import StoreOptions, open_store
from queuectl.runtime import SystemClock
from tests.support.builders import add, new
store = open_store(sys.argv[1], SystemClock(), StoreOptions(busy_timeout=int(sys.argv[2])))
add(store, new("meanwhile"))
store.close()
"""


def writer(path, patience):
    return subprocess.Popen([sys.executable, "-c", WRITER, path, str(patience)], stderr=subprocess.PIPE, text=True)


def test_an_opener_during_a_recovery_does_not_write_to_the_old_file(damaged, whole, monkeypatch):
    path = damaged()
    copied = recovery.back_up

    def meanwhile(*arguments):
        hasty = writer(path, 0)
        assert "is locked by another process" in hasty.communicate(timeout=60)[1]
        assert hasty.returncode == 1
        copied(*arguments)

    monkeypatch.setattr(recovery, "back_up", meanwhile)
    check_whole(path, whole, recover(path))


def test_a_process_that_waits_for_a_recovery_writes_to_the_new_file(damaged, whole, monkeypatch):
    path = damaged()
    copied, waiting = recovery.back_up, []

    def meanwhile(*arguments):
        waiting.append(writer(path, 60_000_000))
        eventually(lambda: has_open(waiting[0].pid, path), "it has opened the old database")
        copied(*arguments)

    monkeypatch.setattr(recovery, "back_up", meanwhile)
    assert recover(path).lost == []
    assert waiting[0].communicate(timeout=60)[1] == ""
    assert rows(path)[:-1] == whole[1]
    assert is_prefix(path) == len(whole[1]) + 1
    assert tables_follow(path)


def has_open(pid, path):
    found = [os.path.realpath(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    return path in found


def test_nothing_to_recover(tmp_path):
    with pytest.raises(StoreError, match="nothing to recover"):
        recover(str(tmp_path / "queue.db"))
    assert os.listdir(tmp_path) == []


def test_another_programs_file_is_not_replaced_from_an_archive(tmp_path):
    path = str(tmp_path / "queue.db")
    closed_queue(path)
    remove(path, "", "-wal", "-shm")
    with apsw.Connection(path) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    with pytest.raises(StoreError, match="is another program's SQLite database") as error:
        recover(path)
    assert error.value.exit_code == 5
    assert sorted(os.listdir(tmp_path)) == ["queue.db", "queue.db.archive"]


def test_a_queue_whose_header_names_another_program_is_recovered(damaged, whole):
    path = damaged()
    with open(path, "r+b") as file:
        file.seek(68)  # application_id (sqlite.org/fileformat2.html)
        file.write(b"ABCD")
    shutil.rmtree(f"{path}.archive")
    assert recover(path).lost == []
    assert rows(path) == whole[1]


@pytest.mark.parametrize("step", ["back_up", "_swap", "os.replace"])
def test_an_interrupted_recovery_can_be_repeated(damaged, whole, monkeypatch, step):
    """The archive is gone and the events are in the -wal, which must not be lost."""
    path = damaged()
    shutil.rmtree(f"{path}.archive")

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail) if step == "os.replace" else patched.setattr(recovery, step, fail)
        with pytest.raises(KeyboardInterrupt):
            recover(path)
    recover(path)
    assert rows(path) == whole[1]
