"""`run`: which jobs a worker claims, in which order, how many at once, and when it ends."""

import json
import os
import signal

import apsw
import pytest

from tests.support.command_line import Queuectl, assert_error, eventually, lines

ALONE = "mkdir busy && echo $QUEUECTL_JOB_ID >> order && rmdir busy"
"""A job that fails when another of its kind runs at the same time."""


def test_drain_ends_with_the_last_job_and_exits_0(queuectl: Queuectl) -> None:
    good = queuectl.add("true")
    bad = queuectl.add("--max-retries", "0", "false")
    retried = queuectl.add("--max-retries", "1", "--backoff-base", "0.5", "false")
    late = queuectl.add("--delay", "1s", "true")
    done = queuectl("run", "--drain", "--concurrency", "2")
    assert (done.code, done.out) == (0, "")
    assert [queuectl.state(job) for job in (good, bad, retried, late)] == ["done", "dlq", "dlq", "done"]
    assert queuectl.show(retried)["attempts"] == 2


def test_drain_of_an_empty_queue_ends_at_once(queuectl: Queuectl) -> None:
    assert queuectl.drain().out == ""


def test_drain_waits_for_jobs_of_another_worker(queuectl: Queuectl) -> None:
    job_id = queuectl.add("touch started; until [ -e go ]; do sleep 0.05; done")
    other = queuectl.start("run", "--once")
    eventually((queuectl.folder / "started").exists, "the job runs")
    drain = queuectl.start("run", "--drain")
    eventually(lambda: len(queuectl.json("status")["workers"]) == 2, "both workers are known")
    assert drain.process.poll() is None
    (queuectl.folder / "go").touch()
    assert drain.ended().code == 0
    assert queuectl.state(job_id) == "done"
    assert other.ended().code == 0


def test_once_runs_at_most_one_job(queuectl: Queuectl) -> None:
    for _ in range(3):
        queuectl.add("true")
    assert queuectl("run", "--once", "--concurrency", "3").code == 0
    assert queuectl.json("status")["states"]["done"] == 1


