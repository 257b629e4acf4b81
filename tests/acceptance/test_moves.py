"""Commands that change jobs and queues: `cancel`, `retry`, `purge`, `pause`, `resume`."""

import os
import subprocess
from contextlib import closing

import apsw
import pytest

from queuectl.application.queue import Queue
from queuectl.errors import RefusedError
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from tests.support.command_line import PROGRAM, Queuectl, alive, assert_error, eventually, lines


def test_a_pending_job_is_cancelled_at_once(queuectl: Queuectl) -> None:
    job_id = queuectl.add("touch ran")
    done = queuectl("cancel", job_id, "--reason", "not needed")
    assert (done.code, done.out) == (0, "")
    assert job_id in done.err
    queuectl.drain()
    assert queuectl.state(job_id) == "cancelled"
    assert not (queuectl.folder / "ran").exists()
    assert queuectl.types(job_id) == ["enqueued", "cancelled"]
    assert "reason: not needed" in queuectl.ok("history", job_id)


def test_a_running_job_is_ended_by_its_worker(queuectl: Queuectl) -> None:
    job_id = queuectl.add("sleep 300 & echo $! > child; echo $$ > pid; echo before; wait")
    worker = queuectl.start("run", "--once")
    eventually(lambda: lines(queuectl.folder / "pid"), "the job runs")
    assert queuectl("cancel", job_id, "--reason", "stop it").code == 0
    assert worker.ended().code == 0
    job = queuectl.show(job_id)
    assert (job["state"], job["attempts"], job["stdout"]) == ("cancelled", 0, "before\n")
    assert queuectl.types(job_id) == ["enqueued", "claimed", "cancel_requested", "cancelled"]
    assert "reason: stop it" in queuectl.ok("history", job_id)
    assert not [name for name in ("pid", "child") if alive(int((queuectl.folder / name).read_text()))]


def test_a_cancelled_job_that_ignores_sigterm_is_killed(queuectl: Queuectl) -> None:
    job_id = queuectl.add("trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done")
    worker = queuectl.start("run", "--once", "--grace", "300ms")
    eventually(lambda: lines(queuectl.folder / "pid"), "the job runs")
    queuectl.ok("cancel", job_id)
    assert worker.ended().code == 0
    assert queuectl.state(job_id) == "cancelled"
    assert not alive(int((queuectl.folder / "pid").read_text()))


def test_cancelling_twice_records_one_request(queuectl: Queuectl) -> None:
    job_id = queuectl.add("trap '' TERM; touch started; until [ -e go ]; do sleep 0.05; done; exit 1")
    worker = queuectl.start("run", "--once", "--grace", "20s")
    eventually((queuectl.folder / "started").exists, "the job runs")
    assert [queuectl("cancel", job_id).code for _ in range(2)] == [0, 0]
    (queuectl.folder / "go").touch()
    assert worker.ended().code == 0
    assert queuectl.types(job_id).count("cancel_requested") == 1


@pytest.mark.parametrize("verb", ["cancel", "retry", "purge"])
def test_a_move_of_several_jobs_is_all_or_none(queuectl: Queuectl, verb: str) -> None:
    queuectl.add("--id", "ended", "true")
    queuectl.drain()
    queuectl.add("--id", "pending", "true")
    before = queuectl.position()
    wrong = "ended" if verb == "cancel" else "pending"
    assert_error(queuectl(verb, "ended", "pending"), 4, wrong, "can only be")
    assert_error(queuectl(verb, "ended", "pending", "none"), 3, "none")
    assert queuectl.position() == before
    assert queuectl(verb, "pending" if verb == "cancel" else "ended", wrong[:-2]).code == 4


