"""Workers under a supervisor, stopped from another terminal, without their store, and with reused pids."""

import fcntl
import os
import re
import subprocess
import sys
import time
from contextlib import closing, suppress
from signal import SIGKILL, SIGTERM

import apsw
import pytest

from queuectl.application.queue import Queue
from queuectl.domain.commands import Claimant
from queuectl.process import procfs as process
from queuectl.runtime import SystemClock, boot_id
from queuectl.store import open_store
from queuectl.units import parse_duration
from queuectl.worker.registration import keep, this_process
from tests.support.command_line import PROGRAM, Queuectl, Started, alive, assert_error, eventually, lines


def pids(queuectl: Queuectl) -> dict[str, int]:
    """The pids of the running workers, by name."""
    return {
        row["name"]: row["pid"] for row in queuectl.json("worker", "list") if row["state"] not in ("lost", "restarting")
    }


def states(queuectl: Queuectl) -> dict[str, str]:
    """The states that `worker list` prints, by name."""
    return {row["name"]: row["state"] for row in queuectl.json("worker", "list")}


def test_a_supervisor_replaces_dead_workers_and_forwards_signals(queuectl: Queuectl) -> None:
    supervisor = queuectl.start("worker", "start", "--count", "2", "--name", "pair", "--concurrency", "2")
    eventually(lambda: set(pids(queuectl)) == {"pair.1", "pair.2"}, "both are up")
    first = pids(queuectl)["pair.1"]
    os.kill(first, SIGKILL)
    eventually(lambda: pids(queuectl).get("pair.1", first) != first, "the dead one is replaced", 30)
    job_id = queuectl.add("touch started; while [ ! -e go ]; do sleep 0.05; done")
    eventually((queuectl.folder / "started").exists, "a job runs")
    supervisor.signal(SIGTERM)
    eventually(lambda: len(pids(queuectl)) == 1, "the idle one ends, the other finishes what it runs")
    (queuectl.folder / "go").touch()
    assert supervisor.ended().code == 0
    assert queuectl.state(job_id) == "done"
    assert queuectl.json("worker", "list") == []
    assert [loss["stream_id"] for loss in queuectl.events("worker_lost")] == ["$worker:pair.1"]


def test_options_that_run_does_not_take_end_the_supervisor(queuectl: Queuectl) -> None:
    done = queuectl("worker", "start", "--count", "2", "--concurrency", "none")
    assert done.code == 2
    assert "--concurrency" in done.err


def move_away(queuectl: Queuectl) -> None:
    """Mark the queue as moved, as `migrate` does; `migrate` itself refuses while workers run."""
    with closing(open_store(str(queuectl.db), SystemClock())) as store, store.writer.transaction():
        store.writer.move_to("/elsewhere/queue.db")


def test_no_worker_is_started_for_a_queue_that_has_moved(queuectl: Queuectl) -> None:
    queuectl.add("true")
    move_away(queuectl)
    for more in ([], ["--detach"], ["--count", "2"]):
        assert_error(queuectl("worker", "start", *more), 5, "has moved to /elsewhere/queue.db")


def test_a_supervisor_ends_when_its_queue_has_moved(queuectl: Queuectl) -> None:
    supervisor = queuectl.start("worker", "start", "--count", "2", "--name", "pair")
    eventually(lambda: set(pids(queuectl)) == {"pair.1", "pair.2"}, "both are up")
    move_away(queuectl)
    for pid in pids(queuectl).values():
        with suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)
    done = supervisor.ended()
    assert done.code == 5
    assert "has moved to /elsewhere/queue.db" in done.err


def test_workers_in_the_background_are_stopped_from_anywhere(queuectl: Queuectl) -> None:
    assert queuectl.ok("worker", "start", "--detach", "--count", "2", "--name", "back") == "back"
    running = pids(queuectl)
    assert set(running) == {"back.1", "back.2"}
    assert queuectl.drain("--name", "front").code == 0
    queuectl.ok("worker", "stop", "back.1")
    assert set(pids(queuectl)) == {"back.2"}
    queuectl.ok("worker", "stop")
    eventually(lambda: not [pid for pid in running.values() if alive(pid)], "their processes are gone")
    assert queuectl("worker", "stop", "back").code == 2


