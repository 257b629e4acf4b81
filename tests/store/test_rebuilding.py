"""Comparing and rebuilding the tables on every kind of store."""

import pytest

from queuectl.domain import events as e
from queuectl.domain.names import SETTINGS_STREAM, queue_stream
from queuectl.store.rows import ALL_STREAMS
from queuectl.store.sql import rebuild
from queuectl.store.sql.rebuild import MADE
from tests.support.builders import (
    a_spec,
    add,
    buried,
    claimed,
    completed,
    derived,
    everything,
    follow,
    new,
    note,
    projected,
)


@pytest.fixture
def lived(store, clock):
    """A store with jobs in several states, a dead letter, a setting and a pause."""
    follow(store, clock, "dead", a_spec(), claimed(), buried(stderr="bäd"))
    follow(store, clock, "done", a_spec(timeout=1_500_000), claimed(), completed())
    add(store, new("held", unique="k"), new("late", delay=5_000_000, queue="mail", tags={"team": "ci"}))
    add(store, note(store, SETTINGS_STREAM, e.SettingChanged(key="lease", value="1m")))
    add(store, note(store, queue_stream("mail"), e.QueuePaused()))
    return store


CORRUPTIONS = {
    "a column": "UPDATE jobs SET command = 'x' WHERE id = 'dead'",
    "a column that was empty": "UPDATE jobs SET last_error = 'x' WHERE id = 'held'",
    "a column that is empty": "UPDATE jobs SET stderr = NULL WHERE id = 'dead'",
    "a fraction": "UPDATE jobs SET timeout = 1.25 WHERE id = 'done'",
    "a job that is gone": "DELETE FROM jobs WHERE id = 'held'",
    "a job that never was": "INSERT INTO jobs (id, state, position) VALUES ('ghost', 'done', 100000)",
    "no jobs": "DELETE FROM jobs",
    "places exchanged": "UPDATE jobs SET position = -position",
    "a dead letter": "UPDATE dlq SET attempts = 77",
    "a dead letter too many": "INSERT INTO dlq VALUES ('ghost', '', 0, NULL, 0, 0, NULL)",
    "no dead letters": "DELETE FROM dlq",
    "a count": "UPDATE counts SET jobs = jobs + 1",
    "a count too many": "INSERT INTO counts VALUES ('nowhere', 0, 'done', 3)",
    "no counts": "DELETE FROM counts",
    "a tag": "UPDATE job_tags SET value = 'web'",
    "a tag too many": "INSERT INTO job_tags VALUES ('team', 'ci', 1)",
    "no tags": "DELETE FROM job_tags",
    "a setting": "UPDATE settings SET value = '9m'",
    "a pause too many": "INSERT INTO pauses VALUES ('default', 0, 'nobody')",
    **{f"{name}, the whole table": f"DROP TABLE {name}" for name in MADE},
    "a table of another make": "ALTER TABLE jobs ADD COLUMN more TEXT",
    "a lost index": "DROP INDEX jobs_claimable",
    "an index too many": "CREATE INDEX jobs_by_command ON jobs (command)",
}


@pytest.mark.parametrize("statement", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_any_corruption_is_named_and_repaired(lived, statement):
    before = everything(lived)
    lived.engine.run(statement)
    found = lived.upkeep.compare()
    assert found.total > 0
    assert lived.upkeep.rebuild() == found
    assert lived.upkeep.compare().total == 0
    assert everything(lived) == before


def test_correct_tables_have_no_difference(lived):
    before = everything(lived)
    assert (lived.upkeep.compare().total, lived.upkeep.rebuild().total) == (0, 0)
    assert everything(lived) == before
    assert projected(lived) == derived(lived)


def test_a_difference_names_table_row_and_column(lived):
    lived.engine.run("UPDATE jobs SET attempts = 5, command = 'x' WHERE id = 'done'")
    lived.engine.run("DELETE FROM jobs WHERE id = 'late'")
    lived.engine.run("INSERT INTO dlq VALUES ('ghost', '', 0, NULL, 0, 0, NULL)")
    assert sorted(map(str, lived.upkeep.compare().first)) == [
        "dlq ghost: the log has no such row",
        "jobs done: command is 'x', the log says 'true', and 1 more columns",
        "jobs late: the row is missing",
    ]


def test_progress_reports_every_event(lived):
    seen = []
    head = lived.log.head().position
    for _ in lived.upkeep.derived(ALL_STREAMS, head, inspect=lambda stream, found: seen.append(found.position)):
        pass
    assert sorted(seen) == [record.position for record in lived.log.records()]


@pytest.mark.parametrize("near", [0, rebuild.NEAR])
def test_jobs_that_move_meanwhile_count_where_they_are(lived, clock, near, monkeypatch):
    monkeypatch.setattr(rebuild, "NEAR", near)

    def derive(until, unsound):
        yield from lived.upkeep.derived(ALL_STREAMS, until, unsound)
        follow(lived, clock, "held", claimed(), buried())
        follow(lived, clock, "done", e.Purged())
        follow(lived, clock, "new", a_spec(queue="mail"), claimed(), completed())

    assert lived.upkeep.compare(derive).first == []
    lived.engine.run("UPDATE counts SET jobs = jobs + 1 WHERE queue = 'mail' AND state = 'done'")
    assert [str(each) for each in lived.upkeep.compare().first] == [
        "counts mail/0/done: 1 in the log alone",
        "counts mail/0/done: 2 in the table alone",
    ]


def test_events_folded_so_far_add_up_to_the_log(lived):
    batches = lived.upkeep.derived(ALL_STREAMS, lived.log.head().position)
    assert sum(batch.events for batch in batches) == lived.log.head().position


def test_opening_rebuilds_tables_of_another_version(shared, url, clock):
    store = shared.open(url)
    follow(store, clock, "a", a_spec(), claimed())
    before = everything(store)
    store.engine.run("UPDATE meta SET value = '0' WHERE key = 'projection_version'")
    store.engine.run("DROP TABLE jobs")
    assert everything(shared.open(url)) == before
