"""Several hosts and one real server: one host is disconnected while it runs jobs, has a wrong clock, and reconnects."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from queuectl.worker.slots import NO_SLOT
from tests.multi_host.host import PROGRAM, Host, Hosts, Remote
from tests.multi_host.loopback import Neighbour
from tests.support.command_line import eventually, lines

LEASE, HOUR = "3s", 3600
SLOTS, WORKERS = 4, 6
PATIENCE = 60

JOB = """
exec 9> "$QUEUECTL_JOB_ID.lock"
flock --nonblock 9 || echo "$QUEUECTL_JOB_ID" >> overlaps
echo "$ON_HOST" >> began
%s
echo "$QUEUECTL_JOB_ID $QUEUECTL_RUN" >> ended
"""
"""A job that notices when another run of it is on, on whatever host. Its lock goes with the last of its processes."""

HELD = JOB % '[ "$ON_HOST" != island ] || while [ ! -e joined ]; do sleep 0.05; done'
LATE = JOB % '[ "$ON_HOST" != island ] || while [ ! -e cut ]; do sleep 0.05; done'
QUICK = JOB % "sleep 0.1"

HOLDER = """
import os, pathlib, sys, time
from queuectl.runtime import SystemClock
from queuectl.store import open_store
store = open_store(os.environ["QUEUECTL_DB"], SystemClock())
with store.writer.transaction():
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(300)
"""
"""Takes the log's lock and keeps it."""


class Event(NamedTuple):
    """A row of the log, read without queuectl."""

    stream: str
    kind: str
    recorded_at: int
    data: dict[str, Any]


