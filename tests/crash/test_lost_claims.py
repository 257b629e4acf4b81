"""What a lost worker's claim costs: nothing before the command was started; and how soon it is seen to be lost."""

import subprocess
import sys
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.support.command_line import PROGRAM, Queuectl, Started, eventually, lines

KILLED_AT = """
import os, signal, sys
from queuectl.process.{module} import {name}

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

{name}.{method} = die
from queuectl.cli import run
run(["run", "--drain"])
"""
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
needs_namespaces = pytest.mark.skipif(
    subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0,
    reason="this user may not make pid namespaces",
)


def killed(queuectl: Queuectl, module: str, name: str, method: str) -> None:
    """A worker that dies where the method is called."""
    script = KILLED_AT.format(module=module, name=name, method=method)
    assert queuectl.start_program(sys.executable, "-c", script).ended(60).code == -SIGKILL


def test_a_run_that_never_started_costs_no_attempt(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "true")
    for _ in range(3):
        killed(queuectl, "runner", "Runner", "start")
    queuectl.drain()
    assert queuectl.state(job_id) == "done"
    assert queuectl.types(job_id) == ["enqueued", *["claimed", "released"] * 3, "claimed", "completed"]
    assert "was lost before it started the command" in queuectl.ok("history", job_id)


def test_a_run_that_may_have_started_costs_one(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "true")
    killed(queuectl, "launch", "Launcher", "spawn")
    queuectl.drain()
    assert queuectl.types(job_id) == ["enqueued", "claimed", "dead_lettered"]


def test_the_mark_of_an_earlier_run_is_not_this_runs(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "1", "--backoff-base", "0", "false")
    queuectl.ok("run", "--once")
    killed(queuectl, "runner", "Runner", "start")
    queuectl.drain()
    assert queuectl.types(job_id)[-4:] == ["claimed", "released", "claimed", "dead_lettered"]
    assert queuectl.show(job_id)["attempts"] == 2


def in_a_namespace(queuectl: Queuectl, pids: Path) -> Started:
    """A worker as a container would run it, with a job under way."""
    queuectl.add("--id", "long", f"echo $$ >> '{pids}'; exec sleep 300")
    worker = queuectl.start_program(*NAMESPACE, PROGRAM, "run", "--name", "inside")
    eventually(lambda: len(lines(pids)) == 1, "the job has started", 30)
    return worker


@needs_namespaces
def test_a_worker_of_a_container_that_ended_is_dead_at_once(queuectl: Queuectl, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    worker = in_a_namespace(queuectl, pids)
    worker.signal(SIGKILL)
    worker.ended()
    eventually(lambda: [row["state"] for row in queuectl.json("worker", "list")] == ["lost"], "it is listed as lost")
    queuectl.start_program(*NAMESPACE, PROGRAM, "run", "--name", "inside")
    eventually(lambda: len(lines(pids)) == 2, "the job runs again long before its lease of 30 s is over", 10)


@needs_namespaces
def test_a_worker_that_lives_in_another_namespace_keeps_its_job(queuectl: Queuectl, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    in_a_namespace(queuectl, pids)
    other = queuectl.add("true")
    queuectl.start("run", "--name", "outside")
    eventually(lambda: queuectl.state(other) == "done", "the other worker works")
    assert [row["state"] for row in queuectl.json("worker", "list")] == ["running", "running"]
    assert queuectl.types("long") == ["enqueued", "claimed"]
