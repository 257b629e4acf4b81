"""The table of tags: it has those of every job in `jobs`, and jobs with a rare tag are found by it."""

import pytest

from queuectl.application.editing import Editor, parse_settings
from queuectl.application.queue import NewJob, Queue
from queuectl.config import Config
from queuectl.store.rows import JobFilter
from queuectl.store.sql import job_tags
from tests.support.builders import ACTOR, a_spec, derived, projected, tagged

CI = {"team": "ci"}


@pytest.fixture
def queue(store) -> Queue:
    """Ten jobs without tags, and two with a tag."""
    queue = Queue(store, ACTOR)
    queue.enqueue([NewJob(a_spec("true"), f"plain-{number}") for number in range(10)])
    queue.enqueue([NewJob(a_spec("true", tags={**CI, "n": job_id}), job_id) for job_id in ("a", "b")])
    return queue


def ids(queue, **tags):
    return queue.store.tables.ids(JobFilter(tags=tags, descending=False, limit=0))


def test_jobs_are_found_by_their_tags(queue):
    assert ids(queue, **CI) == ["a", "b"]
    assert ids(queue, team="ci", n="b") == ["b"]
    assert ids(queue, team="other") == ids(queue, other="ci") == []


def test_a_job_without_tags_has_no_row(queue):
    assert {position for *_, position in tagged(queue.store)} == {11, 12}


def test_a_common_tag_selects_the_same_jobs(queue, monkeypatch):
    monkeypatch.setattr(job_tags, "FEW", 1)
    assert ids(queue, **CI) == ["a", "b"]
    assert ids(queue, team="ci", n="b") == ["b"]


def test_an_edit_moves_a_job_to_another_tag(queue):
    Editor(queue, Config({}, {}, {}, dict)).edit(["a"], parse_settings(["tag.team=web", "tag.n="]))
    assert (ids(queue, **CI), ids(queue, team="web")) == (["b"], ["a"])
    assert projected(queue.store)["job_tags"] == derived(queue.store)["job_tags"]


def test_a_purged_job_loses_its_tags_until_it_is_retried(queue):
    queue.cancel(["a"])
    queue.purge(["a"])
    assert ids(queue, **CI) == ["b"]
    queue.requeue(["a"])
    assert ids(queue, **CI) == ["a", "b"]
    assert projected(queue.store)["job_tags"] == derived(queue.store)["job_tags"]


def test_long_tags_with_one_beginning_are_distinct(queue):
    long = "é" * 5000
    queue.enqueue([NewJob(a_spec("true", tags={long: f"{long}{end}", f"{long}2": "x"}), end) for end in ("x", "y")])
    assert ids(queue, **{long: f"{long}y"}) == ["y"]
    assert ids(queue, **{f"{long}2": "x"}) == ["x", "y"]
    assert queue.store.upkeep.compare().total == 0


def test_a_missing_row_is_named_and_restored(queue):
    queue.store.engine.run("DELETE FROM job_tags WHERE position = 11 AND name = 'team'")
    (found,) = queue.store.upkeep.compare().first
    assert str(found) == "job_tags 11/team: 'ci' in the log alone"
    queue.store.upkeep.rebuild()
    assert ids(queue, **CI) == ["a", "b"]
    assert queue.store.upkeep.compare().total == 0
