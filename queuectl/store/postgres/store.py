"""The event log and its projections in a schema of a PostgreSQL server, through psycopg.

Whoever writes takes the log's lock first, an advisory lock that its transaction holds to the end: positions stand in
the order of the commits, and there are no row locks that could wait for each other. Every commit that leaves an event
is on the server's disk before anyone sees it, claims too: the server can fail while the worker and its job continue,
and a job whose claim was lost would be run a second time at once.
"""

import os
from _thread import RLock
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from queuectl.domain.job import Job
from queuectl.errors import StoreBusyError
from queuectl.runtime import Clock, SystemClock
from queuectl.store.archive.archive import Keeping
from queuectl.store.meta import check_format, check_place
from queuectl.store.postgres.connection import Link
from queuectl.store.postgres.due_search import Floors
from queuectl.store.postgres.handshake import as_text, greet
from queuectl.store.protocol import Change, Head, Sign
from queuectl.store.sql.dialect import POSTGRES
from queuectl.store.sql.log_writer import AppendedLog, Keep

if TYPE_CHECKING:
    from queuectl.store.postgres.rebuild import PostgresShadow

__all__ = ["PostgresStore", "is_there"]

FRESH = 1_000_000
"""Microseconds for which the server's time is extrapolated with our own clock."""

_NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
_META = "SELECT key, value FROM meta"
_VALUE = "(SELECT value FROM meta WHERE key = '{}')"
_STATE = f"""
SELECT position, digest, recorded_at, {_VALUE.format("writes")}, {_VALUE.format("format")}, {_VALUE.format("moved_to")},
       {_VALUE.format("projection_version")}, {_NOW}
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
"""At most ten times a second: the server commits those that notify one after the other."""
_READ: dict[str, Callable[[str], Any]] = {
    "format": int,
    "base_position": int,
    "base_digest": bytes.fromhex,
    "projection_version": int,
}
"""How the values of `meta` are read that are no text."""


class ServerClock:
    """The server's wall clock, so that hosts whose clocks differ agree; `ask` asks it."""

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask, self._clock = ask, SystemClock()
        self._told, self._told_at = 0, -FRESH

    def now(self) -> int:
        """See Clock."""
        if self._clock.monotonic() - self._told_at >= FRESH:
            self.tell(self._ask())
        return self._told + self._clock.monotonic() - self._told_at

    def tell(self, now: int) -> None:
        """What it shows at this moment."""
        self._told, self._told_at = now, self._clock.monotonic()

    def monotonic(self) -> int:
        """See Clock."""
        return self._clock.monotonic()


