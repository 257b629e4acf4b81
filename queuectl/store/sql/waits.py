"""The table `waits`: what each waiting job waits for, and how that stands. Changed with every move that matters for it.

A row is there while its job waits. So the table is empty in most queues, and nothing is asked of it then.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from queuectl.domain.dependencies import (
    BATCH,
    JOB,
    MET,
    NEVER,
    outcome,
    standing_of_batch,
    standing_of_job,
    why_never,
)
from queuectl.domain.events import After
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.domain.reactions import Freed, Lost, has_fallen_back
from queuectl.store.projections import WAITS
from queuectl.store.sql.causes import Causes, in_parts, places
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.log import Log

__all__ = ["INSERT_WAITS", "Changed", "Step", "Waits"]

INSERT_WAITS = f"INSERT INTO waits VALUES ({', '.join('?' * len(WAITS))})"
_UPDATE = "UPDATE waits SET standing = ? WHERE kind = ? AND name = ? AND wanted = ?"
_ALL_MET = f"NOT EXISTS (SELECT 1 FROM waits AS o WHERE o.id = w.id AND o.standing <> '{MET}')"
_TO_CANCEL = f"w.standing = '{NEVER}' AND w.if_unmet = 'cancel'"
_FREED = f"""
SELECT DISTINCT w.id, j.position FROM waits AS w JOIN jobs AS j ON j.id = w.id
WHERE {{which}} AND w.standing = '{MET}' AND {_ALL_MET} ORDER BY j.position
"""
_LOST = f"""
SELECT w.id, w.kind, w.name, w.wanted, j.position FROM waits AS w JOIN jobs AS j ON j.id = w.id
WHERE {{which}} AND {_TO_CANCEL} ORDER BY j.position, w.number
"""
_CAUSE = "w.kind = ? AND w.name = ?"

Cause = tuple[str, str]
"""The kind and the name of what jobs wait for."""


class Step(Struct, frozen=True):
    """A job before and after a change, and the position of the change's last event."""

    before: Job | None
    after: Job
    position: int


class Waits:
    """Reads and writes the table. The caller holds the log's lock."""

    def __init__(self, engine: Engine, log: Log) -> None:
        self.engine, self.log = engine, log
        self.causes = Causes(engine.run, log)

    def any(self) -> bool:
        """Whether any job waits."""
        return bool(self.engine.run("SELECT 1 FROM waits LIMIT 1"))

    def follow(self, steps: Sequence[Step]) -> "Changed":
        """Change the rows after these changes of jobs, and return what changed for the jobs that wait."""
        self.remove([each.after.id for each in steps if _waited(each) and not _waits_on(each)])
        begun = [each.after for each in steps if each.after.is_waiting and not _waits_on(each)]
        causes = _causes(steps)
        changed = self._update_jobs(causes, {each.after.id: outcome(each.after) for each in steps})
        changed |= self._update_batches([name for kind, name in causes if kind == BATCH])
        if begun:
            rows = self.causes.rows({job.id: (job.spec.after, job.spec.if_unmet) for job in begun})
            self.engine.insert(INSERT_WAITS, rows)
        changes = {each: causes[each] for each in changed}
        return Changed(self, changes, [job.id for job in begun], fallen=_fallen(steps))

    def remove(self, ids: Sequence[str]) -> None:
        """Delete the rows of jobs that wait no longer."""
        if ids:
            self.engine.insert("DELETE FROM waits WHERE id = ?", [(job_id,) for job_id in ids])

    def _update_jobs(self, causes: Iterable[Cause], ended: dict[str, State | None]) -> set[Cause]:
        changed: set[Cause] = set()
        for part in in_parts(name for kind, name in causes if kind == JOB):
            sql = f"SELECT DISTINCT name, wanted, standing FROM waits WHERE kind = '{JOB}' AND name IN ({places(part)})"
            for name, wanted, standing in self.engine.run(sql, part):
                changed |= self._set((JOB, name), wanted, standing, standing_of_job(wanted, ended[name]))
        return changed

    def _update_batches(self, names: Iterable[str]) -> set[Cause]:
        changed: set[Cause] = set()
        for name in names:
            sql = f"SELECT DISTINCT wanted, standing FROM waits WHERE kind = '{BATCH}' AND name = ?"
            if found := self.engine.run(sql, (name,)):
                batch = self.causes.batch(name)
                for wanted, standing in found:
                    changed |= self._set((BATCH, name), wanted, standing, standing_of_batch(wanted, batch))
        return changed

    def _set(self, cause: Cause, wanted: str, before: str, after: str) -> set[Cause]:
        if before == after:
            return set()
        self.engine.insert(_UPDATE, [(after, *cause, wanted)])
        return {cause}

    def overdue(self, position: int, fallen: Mapping[str, int]) -> "Changed":
        """The jobs whose consequence was lost with the end of a log: all is met, or they were to be cancelled.

        `fallen` are the batches that its last events are about, with their positions.
        """
        found = self.engine.run(f"SELECT DISTINCT w.id FROM waits AS w WHERE {_ALL_MET} OR {_TO_CANCEL}")
        return Changed(self, {}, [job_id for (job_id,) in found], position, fallen)


