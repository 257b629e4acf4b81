"""The fixture log, which has every type of event, on each kind of store: in words, explained, audited, rebuilt."""

from contextlib import closing
from itertools import groupby

import pytest

from queuectl.application.explain import explain
from queuectl.checks.audit import audit
from queuectl.checks.verify import verify
from queuectl.domain.events import EVENT_TYPES, type_of
from queuectl.domain.job import evolve
from queuectl.render.narrative import summary, tell
from queuectl.store.past import Past
from tests.integrity.fixture_logs import read
from tests.support.builders import projected

NEWER = {
    *("dependencies_met", "amended", "batch_opened"),
    *("schedule_set", "schedule_paused", "schedule_resumed", "schedule_removed", "schedule_fired", "schedule_skipped"),
}
"""The types that came with dependencies, edits, limits of failures and schedules."""


@pytest.fixture
def whole(store):
    """The fixture log in this store."""
    store.writer.append_stored(read("log-1"))
    return store


def test_the_log_has_every_type_and_the_same_head(whole):
    found = {record.type for record in whole.log.records()}
    assert found == set(map(type_of, EVENT_TYPES)) >= NEWER
    assert whole.log.head().digest == read("log-1")[-1].digest
    assert verify(whole).counts == {}


def test_each_event_has_a_sentence(whole):
    jobs, headlines = {}, {}
    for record in whole.log.records():
        before = jobs.get(record.stream_id)
        lines = [*tell(record, before), summary(record)]
        assert all(line.strip() or not line for line in lines), record
        assert lines[0], record
        assert lines[-1], record
        headlines.setdefault(record.type, set()).add(lines[0])
        if not record.stream_id.startswith("$"):
            jobs[record.stream_id] = evolve(before, record)
    found = [each for kind in NEWER for each in headlines[kind]]
    assert len(set(found)) == len(found), "two types of event read alike"


def test_each_job_is_explained_at_each_of_its_events(whole):
    records = sorted((each for each in whole.log.records() if not each.stream_id.startswith("$")), key=_stream)
    for job_id, events in groupby(records, key=_stream):
        for record in events:
            with closing(Past.of(whole, record.position, record.recorded_at)) as past:
                assert explain(past, job_id, live=False, machine_losses=3).why, record


def test_each_event_is_audited(whole):
    judged = audit(whole.log.records())
    assert judged.events == whole.log.head().position
    assert not judged.found["stream"]
    assert not judged.found["order"]


def test_tables_are_the_same_after_a_rebuild(whole):
    before = projected(whole)
    assert whole.upkeep.rebuild().total == 0
    assert projected(whole) == before


def _stream(record):
    return record.stream_id
