"""How workers stop: a burst of signals is one request; and workers whose supervisor is gone."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
from contextlib import suppress

import pytest

from tests.support.command_line import PROGRAM, Queuectl, eventually

JOB = "touch started; until [ -e go ]; do sleep 0.05; done"
RUN = ("run",)
START = ("worker", "start", "--name", "w")


def worker_pids(queuectl: Queuectl) -> list[int]:
    return [row["pid"] for row in queuectl.json("worker", "list") if row["state"] != "lost"]


def worker_states(queuectl: Queuectl) -> dict[str, str]:
    return {row["name"]: row["state"] for row in queuectl.json("worker", "list")}


def started(queuectl: Queuectl) -> str:
    """A job that runs until `go` exists."""
    job_id = queuectl.add(JOB)
    eventually((queuectl.folder / "started").exists, "the job runs", 30)
    return job_id


def assert_finishes(queuectl: Queuectl, job_id: str) -> None:
    """Assert that the job was not stopped: it succeeds once `go` exists."""
    eventually(lambda: "stopping" in worker_states(queuectl).values(), "the worker is shown as stopping")
    assert queuectl.state(job_id) == "processing"
    (queuectl.folder / "go").touch()
    eventually(lambda: queuectl.state(job_id) == "done", "the job finishes")
    eventually(lambda: queuectl.json("worker", "list") == [], "the workers end")
    assert queuectl.types(job_id) == ["enqueued", "claimed", "completed"]


# ── bursts of signals ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", [RUN, START], ids=["worker", "supervisor"])
@pytest.mark.parametrize(
    "burst", [(signal.SIGHUP,) * 3, (signal.SIGTERM,) * 3, (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)]
)
def test_a_burst_of_signals_is_one_request(
    queuectl: Queuectl, command: tuple[str, ...], burst: tuple[signal.Signals, ...]
) -> None:
    worker = queuectl.start(*command)
    job_id = started(queuectl)
    for number in burst:
        worker.signal(number)
        eventually(lambda: "Stopping" in worker.stderr.read_text(), "the first one is handled before the next one")
    assert_finishes(queuectl, job_id)
    assert worker.ended().code == 0


@pytest.mark.parametrize("command", [RUN, START], ids=["worker", "supervisor"])
def test_a_hangup_is_never_a_second_request_and_a_later_signal_is(queuectl: Queuectl, command: tuple[str, ...]) -> None:
    worker = queuectl.start(*command)
    job_id = started(queuectl)
    worker.signal(signal.SIGHUP)
    eventually(lambda: "Stopping" in worker.stderr.read_text(), "it stops")
    eventually(lambda: worker.signal(signal.SIGTERM) or queuectl.state(job_id) == "pending", "it stops the job")
    assert worker.ended().code == 0
    assert queuectl.types(job_id) == ["enqueued", "claimed", "released"]


@pytest.mark.parametrize("command", [RUN, START], ids=["worker", "supervisor"])
def test_a_closed_terminal_stops_no_job(queuectl: Queuectl, command: tuple[str, ...]) -> None:
    """The kernel sends SIGHUP to the session's leader, a shell, which passes it on, and to the foreground group."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(queuectl.folder)
        os.execve("/bin/bash", ["bash", "-ic", f"{PROGRAM} {' '.join(command)}; :"], {**queuectl.env, "HOME": "/"})
    try:
        job_id = started(queuectl)
        os.close(terminal)
        assert_finishes(queuectl, job_id)
    finally:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_time_limit_stops_no_job(queuectl: Queuectl) -> None:
    """`timeout` sends SIGTERM to its child and to its process group."""
    job_id = queuectl.add(JOB)
    limited = queuectl.start_program("timeout", "3", PROGRAM, "run", start_new_session=True)
    eventually((queuectl.folder / "started").exists, "the job runs", 30)
    assert_finishes(queuectl, job_id)
    limited.ended()


# ── a supervisor that is gone ───────────────────────────────────────────────────────────────────────────


def test_workers_of_a_killed_supervisor_finish_their_jobs_and_end(queuectl: Queuectl) -> None:
    supervisor = queuectl.start("worker", "start", "--count", "2", "--name", "pair")
    job_id = started(queuectl)
    eventually(lambda: len(worker_pids(queuectl)) == 2, "both run")
    supervisor.signal(signal.SIGKILL)
    eventually(lambda: len(worker_pids(queuectl)) == 1, "the idle one ends")
    assert f"The supervisor of this worker (pid {supervisor.pid}) is gone" in supervisor.stderr.read_text()
    later = queuectl.add("true")
    assert_finishes(queuectl, job_id)
    assert queuectl.state(later) == "pending"