STOPS_AT_ONCE = """
from queuectl.process import procfs as process
from queuectl.__main__ import main
from queuectl.application import workers
from queuectl.runtime import pause
ask = workers.Stop._ask
def _ask(self, rows):
    ask(self, rows)
    while any(process.alive(row, False) for row in rows):
        pause(10_000)
workers.Stop._ask = _ask
main()
"""
"""A `worker stop` that looks again only when all workers have stopped."""


def test_a_worker_that_stops_at_once_is_not_lost(queuectl: Queuectl) -> None:
    worker = queuectl.start("run", "--name", "quick")
    eventually(lambda: set(pids(queuectl)) == {"quick"}, "it is up")
    stop = queuectl.start_program(sys.executable, "-c", STOPS_AT_ONCE, "worker", "stop")
    assert (worker.ended().code, stop.ended().err) == (0, "stopped 1 worker\n")


PATIENT = """
from functools import partial
from queuectl.worker import supervisor
from queuectl.__main__ import main
supervisor._Place = partial(supervisor._Place, wait=600_000_000)
supervisor.LONGEST_WAIT = 600_000_000
main()
"""
"""A supervisor that waits ten minutes before it replaces a worker."""
SHORT_OF_PROCESSES = """
import os
from queuectl.__main__ import main
spawn, answers = os.posix_spawn, ["", "", "no", "no"]
def posix_spawn(*arguments, **options):
    if answers and answers.pop(0):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return spawn(*arguments, **options)
os.posix_spawn = posix_spawn
main()
"""
"""Two processes can be started, the next two attempts fail, then there is room again."""


def supervised(queuectl: Queuectl, program: str, *options: str) -> Started:
    return queuectl.start_program(sys.executable, "-c", program, "worker", "start", *options)


@pytest.mark.parametrize("count", [1, 2])
def test_a_worker_that_died_is_not_replaced_once_it_was_asked_to_stop(queuectl: Queuectl, count: int) -> None:
    """Also if there is another worker, which frees lost jobs and is stopped with it."""
    supervisor = supervised(queuectl, PATIENT, "--name", "w", "--count", str(count))
    eventually(lambda: len(pids(queuectl)) == count, "all are up")
    name, pid = min(pids(queuectl).items())
    os.kill(pid, SIGKILL)
    eventually(lambda: states(queuectl).get(name) == "restarting", "its supervisor has seen it")
    done = queuectl("worker", "stop")
    assert (done.code, done.err) == (0, f"stopped {count} worker{'s' * (count - 1)}\n")
    assert supervisor.ended().code == 0
    assert queuectl.json("worker", "list") == []
    assert len(queuectl.events("worker_started")) == count


def test_a_worker_that_dies_while_it_stops_is_not_replaced(queuectl: Queuectl) -> None:
    queuectl.add("[ $QUEUECTL_RUN != 1 ] || { touch started; sleep 300; }")
    supervisor = supervised(queuectl, PATIENT, "--name", "w")
    eventually((queuectl.folder / "started").exists, "the job runs")
    assert queuectl("worker", "stop", "--timeout", "1ms").code == 124
    os.kill(pids(queuectl)["w"], SIGKILL)
    assert supervisor.ended().code == 0
    queuectl.drain()


def test_a_supervisor_stopped_while_waiting_leaves_no_name(queuectl: Queuectl) -> None:
    supervisor = supervised(queuectl, PATIENT, "--name", "w")
    os.kill(eventually(lambda: pids(queuectl).get("w"), "it is up"), SIGKILL)
    eventually(lambda: states(queuectl) == {"w": "restarting"}, "its supervisor has seen it")
    assert queuectl("run", "--drain", "--name", "w").code == 4
    assert "no worker serves" in queuectl.ok("explain", queuectl.add("true"))
    supervisor.signal(SIGTERM)
    assert supervisor.ended().code == 0
    assert queuectl.json("worker", "list") == []


def test_a_lost_worker_is_not_reported_as_stopped(queuectl: Queuectl) -> None:
    worker = queuectl.start("run", "--name", "w")
    os.kill(eventually(lambda: pids(queuectl).get("w"), "it is up"), SIGKILL)
    worker.ended()
    done = queuectl("worker", "stop")
    assert done.code == 0
    assert done.err.splitlines() == ["w is lost: its jobs are freed when a worker next runs", "no worker to stop"]