def test_retry_runs_every_kind_of_finished_job_again(queuectl: Queuectl) -> None:
    line = "echo $QUEUECTL_JOB_ID >> ran; [ $QUEUECTL_JOB_ID != dlq ]"
    names = ("done", "dlq", "cancelled", "purged")
    queuectl.add_all(*({"id": name, "command": line, "max_retries": 0} for name in names))
    queuectl.ok("cancel", "cancelled", "purged")
    queuectl.ok("purge", "purged")
    queuectl.drain()
    done = queuectl("retry", *names, "--reason", "once more")
    assert (done.code, done.out) == (0, "")
    assert queuectl.json("status")["states"]["pending"] == 4
    queuectl.drain()
    assert lines(queuectl.folder / "ran") == ["done", "dlq", "done", "dlq", "cancelled", "purged"]


# ── cancel, many at once ────────────────────────────────────────────────────────────────────────────────


def _unfinished(queuectl: Queuectl) -> set[str]:
    return {row["id"] for row in queuectl.json("list", "--state", "pending", "--state", "processing")}


@pytest.fixture
def crowd(queuectl: Queuectl) -> Queuectl:
    """Pending jobs in two queues and with two tags, one of them after a failure, and one ended job."""
    queuectl.add_all(
        {"id": "failed", "command": "false", "backoff_base": 900},
        {"id": "ended", "command": "true", "queue": "mail", "tags": {"team": "red"}},
    )
    for _ in range(2):
        queuectl.ok("run", "--once")
    queuectl.add_all(
        {"id": "mail-red", "command": "true", "queue": "mail", "tags": {"team": "red"}},
        {"id": "mail-blue", "command": "true", "queue": "mail", "tags": {"team": "blue"}},
        {"id": "red", "command": "true", "tags": {"team": "red", "kind": "x"}},
    )
    return queuectl


@pytest.mark.parametrize(
    ("flags", "selected"),
    [
        ("--queue mail", "mail-red mail-blue"),
        ("--tag team=red", "mail-red red"),
        ("--tag team=red --tag kind=x", "red"),
        ("--queue mail --tag team=red", "mail-red"),
        ("--state failed", "failed"),
        ("--state pending", "failed mail-red mail-blue red"),
        ("--state pending --queue default", "failed red"),
        ("--state processing", ""),
        ("--queue none", ""),
        ("--queue none --queue mail", "mail-red mail-blue"),
    ],
)
def test_cancel_takes_the_jobs_that_its_filters_select(crowd: Queuectl, flags: str, selected: str) -> None:
    before, gone = _unfinished(crowd), set(selected.split())
    position = crowd.position()
    if gone:
        number = "1 job" if len(gone) == 1 else f"{len(gone)} jobs"
        assert_error(crowd("cancel", *flags.split()), 2, f"cancel {number} (", "--yes")
    else:
        assert crowd("cancel", *flags.split()) == (0, "", "nothing to cancel\n")
    assert crowd.position() == position
    assert crowd("cancel", *flags.split(), "--yes", "--reason", "not today").code == 0
    assert before - _unfinished(crowd) == gone
    assert [event["reason"] for event in crowd.events("cancelled")] == ["not today"] * len(gone)


def test_running_jobs_cancelled_in_bulk_are_stopped_by_their_worker(queuectl: Queuectl) -> None:
    running, waiting = queuectl.add("touch started; sleep 300"), queuectl.add("true")
    queuectl.add("true", "--queue", "other")
    worker = queuectl.start("run", "--once")
    eventually((queuectl.folder / "started").exists, "the job runs")
    stops_some = "; running ones are being stopped (undo: "
    assert stops_some not in queuectl("cancel", "--queue", "other", "--yes").err
    assert f"cancelled 2 jobs{stops_some}" in queuectl("cancel", "--queue", "default", "--yes").err
    assert worker.ended().code == 0
    assert [queuectl.state(each) for each in (running, waiting)] == ["cancelled", "cancelled"]