def test_a_worker_whose_supervisor_is_gone_waits_for_no_name(queuectl: Queuectl) -> None:
    """The supervisor is killed while its worker waits for the name of one that is stopping."""
    first = queuectl.start("run", "--name", "w")
    job_id = started(queuectl)
    first.signal(signal.SIGTERM)
    eventually(lambda: worker_states(queuectl) == {"w": "stopping"}, "it is shown as stopping")
    supervisor = queuectl.start("worker", "start", "--name", "w")
    eventually(lambda: "Worker w: waiting for" in supervisor.stderr.read_text(), "the next one waits")
    later = queuectl.add("true")
    supervisor.signal(signal.SIGKILL)
    supervisor.ended()
    eventually(lambda: "Worker w ended before it started" in supervisor.stderr.read_text(), "it waits no longer")
    assert f"The supervisor of this worker (pid {supervisor.pid}) is gone" in supervisor.stderr.read_text()
    assert worker_states(queuectl) == {"w": "stopping"}
    (queuectl.folder / "go").touch()
    assert first.ended().code == 0
    assert [queuectl.state(job_id), queuectl.state(later)] == ["done", "pending"]


def test_a_worker_that_begins_without_its_supervisor_claims_nothing(queuectl: Queuectl) -> None:
    """The supervisor dies between the last look at the name and the first round."""
    later = queuectl.add("true")
    orphan = queuectl.start("run", "--name", "w", "--supervisor", str(os.getppid()))
    assert orphan.ended().code == 0
    assert f"The supervisor of this worker (pid {os.getppid()}) is gone" in orphan.stderr.read_text()
    assert queuectl.state(later) == "pending"


def test_a_start_in_the_background_names_the_workers(queuectl: Queuectl) -> None:
    done = queuectl("worker", "start", "--detach", "--count", "2", "--name", "pair")
    said = re.search(r"started 2 workers \(pids (\d+), (\d+); supervisor ", done.err)
    assert said is not None
    assert sorted(map(int, said.groups())) == sorted(worker_pids(queuectl))
    queuectl.ok("worker", "stop")


# ── a name whose worker is stopping ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["signal", "command"])
def test_a_named_worker_waits_for_one_that_is_stopping(queuectl: Queuectl, how: str) -> None:
    first = queuectl.start("run", "--name", "w")
    job_id = started(queuectl)
    if how == "signal":
        first.signal(signal.SIGTERM)
    else:
        assert queuectl("worker", "stop", "w", "--timeout", "100ms").code == 124
    eventually(lambda: worker_states(queuectl) == {"w": "stopping"}, "it is shown as stopping")
    second = queuectl.start("run", "--name", "w")
    waits = (
        f"Worker w: waiting for the worker of that name (pid {first.pid} on {os.uname().nodename}), which is stopping"
    )
    eventually(lambda: waits in second.stderr.read_text(), "the second one says why it waits")
    (queuectl.folder / "go").touch()
    assert first.ended().code == 0
    eventually(lambda: worker_pids(queuectl) == [second.pid], "the second one has the name")
    assert second.stderr.read_text().count("waiting for") == 1
    assert queuectl.state(job_id) == "done"
    queuectl.ok("worker", "stop")


def test_a_worker_in_the_background_waits_for_one_that_is_stopping(queuectl: Queuectl) -> None:
    first = queuectl.start("run", "--name", "w")
    started(queuectl)
    first.signal(signal.SIGTERM)
    eventually(lambda: worker_states(queuectl) == {"w": "stopping"}, "it is shown as stopping")
    second = queuectl.start("worker", "start", "--detach", "--name", "w")
    eventually(
        lambda: "is stopping: the new worker starts when it has ended" in second.stderr.read_text(), "it says so"
    )
    (queuectl.folder / "go").touch()
    assert second.ended().code == 0
    queuectl.ok("worker", "stop")


# ── what a worker in the background has of its caller ───────────────────────────────────────────────────


