"""Finds problems of this installation or queue, each with the command that repairs it.

It opens the database's files only through SQLite: closing a file that was opened directly would drop SQLite's locks.
"""

import ctypes
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from itertools import chain, starmap
from shlex import quote
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from queuectl.domain.dependencies import held_because
from queuectl.domain.events import Claimed, type_of
from queuectl.domain.schedule import Schedule
from queuectl.errors import StoreError, command_line, runnable
from queuectl.process import procfs as process
from queuectl.process.output_files import can_name_files
from queuectl.runtime import Reach
from queuectl.store import file_of, is_postgres, name_of
from queuectl.store.errors import IN_A_FILE, ON_A_SERVER, RECOVER, DamagedEventError
from queuectl.store.postgres.url import place_of
from queuectl.store.protocol import Store
from queuectl.store.rows import WorkerRow
from queuectl.store.sqlite.connection import check_library, library_version
from queuectl.store.sqlite.ownership import is_mounted_read_only, user_name
from queuectl.timetable import UnknownZoneError, zone
from queuectl.units import SECOND, ago, counted, format_duration, format_size, local_time

__all__ = ["Finding", "Progress", "examine", "installation", "local_files", "queue", "sqlite", "sqlite_files"]

Progress = Callable[[int], None]
"""Called with the number of events read so far."""
Alive = Callable[[Store, WorkerRow], bool | None]
"""Whether a worker is alive; None if we cannot tell from here."""
Level = Literal["ok", "warning", "problem"]
NETWORKED = {
    0x6969: "NFS",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x517B: "SMB",
    0x01021997: "9p",
    0x65735546: "FUSE",
    0x00C36400: "Ceph",
    0x5346414F: "AFS",
    0x47504653: "GPFS",
    0x0BD00BD0: "Lustre",
}
"""f_type of statfs(2), for file systems whose locks or shared memory SQLite cannot rely on."""

LOW_SPACE, NO_SPACE = 1 << 30, 64 << 20
"""Bytes of free disk: a warning below the first, a problem below the second."""

LONG_WAL = 256 << 20
_CLAIMED = type_of(Claimed)
SKEW = SECOND
AHEAD = 60 * SECOND
"""How far the last slot of a schedule may be ahead of the clock."""


class Finding(Struct, frozen=True):
    """One thing that was checked; `remedy` is the command that repairs it."""

    about: str
    level: Level
    what: str
    remedy: str | None = None


def examine(
    url: str, opened: Callable[[], AbstractContextManager[tuple[Store, Progress]] | None], alive: Alive
) -> Iterator[Finding]:
    """Check everything: this installation, the queue's files, and the queue.

    `opened` opens the queue for reading; it returns None when there is none, and raises StoreError.
    """
    for finding in _everything(url, opened, alive):
        yield replace(finding, remedy=finding.remedy and runnable(finding.remedy))


def _everything(
    url: str, opened: Callable[[], AbstractContextManager[tuple[Store, Progress]] | None], alive: Alive
) -> Iterator[Finding]:
    if not is_postgres(url):
        yield sqlite()
    yield from installation()
    if not is_postgres(url):
        yield from sqlite_files(file_of(url))
    try:
        if (store := opened()) is None:
            yield Finding("queue", "ok", f"there is no queue {_where(url)} yet")
            return
        with store as (found, progress):
            yield from queue(found, alive, progress)
    except StoreError as error:
        remedy = (ON_A_SERVER if is_postgres(url) else IN_A_FILE).log
        yield Finding("queue", "problem", str(error), remedy if "damaged" in str(error) else None)


def _where(url: str) -> str:
    return f"in the schema {place_of(url).schema} of {name_of(url)}" if is_postgres(url) else f"at {name_of(url)}"


# ── the installation ────────────────────────────────────────────────────────────────────────────────────


def sqlite() -> Finding:
    """Whether this SQLite is free of the bugs that corrupt queues."""
    version = library_version()
    try:
        check_library(version)
    except StoreError as error:
        return Finding("SQLite", "problem", str(error), "pip install -U apsw")
    return Finding("SQLite", "ok", f"SQLite {version} has none of the known bugs that corrupt queues")


