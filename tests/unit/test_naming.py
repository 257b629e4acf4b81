"""Whether a worker's name is free: by the state of the other's process, or else by its heartbeats."""

import os
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from queuectl.errors import RefusedError
from queuectl.process.protocol import same_process
from queuectl.runtime import Reach
from queuectl.store import open_store
from queuectl.store.protocol import Store
from queuectl.store.rows import WorkerRow
from queuectl.worker.registration import AT_LEAST, Name, default_name, keep, this_process
from tests.support.builders import SettableClock, a_worker

LEASE = 30_000_000
HERE = a_worker("w", host="here", boot_id="here", pid=1)
THERE = a_worker("w", host="there", boot_id="there", pid=2)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def store(clock: SettableClock) -> Iterator[Store]:
    store = open_store(":memory:", clock)
    yield store
    store.close()


def name_here(store: Store, clock: SettableClock, seen: bool | None = None, lease: int = LEASE) -> Name:
    """The name `w`, as the worker on this host asks for it."""
    return Name(store, clock, HERE, lease, alive=lambda there, who: seen)


def worker_notes(store: Store) -> list[tuple[str, str, str]]:
    """The notes about workers in the log: (stream, actor, type)."""
    return [(record.stream_id, record.actor, record.type) for record in store.log.records()]


LOSS = ("$worker:w", "w", "worker_lost")


def holder(store: Store) -> WorkerRow:
    [row] = store.workers.rows()
    return row


def test_a_name_that_nobody_has_is_taken_at_once(store, clock):
    assert name_here(store, clock).take()
    assert holder(store).pid == HERE.pid


def test_a_name_is_refused_while_its_worker_is_seen_to_live(store, clock):
    store.workers.beat(THERE)
    with pytest.raises(RefusedError, match=r"a worker named w is running \(pid 2 on there\)"):
        name_here(store, clock, seen=True).take()


@pytest.mark.parametrize("seen", [True, None])
def test_a_new_worker_waits_for_a_stopping_one_of_its_name(store, clock, seen):
    store.workers.beat(THERE)
    name = name_here(store, clock, seen=seen)
    store.workers.ask_to_stop("w")
    for beat_at in (2, 3):
        assert not name.take()
        store.workers.beat(replace(THERE, beat_at=beat_at))
    store.workers.forget(THERE)
    assert name.take()
    assert store.workers.asked("w")[0] == 0


def test_a_visibly_dead_workers_name_is_free(store, clock):
    store.workers.beat(THERE)
    store.workers.ask_to_stop("w")
    assert name_here(store, clock, seen=False).take()
    assert (holder(store).pid, store.workers.asked("w")[0]) == (HERE.pid, 0)
    assert worker_notes(store) == [LOSS]


def test_a_new_heartbeat_refuses_the_name_to_others(store, clock):
    store.workers.beat(THERE)
    name = name_here(store, clock)
    assert not name.take()
    store.workers.beat(a_worker("w", host="there", boot_id="there", pid=2, beat_at=THERE.beat_at + 1))
    with pytest.raises(RefusedError, match="choose another --name"):
        name.take()
    assert holder(store).pid == THERE.pid


