"""The tables derived again from a PostgreSQL log, laid beside the live ones, and put in the place of what differs.

The whole log is folded into temporary tables, stream by stream and without a lock, and the server compares them with
the live ones at one moment. Only that and putting in place need a transaction.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from queuectl.store.base import Inspect
from queuectl.store.differences import SHOWN, Difference, Differences, contrast
from queuectl.store.examining import ExaminedLog
from queuectl.store.lives import Life, lives
from queuectl.store.postgres_link import Link, Row
from queuectl.store.postgres_schema import statements
from queuectl.store.projections import COUNT_KEYS, TABLES, VERSION, Values

__all__ = ["Shadow"]

BATCH = 500
NEAR = 500
"""So few events behind, the rest is folded while nothing moves."""

_OF_JOBS = [table for table, columns in TABLES.items() if columns[0] == "id"]
_KEYS = ", ".join(COUNT_KEYS)
_COUNTED = f"SELECT {_KEYS}, count(*) AS jobs FROM shadow_jobs GROUP BY {_KEYS}"
_COLUMNS = """
SELECT attname, CAST(atttypid AS bigint), CAST(attcollation AS bigint), attnotnull FROM pg_attribute
WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_INDICES = """
SELECT regexp_replace(pg_get_indexdef(indexrelid), 'INDEX .* USING', 'INDEX USING'), indisvalid FROM pg_index
WHERE indrelid = to_regclass(?) ORDER BY 1
"""

_GRANTS = """
SELECT concat('GRANT ', privilege_type, ' ON {table} TO ',
              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
              CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
FROM pg_class CROSS JOIN LATERAL aclexplode(relacl)
WHERE pg_class.oid = coalesce(to_regclass('{table}'), {others}) AND grantee <> relowner
"""
"""What other roles may do with a table; of one that is gone, what they may with another that is derived too."""


