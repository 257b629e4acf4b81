"""Queues on the tests' own server: the command line on one, and stores without it."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.store.conftest import home
from tests.support.builders import SettableClock
from tests.support.command_line import Queuectl, maps
from tests.support.oracle import COLUMNS, faults_in
from tests.support.postgres import Server, binaries, server
from tests.support.stores import Places

__all__ = ["home"]


class OnServer(Queuectl):
    """`queuectl` in a folder, with its queue on a server; the URL is in the environment."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder)
        self.url = url
        self.home = folder / "home"
        self.env |= {"QUEUECTL_DB": url, "QUEUECTL_HOME": str(self.home)}

    @property
    def place(self) -> str:
        return self.url

    @property
    def output(self) -> Path:
        [found] = self.home.glob("*.output")
        return found

    def stored(self) -> list[bytes]:
        tables = [name for (name,) in self.query("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")]
        rows = [repr(self.query(f"SELECT * FROM {table}")).encode() for table in tables]
        return rows + [path.read_bytes() for path in self.home.rglob("*") if path.is_file()]

    def has_opened(self, pid: int) -> bool:
        return "psycopg" in maps(pid)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        base, _, schema = self.url.partition("&schema=")
        with psycopg.connect(base, options=f"-c search_path={schema or 'queuectl'}") as connection:
            return connection.execute(sql).fetchall()  # type: ignore[call-overload,no-any-return]

    def position(self) -> int:
        with suppress(psycopg.errors.UndefinedTable):
            return int(self.query("SELECT coalesce(max(position), 0) FROM events")[0][0])
        return 0

    def events(self, kind: str, db: Path | None = None) -> list[dict[str, Any]]:
        rows = self.query(f"SELECT stream_id, data FROM events WHERE type = '{kind}' ORDER BY position")
        found = [{"stream_id": stream, **json.loads(data)} for stream, data in rows]
        return [{name: value for name, value in event.items() if name != "type"} for event in found]

    def check(self) -> None:
        with suppress(psycopg.errors.UndefinedTable):
            found = self.query(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY position")
            assert faults_in([dict(zip(COLUMNS, row, strict=True)) for row in found]) == []


@pytest.fixture(scope="session", params=sorted(binaries()))
def postgres(request: pytest.FixtureRequest) -> Server:
    """A running server, one parameter for each installed one. The command line is tested on one only."""
    return server(request.param)


@pytest.fixture
def url(postgres: Server) -> str:
    """The URL of a new log."""
    return postgres.new_url()


class ServerPlaces(Places):
    """Logs on one of the servers."""

    def __init__(self, postgres: Server, folder: Path, clock: SettableClock) -> None:
        super().__init__("postgres", folder, clock)
        self.new_url = postgres.new_url  # type: ignore[method-assign]


@pytest.fixture
def places(postgres: Server, tmp_path: Path, clock: SettableClock) -> Iterator[Places]:
    """Opens stores, and closes them at the end."""
    places = ServerPlaces(postgres, tmp_path, clock)
    yield places
    places.close()


@pytest.fixture
def queuectl(tmp_path: Path) -> Iterator[OnServer]:
    """The command line. At the end its processes are stopped, and the log must be complete."""
    command_line = OnServer(tmp_path, server().new_url())
    try:
        yield command_line
    finally:
        command_line.stop()
    command_line.check()
    assert os.environ.get("QUEUECTL_DB") is None
