"""Temporary tables for a rebuild on PostgreSQL: they hold the derived rows that may differ."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from queuectl.store.postgres.connection import Link, Row
from queuectl.store.postgres.schema import statements
from queuectl.store.projections import TABLES, VERSION, Values
from queuectl.store.sql.engine import POSTGRES
from queuectl.store.sql.rebuild import MADE, contrast

__all__ = ["PostgresShadowTables"]

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
"""The grants on a table to other roles; of a missing table, those on another derived table."""


class PostgresShadowTables:
    """Implements `sql.rebuild.ShadowTables` on one connection."""

    dialect = POSTGRES

    def __init__(self, link: Link) -> None:
        self._link = link

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement and return its rows."""
        return self._link.run(sql, parameters)

    def make(self) -> None:
        """Create two empty tables for each: one in the right form, to compare the live table with, and one for rows."""
        for table in MADE:
            fresh = re.sub(rf"(TABLE|ON) {table} ", rf"\1 fresh_{table} ", "".join(statements(table)))
            self._link.script(fresh.replace("CREATE TABLE", "CREATE TEMP TABLE"))
        for table in TABLES:
            self._link.script(f"CREATE TEMP TABLE shadow_{table} (LIKE fresh_{table})")
        for table in ("suspects", "differing"):
            self._link.script(f'CREATE TEMP TABLE {table} (name text, key text COLLATE "C")')

    def store(self, rows: Mapping[str, Sequence[Values]], suspects: Sequence[tuple[str, bytes]]) -> None:
        """Write derived rows, by table, into `shadow_…`, and their keys and the other suspects into `suspects`."""
        keys = [(table, row[0]) for table, found in rows.items() for row in found]
        keys += [(table, key.decode()) for table, key in suspects]
        for table, found in rows.items():
            if found:
                self._link.copy(f"shadow_{table}", found)
        if keys:
            self._link.copy("suspects", keys)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A read transaction, unless one is open already."""
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

    def differing(self, table: str) -> Iterator[tuple[str, str]]:
        """The keys in `differing`, twice each."""
        return ((name, name) for (name,) in self.run("SELECT key FROM differing WHERE name = ? ORDER BY 1", (table,)))

    def contrast(self, table: str, row: str) -> str:
        """How the row with that key differs."""
        columns = TABLES[table]
        wanted = ", ".join(f"{side}.{name}" for side in "sl" for name in columns)
        sql = f"SELECT {wanted} {_both(table, columns)} WHERE coalesce(s.{columns[0]}, l.{columns[0]}) = ?"
        [both] = self.run(sql, (row,))
        log, live = both[: len(columns)], both[len(columns) :]
        return "the log has no such row" if log[0] is None else contrast(columns, log, live)

    def unsound(self, table: str) -> str | None:
        """Why a live table as a whole is unusable; None when it is sound."""
        return (
            None if self._form(table) == self._form(f"fresh_{table}") else "it is missing, or not made as it should be"
        )

    def _form(self, table: str) -> list[Row]:
        return self.run(_COLUMNS, (table,)) + self.run(_INDICES, (table,))

    def remake(self, table: str) -> None:
        """Create a live table again, empty, with the right schema and the grants of the old one."""
        others = ", ".join(f"to_regclass('{name}')" for name in TABLES if name != table)
        grants = [grant for (grant,) in self.run(_GRANTS.format(table=table, others=others))]
        self._link.script(f"DROP TABLE IF EXISTS {table}")
        self._link.script("".join(statements(table)) + "".join(f"{grant};" for grant in grants))

    def note_version(self) -> None:
        """Record that this version of queuectl has derived the tables."""
        self.run("UPDATE meta SET value = ? WHERE key = 'projection_version'", (str(VERSION),))

    def close(self) -> None:
        """Drop the temporary tables."""
        names = [*(f"shadow_{table}" for table in TABLES), *(f"fresh_{table}" for table in MADE)]
        self._link.script(f"DROP TABLE IF EXISTS {', '.join(names)}, suspects, differing")


def _both(table: str, columns: Sequence[str]) -> str:
    return f"FROM shadow_{table} AS s FULL JOIN {table} AS l ON l.{columns[0]} = s.{columns[0]}"
