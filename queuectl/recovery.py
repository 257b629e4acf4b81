"""`recover`: after damage or loss of the database, a new one from what is left, put in its place.

The old files are copied aside before anything else, and stay. Nothing is swapped while another process has them open.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import count

from msgspec import Struct

from queuectl.errors import StoreError
from queuectl.runtime import Clock
from queuectl.store import open_store
from queuectl.store.archive import Archive, Keeping
from queuectl.store.base import DamagedEventError, EventStore, Head
from queuectl.store.carving import Carved
from queuectl.store.format import check_place
from queuectl.store.owners import foreign
from queuectl.store.remains import ARCHIVE, DATABASE, Lines, Piece, Remains
from queuectl.store.segments import ArchiveError, check_reachable, folder_of
from queuectl.transfer import Progress, back_up, chained

__all__ = ["Ranges", "Report", "recover"]

KEPT_ASIDE = 3
SUFFIXES = ("", "-wal", "-shm", ".recovered")

Ranges = list[tuple[int, int]]
"""Positions: the first and the last of each run."""


class Report(Struct, frozen=True):
    """What came of it."""

    head: Head
    kept: Ranges
    restored: Ranges
    lost: Ranges
    aside: str | None
    archive_aside: str | None


def recover(path: str, clock: Clock, keeping: Keeping, progress: Progress) -> Report:
    """Make the database at `path` anew from what it and its archive still hold, and bring the archive in step.

    Raises StoreError when another process has it open, when its archive is out of reach, when it is another user's,
    and when there is nothing to recover.
    """
    if refusal := foreign(path):
        raise StoreError(refusal)
    _refuse_while_open(path)
    check_reachable(folder_of(path))
    aside = _copy_aside(path)
    old = os.path.join(aside, os.path.basename(path)) if aside else path
    carved = [Carved(old, f"{old}-wal"), Carved(f"{old}.recovered", "")]
    remains = Remains(carved, Lines(folder_of(path)))
    chain = remains.longest(remains.base)
    if not chain and remains.meta("log_id") is None:
        where = f"in {path} and in {folder_of(path)}"
        raise StoreError(f"there is nothing to recover: {where} there is no event that a log could begin with")
    check_place(remains.meta("moved_to"), path)
    with _made_anew(path, clock, remains, chain, progress) as made:
        _refuse_while_open(path)
        _swap(made, path)
    archive_aside = _bring_in_step(path, clock, keeping)
    head = Head(chain[-1].position, chain[-1].digest, 0) if chain else remains.base
    return Report(
        head,
        _ranges(piece.position for piece in chain if piece.source == DATABASE),
        _ranges(piece.position for piece in chain if piece.source == ARCHIVE),
        _ranges(remains.lost(chain)),
        aside,
        archive_aside,
    )


# ── the old files ───────────────────────────────────────────────────────────────────────────────────────


def _refuse_while_open(path: str) -> None:
    """No process may write to files that are about to be replaced. Where there is no /proc, nobody can know."""
    wanted = {(found.st_dev, found.st_ino) for suffix in SUFFIXES[:3] if (found := _stat(path + suffix))}
    pids = os.listdir("/proc") if os.path.isdir("/proc") else []
    names = [_name(pid) for pid in pids if pid.isdigit() and wanted & _open_files(pid)]
    if names:
        raise StoreError(f"{path} is open in {', '.join(names)}: stop that first (`queuectl worker stop`)")


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _open_files(pid: str) -> set[tuple[int, int]]:
    try:
        found = [_stat(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return set()  # it has ended, or it is someone else's
    return {(each.st_dev, each.st_ino) for each in found if each}


def _name(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read().strip()} (pid {pid})"
    except OSError:
        return f"pid {pid}"


def _copy_aside(path: str) -> str | None:
    """Copy the database's files to a folder that is named by what they hold; None when there are none.

    The same damage is kept once, and no more than three kinds of it.
    """
    names = [path + suffix for suffix in SUFFIXES if os.path.exists(path + suffix)]
    if not names:
        return None
    folder = f"{path}.damaged-{_digest(names)}"
    if not os.path.isdir(folder):
        part = f"{folder}.part"
        shutil.rmtree(part, ignore_errors=True)
        os.makedirs(part, mode=0o700)
        for name in names:
            shutil.copy2(name, part)
            _sync(os.path.join(part, os.path.basename(name)))
        os.rename(part, folder)
    os.utime(folder)
    _forget_the_oldest(f"{path}.damaged-")
    return folder


def _digest(names: Sequence[str]) -> str:
    total = sha256()
    for name in names:
        if not name.endswith("-shm"):
            with open(name, "rb") as file:
                while part := file.read(1 << 20):
                    total.update(part)
    return total.hexdigest()[:12]


def _forget_the_oldest(prefix: str) -> None:
    folder, start = os.path.split(prefix)
    found = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(start)]
    for old in sorted(found, key=os.path.getmtime)[:-KEPT_ASIDE]:
        shutil.rmtree(old)


# ── the new ones ────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _made_anew(path: str, clock: Clock, remains: Remains, chain: Sequence[Piece], progress: Progress) -> Iterator[str]:
    """A database of these events beside the old one, checked as backups are."""
    scratch = f"{path}.recovering"
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch, mode=0o700)
    try:
        with _unarchived(os.path.join(scratch, "queue.db"), clock) as store:
            with store.transaction():
                store.adopt(remains.log_id(chain), remains.base)
            store.append_stored(remains.events(chain))
            with suppress(FileNotFoundError):
                os.unlink(f"{path}.recovered")
            back_up(store, f"{path}.recovered", lambda copy: open_store(copy, clock, keep=_not_archived), progress)
        yield f"{path}.recovered"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _swap(made: str, path: str) -> None:
    """Put the new database in the old one's place.

    The old -wal goes first, because SQLite would carry it over into the new file. Should that be all that happens,
    the new file is found by the next `recover`, whose copies aside hold it too.
    """
    for ending in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + ending)
    os.replace(made, path)
    _sync(os.path.dirname(path))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_archived(stored: object) -> Keeping:
    return Keeping("fast", archived=False)


@contextmanager
def _unarchived(path: str, clock: Clock) -> Iterator[EventStore]:
    store = open_store(path, clock, keep=_not_archived)
    try:
        yield store
    finally:
        store.close()


def _bring_in_step(path: str, clock: Clock, keeping: Keeping) -> str | None:
    """Give the new database an archive that has all of it; where an archive that does not fit it was put."""
    with _unarchived(path, clock) as store:
        archive = Archive(path, store.log_id, store.base, keeping.archive_dir)
        aside = None if _fits(archive, store) else _put_aside(archive.folder)
        end = store.head().position
        archive.catch_up(lambda after, until: store.stored(after=after, until=until), end, synced=True)
        archive.close()
    return aside


def _fits(archive: Archive, store: EventStore) -> bool:
    """Whether every line of the archive is an event of the log."""
    try:
        end = archive.end() or store.base
        last = store.base
        for row in chained(archive.events(store.base.position, end.position), store.base):
            last = Head(row.position, row.digest, 0)
        return last.position == end.position and store.digest_at(last.position) in (last.digest, None)
    except (ArchiveError, DamagedEventError):
        return False


def _put_aside(folder: str) -> str:
    """Rename an archive where it is, which may be another disk; an empty one takes its place."""
    place = os.path.realpath(folder)
    aside = next(name for n in count(1) if not os.path.lexists(name := f"{place}.damaged-{n}"))
    os.rename(place, aside)
    os.mkdir(place, mode=0o700)
    return aside


def _ranges(positions: Iterable[int]) -> Ranges:
    found: Ranges = []
    for position in positions:
        if found and found[-1][1] == position - 1:
            found[-1] = (found[-1][0], position)
        else:
            found.append((position, position))
    return found