def installation() -> Iterator[Finding]:
    """How well this platform lets a worker find and end a job's processes."""
    if hasattr(fcntl, "F_OFD_SETLK"):
        yield Finding("locks", "ok", "a job is not started again while a process of its last run lives")
    else:
        what = "no open file description locks here: a job may run again while processes of its last run live"
        yield Finding("locks", "warning", what)
    if process.adopt_orphans():
        yield Finding("orphans", "ok", "processes that a job leaves behind are found and ended")
    else:
        yield Finding(
            "orphans", "warning", "this system has no subreaper: processes that a job leaves behind may keep running"
        )
    if os.geteuid() == 0:
        what = "you are root: workers that you start run every job as root"
        yield Finding("user", "warning", what, "run the workers as a separate user who owns the queue")


# ── the files ───────────────────────────────────────────────────────────────────────────────────────────


def sqlite_files(path: str) -> Iterator[Finding]:
    """The folder and the files of a SQLite queue: file system, modes, owner, free space, size of the -wal."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return
    yield file_system(folder, file_system_number(folder))
    yield from local_files(path)
    if os.path.exists(f"{path}-wal"):
        yield _wal(os.stat(f"{path}-wal").st_size)


def local_files(path: str) -> Iterator[Finding]:
    """The files on this machine, for a queue on a server too: modes, owner, free space, nameless files."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        yield Finding("folder", "ok", f"there is nothing in {folder} yet")
        return
    yield from _modes(folder, path)
    yield _free(folder)
    yield _output_files(folder)


def file_system_number(folder: str) -> int:
    """The file system's type number from statfs(2); 0 if the system does not report it."""
    buffer = ctypes.create_string_buffer(256)
    with suppress(OSError, AttributeError):
        if ctypes.CDLL(None).statfs(os.fsencode(folder), buffer) == 0 and os.uname().sysname == "Linux":
            return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF
    return 0


def file_system(folder: str, number: int) -> Finding:
    """Whether SQLite can rely on the file system's locks and shared memory."""
    if number in NETWORKED:
        what = f"{folder} is on a network or user file system ({NETWORKED[number]}): SQLite can lose data there"
        return Finding("file system", "problem", what, "queuectl backup FILE, with FILE on a local disk, and --db FILE")
    if is_mounted_read_only(folder):
        what = f"{folder} is mounted read-only: mount it read-write (dmesg shows disk errors)"
        return Finding("file system", "problem", what, f"findmnt -T {quote(folder)}")
    return Finding("file system", "ok", f"{folder} is on a local file system")


def _modes(folder: str, path: str) -> Iterator[Finding]:
    problems = 0
    found = {}
    for name in (folder, path, f"{path}-wal", f"{path}-shm", f"{path}.archive", f"{path}.output"):
        with suppress(FileNotFoundError, PermissionError):
            found[name] = os.stat(name)
    for finding in chain(_owners(found), *starmap(_file_mode, found.items())):
        problems += 1
        yield finding
    if not problems:
        yield Finding("permissions", "ok", "only you can write to the queue")


def _owners(files: Mapping[str, os.stat_result]) -> Iterator[Finding]:
    """The other users who own files of the queue, one finding for each of them."""
    for uid in dict.fromkeys(found.st_uid for found in files.values() if found.st_uid != os.geteuid()):
        first, *others = (name for name, found in files.items() if found.st_uid == uid)
        more = f" and {counted(len(others), 'more file')} of the queue belong" if others else " belongs"
        what = f"{first}{more} to {user_name(uid)}, who can make your workers run anything"
        yield Finding("permissions", "problem", what, f"sudo -u '{user_name(uid)}' {command_line('doctor')}")


def _file_mode(name: str, found: os.stat_result) -> Iterator[Finding]:
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        what = f"others can write to {name}: they can make its workers run anything"
        yield Finding("permissions", "problem", what, f"chmod go-rwx {quote(name)}")
    elif found.st_mode & (stat.S_IRGRP | stat.S_IROTH) and not stat.S_ISDIR(found.st_mode):
        yield Finding("permissions", "warning", f"others can read {name}", f"chmod go-rwx {quote(name)}")


