"""The archive is a prefix of the log, whatever happens to the processes that write it."""

import errno
import fcntl
import os
import random
import select
import shutil
import time
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path

import pytest

from queuectl.application.queue import Queue
from queuectl.errors import StoreError
from queuectl.maintenance.backup import back_up
from queuectl.maintenance.export import export_log
from queuectl.maintenance.import_log import import_log
from queuectl.store import open_store
from queuectl.store.archive import archive
from queuectl.store.archive import boot_marker as boots
from queuectl.store.archive import folder_lock as folders
from queuectl.store.archive.segments import UnreachableError
from queuectl.store.errors import VersionConflictError
from queuectl.store.options import StoreOptions
from queuectl.store.sql.writer import KEPT
from tests.archive.logs import add_history, archived, checkpoint, is_prefix, rows, segment_files
from tests.support.builders import ACTOR, a_worker, add, claimant, new
from tests.support.peer import Peer
from tests.support.queues import WARNING

SMALL = 4096


def kept(path, clock, durability):
    return open_store(path, clock, StoreOptions(durability=durability))


def test_every_change_is_in_the_archive_once_it_is_made(store, path, clock):
    for number in range(5):
        add(store, new(f"job-{number}"))
        assert is_prefix(path) == number + 1
    add_history(store, clock)
    assert is_prefix(path) == store.log.head().position


def test_a_claim_is_archived_only_with_a_synced_change(store, path):
    add(store, new("a"))
    [job] = Queue(store, ACTOR).claim(claimant(), (), 1, lambda job: True)
    store.workers.beat(a_worker())
    assert (job.version, is_prefix(path)) == (2, 1)
    add(store, new("b"))
    assert is_prefix(path) == 3


def test_nothing_is_archived_that_was_not_committed(store, path):
    add(store, new("a"))
    with suppress(ZeroDivisionError), store.writer.transaction():
        add(store, new("b"))
        raise ZeroDivisionError
    assert is_prefix(path) == 1


def test_rows_of_this_process_are_not_read_back(store, path, monkeypatch):
    add(store, new("a"))
    monkeypatch.setattr(store.log, "stored_page", None)
    add(store, new("b"))
    assert [job.id for job in Queue(store, ACTOR).claim(claimant(), (), 1, lambda job: True)] == ["a"]
    add(store, new("c"), new("d"))
    assert is_prefix(path) == 5


def test_a_change_after_those_of_others_or_undone_ones_is_archived(store, path, clock):
    add(store, new("a"))
    with closing(open_store(path, clock)) as other:
        Queue(store, ACTOR).claim(claimant(), (), 1, lambda job: True)  # archived with the next synced change
        add(other, new("b"))
    add(store, new("c"))
    with suppress(ZeroDivisionError), store.writer.transaction():
        add(store, new("undone"))
        raise ZeroDivisionError
    add(store, new("d"))
    with store.writer.transaction():
        add(store, new("e"))
        with pytest.raises(VersionConflictError):
            add(store, new("undone"), new("a"))
        add(store, new("f"))
    assert is_prefix(path) == 7
    assert [row[1] for row in rows(path)] == ["a", "a", "b", "c", "d", "e", "f"]


def test_a_part_undone_at_the_end_of_a_change_is_not_archived(store, path, monkeypatch):
    with store.writer.transaction():
        add(store, new("a"))
        monkeypatch.setattr(store.writer, "_tables", None)
        with pytest.raises(AttributeError):
            add(store, new("undone"))
    assert is_prefix(path) == 1
    assert [row[1] for row in rows(path)] == ["a"]


def test_a_change_of_more_events_than_are_kept_is_archived(store, path):
    with store.writer.transaction():
        add(store, *(new(f"job-{number}") for number in range(KEPT + 1)))
        assert not store.writer._written[1]
    add(store, new("last"))
    assert is_prefix(path) == KEPT + 2


