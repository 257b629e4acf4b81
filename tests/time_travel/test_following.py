"""`events -f`: the backlog, a `caught_up` line, then new events; no gap, no repeat, nothing that is not on disk."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT
from subprocess import PIPE, Popen
from threading import Timer

import apsw
import pytest

from queuectl.domain.events import Purged
from queuectl.store import open_store
from queuectl.store.protocol import Store
from tests.support.builders import SettableClock, add, claimed, completed, more, new
from tests.support.command_line import PROGRAM, Queuectl, eventually

WRITER = """
import sys
from queuectl.application.queue import NewJob, Queue
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from tests.support.builders import a_spec, claimed, completed, more
store = open_store(sys.argv[1], SystemClock())
for batch in range(int(sys.argv[2])):
    ids = [f"job-{batch}-{number}" for number in range(5)]
    Queue(store, "writer").enqueue([NewJob(a_spec("true " + "x" * 100), job_id) for job_id in ids])
    with store.writer.transaction(durable=False):
        jobs = store.writer.append([more(store.log.load(job_id), claimed()) for job_id in ids], "w1")
    store.writer.append([more(job, completed()) for job in jobs], "w1")
store.close()
"""


@pytest.fixture
def store(queuectl: Queuectl, clock: SettableClock) -> Iterator[Store]:
    """The queue of the command line, opened by the test."""
    opened = open_store(str(queuectl.db), clock)
    yield opened
    opened.close()


@pytest.fixture
def follower(queuectl: Queuectl, store: Store) -> Iterator[Popen[str]]:
    """A follower whose output is not read yet."""
    add(store, new("first"))
    command = [PROGRAM, "events", "-f", "--json"]
    with Popen(command, cwd=queuectl.folder, env=queuectl.env, stdout=PIPE, stderr=PIPE, text=True) as process:
        deadline = Timer(60, process.kill)  # whoever reads in vain then reads its end
        deadline.start()
        yield process
        deadline.cancel()
        process.kill()


def read(follower: Popen[str]) -> dict:
    return json.loads(follower.stdout.readline())


def caught_up(follower: Popen[str]) -> list[int]:
    """Read the positions of the backlog, up to the line that ends it."""
    positions = []
    while "caught_up" not in (line := read(follower)):
        positions.append(line["position"])
    assert line == {"caught_up": positions[-1]}
    return positions


def test_output_is_printed_as_it_arrives(store, follower):
    assert caught_up(follower) == [1]
    for number in range(2, 6):
        add(store, new(f"job-{number}"))
        assert read(follower)["position"] == number


BATCHES = 140
LAST = 1 + BATCHES * 15


def start_writer(db: Path) -> Popen[bytes]:
    return Popen([sys.executable, "-c", WRITER, str(db), str(BATCHES)], cwd=Path(__file__).parents[2])


def read_all(follower: Popen[str]) -> None:
    """Read up to the writer's last event; assert each position once, in order, and one line that ends the backlog."""
    lines: list[dict] = []
    while not lines or lines[-1].get("position") != LAST:
        lines.append(read(follower))
    assert [line["position"] for line in lines if "position" in line] == list(range(1, LAST + 1))
    assert len([line for line in lines if "caught_up" in line]) == 1


def test_a_reader_sees_each_event_of_a_writer_exactly_once(queuectl, store, follower):
    writer = start_writer(queuectl.db)
    read_all(follower)
    assert writer.wait(30) == 0


def test_a_reader_that_sleeps_blocks_no_writer(queuectl, store, follower):
    """The pipe is full long before the writer ends; a follower that waits to print has no read transaction open."""
    assert start_writer(queuectl.db).wait(60) == 0
    other = apsw.Connection(str(queuectl.db))
    assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall() == [(0, 0, 0)]
    other.close()
    read_all(follower)


def test_following_can_be_filtered(queuectl, store):
    add(store, new("a"), new("b"))
    following = queuectl.start("events", "-f", "--job", "a", "--type", "enqueued", "--type", "purged", "--to", "6")
    eventually(lambda: b"caught up at position 2" in following.stderr.read_bytes(), "the backlog")
    [a] = add(store, more(store.log.load("a"), claimed(), completed()))  # 3, 4
    add(store, more(store.log.load("b"), claimed()))  # 5
    add(store, more(a, Purged()))  # 6
    done = following.ended()
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["1", "6"]


# ── nothing that a power cut could take back ────────────────────────────────────────────────────────


def claim(store, job_id):
    with store.writer.transaction(durable=False):
        add(store, more(store.log.load(job_id), claimed()))


def test_a_claim_is_on_disk_with_the_next_change(store):
    assert store.writer.on_disk() == 0
    add(store, new("a"), new("b"))
    claim(store, "a")
    claim(store, "b")
    assert (store.writer.on_disk(), store.log.head().position) == (2, 4)
    add(store, new("c"))
    assert store.writer.on_disk() == 5


def test_claims_at_the_end_of_the_log_are_synced(store):
    add(store, new("a"))
    claim(store, "a")
    assert store.writer.bring_to_disk() == 2
    assert store.writer.on_disk() == 1


def test_an_unsynced_change_is_not_acknowledged(queuectl, store):
    add(store, new("a"))
    reader = apsw.Connection(str(queuectl.db))
    reader.execute("BEGIN; SELECT * FROM events").fetchall()
    claim(store, "a")
    assert store.writer.bring_to_disk() == 1
    reader.close()
    assert store.writer.bring_to_disk() == 2


def test_a_claim_is_printed_after_it_was_synced(queuectl, store, follower):
    claim(store, "first")
    assert caught_up(follower) == [1]
    assert read(follower)["position"] == 2


# ── how it ends ─────────────────────────────────────────────────────────────────────────────────────


def test_an_interrupt_ends_the_follower(queuectl, store, follower):
    caught_up(follower)
    follower.send_signal(SIGINT)
    assert follower.wait(15) == 130
    assert follower.stderr.read() in ("", "queuectl: interrupted\n")


def test_a_closed_pipe_ends_an_idle_follower(store, follower):
    caught_up(follower)
    follower.stdout.close()
    assert follower.wait(15) == 141


# ── damage ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_damaged_event_is_named_and_the_rest_is_printed(queuectl, store):
    add(store, new("a"), new("b"), new("c"))
    whole = queuectl.ok("events", "--json").splitlines()
    store.engine.run("DROP TRIGGER events_refuse_update")
    [data] = store.engine.run("SELECT data FROM events WHERE position = 2")
    store.engine.run("UPDATE events SET data = '{}' WHERE position = 2")
    spoilt = queuectl.ok("events", "--json").splitlines()
    assert [spoilt[0], spoilt[2]] == [whole[0], whole[2]]
    assert json.loads(spoilt[1]) == {"position": 2, "stream_id": "b", "damaged": "its digest does not match"}
    assert "damaged" in queuectl.ok("events").splitlines()[1]
    store.engine.run("UPDATE events SET data = ? WHERE position = 2", data)