def test_a_job_that_ended_meanwhile_does_not_stop_the_others(crowd: Queuectl) -> None:
    store = open_store(crowd.place, SystemClock())
    try:
        left = Queue(store, "ann@box").cancel_those_that_can(["mail-red", "ended", "red"])
    finally:
        store.close()
    assert {job_id: type(error) for job_id, error in left.items()} == {"ended": RefusedError}
    assert [crowd.state(each) for each in ("mail-red", "ended", "red")] == ["cancelled", "done", "cancelled"]


def test_more_jobs_than_one_batch_are_cancelled(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", "--file", "-", stdin="true\n" * 1001)
    assert "cancelled 1001 jobs" in queuectl("cancel", "--state", "pending", "--yes").err
    assert queuectl.json("status")["states"] == {
        "pending": 0, "processing": 0, "done": 0, "dlq": 0, "cancelled": 1001,
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [(), ("red", "--state", "pending"), ("--state", "done"), ("--tag", "team"), ("--queue", "")],
)
def test_a_cancel_without_a_clear_selection_is_refused(crowd: Queuectl, arguments: tuple[str, ...]) -> None:
    before = crowd.position()
    assert_error(crowd("cancel", *arguments, "--yes"), 2)
    assert crowd.position() == before


# ── purge ───────────────────────────────────────────────────────────────────────────────────────────────


def _one_of_each(queuectl: Queuectl) -> None:
    queuectl.add_all(
        {"id": "done", "command": "true"},
        {"id": "dlq", "command": "false", "max_retries": 0},
        {"id": "cancelled", "command": "true"},
        {"id": "pending", "command": "true", "queue": "held"},
    )
    queuectl.ok("cancel", "cancelled")
    queuectl.drain("--queue", "default")


def _remaining(queuectl: Queuectl) -> set[str]:
    return {row["id"] for row in queuectl.json("list")}


@pytest.mark.parametrize(
    ("flags", "gone"),
    [
        (("--state", "done"), {"done"}),
        (("--state", "completed"), {"done"}),
        (("--state", "dlq"), {"dlq"}),
        (("--state", "dead"), {"dlq"}),
        (("--state", "done", "--state", "dlq"), {"done", "dlq"}),
        (("--state", "cancelled", "--older-than", "0s"), {"cancelled"}),
        (("--older-than", "0s"), {"done", "dlq", "cancelled"}),
        (("--older-than", "1h"), set()),
        (("--state", "done", "--older-than", "1h"), set()),
    ],
)
def test_purge_takes_the_jobs_that_its_filters_select(
    queuectl: Queuectl, flags: tuple[str, ...], gone: set[str]
) -> None:
    _one_of_each(queuectl)
    before = _remaining(queuectl)
    if gone:
        number = "1 job" if len(gone) == 1 else f"{len(gone)} jobs"
        assert_error(queuectl("purge", *flags), 2, f"purge {number}", "--yes")
    else:
        assert queuectl("purge", *flags) == (0, "", "nothing to purge\n")
    assert _remaining(queuectl) == before
    assert queuectl("purge", *flags, "--yes").code == 0
    assert before - _remaining(queuectl) == gone


def test_a_bulk_purge_names_the_jobs_that_it_left(queuectl: Queuectl) -> None:
    """One of the jobs is damaged: its events do not show that it is done."""
    for name in ("first", "damaged", "last"):
        queuectl.add("--id", name, "true")
    queuectl.drain()
    change = "UPDATE events SET data = replace(data, ?, ?) WHERE stream_id = 'damaged' AND version = 1"
    with closing(apsw.Connection(str(queuectl.db))) as db:
        db.execute("DROP TRIGGER events_refuse_update")
        db.execute(change, ("true", "tree"))
    done = queuectl("purge", "--state", "done", "--yes")
    assert (done.code, done.out) == (4, "")
    purged, left, refused = done.err.splitlines()
    assert (purged, refused) == (
        "purged 2 jobs (undo: queuectl retry ID)",
        "queuectl: 1 job could not be purged",
    )
    assert left.startswith("left: event 2 of damaged is damaged")
    assert _remaining(queuectl) == {"damaged"}
    with closing(apsw.Connection(str(queuectl.db))) as db:
        db.execute(change, ("tree", "true"))


@pytest.mark.parametrize(
    "arguments",
    [(), ("done", "--state", "done"), ("--state", "pending"), ("--state", "x"), ("--older-than", "old")],
)
def test_a_purge_without_a_clear_selection_is_refused(queuectl: Queuectl, arguments: tuple[str, ...]) -> None:
    _one_of_each(queuectl)
    before = queuectl.position()
    assert_error(
        queuectl("purge", *arguments, "--yes"), 2, "state" if len(arguments) != 2 else arguments[0].removeprefix("--")
    )
    assert queuectl.position() == before


@pytest.mark.parametrize(("answer", "purged"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False)])
def test_purge_asks_at_a_terminal(queuectl: Queuectl, answer: str, purged: bool) -> None:
    _one_of_each(queuectl)
    ours, theirs = os.openpty()
    try:
        os.write(ours, answer.encode())
        done = subprocess.run(
            [PROGRAM, "purge", "--state", "done"],
            stdin=theirs,
            capture_output=True,
            text=True,
            cwd=queuectl.folder,
            env=queuectl.env,
            timeout=30,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert "purge 1 job (state done)?" in done.stderr
    assert (done.returncode, done.stdout) == (0 if purged else 1, "")
    assert ("done" in _remaining(queuectl)) is not purged


# ── pause and resume ────────────────────────────────────────────────────────────────────────────────────


def test_a_paused_queue_is_not_served_and_delays_no_drain(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "--queue", "a", "true")
    queuectl.add("--id", "b", "--queue", "b", "true")
    assert queuectl("pause", "a").code == 0
    queuectl.drain()
    assert [queuectl.state(job) for job in ("a", "b")] == ["pending", "done"]
    assert [row["queue"] for row in queuectl.json("status")["paused"]] == ["a"]
    assert "queue a is paused" in queuectl.ok("status")
    assert queuectl("resume", "a").code == 0
    queuectl.drain()
    assert queuectl.state("a") == "done"
    assert [event["stream_id"] for event in queuectl.events("queue_paused")] == ["$queue:a"]


def test_pausing_all_is_independent_of_pausing_one_queue(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--queue", "a", "true")
    queuectl.ok("pause")
    done = queuectl("resume", "a")
    assert done.code == 0
    assert "queuectl resume" in done.err
    queuectl.drain()
    assert queuectl.state(job_id) == "pending"
    queuectl.ok("pause", "a")
    queuectl.ok("resume")
    queuectl.drain()
    assert queuectl.state(job_id) == "pending"
    queuectl.ok("resume", "a")
    queuectl.drain()
    assert queuectl.state(job_id) == "done"


def test_an_unchanged_value_is_not_written_again(queuectl: Queuectl) -> None:
    queuectl.ok("pause", "a")
    before = queuectl.position()
    assert [queuectl(*command).code for command in (("pause", "a"), ("resume", "b"), ("resume",))] == [0, 0, 0]
    assert queuectl.position() == before


def test_a_running_worker_obeys_pause_and_resume(queuectl: Queuectl) -> None:
    queuectl.ok("pause", "a")
    worker = queuectl.start("run")
    eventually(lambda: queuectl.json("status")["workers"], "the worker is up")
    held, free = queuectl.add("--queue", "a", "true"), queuectl.add("true")
    eventually(lambda: queuectl.state(free) == "done", "the free job is done")
    assert queuectl.state(held) == "pending"
    queuectl.ok("resume", "a")
    eventually(lambda: queuectl.state(held) == "done", "the held job is done")
    assert worker.process.poll() is None


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_an_invalid_queue_name_is_refused(queuectl: Queuectl, verb: str) -> None:
    for name in ("a b", "*", "", "$settings"):
        assert_error(queuectl(verb, name), 2, "queue")