def test_a_queue_in_memory_has_no_archive(tmp_path, clock, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store(":memory:", clock)
    add(store, new("a"))
    store.close()
    assert os.listdir(tmp_path) == []


def test_archive_files_are_private(store, path):
    add(store, new("a"))
    assert os.stat(f"{path}.archive").st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in Path(f"{path}.archive").iterdir()} == {0o600}


# ── what others do to it ────────────────────────────────────────────────────────────────────────────


def test_another_store_archives_the_events_that_one_left_out(store, path, clock):
    other = open_store(path, clock, StoreOptions(archived=False))
    add(store, new("a"))
    add(other, new("b"), new("c"))
    assert is_prefix(path) == 1
    add(store, new("d"))
    assert is_prefix(path) == 4
    other.close()


def test_stores_that_take_turns_see_each_others_lines(path, clock, monkeypatch):
    monkeypatch.setattr(archive, "SEAL_AT", SMALL)
    stores = [open_store(path, clock) for _ in range(3)]
    for number in range(60):
        add(stores[number % 3], new(f"job-{number}"))
        assert is_prefix(path) == number + 1
    assert len(segment_files(path)) > 3
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "rest", [b'{"position":3,"stream', b"\0" * 5000, b"{}\n\n", b'"data":{}}\n{"posi', b"\xff\n" * 9000]
)
def test_a_torn_end_is_cut(path, clock, rest):
    store = open_store(path, clock)
    add(store, new("a"), new("b"))
    store.close()
    with segment_files(path)[-1].open("ab") as file:
        file.write(rest)
    store = open_store(path, clock)
    add(store, new("c"))
    assert is_prefix(path) == 3
    store.close()


@pytest.mark.parametrize("keep", [0, 1, 50, 163])
def test_a_segment_whose_header_is_torn_is_begun_again(path, clock, keep):
    store = open_store(path, clock)
    add(store, new("a"))
    store.close()
    os.truncate(segment_files(path)[0], keep)
    store = open_store(path, clock)
    add(store, new("b"))
    assert is_prefix(path) == 2
    store.close()


@pytest.mark.parametrize("lose", [shutil.rmtree, lambda folder: os.rename(folder, folder + ".old")])
def test_a_removed_archive_is_written_again(store, path, lose):
    add(store, new("a"))
    lose(f"{path}.archive")
    add(store, new("b"))
    assert is_prefix(path) == 2


def test_many_processes_and_kill_9(path, peers, clock):
    """After a writer is killed, even inside a line, the next one continues from there."""
    rng = random.Random(4)
    open_store(path, clock).close()
    for _ in range(4):
        crowd = [Peer() for _ in range(3)]
        peers += crowd
        for number, peer in enumerate(crowd):
            peer.call("open", path)
            peer.ask("enqueue many", f"p{number}", 100_000)
        wanted = len(rows(path)) + rng.randrange(20, 200)
        deadline = time.monotonic() + 60
        while len(rows(path)) < wanted:
            assert time.monotonic() < deadline
        for peer in crowd:
            peer.end()
        store = open_store(path, clock)
        assert is_prefix_but_for_a_torn_end(path)
        add(store, new(f"after-{wanted}"))
        assert is_prefix(path) == store.log.head().position
        store.close()


