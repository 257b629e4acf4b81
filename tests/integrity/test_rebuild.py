"""`rebuild` gives the same tables byte for byte, whatever the damage, also while others write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from queuectl.checks.verify import verify
from queuectl.errors import StoreError
from queuectl.store.projections import VERSION
from queuectl.store.sql import rebuild as rebuilding
from tests.support.builders import add, new
from tests.support.command_line import eventually
from tests.support.peer import Peer, ask_all
from tests.support.queues import NAMES, corrupt, opened, tables

ROOT = Path(__file__).resolve().parents[2]


def rebuild(path: Path) -> int:
    """Rebuild; return the number of differences."""
    with opened(path) as store:
        return store.upkeep.rebuild().total


def test_rebuild_of_correct_tables_changes_nothing(large):
    before = tables(large)
    assert rebuild(large) == 0
    assert tables(large) == before


FIRST = "id = (SELECT min(id) FROM jobs)"
CORRUPTIONS = {
    "a column of a job": "UPDATE jobs SET command = 'x' WHERE position = (SELECT max(position) FROM jobs)",
    "every job": "UPDATE jobs SET attempts = attempts + 1, state = 'done'",
    "a job that is gone": "DELETE FROM jobs WHERE position = (SELECT min(position) FROM jobs)",
    "a job that never was": "INSERT INTO jobs (id, state, position) VALUES ('ghost', 'done', 100000)",
    "a job without a name": "INSERT INTO jobs (id, state, position) VALUES ('', 'done', 100000)",
    "a name that is no text": f"UPDATE jobs SET id = CAST(x'ff' AS TEXT) WHERE {FIRST}",
    "bytes that are not text": f"UPDATE jobs SET command = CAST(x'ff' AS TEXT) WHERE {FIRST}",
    "no jobs": "DELETE FROM jobs",
    "places exchanged": "UPDATE jobs SET position = -position",
    "a dead letter": "UPDATE dlq SET attempts = 77",
    "a dead letter too many": "INSERT INTO dlq VALUES ('ghost', '', 0, NULL, 0, 0, NULL)",
    "no dead letters": "DELETE FROM dlq",
    "a count": "UPDATE counts SET jobs = jobs + 1",
    "a count too many": "INSERT INTO counts VALUES ('nowhere', 0, 'done', 3)",
    "no counts": "DELETE FROM counts",
    "a count of what is no text": "INSERT INTO counts VALUES ('mail', 0, CAST(x'ff' AS TEXT), 3)",
    "workers that are not text": f"INSERT INTO workers VALUES (CAST(x'ff' AS TEXT), '', ''{', 1' * 4}, ''{', 1' * 6})",
    "a setting": "INSERT OR REPLACE INTO settings VALUES ('lease', '9m', 0)",
    "a pause": "INSERT OR REPLACE INTO pauses VALUES ('default', 0, 'nobody')",
    **{f"{name}, the whole table": f"DROP TABLE {name}" for name in NAMES},
    "a table of another make": "ALTER TABLE jobs ADD COLUMN more TEXT",
    "a lost index": "DROP INDEX jobs_claimable",
    "an index too many": "CREATE INDEX jobs_by_command ON jobs (command)",
    "a view in the place of a table": "DROP TABLE dlq; CREATE VIEW dlq AS SELECT * FROM jobs",
}


@pytest.mark.parametrize("statement", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_any_corruption_is_named_and_repaired(large, statement):
    before = tables(large)
    corrupt(large, statement)
    with opened(large) as store:
        assert verify(store).counts.keys() == {"table"}
        found = store.upkeep.rebuild()
        assert found.total > 0
        assert verify(store).counts == {}
    assert tables(large) == before


def test_a_wrong_index_is_named_and_repaired(large):
    """The rows are right, but a query through the index does not find them."""
    before = tables(large)
    changed = "UPDATE sqlite_schema SET sql = replace(sql, '{}', '{}') WHERE name = 'jobs_claimable'"
    corrupt(large, "PRAGMA writable_schema=ON", changed.format("IS NOT NULL", "IS NULL"))
    corrupt(large, "REINDEX jobs_claimable")
    corrupt(large, "PRAGMA writable_schema=ON", changed.format("IS NULL", "IS NOT NULL"))
    assert tables(large) == before
    with opened(large) as store:
        assert verify(store).counts == {"table": 1}
        assert "jobs_claimable" in store.upkeep.rebuild().first[0].why
        assert verify(store).counts == {}


def test_a_difference_names_row_and_column(small):
    corrupt(
        small, "UPDATE jobs SET attempts = 5, command = 'x' WHERE id = 'two'", "DELETE FROM jobs WHERE id = 'three'"
    )
    with opened(small) as store:
        found = [str(each) for each in store.upkeep.rebuild().first]
    assert found == [
        "jobs three: the row is missing",
        "jobs two: command is 'x', the log says 'true', and 1 more columns",
    ]


def test_the_first_differences_are_listed_and_all_are_counted(large):
    corrupt(large, "UPDATE jobs SET attempts = attempts + 1")
    with opened(large) as store:
        found = store.upkeep.rebuild()
        assert len(found.first) == 20
        assert found.total == len(tables(large)["jobs"]) > 20


def test_verify_does_not_write_to_the_file(large):
    """`verify` leaves a corrupt table as it is."""
    corrupt(large, "DELETE FROM jobs")
    before = large.read_bytes()
    with opened(large) as store:
        verify(store)
    assert tables(large)["jobs"] == []
    assert large.read_bytes() == before


REBUILD = """
import sys
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from queuectl.store.options import StoreOptions
store = open_store(sys.argv[1], SystemClock(), StoreOptions(archived=False))
for table in ("jobs", "dlq", "counts", "settings", "pauses", "schedules"):
    store.engine.run(f"DELETE FROM {table}")