@pytest.mark.parametrize("lease", [LEASE, AT_LEAST // 5])
def test_a_remote_workers_name_is_free_after_observed_silence(store, clock, lease):
    store.workers.beat(THERE)
    name, patience = name_here(store, clock, lease=lease), max(lease, AT_LEAST)
    assert not name.take()
    clock.advance(patience)
    assert not name.take()
    clock.advance(1)
    assert name.take()
    assert holder(store).pid == HERE.pid


def test_a_clock_that_is_set_frees_no_name(store, clock):
    store.workers.beat(THERE)
    name = name_here(store, clock)
    assert not name.take()
    clock.turn(1000 * LEASE)
    assert not name.take()


def test_on_a_shared_store_a_host_is_not_known_by_its_name(store, clock):
    """Containers may share a host name, and this machine sees only its own processes."""
    store.workers.beat(a_worker("w", host=os.uname().nodename, boot_id="there", pid=2))
    name = Name(store, clock, HERE, LEASE)
    store.location.reach = Reach.SEVERAL_HOSTS
    assert not name.take()
    store.location.reach = Reach.ONE_HOST
    assert name.take()


def test_a_generated_name_gets_a_number_when_it_is_taken():
    name = default_name(set().__contains__)
    assert name.endswith(f"-{os.getpid()}")
    assert default_name({name, f"{name}-2"}.__contains__) == f"{name}-3"


# ── a name that is kept for the next worker ─────────────────────────────────────────────────────────────

CHILD = 4_194_305
"""A pid that no process has: Linux's go up to 4,194,304."""


def child(clock: SettableClock, **columns: int) -> WorkerRow:
    """The worker `w`, which this process as its supervisor has started and seen dead."""
    return replace(this_process("w", clock, slots=2), pid=CHILD, pid_started_at=5, **columns)


def supervisor_row(clock: SettableClock) -> WorkerRow:
    return this_process("w", clock)


def test_a_dead_workers_name_passes_its_stop_request_on(store, clock):
    store.workers.beat(child(clock))
    assert keep(store, supervisor_row(clock), CHILD)
    assert (holder(store).pid, holder(store).slots) == (os.getpid(), 0)
    with pytest.raises(RefusedError, match="choose another --name"):
        name_here(store, clock, seen=True).take()
    store.workers.ask_to_stop("w")
    assert not name_here(store, clock, seen=True).take()
    heir = child(clock)
    assert Name(store, clock, heir, LEASE, parent=os.getpid()).take()
    assert (holder(store).pid, store.workers.asked("w")[0]) == (heir.pid, 1)
    assert worker_notes(store) == [LOSS]  # the row that kept the name was no worker's


def test_a_worker_that_is_our_parent_keeps_its_name(store, clock):
    """A worker starts the command of a job itself, so it is the parent of a worker that is a job."""
    store.workers.beat(this_process("w", clock, slots=1))
    own_job = Name(store, clock, child(clock), LEASE, parent=os.getpid(), alive=lambda *_: True)
    with pytest.raises(RefusedError, match="choose another --name"):
        own_job.take()
    store.workers.ask_to_stop("w")
    assert not own_job.take()
    assert (holder(store).pid, worker_notes(store)) == (os.getpid(), [])


@pytest.mark.parametrize("asked", ["before it died", "since"])
def test_a_name_is_reserved_until_its_worker_is_asked_to_stop(store, clock, asked):
    store.workers.beat(child(clock))
    if asked == "since":
        assert keep(store, supervisor_row(clock), CHILD)
    store.workers.ask_to_stop("w")
    assert not keep(store, supervisor_row(clock), CHILD)
    assert store.workers.rows() == []
    assert worker_notes(store) == [LOSS]


def test_an_unused_or_forgotten_name_is_reserved(store, clock):
    assert keep(store, supervisor_row(clock), CHILD)
    assert keep(store, replace(supervisor_row(clock), beat_at=99), CHILD)
    assert holder(store).beat_at == 99
    assert worker_notes(store) == []


def test_an_earlier_workers_stop_request_does_not_count(store, clock):
    store.workers.beat(child(clock))
    store.workers.ask_to_stop("w")
    assert keep(store, supervisor_row(clock), CHILD + 1)
    assert store.workers.asked("w")[0] == 0


def test_the_loss_of_a_worker_waits_for_the_disk(store, clock, monkeypatch):
    """Only claims need not be on disk; every other change is on disk when it is acknowledged."""
    begin, waited = store.engine.begin, []
    monkeypatch.setattr(store.engine, "begin", lambda durable: (waited.append(durable), begin(durable))[1])
    store.workers.beat(child(clock))
    waited.clear()
    assert keep(store, supervisor_row(clock), CHILD)
    assert (worker_notes(store), waited) == ([LOSS], [True])


def test_a_name_of_another_worker_is_not_reserved(store, clock):
    store.workers.beat(THERE)
    store.workers.ask_to_stop("w")
    assert keep(store, supervisor_row(clock), CHILD)
    assert same_process(holder(store), THERE)
    assert worker_notes(store) == []