def _free(folder: str) -> Finding:
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    level: Level = "problem" if free < NO_SPACE else "warning" if free < LOW_SPACE else "ok"
    remedies: dict[Level, str] = {
        "warning": "queuectl purge --state done --older-than 7d",
        "problem": "free space there that other programs use: purging writes to the log before it frees any",
    }
    return Finding("disk", level, f"{format_size(free)} are free in {folder}", remedies.get(level))


def _output_files(folder: str) -> Finding:
    if can_name_files(folder):
        return Finding("output", "ok", "short output needs no files")
    return Finding("output", "ok", "every run makes two files for its output (no nameless files on this system)")


def _wal(size: int) -> Finding:
    what = f"the -wal has {format_size(size)}"
    if size > LONG_WAL:
        return Finding(
            "wal", "warning", f"{what}: some process has been reading for a long time", "queuectl worker list"
        )
    return Finding("wal", "ok", what)


# ── the queue ───────────────────────────────────────────────────────────────────────────────────────────


def queue(store: Store, alive: Alive, progress: Progress = lambda done: None) -> Iterator[Finding]:
    """Database, log, archive, workers and clock of an open queue."""
    for found in _all_findings(store, alive, progress):
        remedy = None if found.remedy is None else store.location.remedies.advised(found.remedy, found.about)
        yield replace(found, remedy=remedy)


def _all_findings(store: Store, alive: Alive, progress: Progress) -> Iterator[Finding]:
    if (place := store.location.moved_to) is not None:
        yield Finding("queue", "warning", f"closed, moved to {place}", f"queuectl --db {quote(place)} doctor")
    if store.location.reach is Reach.SEVERAL_HOSTS:
        yield from local_files(store.location.output_folder.removesuffix(".output"))
    yield _database(store)
    for found in store.upkeep.health():
        yield Finding(found.about, "warning" if found.bad else "ok", found.what, found.remedy)
    yield _archive(store)
    yield from _quarantined(store, progress)
    yield from _workers(store, alive)
    yield from _schedules(store, alive)
    yield from _held(store)
    yield _clock(store.log.head().recorded_at, store.log.wall())


def _database(store: Store) -> Finding:
    """Damaged pages or indexes, also where the log's own pages are intact."""
    damage = store.upkeep.damage()
    if damage:
        what = " ".join(damage[0].split())
        return Finding("database", "problem", f"the database is damaged ({what})", RECOVER)
    server = "the server has seen no bad checksum, and every index is valid"
    return Finding("database", "ok", server if store.location.reach is Reach.SEVERAL_HOSTS else "no damaged page")


def _archive(store: Store) -> Finding:
    if store.location.archive is None:
        return Finding("archive", "warning", "there is no archive: what the database loses cannot be recovered")
    head = store.log.head().position
    try:
        end = store.location.archive.end()
    except (StoreError, OSError) as error:
        return Finding("archive", "problem", str(error), getattr(error, "remedy", RECOVER))
    if end is not None and end.position > store.log.head().position:
        what = f"the archive has {counted(end.position - store.log.head().position, 'event')} more than the database"
        return Finding("archive", "problem", what, RECOVER)
    row = next(store.log.stored(after=end.position - 1, until=end.position), None) if end else None
    if end is not None and (row is None or row.digest != end.digest):
        return Finding("archive", "problem", f"database and archive differ at event {end.position}", RECOVER)
    return _archive_behind(store, end.position if end else None, head)


def _archive_behind(store: Store, end: int | None, head: int) -> Finding:
    """How far the archive is behind. Claims are archived with the next change, so claims alone do not count."""
    rows = store.log.stored(after=store.log.base.position if end is None else end, until=head)
    if all(row.type == _CLAIMED for row in rows):
        return Finding("archive", "ok", f"the archive is up to date (`{command_line('verify')}` checks its content)")
    how = "missing" if end is None else f"{counted(head - end, 'event')} behind"
    return Finding("archive", "warning", f"the archive is {how}: the next change brings it up to date")


