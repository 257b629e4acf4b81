"""Decides whether other workers are gone: seen dead, or silent for longer than their lease.

We cannot inspect a worker on another machine or compare clocks with it. We can only measure, on our own monotonic
clock, for how long its heartbeat has not changed.
"""

from collections.abc import Collection

from msgspec import Struct, field

from queuectl.application.liveness import lock_file_of
from queuectl.domain.events import Claimed
from queuectl.process.protocol import Commands
from queuectl.runtime import Clock, Reach
from queuectl.store.protocol import Store
from queuectl.store.rows import WorkerRow
from queuectl.units import SECOND

__all__ = ["EVERY", "Presence", "Sender"]

EVERY = SECOND
"""Microseconds between two checks of other workers."""

Sender = tuple[str, int | None]
"""The sender of a heartbeat: a worker's name and, if its row is missing or another worker's, the time of its claim."""


class Presence(Struct):
    """The other workers as this one, `me`, sees them."""

    store: Store
    commands: Commands
    clock: Clock
    me: WorkerRow
    _silent: dict[Sender, int] = field(default_factory=dict)
    _last_seen: dict[Sender, tuple[int, int]] = field(default_factory=dict)
    _lock_files: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def is_dead(self, who: Claimed | WorkerRow) -> bool:
        """Whether a worker is seen to be dead: its process is gone or, in another pid namespace, its lock is free."""
        seen = self.commands.alive(who, self.store.location.reach)
        if seen is None and who.boot_id == self.me.boot_id and self.uses_our_lock_file(who):
            return not self.commands.works(who)
        return seen is False

    def is_on_a_copy(self, who: Claimed) -> bool:
        """Whether a worker is alive on this machine and uses another copy of this queue."""
        if self.store.location.reach is Reach.SEVERAL_HOSTS or not self.commands.alive(who, Reach.ONE_HOST):
            return False
        return self._lock_file(who) not in ("", self.commands.lock_file)

    def uses_our_lock_file(self, who: Claimed | WorkerRow) -> bool:
        """Whether a worker uses the same lock file as we do. Otherwise its lock and start marks tell us nothing."""
        return bool(self.commands.lock_file) and self._lock_file(who) == self.commands.lock_file

    def _lock_file(self, who: Claimed | WorkerRow) -> str:
        key = (name_of(who), who.pid, who.pid_started_at)
        if key not in self._lock_files:
            self._lock_files[key] = lock_file_of(self.store, who)
        return self._lock_files[key]

    def is_silent(
        self, who: Claimed | WorkerRow, row: WorkerRow | None, lease: int, now: int, since: int | None = None
    ) -> bool:
        """Whether a worker sent no heartbeat for longer than its lease, at two checks in a row.

        Two, because a store that was locked for a long time kept it from writing just as it kept us from reading.
        """
        sender = (name_of(who), None if row else since)
        if row and since is not None:
            self._last_seen.pop((sender[0], since), None)  # it is alive; only its row was missing
        if row and row.boot_id == self.me.boot_id:
            silent = now - row.beat_at
        else:
            silent = self._unchanged_for(sender, row.beat_at if row else since or 0, now)
        if silent <= lease:
            self._silent.pop(sender, None)
            return False
        return self._silent.setdefault(sender, self.clock.monotonic()) <= now - EVERY

    def _unchanged_for(self, sender: Sender, beat: int, now: int) -> int:
        """For how long a heartbeat has not changed. `now` may be long past: we may have been suspended since."""
        if self._last_seen.get(sender, (None, 0))[0] != beat:
            self._last_seen[sender] = (beat, self.clock.monotonic())
        return now - self._last_seen[sender][1]

    def forget_all_but(self, senders: Collection[Sender]) -> None:
        """Drop what is known about all other senders."""
        names = {name for name, _ in senders}
        self._silent = {sender: since for sender, since in self._silent.items() if sender in senders}
        self._last_seen = {sender: seen for sender, seen in self._last_seen.items() if sender in senders}
        self._lock_files = {key: found for key, found in self._lock_files.items() if key[0] in names}


def name_of(who: Claimed | WorkerRow) -> str:
    """A worker's name."""
    return who.name if isinstance(who, WorkerRow) else who.worker
