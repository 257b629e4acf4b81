"""Workers that are killed, frozen or asked to stop while a job runs."""

import signal

import pytest

from tests.support.command_line import Queuectl, alive, eventually, lines

BOUND = 10
"""Seconds in which the job of a worker that can be seen to be dead has to be free again; 2 on a quiet machine."""

FIRST_HANGS = """
if [ $QUEUECTL_RUN != 1 ]; then
    for pid in $(cat pid child); do
        grep -qs "^State:.[^ZX]" /proc/$pid/status && echo $pid >> overlaps
    done
    exit 0
fi
echo $$ > pid
%s sleep 300 & echo $! > child
touch started; wait
"""
"""A job whose first run hangs, and whose later ones look whether anything of the first is still alive."""


@pytest.mark.parametrize("session", ["", "setsid"])
def test_the_job_of_a_killed_worker_is_freed_and_run_again(queuectl: Queuectl, session: str) -> None:
    job_id = queuectl.add(FIRST_HANGS % session)
    worker = queuectl.start("run", "--name", "first")
    eventually((queuectl.folder / "started").exists, "the job runs")
    other = queuectl.start("run", "--name", "second")
    eventually(lambda: len(queuectl.json("status")["workers"]) == 2, "the other worker is up")
    worker.signal(signal.SIGKILL)
    worker.ended()
    eventually(lambda: queuectl.state(job_id) == "done", "the job is done by the other worker", BOUND)
    assert not (queuectl.folder / "overlaps").exists()
    assert not [pid for name in ("pid", "child") for pid in lines(queuectl.folder / name) if alive(int(pid))]
    assert queuectl.types(job_id) == ["enqueued", "claimed", "retry_scheduled", "claimed", "completed"]
    (lost,) = queuectl.events("retry_scheduled")
    assert (lost["cause"], lost["wait"]) == ({"kind": "worker_lost", "worker": "first"}, 0)
    job = queuectl.show(job_id)
    assert (job["attempts"], job["run"]) == (2, 2)
    eventually(lambda: queuectl.events("worker_lost"), "the loss is noted", BOUND)
    assert queuectl.events("worker_lost") == [{"stream_id": "$worker:first", "noticed_by": "second"}]
    assert other.process.poll() is None
    assert "worker first was lost" in queuectl.ok("history", job_id)


def test_a_drain_frees_jobs_that_were_lost_before(queuectl: Queuectl) -> None:
    job_id = queuectl.add(FIRST_HANGS % "")
    worker = queuectl.start("run")
    eventually((queuectl.folder / "started").exists, "the job runs")
    worker.signal(signal.SIGKILL)
    worker.ended()
    queuectl.drain()
    assert queuectl.show(job_id)["attempts"] == 2
    assert not (queuectl.folder / "overlaps").exists()
    assert queuectl.json("status")["workers"] == []


def test_a_job_that_kills_its_worker_ends_in_the_dlq(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "1", "kill -KILL $PPID; sleep 300")
    after = queuectl.add("true")
    killed = [queuectl.start("run", "--drain").ended().code for _ in range(2)]
    assert killed == [-signal.SIGKILL] * 2
    queuectl.drain()
    job = queuectl.show(job_id)
    assert (job["state"], job["attempts"], job["run"], job["exit_code"]) == ("dlq", 2, 2, None)
    assert "was lost" in job["last_error"]
    assert queuectl.state(after) == "done"


def test_a_cancelled_job_of_a_killed_worker_is_cancelled(queuectl: Queuectl) -> None:
    job_id = queuectl.add(FIRST_HANGS % "")
    worker = queuectl.start("run")
    eventually((queuectl.folder / "started").exists, "the job runs")
    worker.signal(signal.SIGSTOP)
    queuectl.ok("cancel", job_id)
    worker.signal(signal.SIGKILL)
    worker.ended()
    queuectl.drain()
    assert queuectl.types(job_id) == ["enqueued", "claimed", "cancel_requested", "cancelled"]
    assert not alive(int((queuectl.folder / "child").read_text()))