def test_a_worker_asked_to_stop_before_it_started_claims_nothing(queuectl: Queuectl) -> None:
    """This process acts as the supervisor that reserves the name."""
    job_id = queuectl.add("true")
    with closing(open_store(str(queuectl.db), SystemClock())) as store:
        assert keep(store, this_process("w", SystemClock()), died=0)
        assert store.workers.ask_to_stop("w")
    assert queuectl("run", "--name", "w").code == 0
    assert queuectl.state(job_id) == "pending"


def test_a_supervisor_survives_a_lack_of_processes(queuectl: Queuectl) -> None:
    supervisor = supervised(queuectl, SHORT_OF_PROCESSES, "--name", "pair", "--count", "2")
    eventually(lambda: len(pids(queuectl)) == 2, "both are up")
    os.kill(pids(queuectl)["pair.1"], SIGKILL)
    eventually(lambda: len(queuectl.events("worker_started")) == 3, "it is replaced when there is room", 60)
    queuectl.ok("worker", "stop")
    done = supervisor.ended()
    assert done.code == 0
    first, second = map(parse_duration, re.findall(r"cannot be started .* again in (\w+)", done.err))
    assert second == 2 * first


@pytest.mark.parametrize("until", ["--once", "--drain"])
def test_workers_in_the_background_may_end_at_once(queuectl: Queuectl, until: str) -> None:
    assert queuectl.ok("worker", "start", "--detach", "--count", "3", "--name", "brief", until) == "brief"


def test_workers_in_the_background_are_started_though_one_has_ended(queuectl: Queuectl) -> None:
    queuectl.add("until [ -e go ]; do sleep 0.05; done")
    assert queuectl.ok("worker", "start", "--detach", "--count", "2", "--name", "both", "--once") == "both"
    (queuectl.folder / "go").touch()
    eventually(lambda: queuectl.json("worker", "list") == [], "both have ended")


@pytest.mark.parametrize("options", ["--bogus", "--concurrency none", "--queue a/b", "--lease soon", "extra"])
@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_options_that_workers_refuse_are_refused_before_any_start(
    queuectl: Queuectl, options: str, detach: list[str]
) -> None:
    done = queuectl("worker", "start", *detach, "--count", "3", *options.split())
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert options.rsplit(maxsplit=1)[-1] in done.err
    assert not queuectl.db.exists()


def test_stop_now_releases_what_runs(queuectl: Queuectl) -> None:
    job_id = queuectl.add("touch started; sleep 300")
    worker = queuectl.start("run")
    eventually((queuectl.folder / "started").exists, "the job runs")
    assert queuectl("worker", "stop", "--timeout", "500ms").code == 124
    queuectl.ok("worker", "stop", "--now")
    assert worker.ended().code == 0
    assert queuectl.types(job_id) == ["enqueued", "claimed", "released"]


def test_a_worker_name_is_used_once(queuectl: Queuectl) -> None:
    queuectl.start("run", "--name", "one")
    eventually(lambda: "one" in pids(queuectl), "it is up")
    assert queuectl("run", "--drain", "--name", "one").code == 4


def test_a_background_workers_name_is_used_once(queuectl: Queuectl) -> None:
    queuectl.ok("worker", "start", "--detach", "--name", "back")
    assert queuectl("worker", "start", "--detach", "--name", "back").code == 4
    queuectl.ok("worker", "stop", "back")
    assert queuectl.json("worker", "list") == []


def test_a_worker_imports_nothing_from_its_folder(queuectl: Queuectl) -> None:
    (queuectl.folder / "select.py").write_text("raise SystemExit(9)")
    job_id = queuectl.add("true")
    assert queuectl("worker", "start", "--drain").code == 0
    assert queuectl.state(job_id) == "done"


def test_more_slots_than_files_may_be_opened_are_refused(queuectl: Queuectl) -> None:
    done = queuectl.start_program("/bin/sh", "-c", f"ulimit -n 256; exec '{PROGRAM}' run --concurrency 300").ended()
    assert done.code == 2
    assert "ulimit -n" in done.err


