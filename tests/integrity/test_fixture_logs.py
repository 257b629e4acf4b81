"""The logs of all earlier versions open in this version and give the same tables as before."""

import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from queuectl.checks.verify import verify
from queuectl.domain import events as e
from queuectl.domain.events import EVENT_TYPES, type_of
from queuectl.store.codec import UPCASTERS, decode
from queuectl.store.rows import StoredEvent
from tests.integrity.fixture_logs import DATA, NAMES, every_type, older, read, rows, to_seconds
from tests.support.builders import chained
from tests.support.queues import opened, tables

NEEDED = {"log-0": {("completed", 0): to_seconds}}


def create_queue(path: Path, log: list[StoredEvent]) -> None:
    """Create a queue with these rows and empty tables."""
    with opened(path) as store:
        store.engine.insert(f"INSERT INTO events VALUES ({', '.join('?' * len(log[0]))})", log)


def tables_of(log: list[StoredEvent], upcasters: dict[Any, Any] | None = None) -> dict[str, Any]:
    """The tables derived from a log, as in JSON."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(UPCASTERS, upcasters or {}):
        path = Path(folder) / "queue.db"
        create_queue(path, log)
        with opened(path) as store:
            store.upkeep.rebuild()
        return derived(path)


def derived(path: Path) -> dict[str, Any]:
    """The tables that are derived from the log, so without heartbeats."""
    found = {name: rows for name, rows in tables(path).items() if name not in ("schema", "workers")}
    return json.loads(json.dumps(found))


@pytest.mark.parametrize("name", NAMES)
def test_an_old_log_opens_and_gives_the_same_tables(name, tmp_path):
    create_queue(tmp_path / "queue.db", read(name))
    with mock.patch.dict(UPCASTERS, NEEDED.get(name, {})), opened(tmp_path / "queue.db") as store:
        store.upkeep.rebuild()
        assert verify(store).counts == {}
        assert store.log.head().digest == read(name)[-1].digest
    expected = json.loads((DATA / f"{name}.tables.json").read_text(encoding="utf-8"))
    assert derived(tmp_path / "queue.db") == expected


def test_the_newest_log_has_every_type_with_todays_schema():
    assert {row.type for row in read("log-1")} == set(map(type_of, EVENT_TYPES))
    assert read("log-1") == rows(every_type())
    assert read("log-0") == older()
    assert [row.digest for row in read("log-1")] == chained(read("log-1"))


def test_an_older_event_without_upcaster_is_quarantined(tmp_path):
    create_queue(tmp_path / "queue.db", read("log-0"))
    with opened(tmp_path / "queue.db") as store:
        store.upkeep.rebuild()
        assert [problem.position for problem in verify(store).first] == [3]
        assert store.tables.job("b")["due_at"] is not None
        assert store.tables.job("a")["due_at"] is None


def test_upcasters_are_applied_in_sequence(monkeypatch):
    """From schema 1 to 3: first the field gets a new name, then a new unit."""
    monkeypatch.setattr(e.Completed, "SCHEMA", 3)
    monkeypatch.setitem(UPCASTERS, ("completed", 1), lambda data: {**data, "took": data["duration"]})
    monkeypatch.setitem(
        UPCASTERS, ("completed", 2), lambda data: {"type": "completed", "run": 1, "duration": data["took"] * 1000}
    )
    log = read("log-1")
    row = next(row for row in log if row.type == "completed")
    row = row._replace(data='{"type":"completed","run":1,"duration":7}')
    row = row._replace(digest=chained([*log[: row.position - 1], row])[-1])
    assert decode(row, log[row.position - 2].digest).event == e.Completed(run=1, duration=7000)


def test_an_upcast_event_equals_the_newer_one():
    with mock.patch.dict(UPCASTERS, NEEDED["log-0"]):
        log = read("log-0")
        assert decode(log[2], log[1].digest).event == e.Completed(run=1, duration=2_500_000)
