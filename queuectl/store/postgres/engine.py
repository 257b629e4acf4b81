"""The engine for a schema on a PostgreSQL server, through psycopg.

A writer takes the log's lock first: an advisory lock that its transaction holds until it ends. So positions follow the
order of the commits, and row locks never wait for each other. Every commit with an event, a claim too, is on the
server's disk before anyone sees it. Otherwise, if the server failed and lost a claim while the worker and its job
continued, that job would be run a second time at once.
"""

from _thread import RLock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from queuectl.errors import StoreBusyError
from queuectl.runtime import SystemClock
from queuectl.store.postgres.connection import Link
from queuectl.store.postgres.handshake import as_text, greet
from queuectl.store.rows import Head, HealthFinding
from queuectl.store.sql.engine import POSTGRES, SET_META, LockedLog

if TYPE_CHECKING:
    from queuectl.store.postgres.rebuild import PostgresShadowTables

__all__ = ["PostgresEngine", "PostgresStorage", "ServerClock"]

FRESH = 1_000_000
"""Microseconds for which the server's time is extrapolated with our own clock."""

_NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
_META = "SELECT key, value FROM meta"
_VALUE = "(SELECT value FROM meta WHERE key = '{}')"
_LOCKED_LOG = f"""
SELECT position, digest, recorded_at, {_VALUE.format("writes")}, {_VALUE.format("format")}, {_VALUE.format("moved_to")},
       {_VALUE.format("projection_version")}, {_VALUE.format("reactive")}, {_NOW}
FROM (VALUES (1)) AS one LEFT JOIN (SELECT position, digest, recorded_at FROM events ORDER BY position DESC LIMIT 1)
     AS last ON true
"""
_WRITTEN = f"SELECT coalesce(max(position), 0), {_VALUE.format('writes')} FROM events"
_COUNT_WRITE = """
UPDATE meta SET value = CAST(value AS bigint) + 1
WHERE key = 'writes' AND pg_current_xact_id_if_assigned() IS NOT NULL RETURNING CAST(value AS bigint)"""
_NOTIFY = f"""
WITH due AS (UPDATE meta SET value = {_NOW} WHERE key = 'notified_at' AND CAST(value AS bigint) < {_NOW} - 100000
             RETURNING 1) SELECT pg_notify('{{channel}}', '') FROM due"""
"""At most ten times a second, because the server commits transactions that notify one after another."""
_READ: dict[str, Callable[[str], Any]] = {
    "format": int,
    "base_position": int,
    "base_digest": bytes.fromhex,
    "projection_version": int,
}
"""How to read those values of `meta` that are not text."""


class ServerClock:
    """The server's wall clock, so that hosts whose clocks differ agree; `ask` reads it from the server."""

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask, self._clock = ask, SystemClock()
        self._last, self._set_at = 0, -FRESH

    def now(self) -> int:
        """The server's wall clock."""
        if self._clock.monotonic() - self._set_at >= FRESH:
            self.set(self._ask())
        return self._last + self._clock.monotonic() - self._set_at

    def set(self, now: int) -> None:
        """Use a time that the server has just reported."""
        self._last, self._set_at = now, self._clock.monotonic()

    def monotonic(self) -> int:
        """This machine's monotonic clock."""
        return self._clock.monotonic()