class Changed:
    """Implements `reactions.View`: `causes` have changed, by the position that changed them, and `begun` jobs wait now.

    `by` is the position that frees or cancels the latter. `fallen` are the batches whose limit of failures is to be
    looked at, each after the event at this position.
    """

    def __init__(
        self,
        waits: Waits,
        causes: dict[Cause, int],
        begun: Sequence[str],
        by: int = 0,
        fallen: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._waits, self._engine, self._changed, self._begun, self._by = waits, waits.engine, causes, begun, by
        self._fallen = fallen

    def freed(self) -> list[Freed]:
        """The jobs that can start now."""
        found: dict[str, int] = {}
        for cause, position in self._changed.items():
            for job_id, _ in self._engine.run(_FREED.format(which=_CAUSE), cause):
                found[job_id] = max(position, found.get(job_id, 0))
        for part in in_parts(self._begun):
            for job_id, _ in self._engine.run(_FREED.format(which=f"w.id IN ({places(part)})"), part):
                found.setdefault(job_id, self._by)
        return [Freed(*each) for each in found.items()]

    def lost(self) -> list[Lost]:
        """The jobs that are to be cancelled now."""
        stopped = {each.job_id: each for each in self._stopped()}
        return [*stopped.values(), *(each for each in self._unmet() if each.job_id not in stopped)]

    def _stopped(self) -> Iterable[Lost]:
        if not self._fallen:
            return ()
        from queuectl.store.sql.failure_limits import stopped

        return stopped(self._engine, self._waits.log, self._fallen)

    def _unmet(self) -> list[Lost]:
        found: dict[str, tuple[After, int]] = {}
        for cause, position in self._changed.items():
            self._note_lost(found, self._engine.run(_LOST.format(which=_CAUSE), cause), position)
        for part in in_parts(self._begun):
            self._note_lost(found, self._engine.run(_LOST.format(which=f"w.id IN ({places(part)})"), part), self._by)
        if not found:
            return []
        ended = self._waits.causes.outcomes(after.name for after, _ in found.values() if after.kind == JOB)
        return [Lost(job_id, why_never(after, ended.get(after.name)), by) for job_id, (after, by) in found.items()]

    @staticmethod
    def _note_lost(
        found: dict[str, tuple[After, int]], rows: Iterable[tuple[str, str, str, str, int]], by: int
    ) -> None:
        for job_id, kind, name, wanted, _ in rows:
            found.setdefault(job_id, (After(name, wanted, kind), by))


def _waited(step: Step) -> bool:
    return step.before is not None and step.before.is_waiting


def _fallen(steps: Iterable[Step]) -> dict[str, int]:
    """The batches with a job that has just failed for good, or is pending again after a run, and where in the log.

    Of several such events it is the last one that is a failure for good, if there is any.
    """
    fallen = [each for each in steps if has_fallen_back(each.before, each.after)]
    fallen.sort(key=lambda each: each.after.state is State.DLQ)
    return {each.after.spec.batch: each.position for each in fallen if each.after.spec.batch is not None}


def _waits_on(step: Step) -> bool:
    """Whether the job waits for the same as before, and the same happens when that can no longer be met."""
    before, after = step.before, step.after
    if before is None or not before.is_waiting or not after.is_waiting:
        return False
    return (before.spec.after, before.spec.if_unmet) == (after.spec.after, after.spec.if_unmet)


def _causes(steps: Iterable[Step]) -> dict[Cause, int]:
    """The jobs and batches whose end has changed, with the last position that changed them."""
    found: dict[Cause, int] = {}
    for step in steps:
        before, after = step.before, step.after
        if before is not None and outcome(before) == outcome(after):
            continue
        if before is not None:
            found[JOB, after.id] = step.position
        if after.spec.batch is not None:
            found[BATCH, after.spec.batch] = step.position
    return found