class PostgresStore(AppendedLog):
    """See the protocol. The clock is the server's, unless a test brings its own."""

    spans_hosts = True
    _dialect = POSTGRES

    def __init__(
        self, url: str, clock: Clock, busy_timeout: int = 10_000_000, keep: Keep = lambda stored: Keeping()
    ) -> None:
        self._threads = RLock()
        self._known_log: str | None = None
        self._floors = Floors()
        self._seen: tuple[int, int] = (0, 0)
        self._disturbed = False
        self._server_clock = ServerClock(lambda: int(self._run(f"SELECT {_NOW}")[0][0]))
        self._link = Link(url, busy_timeout, lambda link: greet(link, self._known_log))
        self.path = self._link.shown
        self._open_up(self._server_clock if isinstance(clock, SystemClock) else clock, keep)
        self.changed()

    # ── where things are ────────────────────────────────────────────────────────────────────────────

    def _meta(self) -> dict[str, Any]:
        return {key: _READ.get(key, str)(value) for key, value in self._run(_META) if value is not None}

    def _set_meta(self, key: str, value: object) -> None:
        self._run("UPDATE meta SET value = ? WHERE key = ?", (as_text(value), key))

    def _become_what_meta_says(self) -> None:
        super()._become_what_meta_says()
        self._known_log = self._log_id

    def _file_prefix(self, meta: dict[str, Any]) -> str:
        """On this machine; by a name that the schema got when it was made, since logs can be copied."""
        self._home = os.path.join(os.path.abspath(self._keeping.home or default_home()), meta["place"])
        return self._home

    @property
    def output_folder(self) -> str:
        """See the protocol."""
        return f"{self._home}.output"

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────

    def _in_transaction(self) -> bool:
        self._link.check_open()
        return self._link.inside

    def _begin(self, durable: bool) -> None:
        self._durable = durable
        try:
            *_, [self._state] = self._link.together(*self._link.begin, _STATE)
        except BaseException:
            self._roll_back()
            raise
        self._link.inside = True

    def _checked_head(self) -> Head:
        *head, writes, form, moved_to, derived_by, now = self._state
        self._server_clock.tell(now)
        check_format(int(form or 0), self.path)
        check_place(moved_to, self.path)
        self._check_version(int(derived_by or 0))
        found = Head(*head) if head[0] is not None else self._base
        self._notice(found.position, int(writes or 0))
        return found

    def _notice(self, position: int, writes: int) -> None:
        """What others have done since this store last looked."""
        self._disturbed = self._disturbed or self._seen != (position, writes)
        self._seen = (position, writes)

    def _commit(self, before: Head, after: Head) -> None:
        steps = [_NOTIFY.format(channel=self._link.channel)] if self._waking else []
        if after.position == before.position:
            steps.insert(0, _COUNT_WRITE)
            steps += [] if self._durable else ["SET LOCAL synchronous_commit = off"]
        try:
            found = self._link.together(*steps, "COMMIT")
        except StoreBusyError:  # what leaves no event leaves nothing to know it by
            if after.position == before.position or not self._came_through(after):
                raise
            found = []
        self._link.inside = False
        writes = found[0][0][0] if after.position == before.position and found and found[0] else self._seen[1]
        self._seen = (after.position, writes)

    def _came_through(self, after: Head) -> bool:
        """Whether a commit whose answer was lost is in the log all the same.

        Asked under the log's lock, which the server gives to us only when that transaction is over. Digests are salted,
        so nobody else can have written the same event.
        """
        self._link.drop()
        try:
            with self._link.locked():
                return self.digest_at(after.position) == after.digest
        except StoreBusyError as error:
            what = "whether the change was made is not known: look before you repeat it"
            raise StoreBusyError(f"{self.path} cannot be asked any more, {what}") from error

    def take_long(self) -> None:
        """See the protocol. The server ends it no more; a host that has gone is still missed."""
        self._run("SET LOCAL idle_in_transaction_session_timeout = 0")

    def _roll_back(self) -> None:
        self._link.roll_back()

    def _insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        self._link.later(sql, rows)

    def _settle(self) -> None:
        self._link.settle()

    def _insert_new(self, sql: str, rows: Sequence[Sequence[Any]]) -> bool:
        """Without an error, which would end the transaction."""
        return self._link.many(f"{sql} ON CONFLICT DO NOTHING", rows) == len(rows)

    def copy_to(self, path: str) -> None:
        """See the protocol. The copy is a SQLite queue of the same log: same events, same head."""
        from queuectl.store.sqlite.store import SqliteStore

        copy = SqliteStore(os.path.abspath(path), SystemClock(), keep=lambda stored: Keeping(archived=False))
        try:
            with copy.transaction():
                copy.adopt(self.log_id, self.base)
                copy.append_stored(self.stored())
            copy.settle()
        finally:
            copy.close()

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────

    def flaws(self) -> list[str]:
        """See the protocol. What the server's own page checksums have met, and indices that were left half made."""
        found = self._run("SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()")
        broken = self._run(
            "SELECT CAST(indexrelid::regclass AS text) FROM pg_index WHERE NOT indisvalid AND indrelid IN"
            " (SELECT oid FROM pg_class WHERE relnamespace = CAST(? AS regnamespace))",
            (self._link.schema,),
        )
        damaged = [f"{found[0][0]} pages with a wrong checksum"] if found and found[0][0] else []
        return [*damaged, *(f"the index {name} is not valid" for (name,) in broken)]

    def signs(self) -> Iterator[Sign]:
        """See the protocol."""
        from queuectl.store.postgres.health import signs

        return signs(self._link)

    def on_disk(self) -> int:
        """See the protocol. All there is: a commit is seen by others when it is on disk."""
        return self.head().position

    def bring_to_disk(self) -> int:
        """See the protocol."""
        return self.on_disk()

    def changed(self) -> bool:
        """See the protocol."""
        with self._threads:
            if not self._link.inside:  # with the lock it has been looked at, and nobody else can write
                self._notice(*map(int, self._run(_WRITTEN)[0]))
            changed, self._disturbed = self._disturbed, False
            return changed

    # ── deriving the tables again ───────────────────────────────────────────────────────────────────

    def _new_shadow(self) -> "PostgresShadow":
        from queuectl.store.postgres.rebuild import PostgresShadow

        return PostgresShadow(self._link, self)

    @contextmanager
    def _first_use(self) -> Iterator[None]:
        """A lock of its own, since deriving takes the log's more than once."""
        self._link.script(f"SELECT pg_advisory_lock({self._link.second_lock})")
        try:
            yield
        finally:
            self._link.script(f"SELECT pg_advisory_unlock({self._link.second_lock})")

    def _is_read_only(self) -> bool:
        return bool(self._run("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'")[0][0])

    # ── the connection ──────────────────────────────────────────────────────────────────────────────

    def hints(self) -> Link:
        """See the protocol."""
        self._link.listen()
        return self._link

    def append(self, changes: Sequence[Change], actor: str) -> list[Job | None]:
        """See the protocol."""
        jobs = super().append(changes, actor)
        for job in jobs:
            if job is not None and job.due_at is not None:
                self._floors.lower(job.spec.queue, job.spec.priority, job.due_at)
        return jobs

    def claimable(
        self,
        queues: Collection[str],
        limit: int,
        now: int,
        skip: Collection[str] = (),
        behind_for: int | None = None,
    ) -> list[str]:
        """See the protocol. One statement, because the log's lock is held meanwhile."""
        if behind_for is not None:
            return super().claimable(queues, limit, now, skip, behind_for)
        found = self._floors.search(self._run, queues, limit + len(skip), now)
        return [job_id for job_id in found if job_id not in skip][:limit]

    def close(self) -> None:
        """See the protocol."""
        with self._threads:
            if self._keeper is not None:
                self._keeper.close()
            self._link.close()

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._threads:
            return self._link.run(sql, parameters)


def is_there(url: str) -> bool:
    """Whether there is a queue already."""
    link = Link(url, 10_000_000, lambda link: None)
    try:
        return bool(link.run(f"SELECT to_regclass('{link.schema}.meta') IS NOT NULL")[0][0])
    finally:
        link.close()


def default_home() -> str:
    """Where a queue's output files and archive are that has no folder of its own: $QUEUECTL_HOME, or the user's."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.environ.get("QUEUECTL_HOME") or os.path.join(state, "queuectl")