def _quarantined(store: Store, progress: Progress) -> Iterator[Finding]:
    """Read every event, because a damaged one may belong to a job that no command has touched."""
    total = 0
    for number, found in enumerate(store.log.examined(), 1):
        progress(number)
        if isinstance(found, DamagedEventError):
            total += 1
            if total <= 20:
                what = f"event {found.position} of {found.stream_id} is quarantined ({found.why})"
                yield Finding("quarantine", "problem", what, found.remedy)
    if total > 20:
        yield Finding("quarantine", "problem", f"{counted(total - 20, 'more event')} quarantined", "queuectl verify")
    if not total:
        yield Finding("quarantine", "ok", "no damaged event")


def _workers(store: Store, alive: Alive) -> Iterator[Finding]:
    workers = store.workers.rows()
    lost = {row.name for row in workers if alive(store, row) is False}
    held: dict[str, int] = {}
    for job_id, _ in store.tables.processing():
        row = store.tables.job(job_id)
        if row is not None and row["locked_by"] is not None:  # the job may have ended meanwhile
            held[row["locked_by"]] = held.get(row["locked_by"], 0) + 1
    lost |= held.keys() - {row.name for row in workers}
    for name in sorted(lost):
        what = f"worker {name} is dead and holds {counted(held.get(name, 0), 'job')}: the next worker puts them back"
        yield Finding("workers", "problem" if held.get(name) else "warning", what, "queuectl run")
    if not lost:
        yield Finding("workers", "ok", f"{counted(len(workers), 'worker')}, none dead")


def _schedules(store: Store, alive: Alive) -> Iterator[Finding]:
    """Schedules that are late, or whose time zone is not on this machine. Nothing when there are no schedules."""
    schedules, now = store.schedules.all(), store.log.wall()
    findings = 0
    for finding in filter(None, (_schedule(store, each, now, alive) for each in schedules)):
        findings += 1
        yield finding
    if schedules and not findings:
        yield Finding("schedules", "ok", f"{counted(len(schedules), 'schedule')}, none late")


def _schedule(store: Store, schedule: Schedule, now: int, alive: Alive) -> Finding | None:
    name, late = schedule.name, schedule.late_by(now)
    by = "" if late is None else f", and it is late by {ago(late)}"
    try:
        zone(schedule.definition.tz)
    except UnknownZoneError as error:
        remedy = "install the time zone data of this system (the package tzdata), or run a worker where it is"
        return Finding("schedules", "problem", f"schedule {name}: {error}{by}", remedy)
    if schedule.last_slot is not None and schedule.last_slot > now + AHEAD:
        ahead = f"schedule {name} ran its time {local_time(schedule.last_slot)} already, when the clock was ahead"
        remedy = command_line("schedule", "add", "--replace", name)
        return Finding("schedules", "warning", f"{ahead}: it rests until then, or until it is set again", remedy + " …")
    if late is None or (schedule.definition.overlap == "skip" and store.schedules.live_job(name) is not None):
        return None
    if any(row.slots and alive(store, row) is not False for row in store.workers.rows()):
        return Finding("schedules", "warning", f"schedule {name} is late by {ago(late)}: no worker has come to it yet")
    return Finding("schedules", "problem", f"schedule {name} is late by {ago(late)}: no worker runs", "queuectl run")


def _held(store: Store) -> Iterator[Finding]:
    if held := sum(each.held for each in store.waits.by_queue()):
        what = f"{counted(held, 'job')} held: {held_because(held)}"
        yield Finding("dependencies", "warning", what, "queuectl list --state held")


def _clock(last: int, now: int) -> Finding:
    if last > now + SKEW:
        ahead = format_duration((last - now) // SECOND * SECOND)
        what = (
            f"the log's last event is dated {local_time(last)}, {ahead} ahead of the clock. If the clock is right now,"
            " it was wrong before: jobs run on time, and events get that date until the clock has reached it. If it is"
            " wrong, set it"
        )
        return Finding("clock", "warning", what)
    return Finding("clock", "ok", "not behind the log")