def test_once_runs_one_job_also_when_it_fails(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--backoff-base", "0", "false")
    assert queuectl("run", "--once").code == 0
    job = queuectl.show(job_id)
    assert (job["state"], job["attempts"], job["run"]) == ("pending", 1, 1)


def test_once_with_nothing_due_ends(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--delay", "1h", "true")
    assert queuectl("run", "--once").code == 0
    assert queuectl.show(job_id)["run"] == 0


@pytest.mark.parametrize("flag", ["--concurrency", "--workers", "-c"])
def test_concurrency_is_the_number_of_jobs_at_once(queuectl: Queuectl, flag: str) -> None:
    meet = "touch {0}; n=0; until [ -e {1} ]; do sleep 0.05; n=$((n + 1)); [ $n -lt 200 ] || exit 1; done"
    queuectl.add("--max-retries", "0", meet.format("a", "b"))
    queuectl.add("--max-retries", "0", meet.format("b", "a"))
    queuectl.drain(flag, "2")
    assert queuectl.json("status")["states"]["done"] == 2


def test_one_job_at_a_time_is_the_default(queuectl: Queuectl) -> None:
    for _ in range(8):
        queuectl.add("--max-retries", "0", ALONE)
    queuectl.drain()
    assert queuectl.json("status")["states"]["done"] == 8


def test_jobs_run_by_priority_then_due_time_then_age(queuectl: Queuectl) -> None:
    for name, flags in {
        "late": ("--at", "2020-01-02T00:00:00Z"),
        "early": ("--at", "2020-01-01T00:00:00Z"),
        "low": ("--priority", "-1"),
        "first": (),
        "second": (),
        "high": ("--priority", "1"),
    }.items():
        queuectl.add("--id", name, *flags, ALONE)
    queuectl.drain()
    assert lines(queuectl.folder / "order") == ["high", "early", "late", "first", "second", "low"]


def test_only_the_named_queues_are_served(queuectl: Queuectl) -> None:
    for name in ("a", "b", "c"):
        queuectl.add("--id", name, "--queue", name, ALONE)
    queuectl.drain("--queue", "a", "--queue", "c")
    assert sorted(lines(queuectl.folder / "order")) == ["a", "c"]
    assert queuectl.state("b") == "pending"


def test_an_idle_worker_starts_a_new_job(queuectl: Queuectl) -> None:
    worker = queuectl.start("run")
    eventually(lambda: queuectl.json("status")["workers"], "the worker is known")
    job_id = queuectl.add("true")
    eventually(lambda: queuectl.state(job_id) == "done", "the job is done")
    worker.signal(signal.SIGTERM)
    assert worker.ended().code == 0
    assert queuectl.json("status")["workers"] == []


def test_the_workers_log_is_text_on_stderr(queuectl: Queuectl) -> None:
    job_id = queuectl.add("true")
    done = queuectl.drain()
    assert done.out == ""
    first, *_, last = [line.partition(" ")[2][9:] for line in done.err.splitlines() if f"job {job_id}" in line]
    assert (first, last) == (f"info job {job_id} run 1 started: true", f"info job {job_id} run 1 done")


def test_the_workers_log_can_be_json(queuectl: Queuectl) -> None:
    job_id = queuectl.add("true")
    records = [json.loads(line) for line in queuectl.drain("--log-format", "json").err.splitlines()]
    assert any(job_id in record["message"] for record in records)
    assert all(record["time"].endswith("Z") for record in records)


def test_a_drain_with_exit_code_fails_when_a_job_is_dead(queuectl: Queuectl) -> None:
    queuectl.add("--max-retries", "1", "--backoff-base", "0", "[ $QUEUECTL_RUN = 2 ]")
    assert queuectl("run", "--drain", "--exit-code").code == 0, "a job that a retry completes is not dead"
    dead = queuectl.add("--max-retries", "0", "false")
    done = queuectl("run", "--drain", "--exit-code")
    assert (done.code, done.err.splitlines()[-1]) == (1, "1 job dead: queuectl dlq list")
    queuectl.add("true")
    assert queuectl("run", "--drain", "--exit-code").code == 0, "it is not of this drain"
    queuectl.ok("retry", dead)
    assert queuectl("run", "--once", "--exit-code").code == 1
    assert_error(queuectl("run", "--exit-code"), 2, "--drain")
    assert_error(queuectl("worker", "start", "--drain", "--exit-code"), 2, "queuectl run")


def test_a_stopped_worker_puts_back_what_runs_too_long(queuectl: Queuectl) -> None:
    job_id = queuectl.add("trap '' TERM; echo go > go; while :; do sleep 0.05; done")
    worker = queuectl.start("run", "--stop-timeout", "200ms")
    eventually((queuectl.folder / "go").exists, "the job runs")
    worker.signal(signal.SIGTERM)
    done = worker.ended(10)
    assert done.code == 0
    assert "Stopping after 1 running job, in 200ms at the latest." in done.err
    job = queuectl.show(job_id)
    assert (job["state"], job["attempts"]) == ("pending", 0)


def test_lines_on_runs_have_fields_in_json(queuectl: Queuectl) -> None:
    queuectl.add("--id", "dies", "--queue", "q", "--max-retries", "1", "--backoff-base", "0", "sleep 0.01; exit 7")
    queuectl.add("--id", "ends", "--priority", "-1", "true")
    lines = queuectl.drain("--log-format", "json", "--name", "w").err.splitlines()
    records = [record for record in map(json.loads, lines) if "job" in record]
    records.sort(key=lambda record: (record["job"], record["run"]))  # a run may start before an earlier end is logged
    fields = ("job", "run", "outcome", "exit_code", "level", "queue", "number", "worker")
    assert [tuple(record[name] for name in fields) for record in records] == [
        ("dies", 1, "started", None, "info", "q", 1, "w"),
        ("dies", 1, "retry", 7, "warning", "q", 1, "w"),
        ("dies", 2, "started", None, "info", "q", 1, "w"),
        ("dies", 2, "dead", 7, "error", "q", 1, "w"),
        ("ends", 1, "started", None, "info", "default", 2, "w"),
        ("ends", 1, "done", 0, "info", "default", 2, "w"),
    ]
    durations = [record["duration"] for record in records]
    assert durations[0] is None
    assert 0.01 <= durations[1] < 5


def test_a_job_that_cannot_start_is_logged_once(queuectl: Queuectl) -> None:
    queuectl.add("--max-retries", "0", "--", "./missing")
    log = queuectl.drain().err
    assert log.count("No such file or directory") == 1
    assert "error job" in log


def test_the_workers_log_has_levels(queuectl: Queuectl) -> None:
    queuectl.add("true")
    assert queuectl.drain(env={"QUEUECTL_LOG_LEVEL": "error"}).err == ""
    queuectl.add("true")
    assert "info job" in queuectl.drain("--log-level", "debug", env={"QUEUECTL_LOG_LEVEL": "error"}).err
    queuectl.add("--max-retries", "1", "--backoff-base", "0", "false")
    lines = queuectl.drain("--log-level", "warning").err.splitlines()
    assert [line.split()[2] for line in lines if " job " in line] == ["warning", "error"]


@pytest.mark.parametrize(
    "flags",
    [
        ("--concurrency", "0"),
        ("--concurrency", "-1"),
        ("--concurrency", "100000"),
        ("--concurrency", "two"),
        ("--lease", "1s"),
        ("--lease", "long"),
        ("--grace", "-1s"),
        ("--log-level", "loud"),
        ("--queue", "a b"),
        ("--queue", "*"),
        ("more",),
    ],
)
def test_bad_flags_are_named(queuectl: Queuectl, flags: tuple[str, ...]) -> None:
    assert_error(queuectl("run", "--drain", *flags), 2, flags[0].lstrip("-"))


# ── a store that others hold ────────────────────────────────────────────────────────────────────────────


def _lock(queuectl: Queuectl) -> apsw.Connection:
    connection = apsw.Connection(str(queuectl.db))
    connection.execute("BEGIN IMMEDIATE")
    return connection


def _has_the_store_open(pid: int) -> bool:
    """Whether a worker has its queue open."""
    folder = f"/proc/{pid}/fd"
    try:
        return any(os.path.realpath(f"{folder}/{descriptor}").endswith("queue.db") for descriptor in os.listdir(folder))
    except OSError:
        return False  # it has ended


def test_a_worker_outlasts_a_locked_store(queuectl: Queuectl) -> None:
    job_id = queuectl.add("touch started; until [ -e go ]; do sleep 0.05; done")
    worker = queuectl.start("run", "--once", "--log-level", "debug", env={"QUEUECTL_BUSY_TIMEOUT": "20ms"})
    eventually((queuectl.folder / "started").exists, "the job runs")
    holder = _lock(queuectl)
    try:
        (queuectl.folder / "go").touch()
        eventually(lambda: "locked" in worker.stderr.read_text(), "the worker meets the lock")
        assert worker.process.poll() is None
    finally:
        holder.close()
    assert worker.ended().code == 0
    assert queuectl.state(job_id) == "done"


def test_a_worker_starts_while_the_store_is_locked(queuectl: Queuectl) -> None:
    job_id = queuectl.add("true")
    holder = _lock(queuectl)
    try:
        worker = queuectl.start("run", "--drain", env={"QUEUECTL_BUSY_TIMEOUT": "20ms"})
        eventually(lambda: worker.process.poll() is not None or _has_the_store_open(worker.pid), "it is up")
        # Its patience of 20 ms is long over when that of this command is.
        assert_error(queuectl("pause", env={"QUEUECTL_BUSY_TIMEOUT": "500ms"}), 5, "locked")
        assert worker.process.poll() is None, worker.ended()
    finally:
        holder.close()
    assert worker.ended().code == 0
    assert queuectl.state(job_id) == "done"
