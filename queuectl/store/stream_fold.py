"""Folds streams as far as they can be trusted: a job up to its first damaged or missing event.

Later events do not repair it: its row shows the events before the damage, and it cannot be claimed. Notes are
independent of each other, so only a damaged one is left out.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job, evolve
from queuectl.store.codec import format_of
from queuectl.store.errors import DamagedEventError
from queuectl.store.projections import Row, Values, note_row, place_of, rows
from queuectl.store.rows import FIRST_FORMAT

if TYPE_CHECKING:
    from queuectl.store.protocol import Inspect

__all__ = ["Examined", "Stream", "folded_job", "streams"]

Examined: TypeAlias = RecordedEvent | DamagedEventError
"""An event whose digest was checked, or its damage."""


class Stream(Struct):
    """One folded stream: the job that its events make, or the rows that its notes set; the log's format they need."""

    id: str
    version: int = 0
    position: int = 0
    job: Job | None = None
    damage: DamagedEventError | None = None
    notes: dict[tuple[str, str], Row] = {}
    format: int = FIRST_FORMAT

    def take(self, found: Examined) -> None:
        """Fold the next event in, unless it or an earlier one is damaged."""
        if self.id.startswith("$"):
            self._note(found)
        elif self.damage is not None:
            return
        elif not isinstance(found, RecordedEvent):
            self.damage = found
        elif found.version != self.version + 1:
            why = f"version {self.version + 1} of its stream is missing"
            self.damage = DamagedEventError(found.position, self.id, why)
        else:
            self.job = evolve(self.job, found)
            if (needed := format_of(found.event)) > self.format:
                self.format = needed
            self.version, self.position = found.version, found.position

    def _note(self, found: Examined) -> None:
        if isinstance(found, DamagedEventError):
            self.damage = found
            return
        self.format = max(self.format, format_of(found.event))
        self.version, self.position = found.version, found.position
        place = place_of(found)
        row = note_row(found, None if place is None else self.notes.get(place))
        if row is not None:
            self.notes[row.table, row.key] = row

    def rows(self) -> dict[str, Values]:
        """The job's rows by table."""
        if self.damage is None or self.job is None:
            return rows(self.job)
        return rows(quarantined(self.job, self.damage))


def quarantined(job: Job, damage: DamagedEventError) -> Job:
    """A quarantined job's row: unclaimed and not claimable, its unique key released, `last_error` set to the damage.

    It waits for no other job.
    """
    spec = replace(job.spec, unique=None, after=())
    return replace(job, spec=spec, due_at=None, claim=None, locked_at=None, last_error=damage.for_tables)


def streams(events: Iterable[Examined], inspect: "Inspect | None" = None) -> Iterator[Stream]:
    """Fold events that are ordered by stream and version; one stream at a time."""
    stream: Stream | None = None
    for found in events:
        if stream is None or stream.id != found.stream_id:
            if stream is not None:
                yield stream
            stream = Stream(found.stream_id)
        if inspect is not None:
            inspect(stream, found)
        stream.take(found)
    if stream is not None:
        yield stream


def folded_job(events: Iterable[Examined]) -> Job | None:
    """The job that the events of one stream make. Raises DamagedEventError."""
    for stream in streams(events):
        if stream.damage is not None:
            raise stream.damage
        return stream.job
    return None
