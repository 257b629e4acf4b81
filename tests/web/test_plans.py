"""No page and no answer reads a whole table: the plans of every statement that it runs, on a queue with statistics."""

import os
import re
import shutil

import pytest

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e
from queuectl.runtime import SystemClock
from queuectl.store import past_folds
from queuectl.store.rows import Change
from tests.support.builders import ACTOR, a_spec, claimant
from tests.support.queues import opened
from tests.web.client import served

PAGES = ["/", "/jobs", "/jobs?q=state:dlq", "/jobs?q=state:pending+queue:ci", "/jobs?q=text", "/jobs?q=tag:a=b"]
PAGES += [
    "/jobs?q=tag:a=c",
    "/jobs?q=ended:-1h..",
    "/api/jobs?ended=-1h..",
    "/api/jobs?tag=rare=1",
    "/api/jobs?tag=none=1",
]
PAGES += ["/jobs?before=500", "/jobs/job-5", "/failures", "/schedules", "/workers", "/metrics"]
PAGES += [
    "/api/status",
    "/api/jobs",
    "/api/jobs?state=done&limit=5",
    "/api/jobs/job-5",
    "/api/workers",
    "/api/failures",
]
PAST = [page for page in PAGES if page not in {"/metrics", "/api/workers"}]
"""Workers are not in the log."""
SCAN = re.compile(r"SCAN (jobs|dlq|events)\b")
CHEAP = re.compile(r"USING (COVERING )?INDEX jobs_(by_position|by_state|waiting)")
"""The index that has the order of the answer: it is left as soon as the page is full."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a queue of 2,000 jobs in several states."""
    folder = tmp_path_factory.mktemp("made")
    with opened(folder / "queue.db", SystemClock(), archived=True) as store:
        done = [a_spec("true", tags={"a": "c"}), claimant().claimed(1), e.Completed(run=1, duration=1000)]
        dead = [a_spec("false"), claimant().claimed(1), e.DeadLettered(run=1, cause=e.Exited(3), duration=1000)]
        changes = [Change(f"job-{number}", 0, done if number % 20 else dead) for number in range(1000)]
        store.writer.append(changes, ACTOR)
        Queue(store, ACTOR).enqueue([NewJob(a_spec("true", tags={"rare": "1"}))])
        jobs = [NewJob(a_spec("true", queue="ci" if number % 9 else "default")) for number in range(1000)]
        Queue(store, ACTOR).enqueue(jobs)
        store.tables._engine.run("ANALYZE")
    return folder


@pytest.fixture
def many(made, path):
    """That queue, served."""
    shutil.copytree(made, os.path.dirname(path))
    with served(path) as found:
        yield found


@pytest.mark.parametrize("page", PAGES)
def test_no_page_reads_a_whole_table(many, page):
    assert whole_tables(many, page) == []


@pytest.mark.parametrize("page", PAST)
def test_nor_does_a_page_of_an_earlier_moment(many, page, monkeypatch):
    monkeypatch.setattr(past_folds, "SHORT", 0)
    head = many[1].store.log.head().position
    assert whole_tables(many, f"{page}{'&' if '?' in page else '?'}as_of={head - 100}") == []


def whole_tables(many, page):
    """The steps in the plans of a page's statements that read a whole table."""
    client, queue = many
    engine = queue.store.tables._engine
    run, said = engine.run, []
    engine.run = lambda sql, parameters=(): said.append((sql, parameters)) or run(sql, parameters)
    assert client.get(page).status == 200
    reading = [(sql, parameters) for sql, parameters in said if sql.lstrip().startswith("SELECT")]
    assert reading
    return [(plan, sql) for sql, parameters in reading for plan in scans(run, sql, parameters)]


def scans(run, sql, parameters):
    """The steps of a plan that read a whole table, unless a LIMIT ends them."""
    steps = [row[3] for row in run(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    for step in steps:
        whole = SCAN.search(step) and not (
            CHEAP.search(step) or "max(" in sql or "ORDER BY position DESC LIMIT 1" in sql
        )
        if whole and "FROM dlq" not in sql:  # the dead jobs are read whole: they are what `failures` groups
            yield step
        few = any(each in sql for each in ("FROM dlq", "attempts > 0", "json_each(?)"))
        # jobs of a signature, that wait for a retry, or whose runs ended in some minutes are sorted
        if step.startswith("USE TEMP B-TREE") and "ORDER BY position" in sql and not few:
            yield step


def test_a_page_costs_no_more_on_a_long_log(many):
    client, queue = many
    engine = queue.store.tables._engine
    run, rows = engine.run, []
    engine.run = lambda sql, parameters=(): [rows.append(1) or row for row in run(sql, parameters)]
    client.get("/jobs?q=state:done")
    assert 0 < len(rows) < 300
