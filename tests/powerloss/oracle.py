"""Opens what a power cut left, works on with it, and says what should not have come to pass."""

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, redirect_stderr

from queuectl.application import NewJob, Queue
from queuectl.errors import StoreError
from queuectl.store import open_store
from queuectl.store.base import EventStore
from queuectl.store.segments import ArchiveError
from queuectl.verification import verify
from tests.store.vocabulary import HOUR, START, SettableClock, a_spec, claimed

LOST, INVENTED, AHEAD, BEHIND = "lost", "invented", "ahead", "behind"
REFUSED, BROKEN, DAMAGED = "refused", "broken", "damaged"
KINDS = (LOST, INVENTED, AHEAD, BEHIND, REFUSED, BROKEN, DAMAGED)


def faults(path: str, told: int, digests: Sequence[bytes]) -> list[str]:
    """What is wrong with the queue at `path`, each with its kind in front; `digests` are those of the whole log.

    lost: a change that someone was told of. invented: an event that never was. ahead: the archive had what was not
    on disk in the database. behind: it does not get what is new. refused: the queue cannot be opened or written to.
    broken: an error that is not ours. damaged: what `verify` finds, at once and when the queue was worked with.
    """
    said = io.StringIO()
    clock = SettableClock(START + HOUR)
    try:
        with redirect_stderr(said):
            with closing(open_store(path, clock)) as store:
                found = [*_missing(store, told, digests), *_unsound(store, path), *_works_on(store)]
            with closing(open_store(path, clock)) as store:
                found += _unsound(store, path)
    except Exception as error:
        found = [f"{failure(error)}: {_without_names(str(error), path)}"]
    return found + [f"{_kind(line)}: {_without_names(line, path)}" for line in said.getvalue().splitlines()]


def failure(error: Exception) -> str:
    """The kind of fault that an error is."""
    return REFUSED if isinstance(error, StoreError) else f"{BROKEN}: {type(error).__name__}"


def _kind(said: str) -> str:
    return AHEAD if "was behind its archive" in said else BEHIND


def _missing(store: EventStore, told: int, digests: Sequence[bytes]) -> Iterator[str]:
    """The log has to be the beginning of what it was, at least as long as someone was told."""
    head = store.head()
    if head.position < told:
        yield f"{LOST}: someone was told of events that are gone"
    if head.position > len(digests) or (head.position and head.digest != digests[head.position - 1]):
        yield f"{INVENTED}: the log ends with another event"


def _works_on(store: EventStore) -> Iterator[str]:
    """A claim and a new job; then the archive has everything that is on disk."""
    queue = Queue(store, "ann@box")
    queue.claim(claimed(worker="w2"), (), 1, lambda job: True)
    queue.enqueue([NewJob(a_spec(), "after")])
    if not _is_archived(store):
        yield f"{BEHIND}: the archive does not end with the last event"
    if not queue.claim(claimed(worker="w2"), (), 100, lambda job: True):
        yield f"{DAMAGED}: the new job cannot be claimed"


def _is_archived(store: EventStore) -> bool:
    assert store.archive is not None
    try:
        end = store.archive.end()
    except ArchiveError:
        return False
    return end is not None and end.digest == store.head().digest


def _unsound(store: EventStore, path: str) -> Iterator[str]:
    """What `verify` says: chain, places, moves, tables, archive."""
    report = verify(store)
    for problem in report.first[:1]:
        yield f"{DAMAGED}: {problem.kind}: {_without_names(problem.what, path)}"


def _without_names(message: str, path: str) -> str:
    """The same for every state, so that they can be counted: without places, numbers, and details in brackets."""
    return re.sub("[0-9]+", "N", message.replace(os.path.dirname(path), "…").partition(" (")[0])
