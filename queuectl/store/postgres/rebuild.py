"""The tables derived again from a PostgreSQL log: all of them, in temporary tables, and the server compares."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from queuectl.store.postgres.connection import Link, Row
from queuectl.store.postgres.schema import statements
from queuectl.store.projections import TABLES, VERSION, Values
from queuectl.store.sql.log_reader import ExaminedLog
from queuectl.store.sql.shadow import KEYS, MADE, Shadow
from queuectl.store.table_diff import contrast

__all__ = ["PostgresShadow"]

_COUNTED = f"SELECT {KEYS}, count(*) AS jobs FROM shadow_jobs GROUP BY {KEYS}"
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


class PostgresShadow(Shadow):
    """The tables of one connection."""

    def __init__(self, link: Link, log: ExaminedLog) -> None:
        super().__init__(log)
        self._link = link

    def _make(self) -> None:
        """For each table an empty one as it should be, to hold the live one against, and one for the rows."""
        for table in MADE:
            fresh = re.sub(rf"(TABLE|ON) {table} ", rf"\1 fresh_{table} ", "".join(statements(table)))
            self._link.script(fresh.replace("CREATE TABLE", "CREATE TEMP TABLE"))
        for table in TABLES:
            self._link.script(f"CREATE TEMP TABLE shadow_{table} (LIKE fresh_{table})")
        self._link.script('CREATE TEMP TABLE differing (name text, key text COLLATE "C")')

    def _flush(self, batch: dict[str, list[Values]]) -> None:
        for table, rows in batch.items():
            if rows:
                self._link.copy(f"shadow_{table}", rows)
            rows.clear()

    @contextmanager
    def _reading(self) -> Iterator[None]:
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

    def _differing(self, table: str) -> Iterator[tuple[str, str]]:
        columns = TABLES[table]
        key = f"coalesce(s.{columns[0]}, l.{columns[0]})"
        log, live = (f"ROW({', '.join(f'{side}.{column}' for column in columns)})" for side in "sl")
        where = f"{_both(table, columns)} WHERE {log} IS DISTINCT FROM {live}"
        self._run(f"INSERT INTO differing SELECT '{table}', {key} {where}")
        return ((name, name) for (name,) in self._run("SELECT key FROM differing WHERE name = ? ORDER BY 1", (table,)))

    def _contrast(self, table: str, key: str) -> str:
        columns = TABLES[table]
        wanted = ", ".join(f"{side}.{name}" for side in "sl" for name in columns)
        sql = f"SELECT {wanted} {_both(table, columns)} WHERE coalesce(s.{columns[0]}, l.{columns[0]}) = ?"
        [row] = self._run(sql, (key,))
        log, live = row[: len(columns)], row[len(columns) :]
        return "the log has no such row" if log[0] is None else contrast(columns, log, live)

    def _differing_counts(self) -> Iterator[tuple[Any, ...]]:
        live = f"SELECT {KEYS}, jobs FROM counts"
        for where, sql in (("log", f"{_COUNTED} EXCEPT {live}"), ("table", f"{live} EXCEPT {_COUNTED}")):
            for row in self._run(sql):
                yield where, *row

    def _wrecked(self, table: str) -> str | None:
        return (
            None if self._form(table) == self._form(f"fresh_{table}") else "it is missing, or not made as it should be"
        )

    def _form(self, table: str) -> list[Row]:
        return self._run(_COLUMNS, (table,)) + self._run(_INDICES, (table,))

    def _remake(self, table: str) -> None:
        others = ", ".join(f"to_regclass('{name}')" for name in TABLES if name != table)
        grants = [grant for (grant,) in self._run(_GRANTS.format(table=table, others=others))]
        self._link.script(f"DROP TABLE IF EXISTS {table}")
        self._link.script("".join(statements(table)) + "".join(f"{grant};" for grant in grants))

    def _are_of_this_version(self) -> None:
        self._run("UPDATE meta SET value = ? WHERE key = 'projection_version'", (str(VERSION),))

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._link.run(sql, parameters)

    def close(self) -> None:
        """Drop the temporary tables."""
        names = [*(f"shadow_{table}" for table in TABLES), *(f"fresh_{table}" for table in MADE)]
        self._link.script(f"DROP TABLE IF EXISTS {', '.join(names)}, differing")


def _both(table: str, columns: Sequence[str]) -> str:
    return f"FROM shadow_{table} AS s FULL JOIN {table} AS l ON l.{columns[0]} = s.{columns[0]}"
