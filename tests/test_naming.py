"""Whose a worker's name is: by what is seen of the other's process, and else by new signs of its life."""

import os
from collections.abc import Iterator

import pytest

from queuectl.errors import RefusedError
from queuectl.naming import AT_LEAST, Name, default_name
from queuectl.process import alive
from queuectl.store import open_store
from queuectl.store.base import EventStore, WorkerRow
from tests.store.vocabulary import SettableClock, a_worker

LEASE = 30_000_000
HERE = a_worker("w", host="here", boot_id="here", pid=1)
THERE = a_worker("w", host="there", boot_id="there", pid=2)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def store(clock: SettableClock) -> Iterator[EventStore]:
    store = open_store(":memory:", clock)
    yield store
    store.close()


def wanted(store: EventStore, clock: SettableClock, seen: bool | None = None, lease: int = LEASE) -> Name:
    """The name, for the worker that is here."""
    return Name(store, clock, HERE, lease, lambda who, spans_hosts: seen)


def holder(store: EventStore) -> WorkerRow:
    [row] = store.workers()
    return row


def test_a_name_that_nobody_has_is_taken_at_once(store, clock):
    assert wanted(store, clock).take()
    assert holder(store).pid == HERE.pid


def test_a_name_is_refused_while_its_worker_is_seen_to_live(store, clock):
    store.beat(THERE)
    with pytest.raises(RefusedError, match=r"a worker named w is running \(pid 2 on there\)"):
        wanted(store, clock, seen=True).take()


def test_the_name_of_a_worker_that_is_seen_dead_is_free_with_what_was_asked_of_it(store, clock):
    store.beat(THERE)
    store.ask_to_stop("w")
    assert wanted(store, clock, seen=False).take()
    assert (holder(store).pid, store.asked("w")[0]) == (HERE.pid, 0)


def test_a_new_sign_of_life_refuses_the_name_to_others(store, clock):
    store.beat(THERE)
    name = wanted(store, clock)
    assert not name.take()
    store.beat(a_worker("w", host="there", boot_id="there", pid=2, beat_at=THERE.beat_at + 1))
    with pytest.raises(RefusedError, match="choose another --name"):
        name.take()
    assert holder(store).pid == THERE.pid


@pytest.mark.parametrize("lease", [LEASE, AT_LEAST // 5])
def test_the_name_of_a_worker_elsewhere_is_free_after_silence_that_was_seen(store, clock, lease):
    store.beat(THERE)
    name, patience = wanted(store, clock, lease=lease), max(lease, AT_LEAST)
    assert not name.take()
    clock.advance(patience)
    assert not name.take()
    clock.advance(1)
    assert name.take()
    assert holder(store).pid == HERE.pid


def test_a_clock_that_is_set_frees_no_name(store, clock):
    store.beat(THERE)
    name = wanted(store, clock)
    assert not name.take()
    clock.turn(1000 * LEASE)
    assert not name.take()


def test_a_machine_is_not_known_by_its_name_where_several_share_a_store(store, clock):
    """Containers may have one name; and this machine sees its own processes alone."""
    store.beat(a_worker("w", host=os.uname().nodename, boot_id="there", pid=2))
    name = Name(store, clock, HERE, LEASE, alive)
    store.spans_hosts = True
    assert not name.take()
    store.spans_hosts = False
    assert name.take()


def test_a_name_that_nobody_chose_gets_a_number_when_it_is_taken():
    name = default_name(set().__contains__)
    assert name.endswith(f"-{os.getpid()}")
    assert default_name({name, f"{name}-2"}.__contains__) == f"{name}-3"
