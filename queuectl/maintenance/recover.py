"""`recover`: rebuilds a damaged or deleted database from what is left of it and from its archive.

The old files are copied aside first and never removed. Nobody else can open the database meanwhile.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

from msgspec import Struct

from queuectl.errors import StoreError
from queuectl.maintenance.backup import back_up
from queuectl.maintenance.chain import Progress, chained
from queuectl.maintenance.old_files import copied_aside, kept_alone
from queuectl.maintenance.salvage import ARCHIVE, DATABASE, Lines, Piece, Remains
from queuectl.maintenance.sqlite_pages import Carved
from queuectl.runtime import Clock
from queuectl.store import open_store
from queuectl.store.archive.archive import Archive, Keeping
from queuectl.store.archive.folder_lock import sync_path
from queuectl.store.archive.segments import ArchiveError, check_reachable, folder_of
from queuectl.store.meta import check_place
from queuectl.store.protocol import DamagedEventError, Head, Store
from queuectl.store.sqlite.connection import refuse_strange
from queuectl.store.sqlite.ownership import foreign

__all__ = ["NothingToRecoverError", "Ranges", "Report", "recover"]

Ranges = list[tuple[int, int]]
"""Positions: the first and the last of each run."""


class NothingToRecoverError(StoreError):
    """Database and archive are sound."""

    exit_code = 0


class Report(Struct, frozen=True):
    """The result: which events were kept, restored or lost, and where the old files are."""

    head: Head
    kept: Ranges
    restored: Ranges
    lost: Ranges
    aside: str | None
    archive_aside: str | None


def recover(path: str, clock: Clock, keeping: Keeping, progress: Progress, *, force: bool = False) -> Report:
    """Rebuild the database at `path` from what it and its archive still hold, and bring the archive up to date.

    Raises NothingToRecoverError, and changes nothing, when both are sound and `force` is not given. Raises StoreError
    when another process has the database open, the archive cannot be reached, the file belongs to another user or
    another program, the disk cannot be written, or no event is left.
    """
    try:
        return _recover(path, clock, keeping, progress, force)
    except OSError as error:
        raise StoreError(f"cannot recover {path}: {error.strerror}: {error.filename}") from error


def _recover(path: str, clock: Clock, keeping: Keeping, progress: Progress, force: bool) -> Report:
    if refusal := foreign(path):
        raise StoreError(refusal)
    refuse_strange(path)
    check_reachable(folder_of(path))
    with kept_alone(path):
        with copied_aside(path) as aside:
            remains = _remains(path, aside)
            chain = _longest(remains, path)
            if not force and aside is not None and _is_all_in_database(remains, chain):
                _refuse_sound(path, aside, clock, keeping, _end(remains, chain))
        with _made_anew(path, clock, remains, chain, progress) as made:
            _swap(made, path)
    foreign_archive = _put_away(folder_of(path)) if remains.foreign else None
    damaged_archive = _bring_in_step(path, clock, keeping)
    return _report(remains, chain, aside, foreign_archive or damaged_archive)


def _remains(path: str, aside: str | None) -> Remains:
    old = os.path.join(aside, os.path.basename(path)) if aside else path
    carved = [Carved(old, f"{old}-wal"), Carved(f"{old}.recovered", "")]
    return Remains(carved, Lines(folder_of(path)))


def _longest(remains: Remains, path: str) -> list[Piece]:
    chain = remains.longest(remains.base)
    if not chain and remains.meta("log_id") is None:
        where = f"in {path} and in {folder_of(path)}"
        raise StoreError(f"nothing to recover: {where} there is no event that a log could begin with")
    check_place(remains.meta("moved_to"), path)
    return chain


def _report(remains: Remains, chain: Sequence[Piece], aside: str | None, archive_aside: str | None) -> Report:
    return Report(
        _end(remains, chain),
        _ranges(piece.position for piece in chain if piece.source == DATABASE),
        _ranges(piece.position for piece in chain if piece.source == ARCHIVE),
        _ranges(remains.lost(chain)),
        aside,
        archive_aside,
    )


def _end(remains: Remains, chain: Sequence[Piece]) -> Head:
    return Head(chain[-1].position, chain[-1].digest, 0) if chain else remains.base


def _refuse_sound(path: str, aside: str, clock: Clock, keeping: Keeping, end: Head) -> None:
    if os.path.exists(path) and _is_sound(path, aside, clock, keeping, end):
        raise NothingToRecoverError(f"nothing to recover: {path} and its archive are sound (--force: rebuild it)")


def _is_all_in_database(remains: Remains, chain: Sequence[Piece]) -> bool:
    return not remains.foreign and not remains.lost(chain) and all(piece.source == DATABASE for piece in chain)


def _is_sound(path: str, aside: str, clock: Clock, keeping: Keeping, end: Head) -> bool:
    """Whether the database ends at `end`, its tables are right, and the archive has the same log.

    A further copy is opened, because SQLite changes the files that it opens.
    """
    if os.stat(path).st_nlink > 1:
        return False
    with _scratch(path) as folder:
        for name in os.listdir(aside):
            if not name.endswith("-shm"):
                shutil.copyfile(os.path.join(aside, name), os.path.join(folder, name))
        try:
            with _unarchived(os.path.join(folder, os.path.basename(path)), clock) as store:
                return _is_whole(store, end) and (not keeping.archived or _has_archive(path, store, keeping))
        except StoreError:
            return False


def _is_whole(store: Store, end: Head) -> bool:
    head = store.log.head()
    is_the_end = (head.position, head.digest) == (end.position, end.digest)
    return is_the_end and not store.upkeep.compare().total and not store.upkeep.flaws()


def _has_archive(path: str, store: Store, keeping: Keeping) -> bool:
    if not os.path.isdir(folder_of(path)):
        return False
    archive = Archive(path, store.log.log_id, store.log.base, keeping.archive_dir)
    try:
        return _fits(archive, store)
    finally:
        archive.close()


# ── the new ones ────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _made_anew(path: str, clock: Clock, remains: Remains, chain: Sequence[Piece], progress: Progress) -> Iterator[str]:
    """A database of these events beside the old one, checked as backups are."""
    with _scratch(path) as scratch:
        with _unarchived(os.path.join(scratch, "queue.db"), clock) as store:
            with store.writer.transaction():
                store.writer.adopt(remains.log_id(chain), remains.base)
            store.writer.append_stored(remains.events(chain))
            with suppress(FileNotFoundError):
                os.unlink(f"{path}.recovered")
            back_up(store, f"{path}.recovered", lambda copy: open_store(copy, clock, keep=_not_archived), progress)
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


def _swap(made: str, path: str) -> None:
    """Replace the old database with the new one.

    The old -wal is removed first, because SQLite would apply it to the new file. After a crash in between, the next
    `recover` finds the new file.
    """
    for ending in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + ending)
    os.replace(made, path)
    sync_path(os.path.dirname(path))


def _not_archived(stored: object) -> Keeping:
    return Keeping("fast", archived=False)


@contextmanager
def _unarchived(path: str, clock: Clock) -> Iterator[Store]:
    store = open_store(path, clock, keep=_not_archived)
    try:
        yield store
    finally:
        store.close()


def _bring_in_step(path: str, clock: Clock, keeping: Keeping) -> str | None:
    """Give the new database an archive that has all of it; where an archive that does not fit it was put."""
    with _unarchived(path, clock) as store:
        archive = Archive(path, store.log.log_id, store.log.base, keeping.archive_dir)
        aside = None if _fits(archive, store) else _put_aside(archive.folder)
        end = store.log.head().position
        archive.catch_up(lambda after, until: store.log.stored(after=after, until=until), end, synced=True)
        archive.close()
    return aside


def _fits(archive: Archive, store: Store) -> bool:
    """Whether every line of the archive is an event of the log."""
    try:
        end = archive.end() or store.log.base
        last = store.log.base
        for row in chained(archive.events(store.log.base.position, end.position), store.log.base):
            last = Head(row.position, row.digest, 0)
        return last.position == end.position and store.log.digest_at(last.position) in (last.digest, None)
    except (ArchiveError, DamagedEventError):
        return False


def _put_away(folder: str) -> str:
    """Rename the archive of another log; of a link to one just the link, because that log may be in use."""
    aside = _free_name(f"{folder}.foreign")
    os.rename(folder, aside)
    return aside


def _put_aside(folder: str) -> str:
    """Rename an archive where it is, which may be another disk; an empty one takes its place."""
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
