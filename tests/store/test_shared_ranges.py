"""Several processes check and rebuild a log on every store that they can share: the answer is that of one."""

import pytest

from queuectl.checks.verify import verify
from queuectl.maintenance import rebuild as rebuilding
from queuectl.maintenance.rebuild import rebuild
from queuectl.parallel import Children
from queuectl.store.ranges import Shares
from tests.store.test_rebuilding import CORRUPTIONS
from tests.support.builders import a_spec, add, buried, claimed, completed, everything, follow, new, projected
from tests.support.in_process import InProcess
from tests.support.queues import random_history


@pytest.fixture
def lived(shared, url, clock):
    """A log of some hundred events, with settings and a pause."""
    store = shared.open(url)
    random_history(store, clock, seed=3, steps=120)
    follow(store, clock, "dead", a_spec(), claimed(), buried(stderr="bäd"))
    follow(store, clock, "done", a_spec(timeout=1_500_000), claimed(), completed())
    add(store, new("held", unique="k"))
    return store


def run(store, statement: str) -> None:
    """Run SQL that corrupts tables."""
    with store.writer.transaction():
        store.engine.run(statement)


def by(url: str, processes: int) -> Shares:
    return Shares(url, 10_000_000, processes, small=0)


def answer(store, shares):
    """Everything that `verify` says."""
    report = verify(store, shares=shares)
    return report.events, dict(report.counts), report.first


def test_a_sound_log_is_clean(lived, url):
    events = lived.log.head().position
    assert [answer(lived, by(url, processes)) for processes in (1, 2, 3)] == [(events, {}, [])] * 3


@pytest.mark.parametrize("name", [*CORRUPTIONS])
def test_wrong_tables_are_found_and_corrected(lived, url, name, monkeypatch):
    """In this process, because there are many."""
    monkeypatch.setattr("queuectl.checks.verify_ranges.Children", InProcess)
    monkeypatch.setattr(rebuilding, "Children", InProcess)
    before, alone = everything(lived), by(url, 1)
    run(lived, CORRUPTIONS[name])
    said = answer(lived, alone)
    assert [answer(lived, by(url, processes)) for processes in (2, 3)] == [said, said]
    found = lived.upkeep.compare()
    assert rebuild(lived, lambda done: None, by(url, 2)) == found
    assert everything(lived) == before
    assert answer(lived, alone)[1] == {}


def test_real_processes_rebuild_empty_tables(lived, url):
    before = projected(lived)
    run(lived, "DELETE FROM jobs")
    seen: list[int] = []
    assert rebuild(lived, seen.append, by(url, 3)).total > 20
    assert projected(lived) == before
    assert max(seen) == lived.log.head().position


def test_events_added_meanwhile_are_in_the_tables(lived, url, shared, clock, monkeypatch):
    """Another process adds a job while the children fold."""
    other = shared.open(url)

    class Interrupted(Children):
        def results(self):
            add(other, new("meanwhile"))
            yield from super().results()

    monkeypatch.setattr(rebuilding, "Children", Interrupted)
    run(lived, "DELETE FROM jobs WHERE id = 'done'")
    assert rebuild(lived, lambda done: None, by(url, 2)).total == 1
    assert lived.tables.job("meanwhile")
    assert answer(lived, by(url, 2))[1] == {}


def test_a_huge_table_that_no_stream_made_is_removed(lived, url):
    """More rows than one batch holds stand before, between and after those of the streams."""
    before = projected(lived)
    for first in ("A", "job-1x", "z"):
        run(
            lived,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
            f" INSERT INTO jobs (id, state, position) SELECT '{first}' || i, 'done', {ord(first[0])}0000 + i FROM n",
        )
    assert rebuild(lived, lambda done: None, by(url, 2)).total >= 3600
    assert projected(lived) == before
