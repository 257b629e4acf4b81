"""A worker's heartbeat, and its lease fence: the moment at which its jobs are killed if no heartbeat was written."""

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from queuectl.process.protocol import Commands
from queuectl.runtime import Clock, Reach
from queuectl.store.protocol import Store
from queuectl.store.rows import WorkerRow
from queuectl.units import SECOND
from queuectl.worker.clock_watch import ClockWatch
from queuectl.worker.log import log
from queuectl.worker.slots import FENCED, Slot

__all__ = ["Heartbeat", "LeaseFence", "lease_fence"]

LONGEST_INTERVAL = 5 * SECOND
NEVER = 1 << 62


def lease_fence(lease: int) -> int:
    """For how long after a heartbeat or a claim a worker relies on its lease: others see both later than it does."""
    return lease * 3 // 4


class LeaseFence(Struct):
    """Kills our jobs before our lease is over, because other machines that share the queue then start them again.

    `at` is a moment on the monotonic clock. It stays NEVER on a queue that only this machine uses.
    """

    commands: Commands
    lease: int
    at: int = NEVER

    def enforce(self, slots: Mapping[str, Slot], now: int) -> None:
        """Kill every running job if the fence has been reached."""
        if now < self.at:
            return
        for slot in slots.values():
            if slot.ending != FENCED:
                log.error("job %s: killing it, the store was out of reach for the length of its lease", slot.job.id)
                slot.ending, slot.kill_at = FENCED, now
                self.commands.end(slot.job.id, force=True)
        self.commands.end_leftovers(0)

    def move(self, heartbeat: int) -> None:
        """Move the fence after a heartbeat was written. `heartbeat` is a moment before that write began."""
        self.at = heartbeat + lease_fence(self.lease)
        self.commands.live_until(self.at)


class Heartbeat(Struct):
    """Writes the worker's row to the store at regular intervals."""

    store: Store
    clock: Clock
    row: WorkerRow
    fence: LeaseFence
    next_at: int = 0
    clock_watch: ClockWatch = field(default_factory=ClockWatch)

    def write(self, slots: Mapping[str, Slot], jobs_done: int, now: int) -> bool:
        """Write a heartbeat and move the fence. Returns False when another worker has taken our name."""
        row = replace(
            self.row,
            beat_at=now,
            last_heartbeat=self.store.log.wall() // SECOND,
            running=len(slots),
            jobs_done=jobs_done,
        )
        ours = self.store.workers.beat(row)
        if ours and self.store.location.reach is Reach.SEVERAL_HOSTS:
            self.fence.enforce(slots, self.clock.monotonic())  # the write may have taken as long as the lease
            self.fence.move(now)
        self.clock_watch.look(self.store)
        self.next_at = now + min(self.fence.lease // 4, LONGEST_INTERVAL)
        return ours