class Island:
    """Two connected hosts, one that is disconnected (`island`), and the test's own; all jobs run in one folder."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.desk = Host("desk", hosts.url, folder / "desk")
        self.near: list[Remote] = [hosts.add("near1"), hosts.add("near2", ahead=-HOUR)]
        self.island = hosts.add("island", ahead=HOUR)
        self.ids: list[str] = []

    def enqueue(self, *scripts: str, by: Host | None = None, **more: Any) -> list[str]:
        """Enqueue jobs from one of the hosts; return their ids."""
        text = "\n".join(json.dumps({"command": script, "cwd": str(self.shared), **more}) for script in scripts)
        ids = (by or self.desk).ok("enqueue", "--file", "-", stdin=text).splitlines()
        self.ids += ids
        return ids

    def events(self, *kinds: str) -> list[Event]:
        """The events of these types; all events if none is given."""
        with psycopg.connect(self.desk.url) as db:
            rows = db.execute("SELECT stream_id, type, recorded_at, data FROM queuectl.events ORDER BY position")
            return [Event(*row[:3], json.loads(row[3])) for row in rows if row[1] in kinds or not kinds]

    def are_done(self, ids: list[str]) -> bool:
        """Whether all of these jobs have been completed."""
        return set(ids) <= {event.stream for event in self.events("completed")}

    def marks(self, name: str) -> list[str]:
        """The lines that the jobs wrote into a file of their folder."""
        return lines(self.shared / name)


@pytest.fixture
def world(hosts: Hosts, tmp_path: Path) -> Island:
    """Three hosts without workers."""
    return Island(hosts, tmp_path)


def test_a_disconnected_host_ends_its_jobs_before_others_start_them(world: Island) -> None:
    before = time.time_ns() // 1000
    stuck = world.enqueue(HELD, HELD, LATE, LATE)
    world.island.start_workers(LEASE)
    eventually(lambda: len(world.marks("began")) == SLOTS, "the island runs four jobs", PATIENCE)
    for host in world.near:
        host.start_workers(LEASE)
    eventually(lambda: len(world.events("worker_started")) == WORKERS, "all workers have started", PATIENCE)
    world.enqueue(*[QUICK] * 20)
    world.enqueue(QUICK, by=world.island, delay="1s")
    eventually(lambda: {"near1", "near2"} <= set(world.marks("began")), "both others run jobs", PATIENCE)

    world.island.cut()
    (world.shared / "cut").touch()
    eventually(lambda: world.are_done(stuck), "its jobs are run by the others", PATIENCE)
    assert Counter(world.marks("began"))["island"] == SLOTS
    world.island.join()
    (world.shared / "joined").touch()

    eventually(lambda: len(world.events("result_rejected")) == SLOTS, "its late results are refused", PATIENCE)
    eventually(lambda: _works_again(world), "the island runs jobs again", PATIENCE)
    eventually(lambda: world.are_done(world.ids), "every job is done", PATIENCE)
    world.desk.ok("worker", "stop")
    _check(world, stuck, before)


def _works_again(world: Island) -> bool:
    """Whether the island runs jobs again; enough jobs are added for all hosts."""
    world.enqueue(*[QUICK] * 6, by=world.near[0])
    return Counter(world.marks("began"))["island"] > SLOTS


def _check(world: Island, stuck: list[str], before: int) -> None:
    """Check that no job ran twice at once, was lost or is stuck, and that the log is ordered by the server's time.

    A busy worker claims jobs before it has a slot for them, and gives them back soon: such a run has not started.
    """
    assert world.marks("overlaps") == []
    completed = {event.stream: event.data["run"] for event in world.events("completed")}
    assert Counter(event.stream for event in world.events("completed")) == Counter(world.ids)
    given_back = Counter(event.stream for event in world.events("released") if event.data["reason"] == NO_SLOT)
    assert completed == {job_id: 1 + (job_id in stuck) + given_back[job_id] for job_id in world.ids}
    assert {f"{job_id} {run}" for job_id, run in completed.items()} <= set(world.marks("ended"))
    rejected = Counter((event.stream, event.data["run"]) for event in world.events("result_rejected"))
    retries = [event for event in world.events("retry_scheduled") if event.data["cause"]["kind"] == "worker_lost"]
    assert rejected == Counter((event.stream, event.data["run"]) for event in retries)
    assert Counter(stream for stream, _ in rejected) == Counter(stuck)
    ends = Counter(line.split()[0] for line in world.marks("ended"))
    assert all(ends[job_id] == 1 for job_id in world.ids if job_id not in stuck)
    times = [event.recorded_at for event in world.events()]
    assert before <= times[0]
    assert times == sorted(times)
    assert times[-1] <= time.time_ns() // 1000
    assert "killing it" in world.island.log.read_text()
    world.desk.ok("verify")
    world.desk.ok("audit")


def test_a_worker_name_is_unique_across_hosts(world: Island) -> None:
    """A running worker keeps its name and job. The name of a disconnected one can be taken, its job not yet."""
    if isinstance(world.island, Neighbour):
        pytest.skip("all hosts have one table of processes here: the name is refused at a glance")
    near, named = world.near[0], ("run", "--name", "w", "--lease", LEASE)
    [held] = world.enqueue(HELD)
    world.island.start(PROGRAM, *named)
    eventually(lambda: len(world.marks("began")) == 1, "the island runs a job", PATIENCE)
    for _ in range(2):
        refused = near.start(PROGRAM, *named)
        assert refused.wait(PATIENCE) == 4
    assert "a worker named w is running" in near.log.read_text()

    world.island.cut()
    heir = near.start(PROGRAM, *named)
    eventually(lambda: world.are_done([held]), "the heir of the name runs the job", PATIENCE)
    assert world.marks("overlaps") == []
    assert heir.poll() is None


def test_a_host_that_dies_with_the_logs_lock_does_not_block_others(world: Island) -> None:
    """The server must notice soon: until then no host can write, not even a heartbeat."""
    if isinstance(world.island, Neighbour):
        pytest.skip("there is no host here that can go: its line's end on this side would answer for it")
    world.island.start(sys.executable, "-c", HOLDER, str(world.shared / "holding"))
    eventually((world.shared / "holding").exists, "the island has the lock", PATIENCE)
    world.island.cut()
    world.enqueue(QUICK)
    assert [event.kind for event in world.events()] == ["enqueued"]


def test_the_detector_sees_an_overlap(tmp_path: Path) -> None:
    """The negative control: the same job, started twice without the queue."""
    script = JOB % "while [ ! -e overlaps ] && [ ! -e stop ]; do sleep 0.05; done"
    env = {"PATH": "/usr/bin:/bin", "QUEUECTL_JOB_ID": "job", "QUEUECTL_RUN": "1", "ON_HOST": "here"}
    runs = [subprocess.Popen(["/bin/sh", "-c", script], cwd=tmp_path, env=env) for _ in range(2)]
    try:
        eventually((tmp_path / "overlaps").exists, "the overlap is seen")
    finally:
        (tmp_path / "stop").touch()
        for run in runs:
            run.wait(30)
