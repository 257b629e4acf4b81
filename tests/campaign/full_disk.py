"""Full and failing disks: many sizes of free space, each sync and write failing once, read-only from any moment.

The disk is a layer under SQLite and the archive, not a file system: it counts the bytes by which files grow, and fails
as Linux does (tests/powerloss/trouble.py). The -shm is not part of it. tests/acceptance/test_full_disk.py runs commands
on a small tmpfs.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr
from functools import cache, partial
from io import StringIO
from random import Random
from unittest.mock import patch

from queuectl.checks.verify import verify
from queuectl.errors import StoreError
from queuectl.store import open_store
from queuectl.store.sql.writer import Writer
from tests.archive.logs import is_prefix
from tests.campaign.plan import Attempt, Campaign, Control
from tests.powerloss.campaign import scratch
from tests.powerloss.trouble import SYNC, WRITE, Once, Quota, ReadOnly, Trouble
from tests.powerloss.workload import Recording, record
from tests.support.builders import HOUR, START, SettableClock
from tests.support.queues import WARNING

__all__ = ["CAMPAIGN"]

LIFE = 3
"""The life that all of them live; it seals segments, and carries the -wal over."""
SIZES, MOMENTS = 200, 100

Live = Callable[[str, Trouble], Recording]


def live(folder: str, trouble: Trouble) -> Recording:
    """The same recording every time, except for the disk's trouble."""
    return record(folder, LIFE, trouble=trouble)


class Counted(Trouble):
    """A disk without trouble that counts the operations that could fail."""

    grown = 0

    def _error(self, what: str, grows: int) -> int:
        self.grown += grows
        return 0


@cache
def troubles() -> list[Callable[[], Trouble]]:
    """The trouble of each seed: a size, a failing sync, a failing write, or a moment to become read-only."""
    counted = Counted(Random(0))
    with scratch() as folder:
        live(folder, counted)
    syncs, writes, operations = counted.asked[SYNC], counted.asked[WRITE], sum(counted.asked.values())
    found: list[Callable[[], Trouble]] = [partial(Quota, counted.grown * size // SIZES) for size in range(SIZES)]
    found += [partial(Once, SYNC, number) for number in range(1, syncs + 1)]
    found += [partial(Once, WRITE, number) for number in range(1, writes + 1)]
    found += [partial(ReadOnly, operations * moment // MOMENTS) for moment in range(MOMENTS)]
    Random(0).shuffle(found)
    return found


def attempt(seed: int, lives: Live = live) -> Attempt:
    """One recording with one kind of trouble that ends."""
    with scratch() as folder:
        try:
            recording = lives(folder, troubles()[seed]())
            faults = [*_lost(recording), *_unclear(recording.refusals, folder), *_at_odds(recording)]
        except StoreError as error:
            return Attempt(1, [f"stuck: {error}".replace(folder, "…")])
        except Exception as error:
            return Attempt(1, [f"broken: {type(error).__name__}: {error}".replace(folder, "…")])
    gc.collect()  # the stores that could not be opened: thousands of open files would break the tests after this one
    counted = {"acknowledged changes": len(recording.acknowledged), "refusals": len(recording.refusals)}
    return Attempt(1, faults, counted)


def _lost(recording: Recording) -> Iterator[str]:
    """Acknowledged events that are not in the log."""
    if any(
        recording.digests[position - 1 : position] != [digest] for position, digest in recording.acknowledged.items()
    ):
        yield "lost: acknowledged events are gone"


def _unclear(refusals: list[StoreError], folder: str) -> Iterator[str]:
    """Errors that are not one line with the queue or the fault of the disk, or not exit code 5."""
    for error in refusals:
        said = str(error)
        if error.exit_code != 5 or "\n" in said or not any(reason in said for reason in REASONS):
            yield f"unclear: {said.replace(folder, '…')}"


REASONS = ("the disk is full", "No space left on device", "Input/output error", "ead-only", "cannot be opened", "-wal")


def _at_odds(recording: Recording) -> Iterator[str]:
    """The faults when the queue is opened now: messages, findings of `verify`, events missing from the archive."""
    said = StringIO()
    with redirect_stderr(said), closing(open_store(recording.path, SettableClock(START + HOUR), WARNING)) as store:
        for problem in verify(store).first[:1]:
            yield f"damaged: {problem.kind}: {problem.what}"
    if said.getvalue():
        yield f"at odds: {said.getvalue().replace(os.path.dirname(recording.path), '…')}"
    if is_prefix(recording.path) != len(recording.digests):
        yield "at odds: the archive lacks events"


def hasty(folder: str, trouble: Trouble) -> Recording:
    """A recording in which the archive is written before the commit."""
    transaction = Writer.transaction

    @contextmanager
    def copy_first(writer: Writer, **how: bool) -> Iterator[None]:
        with transaction(writer, **how):
            yield
            writer.copy(writer._log.head().position)

    with patch.object(Writer, "transaction", copy_first):
        return live(folder, trouble)


CAMPAIGN = Campaign(
    name="full-disk",
    unit="lives on a failing disk",
    short=100,
    full=1_000_000,
    attempt=attempt,
    controls=(Control("an archive that is written before the commit is at odds", partial(attempt, lives=hasty)),),
    all_seeds=lambda: len(troubles()),
)