class Shadow:
    """The tables as the log makes them at `position`, and which rows of the live ones differ from that."""

    def __init__(self, link: Link, log: ExaminedLog) -> None:
        self._link, self._log = link, log
        self._unsound: dict[str, str] = {}
        self._counts_differ = False
        self.position = 0

    # ── folding ─────────────────────────────────────────────────────────────────────────────────────

    def fold(self, inspect: Inspect | None = None) -> None:
        """Fold the whole log as it is now, in pages and without a lock."""
        self._make()
        self._unsound = {table: why for table in (*TABLES, "counts") if (why := self._wrecked(table))}
        head = self._log.head().position
        self._put(lives(self._log.examined(until=head), inspect))
        self.position = head
        while self._log.head().position - self.position > NEAR:
            self.catch_up()

    def catch_up(self) -> None:
        """Fold again the streams that have grown since: all of them, when no one can write."""
        head = self._log.head().position
        sql = "SELECT DISTINCT stream_id FROM events WHERE position > ? AND position <= ?"
        for (stream,) in self._link.run(sql, (self.position, head)):
            for table in _OF_JOBS:
                self._link.run(f"DELETE FROM shadow_{table} WHERE id = ?", (stream,))
            self._put(lives(self._log.examined(stream_id=stream, until=head)))
        self.position = head

    def _make(self) -> None:
        """For each table an empty one as it should be, to hold the live one against, and one for the rows."""
        for table in (*TABLES, "counts"):
            fresh = re.sub(rf"(TABLE|ON) {table} ", rf"\1 fresh_{table} ", "".join(statements(table)))
            self._link.script(fresh.replace("CREATE TABLE", "CREATE TEMP TABLE"))
        for table in TABLES:
            self._link.script(f"CREATE TEMP TABLE shadow_{table} (LIKE fresh_{table})")
        self._link.script('CREATE TEMP TABLE differing (name text, key text COLLATE "C")')

    def _put(self, folded: Iterable[Life]) -> None:
        batch: dict[str, list[Values]] = {table: [] for table in TABLES}
        for life in folded:
            for table, values in life.rows().items():
                batch[table].append(values)
            for row in life.notes.values():
                self._link.run(f"DELETE FROM shadow_{row.table} WHERE {TABLES[row.table][0]} = ?", (row.key,))
                batch[row.table] += [] if row.values is None else [row.values]
            if len(batch["jobs"]) >= BATCH:
                self._flush(batch)
        self._flush(batch)

    def _flush(self, batch: dict[str, list[Values]]) -> None:
        for table, rows in batch.items():
            if rows:
                self._link.copy(f"shadow_{table}", rows)
            rows.clear()

    # ── comparing ───────────────────────────────────────────────────────────────────────────────────

    def compare(self) -> Differences:
        """What differs from the live tables at one moment; `swap` puts just that right."""
        found = Differences()
        with self._reading():
            self.catch_up()
            for table in (*TABLES, "counts"):
                if why := self._unsound.get(table):
                    found.add(Difference(table, None, why))
                elif table == "counts":
                    self._compare_counts(found)
                else:
                    self._compare(table, found)
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One moment, unless a transaction is open already."""
        if self._link.inside:
            yield
            return
        self._link.script("BEGIN ISOLATION LEVEL REPEATABLE READ")
        self._link.inside = True
        try:
            yield
            self._link.script("COMMIT")
        finally:
            self._link.roll_back()

    def _compare(self, table: str, found: Differences) -> None:
        columns = TABLES[table]
        both, name = _both(table, columns), f"coalesce(s.{columns[0]}, l.{columns[0]})"
        log, live = (f"ROW({', '.join(f'{side}.{column}' for column in columns)})" for side in "sl")
        self._link.run(f"INSERT INTO differing SELECT '{table}', {name} {both} WHERE {log} IS DISTINCT FROM {live}")
        for number, (name,) in enumerate(
            self._link.run("SELECT key FROM differing WHERE name = ? ORDER BY 1", (table,))
        ):
            found.add(Difference(table, name, self._contrast(table, name) if number < SHOWN else ""))

    def _contrast(self, table: str, key: str) -> str:
        """How a row differs."""
        columns = TABLES[table]
        wanted = ", ".join(f"{side}.{name}" for side in "sl" for name in columns)
        sql = f"SELECT {wanted} {_both(table, columns)} WHERE coalesce(s.{columns[0]}, l.{columns[0]}) = ?"
        [row] = self._link.run(sql, (key,))
        log, live = row[: len(columns)], row[len(columns) :]
        return "the log has no such row" if log[0] is None else contrast(columns, log, live)

    def _compare_counts(self, found: Differences) -> None:
        live = f"SELECT {_KEYS}, jobs FROM counts"
        for where, sql in (("log", f"{_COUNTED} EXCEPT {live}"), ("table", f"{live} EXCEPT {_COUNTED}")):
            for *key, jobs in self._link.run(sql):
                self._counts_differ = True
                found.add(Difference("counts", "/".join(map(str, key)), f"{jobs} in the {where} alone"))

    def _wrecked(self, table: str) -> str | None:
        """What is wrong with a table itself."""
        return (
            None if self._form(table) == self._form(f"fresh_{table}") else "it is missing, or not made as it should be"
        )

    def _form(self, table: str) -> list[Row]:
        return self._link.run(_COLUMNS, (table,)) + self._link.run(_INDICES, (table,))

    # ── putting in place ────────────────────────────────────────────────────────────────────────────

    def swap(self) -> None:
        """Put what `compare` found right, under the log's lock: whole tables where they were wrecked, else rows.

        All that is wrong goes before anything comes, so that no row is in the way of another.
        """
        self.catch_up()
        sound = [table for table in TABLES if table not in self._unsound]
        chosen = {table: f"WHERE {TABLES[table][0]} IN (SELECT key FROM differing WHERE name = ?)" for table in sound}
        for table in sound:
            self._link.run(f"DELETE FROM {table} {chosen[table]}", (table,))
        for table in sound:
            self._link.run(f"INSERT INTO {table} SELECT * FROM shadow_{table} {chosen[table]}", (table,))
        for table in self._unsound:
            self._remake(table)
        if self._counts_differ or "counts" in self._unsound:
            self._link.script(f"DELETE FROM counts; INSERT INTO counts {_COUNTED}")
        self._link.run("UPDATE meta SET value = ? WHERE key = 'projection_version'", (str(VERSION),))

    def _remake(self, table: str) -> None:
        others = ", ".join(f"to_regclass('{name}')" for name in TABLES if name != table)
        grants = [grant for (grant,) in self._link.run(_GRANTS.format(table=table, others=others))]
        self._link.script(f"DROP TABLE IF EXISTS {table}")
        self._link.script("".join(statements(table)) + "".join(f"{grant};" for grant in grants))
        if table in TABLES:
            self._link.run(f"INSERT INTO {table} SELECT * FROM shadow_{table}")

    def close(self) -> None:
        """Drop the temporary tables."""
        names = [*(f"shadow_{table}" for table in TABLES), *(f"fresh_{table}" for table in (*TABLES, "counts"))]
        self._link.script(f"DROP TABLE IF EXISTS {', '.join(names)}, differing")


def _both(table: str, columns: Sequence[str]) -> str:
    return f"FROM shadow_{table} AS s FULL JOIN {table} AS l ON l.{columns[0]} = s.{columns[0]}"