def test_a_stuck_archive_writer_does_not_stop_the_queue(queuectl: Queuectl) -> None:
    queuectl.add("true")
    folder = os.open(f"{queuectl.db}.archive", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        done = queuectl("enqueue", "--id", "second", "true")
    finally:
        os.close(folder)
    assert (done.code, done.out) == (0, "second\n")
    assert "not in the archive" in done.err


def test_a_second_signal_ends_a_worker_that_waits_for_the_store(queuectl: Queuectl) -> None:
    job_id = queuectl.add("touch started; while [ ! -e go ]; do sleep 0.05; done")
    worker = queuectl.start("run", "--grace", "1s")
    eventually((queuectl.folder / "started").exists, "the job runs")
    with closing(apsw.Connection(str(queuectl.db))) as other:
        other.execute("BEGIN IMMEDIATE")
        (queuectl.folder / "go").touch()
        eventually(lambda: "Waiting for the store" in worker.stderr.read_text(), "the worker waits", 30)
        worker.signal(SIGTERM)
        eventually(lambda: "Stopping" in worker.stderr.read_text(), "the first signal has come")
        second = time.monotonic() + 1.5
        eventually(lambda: time.monotonic() > second, "the second signal is a new request")
        worker.signal(SIGTERM)
        done = worker.ended(30)
    assert done.code == 5
    assert f"job {job_id} run 1: its result could not be recorded (exit 0)" in done.err
    queuectl.drain()


def test_a_worker_whose_database_is_replaced_ends_with_one_clear_line(queuectl: Queuectl) -> None:
    job_id = queuectl.add("touch started; while [ ! -e go ]; do sleep 0.05; done")
    worker = queuectl.start("run", "--grace", "1s")
    eventually((queuectl.folder / "started").exists, "the job runs")
    aside = queuectl.db.with_name("aside.db")
    queuectl.db.rename(aside)
    (queuectl.folder / "go").touch()
    done = worker.ended(60)
    aside.rename(queuectl.db)
    assert done.code == 5
    assert done.err.count("was moved, removed or replaced") == 2, "once in its log, once as its error"
    assert f"job {job_id} run 1: its result could not be recorded (exit 0)" in done.err
    assert "in use: start again" in done.err
    assert "Traceback" not in done.err


def test_a_process_with_a_lost_workers_pid_is_not_signalled(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "true")
    innocent = subprocess.Popen(["sleep", "300"])
    try:
        claim_as(queuectl, innocent.pid)
        queuectl.drain()
        assert queuectl.state(job_id) == "dlq"
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def claim_as(queuectl: Queuectl, pid: int) -> None:
    """Claim all due jobs as a worker that had this pid before its current process."""
    store = open_store(str(queuectl.db), SystemClock())
    claimant = Claimant(
        worker="gone",
        host=os.uname().nodename,
        boot_id=boot_id(),
        pid=pid,
        pid_namespace=process.pid_namespace(),
        pid_started_at=process.started_at(pid) - 1,
        lease=30_000_000,
    )
    assert Queue(store, "gone").claim(claimant, (), 1, lambda job: True)
    store.close()


def test_a_shells_background_processes_survive_exec_into_a_worker(queuectl: Queuectl) -> None:
    """`sleep 300 & exec queuectl run`: the process belongs to no job, nor does one whose parent, a shell, ends later.

    A process that a job leaves makes the worker look at all of its children.
    """
    leaves = "sleep 300 & true"
    queuectl.add(leaves)
    later = "(until [ -e go ]; do sleep 0.05; done; sleep 301 & echo $! >> before) &"
    script = f"sleep 300 & echo $! > before; {later} exec {PROGRAM} run"
    worker = queuectl.start_program("/bin/sh", "-c", script)
    pids = queuectl.folder / "before"
    try:
        eventually(lambda: queuectl.events("completed"), "the job has ended")
        (queuectl.folder / "go").touch()
        eventually(lambda: len(lines(pids)) == 2, "the shell has begun both")
        second = queuectl.add(leaves)
        eventually(lambda: queuectl.state(second) == "done", "another job has ended")
        third = queuectl.add(leaves)
        eventually(lambda: queuectl.state(third) == "done", "and a third one")
        assert [alive(int(pid)) for pid in lines(pids)] == [True, True]
    finally:
        for pid in lines(pids):
            os.kill(int(pid), SIGKILL)
    worker.stop()
