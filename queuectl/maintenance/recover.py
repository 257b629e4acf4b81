"""`recover`: rebuilds a damaged or deleted database from what is left of it and from its archive.

The old files are copied first, and the copy is never removed. No other process can open the database meanwhile.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import count, islice

from msgspec import Struct
from msgspec.structs import replace

from queuectl.errors import StoreError, reason_of
from queuectl.maintenance.backup import back_up
from queuectl.maintenance.chain import Progress, chained
from queuectl.maintenance.lost_jobs import LostJob, lost_jobs
from queuectl.maintenance.old_files import locked_exclusively, saved_copy
from queuectl.maintenance.salvage import ARCHIVE, DATABASE, ArchiveLines, Link, Sources
from queuectl.maintenance.sqlite_pages import RawDatabase
from queuectl.runtime import Clock
from queuectl.store import StoreOptions, open_store
from queuectl.store.archive.archive import Archive
from queuectl.store.archive.folder_lock import sync_path
from queuectl.store.archive.segments import (
    ArchiveError,
    check_reachable,
    ends_with_a_line,
    folder_of,
    segments,
    wrong_header,
)
from queuectl.store.errors import DamagedEventError
from queuectl.store.meta import check_place
from queuectl.store.protocol import Store
from queuectl.store.rows import Head
from queuectl.store.sqlite.connection import refuse_strange
from queuectl.store.sqlite.ownership import foreign

__all__ = ["NothingToRecoverError", "Ranges", "Report", "recover"]

Ranges = list[tuple[int, int]]
"""The first and last position of each unbroken range of events."""


class Report(Struct, frozen=True):
    """The result: which events were kept, restored or lost, of which jobs, and where the old files are.

    `lost_jobs` has those of which some copy still shows a lost event.
    """

    head: Head
    kept: Ranges
    restored: Ranges
    lost: Ranges
    lost_jobs: list[LostJob]
    aside: str | None
    archive_aside: str | None = None


class NothingToRecoverError(StoreError):
    """Database and archive are not damaged. `report` says that every event is kept."""

    exit_code = 0

    def __init__(self, text: str, report: Report) -> None:
        super().__init__(text)
        self.report = report


def recover(path: str, clock: Clock, options: StoreOptions, progress: Progress, *, force: bool = False) -> Report:
    """Rebuild the database at `path` from what is left of it and from its archive, and bring the archive up to date.

    Raises NothingToRecoverError, and changes nothing, when both are sound and `force` is not given. Raises StoreError
    when another process has the database open, the archive cannot be reached, the file belongs to another user or
    another program, the disk cannot be written, or no event is left.
    """
    try:
        return _recover(path, clock, options, progress, force)
    except OSError as error:
        raise StoreError(f"cannot recover {path}: {error.filename}: {reason_of(error)}") from error


def _recover(path: str, clock: Clock, options: StoreOptions, progress: Progress, force: bool) -> Report:
    if refusal := foreign(path):
        raise StoreError(refusal)
    refuse_strange(path)
    check_reachable(folder_of(path))
    with locked_exclusively(path):
        with saved_copy(path) as aside:
            sources = _sources(path, aside)
            chain = _longest(sources, path)
            if not force and aside is not None and _is_all_in_database(sources, chain):
                _refuse_sound(path, aside, clock, options, _report(sources, chain, None))
        report = _report(sources, chain, aside)  # now: the archive may change below
        with _rebuilt(path, clock, sources, chain, progress) as rebuilt:
            _swap(rebuilt, path)
    foreign_archive = _rename_foreign(folder_of(path)) if sources.foreign else None
    damaged_archive = _update_archive(path, clock, options)
    return replace(report, archive_aside=foreign_archive or damaged_archive)


def _sources(path: str, aside: str | None) -> Sources:
    old = os.path.join(aside, os.path.basename(path)) if aside else path
    databases = [RawDatabase(old, f"{old}-wal"), RawDatabase(f"{old}.recovered", "")]
    return Sources(databases, ArchiveLines(folder_of(path)))


def _longest(sources: Sources, path: str) -> list[Link]:
    chain = sources.longest(sources.base)
    if not chain and sources.meta("log_id") is None:
        raise StoreError(f"nothing to recover: neither {path} nor {folder_of(path)} contains the start of a log")
    check_place(sources.meta("moved_to"), path)
    return chain


def _report(sources: Sources, chain: Sequence[Link], aside: str | None) -> Report:
    lost = sources.lost(chain)
    return Report(
        _end(sources, chain),
        _ranges(link.position for link in chain if link.source == DATABASE),
        _ranges(link.position for link in chain if link.source == ARCHIVE),
        _ranges(lost),
        lost_jobs(sources, chain, lost),
        aside,
    )


def _end(sources: Sources, chain: Sequence[Link]) -> Head:
    return Head(chain[-1].position, chain[-1].digest, 0) if chain else sources.base


def _refuse_sound(path: str, aside: str, clock: Clock, options: StoreOptions, report: Report) -> None:
    if os.path.exists(path) and _is_sound(path, aside, clock, options, report.head):
        what = f"nothing to recover: {path} and its archive are sound (--force: rebuild it)"
        raise NothingToRecoverError(what, report)


def _is_all_in_database(sources: Sources, chain: Sequence[Link]) -> bool:
    return not sources.foreign and not sources.lost(chain) and all(link.source == DATABASE for link in chain)


def _is_sound(path: str, aside: str, clock: Clock, options: StoreOptions, end: Head) -> bool:
    """Whether the database ends at `end`, its tables are right, and the archive has the same log.

    SQLite changes the files that it opens, so this opens a second copy.
    """
    if os.stat(path).st_nlink > 1:
        return False
    with _scratch(path) as folder:
        for name in os.listdir(aside):
            if not name.endswith("-shm"):
                shutil.copyfile(os.path.join(aside, name), os.path.join(folder, name))
        try:
            with _unarchived(os.path.join(folder, os.path.basename(path)), clock) as store:
                return _is_intact(store, end) and (not options.archived or _archive_matches(path, store, options))
        except StoreError:
            return False


def _is_intact(store: Store, end: Head) -> bool:
    head = store.log.head()
    is_the_end = (head.position, head.digest) == (end.position, end.digest)
    return is_the_end and not store.upkeep.compare().total and not store.upkeep.damage()


def _archive_matches(path: str, store: Store, options: StoreOptions) -> bool:
    if not os.path.isdir(folder_of(path)):
        return False
    with closing(_archive_of(path, store, options)) as archive:
        return _fits(archive, store)


# ── the new files ────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _rebuilt(path: str, clock: Clock, sources: Sources, chain: Sequence[Link], progress: Progress) -> Iterator[str]:
    """A new database with these events, next to the old one and checked like a backup."""
    with _scratch(path) as scratch:
        with _unarchived(os.path.join(scratch, "queue.db"), clock) as store:
            with store.writer.transaction():
                store.writer.adopt(sources.log_id(chain), sources.base)
            store.writer.append_stored(sources.events(chain))
            with suppress(FileNotFoundError):
                os.unlink(f"{path}.recovered")
            back_up(store, f"{path}.recovered", lambda copy: open_store(copy, clock, _UNARCHIVED), progress)
        yield f"{path}.recovered"


@contextmanager
def _scratch(path: str) -> Iterator[str]:
    """A folder on the same disk, removed afterwards."""
    folder = f"{path}.recovering"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _swap(rebuilt: str, path: str) -> None:
    """Replace the old database with the new one.

    The old -wal is removed first, because SQLite would apply it to the new file. After a crash in between, the next
    `recover` finds the new file.
    """
    for ending in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + ending)
    os.replace(rebuilt, path)
    sync_path(os.path.dirname(path))


_UNARCHIVED = StoreOptions(durability="fast", archived=False)


@contextmanager
def _unarchived(path: str, clock: Clock) -> Iterator[Store]:
    store = open_store(path, clock, _UNARCHIVED)
    try:
        yield store
    finally:
        store.close()


def _update_archive(path: str, clock: Clock, options: StoreOptions) -> str | None:
    """Bring the archive up to date with the new database. Returns the new path of an archive that does not match it."""
    with _unarchived(path, clock) as store, closing(_archive_of(path, store, options)) as archive:
        aside = None if _fits(archive, store) else _replace_archive(archive.folder)
        store.writer.release("queuectl")  # the log may end between the end of a job and the release of its dependants
        end = store.log.head().position
        archive.catch_up(
            lambda after, until: [*islice(store.log.stored(after=after, until=until), 1000)], end, synced=True
        )
    return aside


def _archive_of(path: str, store: Store, options: StoreOptions) -> Archive:
    return Archive(path, store.log.log_id, store.log.base, options.archive_dir)


def _fits(archive: Archive, store: Store) -> bool:
    """Whether every line of the archive is an event of the log, and only the last one may be incomplete."""
    try:
        if not all(_begins_right(path, store) for path in segments(archive.folder)):
            return False
        if not all(map(ends_with_a_line, segments(archive.folder)[:-1])):
            return False
        end = archive.end() or store.log.base
        last = store.log.base
        for row in chained(archive.events(store.log.base.position, end.position), store.log.base):
            last = Head(row.position, row.digest, 0)
        return last.position == end.position and store.log.digest_at(last.position) in (last.digest, None)
    except (ArchiveError, DamagedEventError):
        return False


def _begins_right(path: str, store: Store) -> bool:
    """Whether a segment has the header that it must have. One whose header is torn has no event yet."""
    with open(path, "rb") as file:
        line = file.readline()
    return not line.endswith(b"\n") or wrong_header(path, line, store.log.log_id, store.log.digest_at) is None


def _rename_foreign(folder: str) -> str:
    """Rename the archive of another log. If it is a symbolic link, only the link is renamed: that log may be in use."""
    aside = _free_name(f"{folder}.foreign")
    os.rename(folder, aside)
    return aside


def _replace_archive(folder: str) -> str:
    """Rename an archive, on its own disk, and put an empty folder in its place."""
    place = os.path.realpath(folder)
    aside = _free_name(f"{place}.damaged")
    os.rename(place, aside)
    os.mkdir(place, mode=0o700)
    return aside


def _free_name(start: str) -> str:
    return next(name for n in count(1) if not os.path.lexists(name := f"{start}-{n}"))


def _ranges(positions: Iterable[int]) -> Ranges:
    found: Ranges = []
    for position in positions:
        if found and found[-1][1] == position - 1:
            found[-1] = (found[-1][0], position)
        else:
            found.append((position, position))
    return found
