"""Every log that was ever written opens in this version, with the tables that it always had."""

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
from queuectl.store.protocol import StoredEvent
from tests.integrity.fixture_logs import DATA, NAMES, every_type, older, read, rows, to_seconds
from tests.support.builders import chained
from tests.support.queues import opened, tables

NEEDED = {"log-0": {("completed", 0): to_seconds}}


def laid_down(path: Path, log: list[StoredEvent]) -> None:
    """A queue that holds these rows and whose tables are empty."""
    with opened(path) as store:
        store._insert_events(log)


def tables_of(log: list[StoredEvent], upcasters: dict[Any, Any] | None = None) -> dict[str, Any]:
    """The tables that a log makes, as JSON has them."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(UPCASTERS, upcasters or {}):
        path = Path(folder) / "queue.db"
        laid_down(path, log)
        with opened(path) as store:
            store.upkeep.rebuild()
        return derived(path)


def derived(path: Path) -> dict[str, Any]:
    """The tables that are computed from the log: heartbeats are not."""
    found = {name: rows for name, rows in tables(path).items() if name not in ("schema", "workers")}
    return json.loads(json.dumps(found))


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_and_makes_the_tables_it_always_made(name, tmp_path):
    laid_down(tmp_path / "queue.db", read(name))
    with mock.patch.dict(UPCASTERS, NEEDED.get(name, {})), opened(tmp_path / "queue.db") as store:
        store.upkeep.rebuild()
        assert verify(store).counts == {}
        assert store.log.head().digest == read(name)[-1].digest
    expected = json.loads((DATA / f"{name}.tables.json").read_text(encoding="utf-8"))
    assert derived(tmp_path / "queue.db") == expected


def test_the_newest_fixture_log_has_every_type_as_written_now():
    assert {row.type for row in read("log-1")} == set(map(type_of, EVENT_TYPES))
    assert read("log-1") == rows(every_type())
    assert read("log-0") == older()
    assert [row.digest for row in read("log-1")] == chained(read("log-1"))


def test_without_its_upcaster_the_older_event_is_set_aside(tmp_path):
    laid_down(tmp_path / "queue.db", read("log-0"))
    with opened(tmp_path / "queue.db") as store:
        store.upkeep.rebuild()
        assert [problem.position for problem in verify(store).first] == [3]
        assert store.tables.job("b")["due_at"] is not None
        assert store.tables.job("a")["due_at"] is None


def test_upcasters_are_applied_one_after_the_other(monkeypatch):
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


def test_the_older_log_reads_as_the_newer_one_would():
    with mock.patch.dict(UPCASTERS, NEEDED["log-0"]):
        log = read("log-0")
        assert decode(log[2], log[1].digest).event == e.Completed(run=1, duration=2_500_000)
