"""Names the jobs whose events a recovery lost, as far as damaged copies still show these events.

No digest proves such a row, so it is only reported, and never stored.
"""

from collections.abc import Iterable, Sequence

import msgspec

from queuectl.domain.events import EVENT_TYPES, Enqueued, type_of
from queuectl.domain.names import is_id
from queuectl.maintenance.salvage import Link, Sources
from queuectl.store.rows import StoredEvent

__all__ = ["LostJob", "lost_jobs"]

_ENQUEUED, _TYPES = type_of(Enqueued), {*map(type_of, EVENT_TYPES)}


class LostJob(msgspec.Struct, frozen=True):
    """A job, the types of its lost events in their order, and its command if any copy shows it.

    `gone`: the event that added it is lost too, so the queue does not have this job any more.
    """

    id: str
    command: str | None
    events: list[str]
    gone: bool


class _Command(msgspec.Struct):
    """The field of an `enqueued` event that a person knows the job by."""

    command: str


def lost_jobs(sources: Sources, chain: Sequence[Link], lost: Sequence[int]) -> list[LostJob]:
    """The jobs of the events at the positions `lost`, by the first of these."""
    found: dict[str, dict[tuple[int, str], StoredEvent]] = {}
    for row in sources.lost_rows(chain, lost):
        if is_id(row.stream_id) and row.type in _TYPES:
            found.setdefault(row.stream_id, {}).setdefault((row.version, row.type), row)
    kept = _enqueued(sources.chain_rows(chain) if found else (), found)
    return [_job(job_id, [*rows.values()], kept.get(job_id)) for job_id, rows in found.items()]


def _enqueued(rows: Iterable[StoredEvent], wanted: Iterable[str]) -> dict[str, StoredEvent]:
    """The events among the rows that added these jobs."""
    wanted = set(wanted)
    return {row.stream_id: row for row in rows if row.type == _ENQUEUED and row.stream_id in wanted}


def _job(job_id: str, rows: Sequence[StoredEvent], kept: StoredEvent | None) -> LostJob:
    added = kept or next((row for row in rows if row.type == _ENQUEUED), None)
    return LostJob(job_id, added and _command(added), [row.type for row in rows], kept is None)


def _command(row: StoredEvent) -> str | None:
    try:
        return None if row.data is None else msgspec.json.decode(row.data, type=_Command).command
    except (msgspec.MsgspecError, UnicodeError):
        return None
