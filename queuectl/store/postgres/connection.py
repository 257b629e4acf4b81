"""One connection to a PostgreSQL server: reconnects after a break, and translates the server's errors.

A connection that breaks outside a transaction is opened again, once, silently. In a transaction the break is a
StoreBusyError: the transaction is rolled back or, if it was being committed, its outcome is unknown and engine.py looks
for it in the log.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq.abc import PGresult

from queuectl.errors import StoreBusyError, StoreError, UsageError
from queuectl.runtime import SystemClock
from queuectl.store.errors import VersionConflictError
from queuectl.store.fork_guard import Opener
from queuectl.store.postgres.bulk import MANY, in_bulk, table_of_insert
from queuectl.store.postgres.errors import first_line, meaning, not_understood, unreachable
from queuectl.store.postgres.pipeline import Step, exchange, rows_of
from queuectl.store.postgres.url import place_of, without_password

__all__ = ["Link", "Row"]

Row = tuple[Any, ...]
T = TypeVar("T")

_LOCKS = 0x5143544C
"""The class of our advisory locks: `QCTL`, as in the header of SQLite queues. The lock's number is the schema's oid."""

USUAL: Mapping[str, Any] = {
    "application_name": "queuectl",
    "client_encoding": "utf8",
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Connection parameters that the URL may override. A server that disappears silently is noticed in about 10 s."""

IDLE_IN_TRANSACTION = 15_000
"""Milliseconds after which the server ends a transaction whose client sends nothing, because it holds the log's lock.

This is less than three quarters of the usual lease minus a heartbeat: otherwise workers that wait for the lock would
have to kill their jobs.
"""

RETRY_EVERY = 200_000
"""Microseconds between two attempts to reconnect."""

_SETTLE = f"""
SET search_path TO {{schema}}, pg_temp; SET lock_timeout = {{patience}}; SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION}; SET default_transaction_isolation = 'read committed';
SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = 5000
"""
"""The server also probes its clients. A host that disappears while it holds the log's lock is noticed in 5 s, whether
or not the server has sent it an answer.
"""


