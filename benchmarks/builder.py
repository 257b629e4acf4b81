"""Makes large queues quickly, through the store's own `append`, so that log and tables are as workers leave them."""

import os
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from benchmarks import queue
from benchmarks.plan import note

if TYPE_CHECKING:
    from queuectl.domain.events import Event

BATCH = 20_000


def done_jobs(db: str, count: int) -> None:
    """Adds jobs that have been run."""
    from queuectl.domain.events import Completed

    _add(db, count, [queue.spec(), queue.claimant().claimed(1), Completed(run=1, duration=1000)])


def pending_jobs(db: str, count: int) -> None:
    """Adds jobs that are due."""
    _add(db, count, [queue.spec()])


def future_jobs(db: str, count: int) -> None:
    """Adds jobs of a higher priority that are due in a day."""
    _add(db, count, [queue.spec(priority=5, delay=86_400 * queue.SECOND)])


def paused_jobs(db: str, count: int) -> None:
    """Adds due jobs of a higher priority to a queue that is paused."""
    _add(db, count, [queue.spec(queue="paused", priority=5)])
    with queue.opened(db) as opened:
        opened.pause("paused")


def build(db: str, base: str | None, count: int, kinds: Sequence[Callable[[str, int], None]]) -> str:
    """The queue `db`: a copy of `base`, if any, with `count` more jobs of each kind. One that is there is kept."""
    if os.path.exists(f"{db}.built"):
        return db
    if base is not None:
        _copy(base, db)
    for kind in kinds:
        kind(db, count)
    with open(f"{db}.built", "w", encoding="utf-8"):
        return db


def _add(db: str, count: int, events: "Sequence[Event]") -> None:
    """Appends one stream after another, each with the same events."""
    from queuectl.runtime import new_id
    from queuectl.store.rows import Change

    with queue.opened(db) as opened:
        for start in range(0, count, BATCH):
            note(f"  building {os.path.basename(db)}: {start}/{count}")
            size, now = min(BATCH, count - start), opened.store.log.now()
            opened.store.writer.append([Change(new_id(now), 0, events) for _ in range(size)], opened.actor)
    note("")


def _copy(base: str, db: str) -> None:
    """A closed queue with all the files that belong to it."""
    for suffix in ("", "-wal"):
        if os.path.exists(base + suffix):
            shutil.copy(base + suffix, db + suffix)
    if os.path.isdir(f"{base}.archive"):
        shutil.copytree(f"{base}.archive", f"{db}.archive")
