"""Adds the jobs of schedules that are due. Any worker does it, under the log's lock, so a slot is decided on once.

There is no leader. Without schedules it costs one question a minute, and one a second while other processes write.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from msgspec import Struct, field

from queuectl.application.queue import Queue
from queuectl.application.schedules import Schedules, next_slots
from queuectl.domain import events as e
from queuectl.domain.schedule import Schedule
from queuectl.errors import RefusedError
from queuectl.runtime import Clock
from queuectl.store.errors import DamagedError
from queuectl.units import MINUTE, SECOND, ago, counted
from queuectl.worker.log import log

__all__ = ["Scheduler"]

TOGETHER = 100
"""Schedules that are decided on in one transaction."""
LOOK_EVERY = SECOND
"""How often a worker looks for new schedules while others write."""
CHECK_CLOCK_EVERY = 5 * SECOND
"""How often it looks when there are schedules: the wall clock may have been set, or the machine was suspended."""
TRY_AGAIN_AFTER = MINUTE
"""How long a schedule rests that cannot be decided on here."""

SAY_LATE = MINUTE
"""From this delay on the log says that a job is late."""


class Scheduler(Struct):
    """The schedules, for one worker. `next_at` (monotonic) is when it looks again.

    A schedule sleeps, in this worker's memory, while there is nothing to decide: by its version and until when on the
    wall clock.
    """

    queue: Queue
    clock: Clock
    next_at: int = 0
    _looked_at: int = 0
    _asleep: dict[str, tuple[int, int]] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)

    def tick(self, now: int, others_wrote: bool, is_open: bool = True) -> bool:
        """Decide on what is due, if it is time to look. Whether jobs were added. Raises StoreError.

        A worker that is not open, which claims no more jobs, adds none either.
        """
        if not is_open:
            self.next_at = max(self.next_at, now + MINUTE)
            return False
        if others_wrote:
            self.next_at = min(self.next_at, self._looked_at + LOOK_EVERY)
        if now < self.next_at:
            return False
        wall = self.queue.store.log.wall()
        due = [each for each in self.queue.store.schedules.due(wall) if not self._sleeps(*each, wall)]
        added = bool(due) and self._decide(due[:TOGETHER], wall)
        self._looked_at = now
        self.next_at = now if due else now + self._wait(wall)
        return added

    def _sleeps(self, name: str, version: int, wall: int) -> bool:
        asleep = self._asleep.get(name)
        return asleep is not None and asleep[0] == version and wall < asleep[1]

    def _wait(self, wall: int) -> int:
        """Microseconds until the next schedule may be due."""
        following = self.queue.store.schedules.next_slot(wall)
        self._asleep = {name: rest for name, rest in self._asleep.items() if rest[1] > wall}
        moments = [until for _, until in self._asleep.values()]
        moments += [] if following is None else [following]
        return min(CHECK_CLOCK_EVERY, min(moments) - wall) if moments else MINUTE

    def _decide(self, due: list[tuple[str, int]], wall: int) -> bool:
        """Decide on these schedules in one transaction, but not on those that wait. Whether jobs were added."""
        awake = [each for each in due if not self._waits(*each, wall)]
        added = 0
        if awake:
            with self.transaction():
                for name, version in awake:
                    added += self._decide_on(name, version, wall)
        if added:
            log.info("schedules: added %s", counted(added, "job"))
        return added > 0

    def transaction(self) -> AbstractContextManager[None]:
        """The log's lock: what is due is looked at again under it, and jobs and notes are appended together."""
        return self.queue.store.writer.transaction()

    def _waits(self, name: str, version: int, wall: int) -> bool:
        """Whether there is nothing to decide on because an earlier job lives: seen without the log's lock."""
        with self._resting(name, version, wall):
            schedule = self.queue.store.schedules.named(name)
            if schedule is None:
                return True
            if schedule.definition.overlap == "skip" and self.queue.store.schedules.live_job(name) is not None:
                self._rest(schedule, wall)
                return True
            return False
        return True  # an error was reported, and the schedule rests

    def _decide_on(self, name: str, version: int, wall: int) -> int:
        """Decide on one schedule; the number of jobs that were added."""
        with self._resting(name, version, wall):
            events = Schedules(self.queue).fire(name, version)
            schedule = self.queue.store.schedules.named(name)
            if not events and schedule is not None and schedule.version == version:
                self._rest(schedule, wall)
            for event in events:
                if isinstance(event, e.ScheduleFired) and event.late >= SAY_LATE:
                    log.info("schedule %s: job %s is %s late", name, event.job, ago(event.late))
            return sum(isinstance(event, e.ScheduleFired) for event in events)
        return 0  # an error was reported, and the schedule rests

    @contextmanager
    def _resting(self, name: str, version: int, wall: int) -> Iterator[None]:
        """Let a schedule rest that cannot be decided on here, and report it once."""
        try:
            yield
        except (ValueError, RefusedError, DamagedError) as error:
            self._asleep[name] = version, wall + TRY_AGAIN_AFTER
            if str(error) not in self._said:
                self._said.add(str(error))
                log.warning("schedule %s: %s", name, error)

    def _rest(self, schedule: Schedule, wall: int) -> None:
        """Let a schedule rest until its next slot."""
        offset = schedule.definition.offset
        following = next(next_slots(schedule.definition, wall - offset), None)
        until = wall + TRY_AGAIN_AFTER if following is None else following + offset
        self._asleep[schedule.name] = schedule.version, until
