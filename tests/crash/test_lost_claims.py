"""A lost claim costs an attempt only if its command was started; and how soon the loss is noticed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

import pytest

from queuectl.process import procfs
from queuectl.units import SECOND
from tests.support.command_line import PROGRAM, Queuectl, Started, assert_error, eventually, lines

KILLED_AT = """
import os, signal, sys
from queuectl.process.{module} import {name}

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

{name}.{method} = die
from queuectl.cli import run
run(["run", "--drain"])
"""
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
WITH_INIT = ("sh", "-c", '"$@" & wait; exec sleep 300', "sh")
"""Starts a program below the first process of a namespace."""
needs_namespaces = pytest.mark.skipif(
    subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0,
    reason="this user may not make pid namespaces",
)


EARLIER_BOOT = """
import queuectl.runtime
queuectl.runtime.boot_id = lambda: "the boot before this one"
"""


def run_until_killed(queuectl: Queuectl, module: str, name: str, method: str, before: str = "") -> None:
    """Run a worker that dies when the method is called. `before` is what its process does first."""
    script = before + KILLED_AT.format(module=module, name=name, method=method)
    assert queuectl.start_program(sys.executable, "-c", script).ended(60).code == -SIGKILL


def test_a_run_that_never_started_costs_no_attempt(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "true")
    run_until_killed(queuectl, "runner", "Runner", "start")
    run_until_killed(queuectl, "launch", "Launcher", "spawn")
    run_until_killed(queuectl, "launch", "Launcher", "_spawn_in_folder")
    queuectl.drain()
    assert queuectl.state(job_id) == "done"
    assert queuectl.types(job_id) == ["enqueued", *["claimed", "released"] * 3, "claimed", "completed"]
    assert "was lost before it started the command" in queuectl.ok("history", job_id)


def test_a_run_that_may_have_started_costs_one(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "true")
    run_until_killed(queuectl, "launch", "os", "posix_spawn")
    queuectl.drain()
    assert queuectl.types(job_id) == ["enqueued", "claimed", "dead_lettered"]


def test_the_start_mark_of_an_earlier_run_does_not_count(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "1", "--backoff-base", "0", "false")
    queuectl.ok("run", "--once")
    run_until_killed(queuectl, "runner", "Runner", "start")
    queuectl.drain()
    assert queuectl.types(job_id)[-4:] == ["claimed", "released", "claimed", "dead_lettered"]
    assert queuectl.show(job_id)["attempts"] == 2


@pytest.mark.parametrize(("free", "then"), [(1, ["released", "claimed", "completed"]), (0, ["dead_lettered"])])
def test_a_setting_says_how_many_machine_losses_cost_nothing(queuectl: Queuectl, free: int, then: list[str]) -> None:
    queuectl.ok("config", "set", "max-machine-losses", str(free))
    job_id = queuectl.add("--max-retries", "0", "true")
    run_until_killed(queuectl, "launch", "os", "posix_spawn", before=EARLIER_BOOT)
    queuectl.drain()
    assert queuectl.types(job_id) == ["enqueued", "claimed", *then]
    said = "run 1 was lost with its machine and does not count (1 in a row)" in queuectl.ok("history", job_id)
    assert said is bool(free)


def test_after_a_reboot_a_missing_start_mark_tells_nothing(queuectl: Queuectl) -> None:
    """A power cut may have lost the mark."""
    job_id = queuectl.add("--max-retries", "0", "true")
    run_until_killed(queuectl, "runner", "Runner", "start", before=EARLIER_BOOT)
    queuectl.drain()
    assert "run 1 was lost with its machine and does not count (1 in a row)" in queuectl.ok("history", job_id)


def test_in_a_copy_a_missing_start_mark_tells_nothing(queuectl: Queuectl) -> None:
    """The marks are in the lock file of the original."""
    job_id, copy = queuectl.add("--max-retries", "0", "true"), str(queuectl.folder / "copy.db")
    run_until_killed(queuectl, "launch", "os", "posix_spawn")
    queuectl.ok("backup", copy)
    queuectl.ok("--db", copy, "run", "--drain")
    there = queuectl.json("--db", copy, "history", job_id)
    assert [event["type"] for event in there] == ["enqueued", "claimed", "dead_lettered"]


def in_a_namespace(queuectl: Queuectl, pids: Path, *below: str) -> Started:
    """Start a worker in a pid namespace, as in a container, and wait until its job runs. `below` starts the worker."""
    queuectl.add("--id", "long", f"echo $$ >> '{pids}'; exec sleep 300")
    worker = queuectl.start_program(*NAMESPACE, *below, PROGRAM, "run", "--name", "inside")
    eventually(lambda: len(lines(pids)) == 1, "the job has started", 30)
    return worker


def kill_worker_in(container: Started) -> None:
    """Kill the worker of a namespace that has another first process, so that the job's processes live on."""
    (first,) = procfs.children(container.pid)
    (worker,) = procfs.children(first)
    os.kill(worker, SIGKILL)


@contextmanager
def kept_namespace(container: Started) -> Iterator[None]:
    """Keep the pid namespace after its end, because the kernel would give its number to the next one."""
    (first,) = procfs.children(container.pid)
    with open(f"/proc/{first}/ns/pid", "rb"):
        yield


def recorded_at(queuectl: Queuectl, stream: str, kind: str) -> float:
    """When the last event of this kind was recorded, in seconds since the epoch."""
    sql = f"SELECT max(recorded_at) FROM events WHERE stream_id = '{stream}' AND type = '{kind}'"
    return float(queuectl.query(sql)[0][0] / SECOND)