def test_a_visibly_dead_worker_is_not_shown_as_alive(queuectl: Queuectl) -> None:
    job_id, waiting = queuectl.add(FIRST_HANGS % ""), queuectl.add("true")
    worker = queuectl.start("run", "--name", "first")
    eventually((queuectl.folder / "started").exists, "the job runs")
    eventually(lambda: "workers: 1, running 1 job\n" in queuectl.ok("status") + "\n", "its worker says so")
    assert "sent its last heartbeat" in queuectl.ok("explain", job_id)
    worker.signal(signal.SIGKILL)
    worker.ended()
    assert "workers: 0, running 0 jobs; 1 lost" in queuectl.ok("status")
    assert [row["state"] for row in queuectl.json("status")["workers"]] == ["lost"]
    assert "is dead: the next worker that runs frees the job" in queuectl.ok("explain", job_id)
    assert "no worker serves queue default" in queuectl.ok("explain", waiting)
    done = queuectl("cancel", job_id)
    assert "will be cancelled when a worker next runs: its own worker is dead" in done.err
    assert "is being stopped" not in done.err
    queuectl.drain()
    assert queuectl.state(job_id) == "cancelled"
    assert "run 1 was stopped\n" in queuectl.ok("history", job_id)


def test_a_suspended_worker_loses_its_job_and_changes_nothing(queuectl: Queuectl) -> None:
    """On this host the worker is killed; on another host its late result would be rejected."""
    job_id = queuectl.add(FIRST_HANGS % "")
    frozen = queuectl.start("run", "--lease", "3s", "--name", "frozen")
    eventually((queuectl.folder / "started").exists, "the job runs")
    frozen.signal(signal.SIGSTOP)
    queuectl.drain("--lease", "3s")
    assert not (queuectl.folder / "overlaps").exists()
    freed = ["enqueued", "claimed", "retry_scheduled", "claimed", "completed"]
    assert queuectl.types(job_id) == freed
    for number in (signal.SIGCONT, signal.SIGTERM):
        if frozen.process.poll() is None:
            frozen.signal(number)
    frozen.ended()
    assert [kind for kind in queuectl.types(job_id) if kind != "result_rejected"] == freed
    assert queuectl.show(job_id)["attempts"] == 2


# ── a worker that is asked to stop ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopping_worker_finishes_what_runs(queuectl: Queuectl, number: signal.Signals) -> None:
    running = queuectl.add("touch started; until [ -e go ]; do sleep 0.05; done; echo finished")
    waiting = queuectl.add("true")
    worker = queuectl.start("run")
    eventually((queuectl.folder / "started").exists, "the job runs")
    worker.signal(number)
    eventually(lambda: "Stopping" in worker.stderr.read_text(), "the worker knows")
    (queuectl.folder / "go").touch()
    assert worker.ended().code == 0
    assert queuectl.show(running)["stdout"] == "finished\n"
    assert queuectl.show(waiting)["run"] == 0
    assert queuectl.json("status")["workers"] == []


def test_a_second_signal_ends_the_job_and_releases_it(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", FIRST_HANGS % "")
    worker = queuectl.start("run")
    eventually((queuectl.folder / "started").exists, "the job runs")
    worker.signal(signal.SIGTERM)
    eventually(lambda: "Stopping" in worker.stderr.read_text(), "the worker knows")
    assert worker.process.poll() is None
    eventually(lambda: worker.signal(signal.SIGTERM) or queuectl.state(job_id) == "pending", "a later one counts")
    worker.ended()
    assert not [pid for name in ("pid", "child") for pid in lines(queuectl.folder / name) if alive(int(pid))]
    job = queuectl.show(job_id)
    assert (job["state"], job["attempts"], job["run"]) == ("pending", 0, 1)
    assert queuectl.types(job_id) == ["enqueued", "claimed", "released"]
    queuectl.drain()
    assert (queuectl.state(job_id), queuectl.show(job_id)["attempts"]) == ("done", 1)