store.upkeep.rebuild()
"""


@pytest.mark.parametrize(("seed", "zone"), [("0", "UTC"), ("1", "Asia/Kathmandu"), ("2", "America/St_Johns")])
def test_rebuild_does_not_depend_on_hash_seed_or_zone(large, seed, zone):
    before = tables(large)
    env = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", REBUILD, str(large)], env=env, check=True, timeout=60, cwd=ROOT)
    assert tables(large) == before


def test_rebuild_while_others_write(large):
    corrupt(large, "DELETE FROM jobs WHERE position % 2", "UPDATE counts SET jobs = jobs + 3")
    peers = [Peer(), Peer()]
    try:
        ask_all(peers, "open", str(large))
        with opened(large) as store:
            start = store.log.head().position
            for number, peer in enumerate(peers):
                peer.ask("enqueue many", f"w{number}", 300)
            eventually(lambda: store.log.head().position > start + 20, "the others write")
            assert store.upkeep.rebuild().total > 0
            assert verify(store).counts == {}
            assert [peer.answer() for peer in peers] == [300, 300]
            report = verify(store)
        assert report.counts == {}
        assert report.head.position == start + 600
    finally:
        for peer in peers:
            peer.end()


# ── another projection version ──────────────────────────────────────────────────────────────────────────

OLD = "UPDATE meta SET value = 0 WHERE key = 'projection_version'"


def test_tables_of_another_version_are_rebuilt_on_open(large):
    before = tables(large)
    corrupt(large, OLD, "ALTER TABLE jobs DROP COLUMN cancel_requested", "DELETE FROM dlq")
    with opened(large):
        pass
    assert tables(large) == before


def test_many_processes_that_open_rebuild_once(large, monkeypatch):
    before = tables(large)
    corrupt(large, OLD, "DROP TABLE counts")
    peers = [Peer() for _ in range(4)]
    try:
        assert len(set(ask_all(peers, "open", str(large)))) == 1
        assert tables(large) == before
    finally:
        for peer in peers:
            peer.end()
    monkeypatch.setattr(rebuilding.Rebuild, "run", lambda *asked: pytest.fail("derived twice"))
    with opened(large):
        pass


def test_the_second_process_that_opens_does_not_rebuild(large, monkeypatch):
    corrupt(large, OLD)
    real, times = rebuilding.Rebuild.run, []
    monkeypatch.setattr(rebuilding.Rebuild, "run", lambda *asked: (times.append(1), real(*asked)))
    with opened(large) as store:
        store.upkeep.follow_this_version()
    assert times == [1]


def test_an_outdated_process_does_not_write(large):
    with opened(large) as store:
        corrupt(large, f"UPDATE meta SET value = {VERSION + 1} WHERE key = 'projection_version'")
        before = store.log.head()
        with pytest.raises(StoreError, match="another version"):
            add(store, new("late"))
        assert store.log.head() == before
