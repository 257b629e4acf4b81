"""Moves a queue to another store: replays its log there, checks it, and closes the old store, which names the new one.

Both logs are locked, so nothing is added meanwhile. The new store commits first, then the old one is closed; after a
crash in between, running it again completes the move.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager

from queuectl.errors import RefusedError, StoreBusyError, StoreError, command_line
from queuectl.maintenance.chain import Progress, chained
from queuectl.store.protocol import Store
from queuectl.store.rows import Head, StoredEvent, WorkerRow

__all__ = ["migrate"]

Alive = Callable[[Store, WorkerRow], bool | None]
"""Whether a worker is alive; None if we cannot tell from here."""
SILENT_FOR = 120
"""Seconds without a heartbeat after which a worker on another machine counts as dead."""


def migrate(  # noqa: PLR0913, PLR0917 (the caller knows the target, its files and the workers)
    source: Store,
    opened: Callable[[], Store],
    place: str,
    alive: Alive,
    progress: Progress,
    give_up: Callable[[], None] = lambda: None,
) -> Head:
    """Copy the log to the target and close the source, which then points to `place`. Returns the head of both.

    `opened` opens the target; `alive` says whether a worker is alive; `give_up` is called when the copy fails, while
    the target is still locked.
    Raises RefusedError when the source has workers or running jobs, or the target is closed or has other events,
    DamagedEventError when the log is damaged, StoreError when the target's log or tables differ from the source's.
    """
    with source.writer.transaction():
        source.writer.take_long()  # held until the target has checked its tables and copied its archive
        _refuse_in_use(source, alive)
        with closing(opened()) as target:
            _refuse_closed(target, place)
            with _locked(target):
                if not _is_migrated(source, target):
                    _replay(source, target, progress, give_up)
        source.writer.move_to(place)
        return source.log.head()


@contextmanager
def _locked(target: Store) -> Iterator[None]:
    """Lock the target. That fails when target and source are the same queue, which must not be closed."""
    with ExitStack() as held:
        try:
            held.enter_context(target.writer.transaction())
        except StoreBusyError as error:
            raise StoreBusyError(f"{error}; or this is the same queue under another name") from error
        yield


def _refuse_in_use(source: Store, alive: Alive) -> None:
    if names := [row.name for row in source.workers.rows() if _may_live(row, source, alive)]:
        raise RefusedError(
            f"{', '.join(names)} may still run jobs: stop the workers first (`{command_line('worker', 'stop')}`)"
        )
    if held := [job_id for job_id, _ in source.tables.processing()]:
        what = held[0] if len(held) == 1 else f"{len(held)} jobs"
        steps = f"{command_line('pause')} && {command_line('run', '--drain')}"
        raise RefusedError(f"{what} may still be running (worker lost). First run: {steps}")


def _may_live(row: WorkerRow, source: Store, alive: Alive) -> bool:
    seen = alive(source, row)
    return source.log.now() // 1_000_000 - row.last_heartbeat < SILENT_FOR if seen is None else seen


def _refuse_closed(target: Store, place: str) -> None:
    """Refuse a closed target: if two queues pointed to each other, neither could be written to again."""
    if (elsewhere := target.location.moved_to) is not None:
        raise RefusedError(f"{place} was closed when the queue moved to {elsewhere}: choose another place")


def _is_migrated(source: Store, target: Store) -> bool:
    """Whether the target already has the whole log. Raises RefusedError when it has any other events."""
    there = target.log.head()
    if there.position == target.log.base.position:
        return False
    if target.log.log_id == source.log.log_id and there.digest == source.log.head().digest:
        return True
    raise RefusedError("the target already has events: choose another one, or an empty one")


def _replay(source: Store, target: Store, progress: Progress, give_up: Callable[[], None]) -> None:
    try:
        _append_all(source, target, progress)
    except BaseException:
        give_up()
        raise


def _append_all(source: Store, target: Store, progress: Progress) -> None:
    target.writer.adopt(source.log.log_id, source.log.base)
    target.writer.append_stored(_counted(chained(source.log.stored(), source.log.base), progress))
    if target.log.head().digest != source.log.head().digest:
        raise StoreError("the copied log differs from the source: nothing was changed")
    if target.upkeep.compare().total:
        raise StoreError("the copied tables do not match the log: nothing was changed")


def _counted(rows: Iterable[StoredEvent], progress: Progress) -> Iterator[StoredEvent]:
    for row in rows:
        progress(row.position)
        yield row
