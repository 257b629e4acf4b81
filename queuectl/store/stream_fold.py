"""Streams folded as far as they can be believed: a job up to its first damaged or missing event.

What comes after that does not heal it: its row is that of the events before, and it is not claimable. Notes stand
each for itself, so a damaged one is only left out.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job, evolve
from queuectl.store.projections import Row, Values, note_row, rows
from queuectl.store.protocol import DamagedEventError, Inspect

__all__ = ["Found", "Life", "lives"]

Found: TypeAlias = RecordedEvent | DamagedEventError


class Life(Struct):
    """One stream: the job that it makes, or the rows that its notes decide."""

    stream_id: str
    version: int = 0
    position: int = 0
    job: Job | None = None
    damage: DamagedEventError | None = None
    notes: dict[tuple[str, str], Row] = {}

    def take(self, found: Found) -> None:
        """Fold the next event in, unless it, or one before it, cannot be believed."""
        if self.stream_id.startswith("$"):
            self._note(found)
        elif self.damage is not None:
            return
        elif not isinstance(found, RecordedEvent):
            self.damage = found
        elif found.version != self.version + 1:
            why = f"version {self.version + 1} of its stream is missing"
            self.damage = DamagedEventError(found.position, self.stream_id, why)
        else:
            self.job = evolve(self.job, found)
            self.version, self.position = found.version, found.position

    def _note(self, found: Found) -> None:
        if isinstance(found, DamagedEventError):
            self.damage = found
            return
        self.version, self.position = found.version, found.position
        row = note_row(found)
        if row is not None:
            self.notes[row.table, row.key] = row

    def rows(self) -> dict[str, Values]:
        """The job's rows by table."""
        if self.damage is None or self.job is None:
            return rows(self.job)
        return rows(quarantined(self.job, self.damage))


def quarantined(job: Job, damage: DamagedEventError) -> Job:
    """The job as the tables show it: nobody's, not claimable, its unique key free, and for its error what is wrong."""
    spec = replace(job.spec, unique=None)
    return replace(job, spec=spec, due_at=None, claim=None, locked_at=None, last_error=damage.for_tables)


def lives(events: Iterable[Found], inspect: Inspect | None = None) -> Iterator[Life]:
    """Each stream of events that come by stream and version."""
    life: Life | None = None
    for found in events:
        if life is None or life.stream_id != found.stream_id:
            if life is not None:
                yield life
            life = Life(found.stream_id)
        if inspect is not None:
            inspect(life, found)
        life.take(found)
    if life is not None:
        yield life
