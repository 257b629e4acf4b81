"""Metrics: what is counted, how labels stay bounded, and that Prometheus reads the text."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from queuectl.application.metrics import MAX_QUEUES, metrics
from queuectl.application.queue import NewJob, Queue
from queuectl.application.run_tally import RunTally, load_tally, save_tally
from queuectl.application.runs import runs
from queuectl.domain import events as e
from queuectl.domain.commands import Amend, Exit, Report
from queuectl.errors import UsageError
from tests.support.builders import ACTOR, SECOND, a_spec, claimant
from tests.support.queues import opened


@pytest.fixture
def queue(tmp_path, clock):
    with opened(tmp_path / "queue.db", clock) as store:
        yield Queue(store, ACTOR)


def run_one(queue, clock, *, waits, takes, cause=None):
    clock.advance(waits)
    (job,) = queue.claim(claimant(), (), 1, lambda job: True)
    clock.advance(takes)
    queue.execute([Report(job.id, job.run, Exit(cause, takes, "", ""))])


def text_of(queue, tally=None):
    tally = tally or load_tally(queue.store, None)
    tally.read(queue.store, queue.store.log.head().position)
    return metrics(queue, tally)


def value(text, name):
    (found,) = [line.rpartition(" ")[2] for line in text.splitlines() if line.rpartition(" ")[0] == name]
    return float(found)


def test_jobs_and_runs_are_counted_by_queue(queue, clock):
    queue.enqueue([NewJob(a_spec("true", queue="ci"), "a"), NewJob(a_spec("false", queue="ci", max_retries=0), "b")])
    run_one(queue, clock, waits=2 * SECOND, takes=3 * SECOND)
    run_one(queue, clock, waits=0, takes=SECOND, cause=e.Exited(1))
    text = text_of(queue)
    assert value(text, 'queuectl_jobs{queue="ci",state="done"}') == 1
    assert value(text, 'queuectl_jobs{queue="ci",state="dlq"}') == 1
    assert value(text, 'queuectl_runs_total{queue="ci",outcome="completed"}') == 1
    assert value(text, 'queuectl_runs_total{queue="ci",outcome="dead_lettered"}') == 1
    assert value(text, 'queuectl_run_seconds_sum{queue="ci"}') == 4
    assert value(text, 'queuectl_run_seconds_bucket{queue="ci",le="1.0"}') == 1
    assert value(text, 'queuectl_run_seconds_bucket{queue="ci",le="+Inf"}') == 2
    assert value(text, 'queuectl_wait_seconds_sum{queue="ci"}') == 2 + 5
    assert value(text, "queuectl_log_position") == queue.store.log.head().position


def test_a_wait_begins_when_the_job_is_due(queue, clock):
    queue.enqueue([NewJob(a_spec("true", queue="q", delay=60 * SECOND), "a")])
    run_one(queue, clock, waits=63 * SECOND, takes=0)
    assert value(text_of(queue), 'queuectl_wait_seconds_sum{queue="q"}') == 3


def test_a_wait_for_other_jobs_is_no_wait_for_a_worker(queue, clock):
    queue.enqueue([NewJob(a_spec("true", queue="first"), "a")])
    queue.enqueue([NewJob(a_spec("true", queue="q", delay=60 * SECOND, after=(e.After("a"),)), "b")])
    run_one(queue, clock, waits=500 * SECOND, takes=0)
    run_one(queue, clock, waits=64 * SECOND, takes=0)
    assert value(text_of(queue), 'queuectl_wait_seconds_sum{queue="q"}') == 4


def test_an_edit_of_the_delay_begins_the_wait_again(queue, clock):
    queue.enqueue([NewJob(a_spec("true", queue="q", delay=60 * SECOND), "a")])
    queue.execute([Amend("a", e.Changes(delay=100 * SECOND))])
    run_one(queue, clock, waits=103 * SECOND, takes=0)
    assert value(text_of(queue), 'queuectl_wait_seconds_sum{queue="q"}') == 3


def test_a_run_counts_in_the_queue_of_its_moment(queue, clock):
    queue.enqueue([NewJob(a_spec("false", queue="first", max_retries=5), "a")])
    run_one(queue, clock, waits=0, takes=SECOND, cause=e.Exited(1))
    queue.execute([Amend("a", e.Changes(queue="second", delay=0))])
    queue.execute([Amend("a", e.Changes(command="true"))])
    run_one(queue, clock, waits=0, takes=SECOND)
    text = text_of(queue)
    assert value(text, 'queuectl_runs_total{queue="first",outcome="retry_scheduled"}') == 1
    assert value(text, 'queuectl_runs_total{queue="second",outcome="completed"}') == 1
    assert value(text, 'queuectl_wait_seconds_count{queue="second"}') == 1
    found = runs(queue.store.history, 0, queue.store.log.head().position)
    assert [(run.queue, run.command) for run in found] == [("first", "false")] * 2 + [("second", "true")] * 2


def test_the_oldest_pending_job_counts_in_a_paused_queue(queue, clock):
    queue.enqueue([NewJob(a_spec("true", queue="q"), "a")])
    queue.pause("q")
    clock.advance(90 * SECOND)
    assert value(text_of(queue), 'queuectl_oldest_pending_seconds{queue="q"}') == 90


def test_queues_beyond_the_limit_are_counted_together(queue, clock):
    queue.enqueue([NewJob(a_spec("true", queue=f"q{number:04}")) for number in range(MAX_QUEUES + 5)])
    text = text_of(queue)
    lines = [line for line in text.splitlines() if line.startswith("queuectl_jobs{")]
    assert len(lines) == MAX_QUEUES + 1
    assert value(text, 'queuectl_jobs{queue="other",state="pending"}') == 5


def test_a_saved_tally_continues_where_it_ended(queue, clock, tmp_path):
    path = str(tmp_path / "tally.json")
    queue.enqueue([NewJob(a_spec("true"), name) for name in ("a", "b")])
    run_one(queue, clock, waits=0, takes=0)
    first = load_tally(queue.store, path)
    text_of(queue, first)
    save_tally(first, path)
    run_one(queue, clock, waits=0, takes=0)
    again = load_tally(queue.store, path)
    assert again.after == first.after
    assert text_of(queue, again) == text_of(queue)


def test_a_tally_of_another_log_is_not_continued(queue, tmp_path):
    path = str(tmp_path / "tally.json")
    save_tally(RunTally("another", 3, {"q": {"completed": 7}}), path)
    assert load_tally(queue.store, path) == RunTally(queue.store.log.log_id, 0)


def test_a_file_that_is_no_tally_is_refused(queue, tmp_path):
    (tmp_path / "tally.json").write_text("no JSON")
    with pytest.raises(UsageError, match="holds no counts"):
        load_tally(queue.store, str(tmp_path / "tally.json"))


def test_a_tally_that_cannot_be_saved_leaves_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*/folder: Is a directory"):
        save_tally(RunTally("log", 3), str(tmp_path / "folder"))
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_promtool_reads_the_metrics(queue, clock):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here: apt install prometheus")
    queue.enqueue([NewJob(a_spec("true", queue="ci"), "a")])
    run_one(queue, clock, waits=SECOND, takes=SECOND)
    ended = subprocess.run(
        [promtool, "check", "metrics"], input=text_of(queue), capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_metrics_read_no_row_of_a_job(queue, clock):
    """Their cost must not grow with the jobs: no statement reads the rows of `jobs` without an index."""
    queue.enqueue([NewJob(a_spec("true"), name) for name in "abc"])
    tally, said, run = load_tally(queue.store, None), [], queue.store.tables._engine.run
    queue.store.tables._engine.run = lambda sql, parameters=(): said.append((sql, parameters)) or run(sql, parameters)
    metrics(queue, tally)
    plans = [
        row[3] for sql, given in said if sql.startswith("SELECT") for row in run(f"EXPLAIN QUERY PLAN {sql}", given)
    ]
    assert len(plans) > 5
    assert [plan for plan in plans if plan.startswith("SCAN jobs")] == []


def test_the_alerts_fire_when_they_should():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here: apt install prometheus")
    folder = Path(__file__).parents[2] / "docs" / "monitoring"
    for what in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        ended = subprocess.run([promtool, *what], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended


def test_alerts_and_dashboard_ask_for_metrics_that_there_are(queue):
    folder = Path(__file__).parents[2] / "docs" / "monitoring"
    there = set(re.findall(r"# TYPE (\w+)", text_of(queue)))
    for name in ("alerts.yml", "grafana.json"):
        asked = re.findall(r"queuectl_\w+", (folder / name).read_text())
        assert {word.removesuffix("_bucket") for word in asked} <= there | {
            "queuectl_archive_lag"
        }  # this queue has no archive
        assert asked