def test_one_writer_at_a_time(store, path, peers):
    """A second writer waits: two that copied the same rows would write them twice."""
    add(store, new("a"))
    peers.append(Peer())
    peers[0].call("open", path)
    folder = os.open(f"{path}.archive", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    peers[0].ask("append", "b")
    deadline = time.monotonic() + 60
    while len(rows(path)) < 2:
        assert time.monotonic() < deadline
    assert not select.select([peers[0]._process.stdout], [], [], 0.3)[0]
    assert is_prefix(path) == 1
    os.close(folder)
    assert peers[0].answer() == "appended"
    assert is_prefix(path) == 2


def test_paranoid_waits_for_a_long_copy_but_not_a_stuck_one(path, clock, monkeypatch):
    """The other process copies for three times as long as a stuck one would be waited for."""
    store = kept(path, clock, "paranoid")
    add(store, new("a"))
    last, whole = segment_files(path)[-1], segment_files(path)[-1].read_bytes()
    folder = os.open(f"{path}.archive", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    waited = []

    def at_work(_):
        waited.append(1)
        if len(waited) < 3 * folders.TRIES:
            os.truncate(last, len(whole) + len(waited))
        else:
            os.truncate(last, len(whole))
            fcntl.flock(folder, fcntl.LOCK_UN)

    monkeypatch.setattr(folders, "pause", at_work)
    add(store, new("b"))
    assert is_prefix(path) == 2
    fcntl.flock(folder, fcntl.LOCK_EX)
    monkeypatch.setattr(folders, "pause", waited.append)
    with pytest.raises(StoreError, match="another process holds"):
        add(store, new("c"))
    os.close(folder)
    store.close()


def is_prefix_but_for_a_torn_end(path):
    file = segment_files(path)[-1]
    whole = file.read_bytes()
    os.truncate(file, whole.rfind(b"\n") + 1)
    is_prefix(path)
    file.write_bytes(whole)
    return True


# ── segments ────────────────────────────────────────────────────────────────────────────────────────


def test_full_segments_are_synced_and_never_touched_again(path, clock, monkeypatch):
    monkeypatch.setattr(archive, "SEAL_AT", SMALL)
    synced = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    store = open_store(path, clock)
    add_history(store, clock)
    *sealed, _ = segment_files(path)
    before = [file.read_bytes() for file in sealed]
    assert len(sealed) > 3
    assert all(len(data) >= SMALL for data in before)
    assert synced == [str(file) for file in sealed]
    add(store, new("more"))
    assert [file.read_bytes() for file in sealed] == before
    assert is_prefix(path) == store.log.head().position
    store.close()


# ── an archive that fails, and the levels of durability ─────────────────────────────────────────────


def block(path):
    """Make writing to the archive fail."""
    shutil.rmtree(f"{path}.archive")
    with open(f"{path}.archive", "w"):
        pass


def test_a_failing_archive_is_reported_once_and_completed(store, path, capsys):
    add(store, new("a"))
    block(path)
    add(store, new("b"))
    add(store, new("c"))
    assert capsys.readouterr().err.count("\n") == 1
    os.unlink(f"{path}.archive")
    add(store, new("d"))
    assert is_prefix(path) == 4


def test_a_disk_that_fills_within_a_line_leaves_no_torn_line(store, path, monkeypatch, capsys):
    add(store, new("a"))
    real = os.write

    def full(descriptor, data):
        monkeypatch.setattr(os, "write", fail)
        return real(descriptor, data[:100])

    def fail(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    add(store, new("b"))
    assert "not in the archive" in capsys.readouterr().err
    monkeypatch.setattr(os, "write", real)
    add(store, new("c"))
    assert is_prefix(path) == 3


def test_paranoid_reports_a_change_only_in_the_database(path, clock):
    store = kept(path, clock, "paranoid")
    add(store, new("a"))
    block(path)
    with pytest.raises(StoreError, match="recorded in the database but not in the archive") as error:
        add(store, new("b"))
    assert error.value.exit_code == 5
    assert [row[1] for row in rows(path)] == ["a", "b"]
    store.close()


def test_a_failed_sync_of_a_deleted_folder_is_reported(path, clock, monkeypatch):
    store = kept(path, clock, "paranoid")
    add(store, new("a"))

    def moved_away(descriptor):
        os.rename(f"{path}.archive", f"{path}.elsewhere")
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fdatasync", moved_away)
    with pytest.raises(StoreError, match="recorded in the database but not in the archive"):
        add(store, new("b"))
    store.close()


@pytest.mark.parametrize(("durability", "synchronous", "syncs"), [("safe", 2, 0), ("paranoid", 2, 3), ("fast", 1, 0)])
def test_the_levels_of_durability(path, clock, monkeypatch, durability, synchronous, syncs):
    counted = []
    monkeypatch.setattr(os, "fdatasync", counted.append)
    store = kept(path, clock, durability)
    for number in range(3):
        with store.writer.transaction():
            assert store.engine.db.pragma("synchronous") == synchronous
            add(store, new(f"job-{number}"))
    assert len(counted) == syncs
    assert is_prefix(path) == 3
    store.close()


# ── elsewhere ───────────────────────────────────────────────────────────────────────────────────────


def test_archives_in_one_folder_stay_separate_and_are_found_again(tmp_path, clock):
    far = str(tmp_path / "far")
    paths = [str(tmp_path / name / "queue.db") for name in ("one", "two")]
    for path in paths:
        store = open_store(path, clock, StoreOptions(archive_dir=far, warn=WARNING.warn))
        add(store, new("a"))
        store.close()
        store = open_store(path, clock)
        add(store, new("b"))
        assert os.path.dirname(os.path.realpath(f"{path}.archive")) == far
        assert is_prefix(path) == 2
        store.close()
    assert len(os.listdir(far)) == 2
    assert archived(paths[0]) != archived(paths[1])


def elsewhere(path, clock, far):
    return open_store(path, clock, StoreOptions(archive_dir=far, warn=WARNING.warn))


def written_to(store, path, far, clock):
    """Use a backup, which is another queue of the same log."""
    back_up(store, path, lambda name: open_store(name, clock), lambda position: None)
    with closing(elsewhere(path, clock, far)) as second:
        add(second, new("b"))


def imported(store, path, far, clock):
    file = BytesIO()
    export_log(store, file, lambda position: None)
    with closing(elsewhere(path, clock, far)) as second:
        import_log(second, file.getvalue().splitlines(keepends=True), lambda position: None)


@pytest.mark.parametrize(("use", "events"), [(written_to, 1), (imported, 0)])
def test_two_queues_of_one_log_never_share_an_archive(path, tmp_path, clock, use, events):
    """Events of one queue must not get into the archive of the other."""
    far, other = str(tmp_path / "far"), str(tmp_path / "second.db")
    first = elsewhere(path, clock, far)
    add(first, new("a"))
    with pytest.raises(StoreError, match=r"another --archive-dir; or.* `ln -s"):
        use(first, other, far, clock)
    assert len(rows(other)) == events
    add(first, new("c"))
    assert is_prefix(path) == 2
    first.close()


def test_a_lost_link_is_refused_until_it_is_put_back(path, tmp_path, clock):
    store = elsewhere(path, clock, str(tmp_path / "far"))
    add(store, new("a"))
    store.close()
    home = os.readlink(f"{path}.archive")
    os.unlink(f"{path}.archive")
    store = elsewhere(path, clock, str(tmp_path / "far"))
    with pytest.raises(StoreError, match=f"ln -s {home} {path}.archive"):
        add(store, new("b"))
    store.close()
    os.symlink(home, f"{path}.archive")
    store = elsewhere(path, clock, str(tmp_path / "far"))
    add(store, new("b"))
    assert is_prefix(path) == 2
    store.close()


def test_an_archive_on_a_missing_disk_is_not_started_again(path, tmp_path, clock, capsys):
    store = elsewhere(path, clock, str(tmp_path / "far"))
    add(store, new("a"))
    os.rename(tmp_path / "far", tmp_path / "unmounted")
    add(store, new("b"))
    assert capsys.readouterr().err.count("cannot be reached: mount the disk of") == 1
    with pytest.raises(UnreachableError, match="mount the disk"):
        store.location.archive.end()
    os.rename(tmp_path / "unmounted", tmp_path / "far")
    add(store, new("c"))
    assert is_prefix(path) == 3
    store.close()


# ── after a power cut ───────────────────────────────────────────────────────────────────────────────


def with_a_hole(path, clock, part=0.5):
    """Make a queue whose last segment lost a sector, by default in its middle; return its number of events."""
    store = open_store(path, clock)
    add_history(store, clock)
    store.close()
    with segment_files(path)[-1].open("r+b") as file:
        file.seek(int(file.seek(0, 2) * part) // 512 * 512)
        file.write(bytes(512))
    return len(rows(path))


def test_a_hole_in_the_last_segment_is_repaired_after_a_reboot(path, clock, monkeypatch):
    events = with_a_hole(path, clock)
    monkeypatch.setattr(boots, "boot_id", lambda: "another")
    open_store(path, clock).close()
    assert is_prefix(path) == events


@pytest.mark.parametrize("part", [0, 0.3, 1])
def test_the_first_change_after_a_boot_repairs_it_too(path, clock, monkeypatch, part):
    events = with_a_hole(path, clock, part)
    store = open_store(path, clock)
    monkeypatch.setattr(boots, "boot_id", lambda: "another")
    store.location.archive._checked = False
    add(store, new("next"))
    assert is_prefix(path) == events + 1
    store.close()


def test_in_one_boot_the_segment_is_read_whole_once(path, clock, monkeypatch):
    read = []
    real = archive.sound_end
    monkeypatch.setattr(archive, "sound_end", lambda path: (read.append(path), real(path))[1])
    for boot in ("one", "one", "two", "two"):
        monkeypatch.setattr(boots, "boot_id", lambda boot=boot: boot)
        store = open_store(path, clock)
        add(store, new(f"{boot}-{store.log.head().position}"))
        store.close()
    assert len(read) == 1


def test_without_boot_ids_every_process_checks_the_segment(path, clock, monkeypatch):
    monkeypatch.setattr(boots, "boot_id", lambda: "")
    events = with_a_hole(path, clock)
    open_store(path, clock).close()
    assert is_prefix(path) == events
    (Path(f"{path}.archive") / "boot").write_bytes(b"")
    assert not boots.is_checked(f"{path}.archive")


def test_a_database_behind_its_archive_takes_nothing_past_a_gap(path, clock, monkeypatch):
    store = open_store(path, clock)
    add(store, new("a"))
    store.close()
    checkpoint(path)
    old = Path(path).read_bytes()
    with_a_hole(path, clock)
    for suffix in ("-wal", "-shm"):
        os.unlink(path + suffix)
    Path(path).write_bytes(old)
    lines = segment_files(path)[-1].read_bytes()
    monkeypatch.setattr(boots, "boot_id", lambda: "another")
    store = open_store(path, clock)
    with pytest.raises(StoreError, match="queuectl recover"):
        add(store, new("next"))
    assert segment_files(path)[-1].read_bytes() == lines
    store.close()


def test_a_failed_new_segment_closes_no_descriptor_twice(path, clock, monkeypatch):
    """A descriptor that is closed twice may belong to SQLite by then, which would drop SQLite's locks."""
    monkeypatch.setattr(archive, "SEAL_AT", SMALL)
    opened = os.open

    def full(name, flags, *mode):
        if str(name).endswith(".ndjson") and flags & os.O_CREAT and not name.endswith("000000000001.ndjson"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(name, flags, *mode)

    store = open_store(path, clock)
    add(store, new("a", command="x" * SMALL))
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        add(store, new("b"), new("c"))
        other = opened(path + "-other", os.O_CREAT | os.O_RDWR)
        add(store, new("d"))
        os.close(other)
    add(store, new("e"))
    store.close()
    assert is_prefix(path) == 5


def test_a_segment_whose_sync_fails_is_copied_again_into_another_file(path, clock, monkeypatch):
    """Linux drops data that it could not write, and the next sync of the same file reports success."""
    monkeypatch.setattr(archive, "SEAL_AT", SMALL)

    def failing(file):
        raise OSError(errno.EIO, "Input/output error")

    store = open_store(path, clock)
    add(store, new("a", command="x" * SMALL))
    [first] = segment_files(path)
    inode = first.stat().st_ino
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing)
        add(store, new("b"))
    assert segment_files(path) == []
    add(store, new("c"))
    store.close()
    assert is_prefix(path) == 3
    assert segment_files(path)[0].stat().st_ino != inode
    assert first.with_name(f"{first.name}.damaged").stat().st_ino == inode