@needs_namespaces
def test_a_restarted_container_frees_its_job_within_2_seconds(queuectl: Queuectl, tmp_path: Path) -> None:
    """The boot is the same and the pid namespace is a new one: only the worker's lock shows that it is dead."""
    pids = tmp_path / "pids"
    worker = in_a_namespace(queuectl, pids)
    with kept_namespace(worker):
        worker.signal(SIGKILL)
        worker.ended()
        restart_and_wait(queuectl, pids)


def restart_and_wait(queuectl: Queuectl, pids: Path) -> None:
    """The next worker frees the job within 2 s of its start, and runs it."""
    eventually(lambda: [row["state"] for row in queuectl.json("worker", "list")] == ["lost"], "it is listed as lost")
    queuectl.start_program(*NAMESPACE, PROGRAM, "run", "--name", "inside")
    eventually(lambda: len(lines(pids)) == 2, "the job runs again", 40)
    since = recorded_at(queuectl, "$worker:inside", "worker_started")
    assert recorded_at(queuectl, "long", "retry_scheduled") - since < 2
    assert recorded_at(queuectl, "long", "claimed") - since < 2


@needs_namespaces
@pytest.mark.parametrize("left", ["nothing", "its job"])
def test_a_job_of_a_dead_container_is_free_within_2_seconds(queuectl: Queuectl, tmp_path: Path, left: str) -> None:
    """A worker outside notices it. `left`: whether the job's processes died with their worker or still run."""
    pids = tmp_path / "pids"
    container = in_a_namespace(queuectl, pids, *(WITH_INIT if left != "nothing" else []))
    queuectl.start("run", "--name", "outside")
    eventually(lambda: len(queuectl.json("worker", "list")) == 2, "the other worker is there")
    since = time.time()
    if left == "nothing":
        container.signal(SIGKILL)
    else:
        kill_worker_in(container)
    eventually(lambda: len(lines(pids)) == 2, "the job runs again", 40)
    assert recorded_at(queuectl, "long", "retry_scheduled") - since < 2
    assert recorded_at(queuectl, "long", "claimed") - since < 2


@needs_namespaces
def test_a_job_whose_processes_cannot_be_seen_waits_for_its_lock(queuectl: Queuectl, tmp_path: Path) -> None:
    """Its worker is dead, but its processes live in a pid namespace into which the next worker cannot look."""
    pids = tmp_path / "pids"
    container = in_a_namespace(queuectl, pids, *WITH_INIT)
    kill_worker_in(container)
    queuectl.start_program(*NAMESPACE, PROGRAM, "run", "--name", "elsewhere")
    other = queuectl.add("sleep 2.5")  # the next worker looks for lost jobs once a second
    eventually(lambda: queuectl.state(other) == "done", "the other job is done", 30)
    assert (len(lines(pids)), queuectl.types("long")) == (1, ["enqueued", "claimed"])
    container.signal(SIGKILL)
    eventually(lambda: len(lines(pids)) == 2, "the job runs again", 20)
    assert queuectl.types("long")[:4] == ["enqueued", "claimed", "retry_scheduled", "claimed"]


@needs_namespaces
def test_a_dead_container_is_dead_for_doctor_and_migrate(queuectl: Queuectl, tmp_path: Path) -> None:
    container = in_a_namespace(queuectl, tmp_path / "pids")
    assert_error(queuectl("migrate", "--yes", "--to", "there.db"), 4, "inside may still run jobs")
    with kept_namespace(container):
        container.signal(SIGKILL)
        container.ended()
        findings = {finding["about"]: finding for finding in json.loads(queuectl("doctor", "--json").out)}
        assert "worker inside is dead and holds 1 job" in findings["workers"]["what"]
        assert_error(queuectl("migrate", "--yes", "--to", "there.db"), 4, "long may still be running (worker lost)")


@needs_namespaces
def test_a_worker_that_lives_in_another_namespace_keeps_its_job(queuectl: Queuectl, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    in_a_namespace(queuectl, pids)
    other = queuectl.add("true")
    queuectl.start("run", "--name", "outside")
    eventually(lambda: queuectl.state(other) == "done", "the other worker works")
    assert [row["state"] for row in queuectl.json("worker", "list")] == ["running", "running"]
    assert queuectl.types("long") == ["enqueued", "claimed"]


@needs_namespaces
def test_a_worker_in_a_container_is_not_lost_in_a_copy_of_the_queue(queuectl: Queuectl, tmp_path: Path) -> None:
    """Its lock is in the lock file of the original, so the one of the copy says nothing about it."""
    in_a_namespace(queuectl, tmp_path / "pids")
    copy = queuectl.folder / "copy"
    shutil.copytree(queuectl.db.parent, copy)
    listed = queuectl.json("--db", str(copy / "queue.db"), "worker", "list")
    assert [(row["name"], row["state"]) for row in listed] == [("inside", "running")]


def test_no_job_is_dead_that_never_ran(queuectl: Queuectl) -> None:
    """A busy worker has claimed more than it runs when it is killed."""
    ran = queuectl.folder / "ran"
    jobs = [{"command": f"echo $QUEUECTL_JOB_ID >> '{ran}'", "max_retries": 0} for _ in range(400)]
    ids = set(queuectl.add_all(*jobs))
    for kill in range(1, 4):
        worker = queuectl.start("run", "--concurrency", "2")
        eventually(lambda enough=kill * 80: len(lines(ran)) >= enough, "some jobs have run", 60)
        worker.signal(SIGKILL)
        worker.ended()
    queuectl.drain("--concurrency", "2")
    dead = {job["id"] for job in queuectl.json("dlq", "list")}
    assert ids - dead <= set(lines(ran))
    assert len(dead - set(lines(ran))) <= 3 * 2, "more than were starting, one in each slot, when it was killed"
    queuectl.ok("audit")
