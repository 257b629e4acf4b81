"""`open_queue` and its `JobQueue`: what each call does, refuses and leaves alone, on a file and on a server."""

import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import get_args
from zoneinfo import ZoneInfo

import apsw
import pytest

import queuectl
from queuectl.api import JobOptions, JobState
from queuectl.application.schedules import Put, Schedules
from queuectl.domain.events import ScheduleSet
from queuectl.domain.machine import State
from queuectl.errors import NoSuchJobError
from tests.support.command_line import PROGRAM
from tests.support.events import a_spec
from tests.support.postgres import server


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("QUEUECTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QUEUECTL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["file", "postgres"])
def url(request, tmp_path):
    return str(tmp_path / "queue.db") if request.param == "file" else server().new_url()


@pytest.fixture
def queue(url):
    with queuectl.open_queue(url) as queue:
        yield queue


@pytest.fixture
def file_queue(tmp_path):
    with queuectl.open_queue(tmp_path / "queue.db") as queue:
        yield queue


def cli(url, *arguments):
    environ = {**os.environ, "QUEUECTL_DB": url}
    done = subprocess.run([PROGRAM, *arguments], check=True, capture_output=True, text=True, timeout=60, env=environ)
    return done.stdout.strip()


def refused(error, call):
    """The message of what a call raises."""
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_jobs_of_a_batch_are_numbered_and_found(queue):
    for _ in range(2):  # the second time adds nothing
        assert [job.id for job in queue.enqueue_many(["true", "false"], batch="grid")] == ["grid.1", "grid.2"]
    single = queue.enqueue("true", batch="grid", retry_wait=timedelta(minutes=10), merge_output=True)
    assert [job.id for job in queue.jobs(batch="grid", sort="created")] == ["grid.1", "grid.2", single.id]
    assert queue.jobs(batch="other") == []
    opened = next(event for event in queue.history(single) if event.type == "enqueued").data
    assert (opened["batch"], opened["retry_wait"], opened["merge_output"]) == ("grid", 600_000_000, True)


def test_a_batch_stops_after_so_many_failures(queue, url):
    added = queue.enqueue_many(["false", "false", "true"], batch="grid", max_failures=1, retries=0)
    cli(url, "run", "--drain")
    assert [queue.job(job).state for job in added] == ["dlq", "dlq", "cancelled"]


def test_a_limit_of_failures_needs_a_batch_and_a_number(queue):
    assert "so give batch too" in refused(queuectl.UsageError, lambda: queue.enqueue("true", max_failures=1))
    said = refused(queuectl.UsageError, lambda: queue.enqueue_many(["true"], batch="grid", max_failures=0))
    assert said == "max_failures takes a number from 1 to 1000000, not 0"
    one = {"command": "true", "max_failures": 1}
    assert "for all jobs of a call" in refused(queuectl.UsageError, lambda: queue.enqueue_many([one], batch="grid"))
    assert queue.jobs() == []


def test_a_job_shows_what_it_waits_for(queue):
    first = queue.enqueue("true", id="first")
    queue.enqueue("true", batch="grid")
    second = queue.enqueue("true", after=[first, "batch:grid:end"])
    assert (second.after, second.waiting, second.held) == (("first", "batch:grid:end"), True, False)
    queue.cancel(first)
    assert queue.job(second).held
    assert [job.held for job in queue.jobs() if job.waiting] == [True]
    assert queue.edit(second, priority=3).held
    free = queue.cancel(second)
    assert (free.after, free.waiting, free.held) == (second.after, False, False)


def test_a_job_reads_a_file(queue, tmp_path):
    (tmp_path / "in").write_text("x")
    (added,) = queue.history(queue.enqueue("cat", stdin=tmp_path / "in"))
    assert added.data["stdin"]["path"] == str(tmp_path / "in")
    assert "cannot read" in refused(queuectl.UsageError, lambda: queue.enqueue("cat", stdin=tmp_path / "none"))


def test_a_batch_of_one_job_among_many_is_refused(queue):
    assert "batch" in refused(queuectl.UsageError, lambda: queue.enqueue_many([{"command": "true", "batch": "b"}]))
    assert "batch" in refused(queuectl.UsageError, lambda: queue.enqueue("true", batch="a b"))


# ── adding jobs ─────────────────────────────────────────────────────────────────────────────────────


def test_a_job_is_what_was_asked_for(queue):
    before = datetime.now(UTC)
    job = queue.enqueue(
        "make",
        retries=5,
        queue="ci",
        delay="10s",
        priority=2,
        timeout=timedelta(minutes=5),
        tags={"a": "b"},
        unique="k",
    )
    assert (job.command, job.state, job.max_retries, job.queue, job.priority) == ("make", "pending", 5, "ci", 2)
    assert (job.timeout, job.tags, job.unique, job.number) == (timedelta(minutes=5), {"a": "b"}, "k", 1)
    assert timedelta(seconds=9) < job.due_at - before < timedelta(seconds=70)
    assert job == queue.job(job) == queue.job(job.id) == queue.jobs()[0]
    assert {job} == {queue.job(job)}


def test_an_argument_list_runs_without_a_shell(url, queue):
    job = queue.enqueue(["printf", "%s.", "a  b", "$HOME", ""], env={"X": "1"})
    cli(url, "run", "--drain")
    assert queue.wait(job, timeout=0).stdout == "a  b.$HOME.."


def test_a_command_that_looks_like_json_is_a_command(file_queue):
    assert file_queue.enqueue('{"command": "true"}').command == '{"command": "true"}'


def test_settings_are_the_defaults_of_new_jobs(url, queue, monkeypatch):
    cli(url, "config", "set", "max-retries", "7")
    assert queue.enqueue("true").max_retries == 7
    monkeypatch.setenv("QUEUECTL_MAX_RETRIES", "8")
    assert queue.enqueue("true").max_retries == 8
    assert queue.enqueue("true", retries=0).max_retries == 0


@pytest.mark.parametrize(
    "at",
    [
        datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC),
        datetime(2099, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2))),
        "2099-01-02T03:04:05Z",
    ],
    ids=["UTC", "an offset", "text"],
)
def test_a_time_is_aware_or_a_text(file_queue, at):
    assert file_queue.enqueue("true", at=at).due_at == datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_many_jobs_are_added_at_once(queue):
    jobs = queue.enqueue_many(
        ["true", ["echo", "a b"], {"command": "false", "queue": "own", "delay": 60, "tags": {"x": "1"}}],
        queue="ci",
        at="2099-01-01T00:00:00Z",
        tags={"y": "2"},
    )
    assert [job.command for job in jobs] == ["true", "echo 'a b'", "false"]
    assert [job.queue for job in jobs] == ["ci", "ci", "own"]
    assert [job.due_at.year for job in jobs] == [2099, 2099, datetime.now(UTC).year]
    assert jobs[2].tags == {"x": "1", "y": "2"}
    assert [job.number for job in jobs] == [1, 2, 3]