class PostgresEngine:
    """Implements `sql.engine.Engine` on one connection, which is opened again when it breaks outside a transaction."""

    dialect = POSTGRES

    def __init__(self, url: str, busy_timeout: int) -> None:
        self.threads = RLock()
        self._known_log: str | None = None
        self._seen: tuple[int, int] = (0, 0)
        """The log's last position and the number of writes without an event, at this connection's last check."""
        self._disturbed = self._durable = False
        self.clock = ServerClock(lambda: int(self.run(f"SELECT {_NOW}")[0][0]))
        self.link = Link(url, busy_timeout, lambda link: greet(link, self._known_log))
        self.path = self.link.shown

    # ── statements ──────────────────────────────────────────────────────────────────────────────────

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, after those that are waiting, and return its rows."""
        with self.threads:
            return self.link.run(sql, parameters)

    def insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row, together with the next statement, to save a round trip."""
        self.link.later(sql, rows)

    def insert_new(self, sql: str, rows: Sequence[Sequence[Any]]) -> bool:
        """Insert rows; False when the key of any is taken. Raises no error for that: it would end the transaction."""
        return self.link.many(f"{sql} ON CONFLICT DO NOTHING", rows) == len(rows)

    # ── transactions ────────────────────────────────────────────────────────────────────────────────

    def begin(self, durable: bool) -> LockedLog:
        """Begin a transaction and take the log's lock. A commit without an event waits for the disk if `durable`."""
        self._durable = durable
        try:
            *_, [(*last, writes, form, moved_to, derived_by, reactive, now)] = self.link.together(
                *self.link.begin, _LOCKED_LOG
            )
        except BaseException:
            self.roll_back()
            raise
        self.link.inside = True
        self.clock.set(now)
        self._notice(last[0] or 0, int(writes or 0))
        return LockedLog(
            None if last[0] is None else last,
            int(form or 0),
            moved_to,
            int(derived_by or 0),
            reactive and int(reactive),
        )

    def commit(self, before: Head, after: Head, wakes: bool, meanwhile: Callable[[], None] | None = None) -> None:
        """Commit, and notify idle workers if the change `wakes` them."""
        is_appended = after.position > before.position
        steps = [_NOTIFY.format(channel=self.link.channel)] if wakes else []
        if not is_appended:
            steps.insert(0, _COUNT_WRITE)
            steps += [] if self._durable else ["SET LOCAL synchronous_commit = off"]
        try:
            found = self.link.together(*steps, "COMMIT")
        except StoreBusyError:  # a commit without an event cannot be recognised afterwards
            if not is_appended or not self._is_committed(after):
                raise
            found = []
        self.link.inside = False
        writes = found[0][0][0] if not is_appended and found and found[0] else self._seen[1]
        self._seen = (after.position, writes)

    def _is_committed(self, after: Head) -> bool:
        """Whether a commit whose answer was lost is in the log.

        Reads under the log's lock, which the server grants only when that transaction is over. Digests are salted, so
        no other process can have written the same event.
        """
        self.link.drop()
        try:
            with self.link.locked():
                found = self.run("SELECT digest FROM events WHERE position = ?", (after.position,))
                return bool(found) and found[0][0] == after.digest
        except StoreBusyError as error:
            what = "whether the change was made is not known: look before you repeat it"
            raise StoreBusyError(f"{self.path} cannot be asked any more, {what}") from error

    def roll_back(self) -> None:
        """Undo the open transaction. Does nothing when there is none."""
        self.link.roll_back()

    # ── meta ────────────────────────────────────────────────────────────────────────────────────────

    def meta(self) -> dict[str, Any]:
        """The rows of `meta`. From now on, connections to any other log are refused."""
        found = {key: _READ.get(key, str)(value) for key, value in self.run(_META) if value is not None}
        self._known_log = found.get("log_id")
        return found

    def set_meta(self, key: str, value: object) -> None:
        """Change a row of `meta`."""
        self.run(SET_META, (key, as_text(value)))

    # ── the disk, and other writers ─────────────────────────────────────────────────────────────────

    def last_on_disk(self) -> int | None:
        """The log's last position: others see a commit only when it is on disk."""
        found = self.run("SELECT max(position) FROM events")
        return found[0][0] if found else None

    def sync(self) -> bool:
        """Does nothing: everything that is committed is on disk."""
        return True

    def changed(self) -> bool:
        """Whether another process has written since the last call."""
        with self.threads:
            if not self.link.inside:  # the log's state was checked when the lock was taken, and nobody else can write
                self._notice(*map(int, self.run(_WRITTEN)[0]))
            changed, self._disturbed = self._disturbed, False
            return changed

    def _notice(self, position: int, writes: int) -> None:
        """Compare with the state that this connection saw last. If it differs, another process has written."""
        self._disturbed = self._disturbed or self._seen != (position, writes)
        self._seen = (position, writes)

    def close(self) -> None:
        """Close the connection. A second call does nothing."""
        self.link.close()


class PostgresStorage:
    """Implements `sql.upkeep.Storage`: the schema on its server."""

    def __init__(self, engine: PostgresEngine) -> None:
        self._engine = engine

    def is_read_only(self) -> bool:
        """Whether nothing can be written: the server is a standby, or the role has only the right to read."""
        sql = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'"
        return bool(self._engine.run(sql)[0][0])

    def damage(self) -> list[str]:
        """Pages with wrong checksums by the server's count, and indexes whose creation was interrupted."""
        found = self._engine.run("SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()")
        broken = self._engine.run(
            "SELECT CAST(indexrelid::regclass AS text) FROM pg_index WHERE NOT indisvalid AND indrelid IN"
            " (SELECT oid FROM pg_class WHERE relnamespace = CAST(? AS regnamespace))",
            (self._engine.link.schema,),
        )
        damaged = [f"{found[0][0]} pages with a wrong checksum"] if found and found[0][0] else []
        return [*damaged, *(f"the index {name} is not valid" for (name,) in broken)]

    def health(self) -> Iterator[HealthFinding]:
        """Findings on the server's health, from its own statistics."""
        from queuectl.store.postgres.health import findings

        return findings(self._engine.link)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lets one process at a time rebuild the tables. Not the log's lock, which a rebuild takes more than once."""
        link = self._engine.link
        link.script(f"SELECT pg_advisory_lock({link.second_lock})")
        try:
            yield
        finally:
            link.script(f"SELECT pg_advisory_unlock({link.second_lock})")

    def shadow_tables(self) -> "PostgresShadowTables":
        """Temporary tables for a rebuild."""
        from queuectl.store.postgres.rebuild import PostgresShadowTables

        return PostgresShadowTables(self._engine.link)