class Link:
    """A connection. `greet` runs first on each new connection; `shown` is the server's name in messages."""

    def __init__(self, url: str, busy_timeout: int, greet: "Callable[[Link], None]") -> None:
        place = place_of(url)
        self.schema, self.shown, self._greet = place.schema, without_password(url), greet
        self._number = int.from_bytes(sha256(place.schema.encode()).digest()[:4], "big", signed=True)
        self._patience = max(1, busy_timeout // 1000)
        try:
            self._parameters = {**USUAL, **conninfo_to_dict(place.conninfo)}
        except psycopg.Error as error:
            raise not_understood(error, self.shown) from None
        self._db: psycopg.Connection[Row] | None = None
        self._opener = Opener(self.shown)
        self._clock, self._retry_at = SystemClock(), 0
        self._closed = self._listening = self._heard = False
        self.inside = False
        self._waiting: list[Step] = []
        self._prepared: dict[str, bytes] = {}
        self._connect()

    # ── the connection ──────────────────────────────────────────────────────────────────────────────

    def _connect(self) -> None:
        try:
            db = psycopg.connect(**self._parameters, autocommit=True)
        except psycopg.OperationalError as error:
            raise unreachable(error, self.shown) from None
        except psycopg.Error as error:
            raise UsageError(f"{self.shown} cannot be used: {first_line(error)}") from None
        db.cursor_factory, db.prepare_threshold = psycopg.RawCursor, None
        db.add_notify_handler(self._note)
        self._db, self._prepared = db, {}
        try:
            self.script(_SETTLE.format(schema=self.schema, patience=self._patience))
            self._greet(self)
            if self._listening:
                self.listen()
        except BaseException:
            self._db = None
            db.close()
            raise

    def check_open(self) -> None:
        """Raises StoreError when the store was closed, or when this process was forked after it was opened."""
        self._opener.check()
        if self._closed:
            raise StoreError(f"the queue {self.shown} is closed")

    def _live(self) -> "psycopg.Connection[Row]":
        """The open connection; reconnects if necessary."""
        self.check_open()
        if self._db is None or self._db.closed:
            if self.inside:
                raise StoreBusyError(f"the connection to {self.shown} was lost in a transaction: try again")
            self._connect_again()
        assert self._db is not None
        return self._db

    def _connect_again(self) -> None:
        if self._clock.monotonic() < self._retry_at:
            raise StoreBusyError(f"the connection to {self.shown} was lost: try again")
        try:
            self._connect()
        except StoreError as error:
            self._retry_at = self._clock.monotonic() + RETRY_EVERY
            raise StoreBusyError(str(error)) from error

    def drop(self) -> None:
        """Discard this connection. The next statement opens another one."""
        self.inside, self._waiting = False, []
        if self._db is not None and not self._opener.gone:
            self._db.close()

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        self.drop()

    # ── the log's lock ──────────────────────────────────────────────────────────────────────────────

    @property
    def begin(self) -> tuple[str, str]:
        """The statements that begin a transaction and take the log's lock, which it holds until it ends."""
        return "BEGIN", f"SELECT pg_advisory_xact_lock({_LOCKS}, {self._number})"

    @property
    def second_lock(self) -> str:
        """Another lock of this schema."""
        return f"{_LOCKS + 1}, {self._number}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A transaction with the log's lock, separate from the store's own transactions."""
        self.together(*self.begin)
        self.inside = True
        try:
            yield
            self.together("COMMIT")
            self.inside = False
        except BaseException:
            self.roll_back()
            raise

    # ── statements ──────────────────────────────────────────────────────────────────────────────────

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement and return its rows."""
        return self._once_more(lambda: self._run(sql, parameters))

    def _run(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        *_, answer = self._exchange((_numbered(sql), [parameters]))
        return rows_of(self._live(), answer)

    def _once_more(self, step: Callable[[], T]) -> T:
        """Run a step, and once more if the connection broke: an idle one may be dead, which only a statement shows."""
        try:
            return step()
        except StoreBusyError:
            if self.inside or self._db is None or not self._db.closed:
                raise
        return step()

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run the waiting statements, then one statement for each row. Returns how many rows it wrote."""
        steps = self._steps(sql, rows)
        answers = self._exchange(*steps)
        return sum(answer.command_tuples or 0 for answer in answers[-sum(len(each) for _, each in steps) :])

    @staticmethod
    def _steps(sql: str, rows: Sequence[Sequence[Any]]) -> list[Step]:
        """Steps that run one statement for each row, or if there are many one for all."""
        bulk = [*in_bulk(sql, rows)] if len(rows) >= MANY else []
        return bulk or [(_numbered(sql), rows)]

    def later(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Queue one statement for each row. They are sent with the transaction's next one, which raises any errors.

        Many new rows are copied at once instead.
        """
        table = table_of_insert(sql) if len(rows) >= MANY else None
        if table is None:
            self._waiting += self._steps(sql, rows)
        else:
            self.copy(table, rows)

    def settle(self) -> None:
        """Run the waiting statements."""
        if self._waiting:
            self._exchange()

    def together(self, *statements: str) -> list[list[Row]]:
        """Run the waiting statements and then these, in one round trip. Returns the rows of each. Stops at an error.

        Unlike those of a script, the server keeps their plans, and each sees what was committed before it began.
        """
        return self._once_more(lambda: self._together(statements))

    def _together(self, statements: Sequence[str]) -> list[list[Row]]:
        answers = self._exchange(*((sql, [()]) for sql in statements))[-len(statements) :]
        self._refuse_rollback((answers[-1].command_status or b"").decode(), statements[-1])
        return [rows_of(self._live(), answer) for answer in answers]

    def _exchange(self, *asked: Step) -> list[PGresult]:
        """Run the waiting statements, then these steps."""
        steps, self._waiting = [*self._waiting, *asked], []
        db = self._live()
        with self._translated():
            return exchange(db, self._prepared, steps)

    def copy(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert many new rows at once."""
        self.settle()
        with self._translated(), self._live().cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def script(self, sql: str) -> list[list[Row]]:
        """Run statements in one round trip. Returns the rows of each that has any. Raises StoreError if none ran."""
        return self._once_more(lambda: self._script(sql))

    def _script(self, sql: str) -> list[list[Row]]:
        self.settle()
        with self._translated():
            cursor = self._live().cursor()
            cursor.execute(sql, prepare=False)
            found = [cursor.fetchall()] if cursor.description else []
            while cursor.nextset():
                found += [cursor.fetchall()] if cursor.description else []
            self._refuse_rollback(cursor.statusmessage, sql)
            return found

    def _refuse_rollback(self, status: str | None, sql: str) -> None:
        """Raises StoreError when a COMMIT was answered with ROLLBACK. To psycopg that is not an error."""
        if status == "ROLLBACK" and not sql.endswith("ROLLBACK"):
            raise StoreError(f"{self.shown} has rolled the transaction back")

    def roll_back(self) -> None:
        """Roll back the transaction. Does nothing when the connection is broken: the server has rolled it back."""
        self.inside, self._waiting = False, []
        if self._db is not None and not self._db.closed and not self._opener.gone:
            with suppress(psycopg.Error):
                self._db.execute("ROLLBACK", prepare=False)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.UniqueViolation as error:
            raise VersionConflictError(first_line(error)) from error
        except psycopg.Error as error:
            raise meaning(error, self.shown, self._db is not None and self._db.closed) from error

    # ── hints ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def channel(self) -> str:
        """The channel on which writers announce that there is something to do."""
        return f"queuectl_{self.schema}"

    def listen(self) -> None:
        """Listen for notifications, on later connections too."""
        self._listening = True
        self.script(f"LISTEN {self.channel}")

    def descriptor(self) -> int | None:
        """The descriptor that becomes readable with a hint; None while there is no connection."""
        return None if self._db is None or self._db.closed else self._db.fileno()

    def heard(self) -> bool:
        """Whether a hint arrived, or the connection broke, since the last call."""
        heard, self._heard = self._heard, False
        if self._db is None or self._db.closed:
            return heard
        try:
            self._db.pgconn.consume_input()
            while self._db.pgconn.notifies():
                heard = True  # not one of ours: those come with the answer to our commit
        except psycopg.Error:
            self._db.close()
            return True
        return heard

    def _note(self, note: psycopg.Notify) -> None:
        self._heard = self._heard or self._db is None or note.pid != self._db.info.backend_pid


@cache
def _numbered(sql: str) -> str:
    """`?` as PostgreSQL writes it: $1, $2, …; none of our statements has a ? in a text."""
    numbers = iter(range(1, 1 << 20))
    return re.sub(r"\?(\d*)", lambda found: f"${found[1] or next(numbers)}", sql)