def test_many_jobs_are_all_or_none(queue):
    message = refused(queuectl.UsageError, lambda: queue.enqueue_many(["true", {"command": "true", "queue": "a b"}]))
    assert "queue" in message
    assert refused(queuectl.UsageError, lambda: queue.enqueue_many(["true", {"retries": 1}])).startswith("job 2: ")
    assert queue.jobs() == []


def test_a_job_is_added_once_by_its_id_or_key(queue):
    one, other = queue.enqueue("true", id="a"), queue.enqueue("true", unique="k")
    assert queue.enqueue("true", id="a") == one
    assert queue.enqueue("false", unique="k") == other
    assert "a different command" in refused(queuectl.RefusedError, lambda: queue.enqueue("false", id="a"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retrys": 3}, "a job has no option retrys"),
        ({"retries": "3"}, "retries: expected a whole number, got a text"),
        ({"retries": -1}, "retries: '-1' is not"),
        ({"delay": "soon"}, "delay: 'soon' is not a duration"),
        ({"delay": -1}, "delay: "),
        ({"delay": timedelta(seconds=-1)}, "delay: "),
        ({"at": datetime(2099, 1, 1)}, "at: 2099-01-01 00:00:00 has no time zone"),
        ({"delay": 1, "at": "now"}, "either a delay or a time"),
        ({"queue": "a b"}, "queue: "),
        ({"env": {"a b": "c"}}, "env: "),
        ({"tags": {"a": 1}}, "tags"),
        ({"env": {1: "a"}}, "env: expected a text as a name, got a whole number"),
        ({"after": 5}, "after[0]: expected"),
        ({"batch": 5}, "batch: expected a text, got 5"),
        ({"id": "-x"}, "id: "),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_a_bad_option_is_named_and_nothing_is_made(options, said, tmp_path):
    with queuectl.open_queue("queue.db") as queue:
        assert said in refused(queuectl.UsageError, lambda: queue.enqueue("true", **options))
    assert not (tmp_path / "queue.db").exists()


@pytest.mark.parametrize("act", [lambda queue: queue.pause(5), lambda queue: queue.cancel("a", reason=5)])
def test_a_wrong_type_in_any_change_is_our_error(act, file_queue):
    file_queue.enqueue("true", id="a")
    refused(queuectl.UsageError, lambda: act(file_queue))
    assert [event.type for event in file_queue.history("a")] == ["enqueued"]


@pytest.mark.parametrize("command", ["", "  ", [], [""], 3, None, ["a", 1], "a\0b"], ids=repr)
def test_a_bad_command_is_refused(command, tmp_path):
    with queuectl.open_queue("queue.db") as queue:
        refused(queuectl.UsageError, lambda: queue.enqueue(command))
        refused(queuectl.UsageError, lambda: queue.enqueue_many("true"))
    assert not (tmp_path / "queue.db").exists()


def test_none_is_an_option_left_out(file_queue):
    plain = file_queue.enqueue("true")
    job = file_queue.enqueue("true", **dict.fromkeys(JobOptions.__annotations__))
    assert (job.max_retries, job.queue, job.timeout, job.tags) == (
        plain.max_retries,
        plain.queue,
        plain.timeout,
        plain.tags,
    )


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_queue_that_is_not_there_reads_as_empty(tmp_path):
    with queuectl.open_queue("none/queue.db") as queue:
        assert (queue.jobs(), set(queue.counts().values())) == ([], {0})
        assert "no such job: a" in refused(queuectl.NoSuchJobError, lambda: queue.job("a"))
        assert "no such job: a" in refused(queuectl.NoSuchJobError, lambda: queue.history("a"))
        for change in (queue.cancel, queue.retry):
            assert "there is no queue at" in refused(queuectl.StoreError, lambda change=change: change("a"))
    assert not (tmp_path / "none").exists()


def test_a_lost_queue_is_not_taken_for_an_empty_one(tmp_path):
    with queuectl.open_queue("queue.db") as queue:
        queue.enqueue("true")
    for path in tmp_path.glob("queue.db*"):
        if path.is_file():
            path.unlink()
    with queuectl.open_queue("queue.db") as queue:
        assert "recover" in refused(queuectl.StoreError, queue.jobs)
        assert "recover" in refused(queuectl.StoreError, lambda: queue.enqueue("true"))


def test_jobs_are_found_by_state_queue_and_tag(queue):
    queue.enqueue("one", id="a", queue="x", tags={"team": "web", "n": "1"})
    queue.enqueue("two", id="b", queue="y", tags={"team": "web"})
    queue.enqueue("three", id="c", queue="y")
    queue.cancel("c")

    def ids(**filters):
        return [job.id for job in queue.jobs(**filters)]

    assert ids() == ["c", "b", "a"]
    assert ids(sort="created") == ["a", "b", "c"]
    assert ids(limit=1) == ["c"]
    assert ids(state="pending") == ["b", "a"]
    assert ids(state=["pending", "cancelled"], queue="y") == ["c", "b"]
    assert ids(tag="team=web") == ids(tag={"team": "web"}) == ["b", "a"]
    assert ids(tag=["team=web", "n=1"]) == ["a"]
    assert ids(since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert ids(since="-1h") == ["c", "b", "a"]
    assert queue.counts("y") == {**dict.fromkeys(queue.counts(), 0), "pending": 1, "cancelled": 1}
    for wrong in ({"state": "lost"}, {"tag": "web"}, {"sort": "size"}, {"since": "later"}):
        refused(queuectl.UsageError, lambda wrong=wrong: ids(**wrong))


def test_a_result_has_its_times_and_its_error(url, queue):
    started = datetime.now(UTC)
    job = queue.enqueue("echo out; echo oops >&2; exit 3", retries=0)
    cli(url, "run", "--drain")
    job = queue.wait(job, timeout="10s")
    assert (job.state, job.ended, job.succeeded, job.exit_code) == ("dlq", True, False, 3)
    assert (job.stdout, job.stderr, job.error) == ("out\n", "oops\n", "exited with code 3: oops")
    assert timedelta(0) < job.duration < timedelta(minutes=1)
    assert abs(job.finished_at - started) < timedelta(minutes=2)
    assert (job.worker, job.started_at, job.due_at) == (None, None, None)
    events = queue.history(job)
    assert [event.type for event in events] == ["enqueued", "claimed", "dead_lettered"]
    assert events[2].data["cause"] == {"kind": "exited", "code": 3}
    assert events[0].at.utcoffset() == timedelta(0)


def test_the_past_is_read_by_position_and_by_time(queue, url):
    queue.enqueue("true", id="a")
    queue.cancel("a")
    moment = queue.history("a")[1].at
    for as_of, state in (
        (1, "pending"),
        ("head", "cancelled"),
        (moment, "cancelled"),
        (moment.isoformat(), "cancelled"),
    ):
        with queuectl.open_queue(url, as_of=as_of) as past:
            assert past.job("a").state == past.jobs()[0].state == state
            assert "only" in refused(queuectl.StoreError, lambda past=past: past.retry("a"))
    assert "no position 99" in refused(queuectl.UsageError, lambda: queuectl.open_queue(url, as_of=99))


def test_a_queue_for_reading_changes_nothing(tmp_path):
    with queuectl.open_queue("queue.db", read_only=True) as queue:
        for change in (lambda: queue.enqueue("true"), lambda: queue.cancel("a"), queue.pause):
            assert "read only" in refused(queuectl.StoreError, change)
    assert list(tmp_path.iterdir()) == []


# ── waiting and moving ──────────────────────────────────────────────────────────────────────────────


def test_threads_wait_and_add_with_one_queue(url, queue):
    jobs = queue.enqueue_many((f"exit {number}" for number in range(4)), retries=0)
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(queue.wait, job, timeout=60) for job in jobs]
        adds = [pool.submit(queue.enqueue, "true") for _ in range(20)]
        assert len({each.result().id for each in adds}) == 20
        cli(url, "run", "--drain", "--concurrency", "2")
        assert [each.result().exit_code for each in waits] == [0, 1, 2, 3]


def test_a_wait_sees_what_its_own_program_changes(queue):
    job = queue.enqueue("true", delay="1h")
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.wait, job, timeout=60)
        done.wait(0.1)
        queue.cancel(job)
        assert waiting.result().state == "cancelled"


def test_a_job_does_not_wait_for_itself(file_queue):
    program = "import queuectl; queuectl.open_queue('queue.db').wait('own', timeout=20)"
    file_queue.enqueue([sys.executable, "-c", program], id="own", retries=0)
    cli("queue.db", "run", "--drain")
    assert "RefusedError: job own would wait for itself" in file_queue.job("own").stderr


@pytest.mark.parametrize("cell", ["{", "[1]", '{"a": 1}'])
def test_a_corrupt_cell_of_a_row_is_read_as_empty(file_queue, tmp_path, cell):
    first = file_queue.enqueue("true")
    job = file_queue.enqueue("true", tags={"a": "1"}, after=first)
    with closing(apsw.Connection(str(tmp_path / "queue.db"))) as db:
        db.execute('UPDATE jobs SET tags = ?, "after" = ? WHERE id = ?', (cell, cell, job.id))
    found = file_queue.job(job)
    assert (found.tags, found.after) == ({}, ())


def test_the_token_of_another_queue_stops_no_wait(file_queue, monkeypatch):
    job = file_queue.enqueue("true")
    monkeypatch.setenv("QUEUECTL_OUTER_RUNS", "other:1:2")
    with pytest.raises(queuectl.WaitTimedOutError):
        file_queue.wait(job, timeout="10ms")


def test_a_wait_ends_with_its_time(queue):
    job = queue.enqueue("true", delay="1h")
    assert job.id in refused(queuectl.WaitTimedOutError, lambda: queue.wait(job, timeout=0.05))
    refused(queuectl.NoSuchJobError, lambda: queue.wait("none", timeout=1))
    assert queue.wait_many([]) == []


def test_a_wait_names_a_purged_job_as_it_ended(url, queue):
    job = queue.enqueue("exit 4", retries=0)
    cli(url, "run", "--drain")
    cli(url, "purge", job.id)
    assert queue.wait(job, timeout=1).exit_code == 4
    assert "history" in refused(queuectl.NoSuchJobError, lambda: queue.job(job))
    assert queue.history(job)[-1].type == "purged"


def test_moves_are_all_or_none(queue):
    queue.enqueue_many([{"command": "true", "id": "a"}, {"command": "true", "id": "b"}])
    refused(queuectl.NoSuchJobError, lambda: queue.cancel_many(["a", "none"]))
    assert [job.state for job in queue.cancel_many(["a", queue.job("b"), "a"])] == ["cancelled", "cancelled"]
    assert "cancelled" in refused(queuectl.RefusedError, lambda: queue.cancel("a"))
    assert [job.state for job in queue.retry_many(["b"])] == ["pending"]
    for call in (queue.cancel_many, queue.retry_many):
        refused(queuectl.UsageError, lambda call=call: call("ab"))
    refused(queuectl.UsageError, lambda: queue.job(3))


def test_a_reason_and_an_actor_are_in_the_log(url):
    with queuectl.open_queue(url, actor="web") as queue:
        queue.enqueue("true", id="a")
        queue.cancel("a", reason="not needed")
        first, last = queue.history("a")
    assert (first.actor, last.actor, last.data["reason"]) == ("web", "web", "not needed")


def test_an_id_is_never_taken_for_a_prefix(queue):
    queue.enqueue("true", id="build-2")
    refused(queuectl.NoSuchJobError, lambda: queue.cancel("build"))
    refused(queuectl.NoSuchJobError, lambda: queue.job("build"))


def test_pauses_say_whether_they_changed_anything(queue):
    assert [queue.pause("ci"), queue.pause("ci"), queue.resume("ci"), queue.resume("ci")] == [True, False, True, False]
    assert [queue.pause(), queue.resume()] == [True, True]
    refused(queuectl.UsageError, lambda: queue.pause("a b"))


# ── opening, closing, surroundings ──────────────────────────────────────────────────────────────────


def test_schedules_are_listed_and_run_by_hand(file_queue):
    assert file_queue.schedules() == []
    definition = ScheduleSet(job=a_spec("true", queue="mail"), cron="0 2 * * *", tz="Europe/Berlin")
    with file_queue._connection.writing() as found:
        Schedules(found).add(Put("backup", definition))
        Schedules(found).add(Put("poll", ScheduleSet(job=a_spec(), every=60_000_000, start=0), paused=True))
    backup, poll = file_queue.schedules()
    assert (backup.cron, backup.every, backup.queue, backup.paused) == ("0 2 * * *", None, "mail", False)
    assert backup.next_at.astimezone(ZoneInfo("Europe/Berlin")).hour == 2
    assert (poll.every, poll.paused, poll.next_at) == (timedelta(minutes=1), True, None)
    job = file_queue.run_schedule("backup")
    assert (job.state, file_queue.schedules()[0].last_job) == ("pending", job.id)
    with pytest.raises(NoSuchJobError, match="no such schedule: nope"):
        file_queue.run_schedule("nope")


def test_a_closed_queue_says_so(file_queue):
    file_queue.enqueue("true")
    file_queue.close()
    assert "is closed" in refused(queuectl.StoreError, file_queue.jobs)
    assert "is closed" in refused(queuectl.StoreError, lambda: file_queue.enqueue("true"))
    file_queue.close()


def test_without_a_path_it_is_the_queue_of_the_command_line(tmp_path, monkeypatch):
    with queuectl.open_queue() as queue:
        queue.enqueue("true")
    assert (tmp_path / "data/queue.db").exists()
    monkeypatch.setenv("QUEUECTL_DB", "other.db")
    with queuectl.open_queue() as queue:
        assert repr(queue) == f"<JobQueue {tmp_path}/other.db>"


def test_a_path_is_that_of_the_folder_it_was_named_in(tmp_path, monkeypatch):
    with queuectl.open_queue("queue.db") as queue:
        (tmp_path / "sub").mkdir()
        monkeypatch.chdir(tmp_path / "sub")
        queue.enqueue("true")
    assert (tmp_path / "queue.db").exists()


def test_the_umask_of_the_program_stays_and_the_files_are_private(tmp_path):
    program = (
        "import os, queuectl\n"
        "os.umask(0o027)\n"
        "with queuectl.open_queue('queue.db') as queue: print(queue.enqueue('umask', id='a').state)\n"
        "assert os.umask(0) == 0o027\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("queue.db*")}
    assert {mode for name, mode in modes.items() if "." in name[9:] or name == "queue.db"} <= {0o600, 0o700}
    cli("queue.db", "run", "--drain")
    with queuectl.open_queue("queue.db") as queue:
        assert queue.job("a").stdout == "0027\n"


def test_messages_of_the_command_line_are_logged(caplog):
    with queuectl.open_queue("queue.db") as queue:
        queue.enqueue("true")
    cli("queue.db", "config", "set", "durability", "fast")
    with caplog.at_level(logging.WARNING, logger="queuectl"), queuectl.open_queue("queue.db") as queue:
        queue.jobs()
    assert "durability is fast" in caplog.text


def test_a_queue_made_before_a_fork_is_used_after_it():
    queue = queuectl.open_queue("queue.db")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            queue.enqueue("true", id="child")
            queue.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert queue.job("child").state == "pending"
    queue.close()


def test_importing_the_package_loads_none_of_it():
    program = "import sys, queuectl; print(sorted(name for name in sys.modules if name.startswith('queuectl')))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['queuectl']"


def test_the_type_of_a_state_has_every_state():
    assert get_args(JobState) == tuple(State)


def test_each_public_name_has_a_home_and_no_other_has():
    assert {*queuectl._HOMES, "__version__"} == set(queuectl.__all__)
