"""The jobs that people name: by a whole id, a number, the beginning or the end of an id, or as `last`."""

from collections.abc import Iterator, Sequence

from queuectl.domain.names import is_id
from queuectl.errors import NoSuchJobError, UsageError, command_line
from queuectl.store.protocol import Store
from queuectl.store.rows import MAX_POSITION, JobFilter, StoredEvent

__all__ = ["LAST", "LEAST_SUFFIX", "batch_exists", "begun_last", "resolve"]

LAST = "last"
"""The newest job of the caller, unless a job has that id."""
LEAST_SUFFIX = 4
"""The least number of characters by which the end of an id stands for it."""
PAGE = 1000


def resolve(store: Store, actor: str, texts: Sequence[str]) -> list[str]:
    """The whole ids of the jobs that are meant, without repeats. `actor`: whose job `last` is.

    In this order: an exact id, `last`, a number (`140`, `#140`), a unique prefix, a unique suffix of 4 characters or
    more. Raises NoSuchJobError; UsageError when a text may mean several jobs.
    """
    return list(dict.fromkeys(_resolve(store, actor, text) for text in texts))


def _resolve(store: Store, actor: str, text: str) -> str:
    begin = store.history.streams(text, 3) if text and not text.startswith("$") else []
    if text in begin or (begin and store.log.version(text)):
        return text
    if text == LAST:
        return _newest(store, actor)
    numbered = _numbered(store, text)
    if numbered and any(each != numbered for each in begin):
        either = f"{text} is the number of {numbered} and the beginning of {_listed(begin)}"
        raise UsageError(f"{either}: write '#{text}', or more of the id")
    found = [numbered] if numbered else begin or _ending(store, text)
    if not found:
        raise _no_job(store, text)
    if len(found) > 1:
        whole = f" (all jobs of the batch: {_batch_option(text)})" if batch_exists(store, text) else ""
        raise UsageError(f"{text} is ambiguous: {_listed(found)}{whole}")
    return found[0]


def batch_exists(store: Store, name: str) -> bool:
    """Whether the batch has jobs in the tables; those of a purged one are only in the log."""
    return is_id(name) and bool(store.tables.ids(JobFilter(batch=name, limit=1)))


def _no_job(store: Store, text: str) -> NoSuchJobError:
    if batch_exists(store, text):
        return NoSuchJobError(f"no such job: {text} is a batch (all its jobs: {_batch_option(text)})")
    return NoSuchJobError.of(text)


def _batch_option(name: str) -> str:
    return f"--batch {name}, as in `{command_line('list', '--batch', name)}`"


def _listed(ids: Sequence[str]) -> str:
    return f"{', '.join(ids[:2])}{', …' if ids[2:] else ''}"


def _numbered(store: Store, text: str) -> str | None:
    """The job whose `enqueued` event has this position; None when the text is no number, or no job has it."""
    digits = text.removeprefix("#")
    if not (digits.isascii() and digits.isdigit()) or digits.startswith("0"):
        return None
    position = int(digits[:20])  # no store has a position of more digits
    if position > MAX_POSITION:
        return None
    row = next(store.log.stored(after=position - 1, until=position), None)
    return row.stream_id if row is not None and row.type == "enqueued" else None


def _ending(store: Store, text: str) -> list[str]:
    if len(text) < LEAST_SUFFIX or text.startswith("$"):
        return []
    return store.history.ending(text, 3)


def _newest(store: Store, actor: str) -> str:
    """The job that this user enqueued last; a user's name is what stands before the process id in the actor."""
    user = f"{actor.rpartition(':')[0]}:"
    found = next((row for row in _backwards(store) if row.type == "enqueued" and row.actor.startswith(user)), None)
    if found is None:
        raise NoSuchJobError(f"no such job: {LAST} (you have added none)")
    return found.stream_id


def begun_last(store: Store) -> str:
    """The job whose run began last. Raises NoSuchJobError."""
    found = next((row for row in _backwards(store) if row.type == "claimed"), None)
    if found is None:
        raise NoSuchJobError("no job has run yet: give the id of one")
    return found.stream_id


def _backwards(store: Store) -> Iterator[StoredEvent]:
    """The log's rows, the last one first."""
    until = store.log.head().position
    while until > 0:
        yield from reversed([*store.log.stored(after=max(0, until - PAGE), until=until)])
        until -= PAGE
