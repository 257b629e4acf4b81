"""A power cut at any moment loses no acknowledged event, and log and archive never diverge."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from queuectl.application.queue import Queue
from queuectl.domain.job import Job
from queuectl.errors import StoreBusyError, StoreError
from queuectl.store import open_store
from queuectl.store.archive.archive import Archive
from queuectl.store.options import StoreOptions
from queuectl.store.protocol import Store
from queuectl.store.sql.writer import TableWriter, Writer
from queuectl.store.sqlite.engine import SqliteEngine
from tests.powerloss import workload
from tests.powerloss.campaign import Live, run
from tests.powerloss.disk import Acknowledged, Disk, FailedSync, Name, SyncFolder, Write
from tests.powerloss.oracle import AHEAD, DAMAGED, LOST, REFUSED
from tests.powerloss.recording import booted, recording
from tests.powerloss.trouble import SYNC, Trouble
from tests.powerloss.workload import Recording, begin_unsynced, record
from tests.support.builders import SettableClock, add, claimant, new

SEEDS = range(2)
STATES_OF_A_SEED = 250
STATES = 100
"""For what shows in a few of them."""


@pytest.mark.parametrize("seed", SEEDS)
def test_power_cuts_lose_no_acknowledged_event(seed: int) -> None:
    figures = run(STATES_OF_A_SEED, seed)
    assert figures.states >= STATES_OF_A_SEED
    assert figures.acknowledged > figures.states
    assert not figures.faults, f"\n{figures}"


def test_power_cuts_of_a_paranoid_queue() -> None:
    figures = run(STATES, 6, partial(record, durability="paranoid"))
    assert not figures.faults, f"\n{figures}"


# ── what is recorded ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", SEEDS)
def test_a_recording_replayed_gives_the_same_files(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Applying all recorded steps gives the existing files."""
    monkeypatch.setattr(workload, "TROUBLE", (0.0,))
    disk = Disk()
    for step in record(str(tmp_path), seed).steps:
        disk.take(step)
    there = {str(path): None if path.is_dir() else path.read_bytes() for path in tmp_path.rglob("*")}
    assert disk.everything() == {path: content for path, content in there.items() if not path.endswith("-shm")}


def test_no_power_cut_leaves_an_unlinked_file(tmp_path: Path) -> None:
    """SQLite unlinks the file of a large temporary table at once, so it is on no disk after a cut."""
    with recording(Trouble(Random(0))) as recorder, closing(apsw.Connection(str(tmp_path / "db"))) as db:
        db.execute("PRAGMA temp_store = FILE; PRAGMA temp.cache_size = 1; BEGIN; CREATE TEMP TABLE large(filling)")
        for _ in range(50):
            db.execute("INSERT INTO large VALUES (randomblob(10000))")
    written = {step.file for step in recorder.steps if isinstance(step, Write)}
    named = [step for step in recorder.steps if isinstance(step, Name)]
    assert written - {step.file for step in named}, "nothing was written to a nameless file"
    assert all(step.path.startswith(str(tmp_path)) for step in named)


def test_the_recordings_have_every_kind_of_step(tmp_path: Path) -> None:
    met = {what for seed in SEEDS for what in happenings(os.path.join(tmp_path, str(seed)), seed)}
    assert met == {
        "acknowledged",
        "first -wal",
        "checkpoint",
        "-wal begun again",
        "sealed segment",
        "no journal",
        "failed",
    }


def happenings(folder: str, seed: int) -> Iterator[str]:
    os.mkdir(folder)
    recording = record(folder, seed)
    names = {step.file: step.path for step in recording.steps if isinstance(step, Name) and step.file}
    begun = 0
    for step in recording.steps:
        match step:
            case Acknowledged():
                yield "acknowledged"
            case FailedSync():
                yield "failed"
            case SyncFolder(path) if path.endswith(".archive"):
                yield "sealed segment"
            case Name(path, None) if path.endswith("-journal"):
                yield "no journal"
            case Write(file, 0) if names.get(file, "").endswith("-wal"):
                yield "-wal begun again" if begun else "first -wal"
                begun += 1
            case Write(file) if names.get(file) == recording.path and begun:
                yield "checkpoint"


# ── a sync that fails ───────────────────────────────────────────────────────────────────────────────


class Syncs(Trouble):
    """Syncs fail while `bad` is set."""

    bad = False

    def _error(self, what: str, grows: int) -> int:
        return errno.EIO if self.bad and what == SYNC else 0


@pytest.fixture
def trouble() -> Syncs:
    return Syncs(Random(0))


@pytest.fixture
def queue(tmp_path: Path, trouble: Syncs) -> Iterator[Callable[[], Store]]:
    """A function that opens a queue in which a claim was not synced and the sync of the next change failed."""
    path = str(tmp_path / "queue.db")
    with recording(trouble) as recorder, closing(open_store(path, SettableClock())) as store:
        add(store, new("a"))
        Queue(store, "w1").claim(claimant(), (), 1, lambda job: True)
        trouble.bad = True
        with pytest.raises(StoreError, match="Input/output error"):
            add(store, new("b"))
        store.close()
        recorder.all_is_well()
        yield lambda: open_store(path, SettableClock(), StoreOptions(busy_timeout=100_000))


