"""Findings on a server's health from its own statistics: dead rows, old snapshots, waits for locks, connections."""

from collections.abc import Iterator

from queuectl.store.postgres.connection import Link
from queuectl.store.rows import HealthFinding
from queuectl.units import counted

__all__ = ["findings"]

MANY_DEAD = 10_000
LONG = 60
"""Seconds after which a snapshot counts as old. While it is open, rows that have died since cannot be vacuumed."""

_DEAD = """
SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables WHERE schemaname = ?
ORDER BY n_dead_tup DESC, relname LIMIT 1
"""
_OLDEST = """
SELECT pid, CAST(extract(epoch FROM clock_timestamp() - xact_start) AS bigint), coalesce(application_name, '')
FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database()
ORDER BY xact_start NULLS LAST LIMIT 1
"""
_WAITING = """
SELECT count(*), coalesce(max(CAST(extract(epoch FROM clock_timestamp() - query_start) AS bigint)), 0)
FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND application_name = 'queuectl'
"""
_CONNECTIONS = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       CAST(current_setting('max_connections') AS bigint)
       - CAST(current_setting('superuser_reserved_connections') AS bigint)
"""


def findings(link: Link) -> Iterator[HealthFinding]:
    """One finding of each kind."""
    yield from (_server(link), _dead(link), _oldest(link), _waiting(link), _connections(link))


def _server(link: Link) -> HealthFinding:
    [(version,)] = link.run("SELECT current_setting('server_version')")
    return HealthFinding("queue", False, f"PostgreSQL {version} at {link.shown}, schema {link.schema}")


def _dead(link: Link) -> HealthFinding:
    found = link.run(_DEAD, (link.schema,))
    table, dead, alive = found[0] if found else ("jobs", 0, 0)
    what = f"{counted(dead, 'dead row')} in {table}, next to {alive} live ones"
    if dead > MANY_DEAD and dead > alive // 5:
        return HealthFinding("dead rows", True, f"{what}: claims read past them", f"VACUUM {link.schema}.{table}")
    return HealthFinding("dead rows", False, what)


def _oldest(link: Link) -> HealthFinding:
    found = link.run(_OLDEST)
    if not found or found[0][1] is None or found[0][1] < LONG:
        return HealthFinding("snapshots", False, "none is old")
    pid, age, name = found[0]
    what = f"one of {name or 'some program'} (pid {pid} there) is {age} s old: meanwhile no dead row is cleared away"
    return HealthFinding("snapshots", True, what, f"pg_terminate_backend({pid})")


def _waiting(link: Link) -> HealthFinding:
    [(number, longest)] = link.run(_WAITING)
    what = f"{number} of us wait for a lock" + (f", the longest for {longest} s" if number else "")
    return HealthFinding(
        "waiting", longest >= LONG // 6, what, "queuectl worker list" if longest >= LONG // 6 else None
    )


def _connections(link: Link) -> HealthFinding:
    [(used, allowed)] = link.run(_CONNECTIONS)
    what = f"{used} of {allowed} connections are in use"
    if used * 10 > allowed * 9:
        return HealthFinding("connections", True, what, "raise max_connections, or start fewer workers")
    return HealthFinding("connections", False, what)