def test_a_background_worker_inherits_no_descriptor(queuectl: Queuectl) -> None:
    lock = os.open(queuectl.folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    reader, writer = os.pipe()
    try:
        start = [PROGRAM, "worker", "start", "--detach", "--name", "w"]
        subprocess.run(
            start,
            cwd=queuectl.folder,
            env=queuectl.env,
            pass_fds=[lock, writer],
            check=True,
            stdin=subprocess.PIPE,
            capture_output=True,
        )
        os.close(writer)
        assert select.select([reader], [], [], 10)[0], "somebody has the pipe's other end"
        assert os.read(reader, 1) == b""
        [worker] = queuectl.json("worker", "list")
        streams = [os.readlink(f"/proc/{worker['pid']}/fd/{number}") for number in (0, 1, 2)]
        assert streams == ["/dev/null", worker["log_file"], worker["log_file"]]
        os.close(lock)
        other = os.open(queuectl.folder / "lock", os.O_RDWR)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    finally:
        os.close(reader)
        queuectl.ok("worker", "stop")


# ── a job that would wait for itself ────────────────────────────────────────────────────────────────────


def result_of(queuectl: Queuectl, job_id: str) -> dict[str, object]:
    eventually(lambda: queuectl.state(job_id) in ("done", "dlq"), "the job ends", 30)
    return queuectl.show(job_id)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("worker stop", "w runs this command, so it stops when this job has ended: not waiting for it"),
        ("wait $QUEUECTL_JOB_ID", "runs this command and would wait for itself: leave it out"),
        ("wait $QUEUECTL_JOB_ID quick", "runs this command and would wait for itself: waiting only for the others"),
        ("run --drain --name inner", "Worker inner ended after"),
    ],
)
def test_a_job_does_not_wait_for_itself(queuectl: Queuectl, command: str, says: str) -> None:
    queuectl.add("true", "--id", "quick", "--priority", "9")
    job_id = queuectl.add(f"{PROGRAM} {command} || echo failed >&2", "--max-retries", "0")
    worker = queuectl.start("run", "--name", "w")
    job = result_of(queuectl, job_id)
    assert says in str(job["stderr"])
    assert "no worker to stop" not in str(job["stderr"])
    worker.signal(signal.SIGTERM)
    assert worker.ended().code == 0


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("worker stop", ["w runs this command, so it", "in-b runs this command, so it"]),
        ("wait a b", ["job b runs this command and would wait for itself: leave it out"]),
        ("wait a quick", ["job a runs this command and would wait for itself: waiting only for the others"]),
        ("logs -f a", ["job a runs this command and would wait for itself: not following it"]),
        ("logs -f b", ["job b runs this command and would wait for itself: not following it"]),
        ("run --drain --name in-c", ["Worker in-c ended after"]),
    ],
)
def test_a_job_two_deep_does_not_wait_for_the_outer_one(queuectl: Queuectl, command: str, says: list[str]) -> None:
    """Job `a` drains the queue, and the job `b` of that drain runs the command."""
    queuectl.add("true", "--id", "quick", "--priority", "9")
    enqueue_b = f"{PROGRAM} enqueue --id b --max-retries 0 '{PROGRAM} {command} || true'"
    queuectl.add(f"{enqueue_b}; {PROGRAM} run --drain --name in-b", "--id", "a", "--max-retries", "0")
    worker = queuectl.start("run", "--name", "w")
    result_of(queuectl, "a")
    assert [words for words in says if words not in str(queuectl.show("b")["stderr"])] == []
    worker.signal(signal.SIGTERM)
    assert worker.ended().code == 0


@pytest.mark.parametrize(
    "command",
    [
        "worker restart w",
        "worker stop && {program} worker start --detach --name w",
        "worker stop && {program} worker start --name w",
        "worker stop && {program} run --name w",
    ],
)
def test_a_job_does_not_wait_for_the_name_of_its_own_worker(queuectl: Queuectl, command: str) -> None:
    queuectl.ok("worker", "start", "--detach", "--name", "w")
    job_id = queuectl.add(f"{PROGRAM} {command.format(program=PROGRAM)}", "--max-retries", "0")
    job = result_of(queuectl, job_id)
    assert job["exit_code"] == 4
    assert re.search(r"w (\(pid \d+ on \S+\) )?runs this command and ends after it: ", str(job["stderr"])), job
    queuectl("worker", "stop")


def test_a_job_s_own_output_is_shown_and_not_followed(queuectl: Queuectl) -> None:
    until_named = f"until [ -e '{queuectl.output}/a/1.stdout' ]; do sleep 0.05; done"  # a short output has no file yet
    queuectl.add(f"echo one; {until_named}; {PROGRAM} logs -f a > seen; cat seen", "--id", "a", "--max-retries", "0")
    queuectl.drain()
    assert (queuectl.folder / "seen").read_text() == "one\n"


def test_a_job_may_wait_for_the_worker_of_another_queue(queuectl: Queuectl) -> None:
    """The job's variables are set, but the command is for another queue, here a copy with a job at the same place."""
    queuectl.add("true")
    queuectl.ok("backup", "copy.db")
    there = queuectl.add("true", "--db", "copy.db")
    other = queuectl.start("--db", "copy.db", "run", "--name", "w")
    eventually(lambda: queuectl.json("--db", "copy.db", "show", there)["state"] == "done", "it is up")
    job_id = queuectl.add(f"{PROGRAM} --db copy.db worker stop", "--max-retries", "0")
    queuectl.drain("--name", "w")
    assert queuectl.show(job_id)["position"] == queuectl.json("--db", "copy.db", "show", there)["position"]
    assert "stopped 1 worker" in str(queuectl.show(job_id)["stderr"])
    assert other.ended().code == 0