def test_the_next_opener_after_a_failed_sync_restarts_the_wal(queue: Callable[[], Store], tmp_path: Path) -> None:
    mark, wal = tmp_path / "queue.db.unsynced", tmp_path / "queue.db-wal"
    before = wal.read_bytes()
    assert mark.exists()
    with closing(queue()) as store:
        add(store, new("c"))
    assert wal.read_bytes()[:32] != before[:32]
    assert not mark.exists()


def test_a_process_that_saw_a_failed_sync_restarts_the_wal_at_close(tmp_path: Path, trouble: Syncs) -> None:
    mark, path = tmp_path / "queue.db.unsynced", str(tmp_path / "queue.db")
    with recording(trouble) as recorder, closing(open_store(path, SettableClock())) as store:
        trouble.bad = True
        with pytest.raises(StoreError, match="Input/output error"):
            add(store, new("a"))
        assert mark.exists()
        recorder.all_is_well()
        store.close()
        assert not mark.exists()


def test_an_unsynced_change_is_not_confirmed_until_the_disk_recovers(tmp_path: Path, trouble: Syncs) -> None:
    """The next process that opens the queue finds the change in the -wal."""
    path = str(tmp_path / "queue.db")
    with recording(trouble) as recorder:
        with closing(open_store(path, SettableClock())) as store:
            add(store, new("a"))
            trouble.bad = True
            with pytest.raises(StoreError, match="Input/output error"):
                add(store, new("b"))
        with booted(), closing(open_store(path, SettableClock())) as store:
            assert store.log.head().position == 2
            with pytest.raises(StoreError, match="cannot tell how much"):
                store.writer.on_disk()
            with pytest.raises(StoreError, match="Input/output error"):
                store.writer.bring_to_disk()
            assert _end(store) == 1
            recorder.all_is_well()
            assert (store.writer.bring_to_disk(), store.writer.on_disk()) == (2, 2)


def _end(store: Store) -> int:
    end = store.location.archive.end() if store.location.archive else None
    return end.position if end else 0


def test_a_reader_after_a_failed_sync_restarts_the_wal_too(queue: Callable[[], Store], tmp_path: Path) -> None:
    wal = tmp_path / "queue.db-wal"
    before = wal.read_bytes()
    with closing(queue()):
        assert wal.read_bytes()[:32] not in (before[:32], b"")


def test_with_a_reader_no_change_comes_before_the_wal_restarts(queue: Callable[[], Store], tmp_path: Path) -> None:
    reader = apsw.Connection(str(tmp_path / "queue.db"))
    reader.execute("BEGIN; SELECT count(*) FROM events").fetchall()
    with closing(queue()) as store:
        store.engine.db.set_busy_timeout(1)
        with pytest.raises(StoreBusyError, match="its disk has failed: try again"):
            add(store, new("c"))
        reader.close()
        add(store, new("c"))


# ── the harness can see: each of these queues is not careful enough ─────────────────────────────────


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Live]:
    """Record a store with replaced methods; when it is opened again they are the real ones."""

    def with_methods(*methods: tuple[type, str, object]) -> Live:
        def live(folder: str, seed: int) -> Recording:
            with monkeypatch.context() as patched:
                for method in methods:
                    patched.setattr(*method)
                return record(folder, seed)

        return live

    return with_methods


def test_fast_durability_loses_acknowledged_events() -> None:
    assert run(STATES, 0, partial(record, durability="fast")).of_kind(LOST)


def test_without_syncs_the_database_is_damaged(careless: Callable[..., Live]) -> None:
    figures = run(STATES, 0, careless((SqliteEngine, "begin", begin_unsynced)))
    assert figures.of_kind(LOST)
    assert figures.of_kind(f"{REFUSED}: cannot use the queue …/queue.db: it is damaged")


def test_tables_that_are_committed_after_the_log_are_noticed(careless: Callable[..., Live]) -> None:
    write = TableWriter.write

    def write_later(tables: TableWriter, *what: Any) -> list[Job | None]:
        tables._engine.run("COMMIT")
        tables._engine.run("BEGIN IMMEDIATE")
        return write(tables, *what)

    no_savepoint = (Writer, "_savepoint", lambda writer: nullcontext())
    figures = run(STATES, 0, careless((TableWriter, "write", write_later), no_savepoint))
    assert figures.of_kind(f"{DAMAGED}: table")


transaction = Writer.transaction


@contextmanager
def copies_claims(writer: Writer, *, durable: bool = True, **more: bool) -> Iterator[None]:
    """Copy claims to the archive that may not be on disk in the database."""
    with transaction(writer, durable=durable, **more):
        yield
    if not durable and writer._log.locked_head is None:
        copy(writer)


@contextmanager
def copies_first(writer: Writer, **how: bool) -> Iterator[None]:
    """Copy events to the archive before the commit."""
    with transaction(writer, **how):
        yield
        copy(writer)


def copy(writer: Writer) -> None:
    writer.copy(writer._log.head().position)


@pytest.mark.parametrize("hasty", [copies_claims, copies_first])
def test_an_archive_ahead_of_the_disk_is_noticed(careless: Callable[..., Live], hasty: object) -> None:
    live = careless((Writer, "transaction", hasty))
    assert any(run(STATES, seed, live).of_kind(AHEAD) for seed in range(10))


def test_without_a_check_after_a_boot_archive_holes_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "_is_checked", lambda archive: True)
    assert run(STATES, 0).of_kind(f"{DAMAGED}: archive")
