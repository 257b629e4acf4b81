"""A store can be used only by the process that opened it, not by a child that was forked from it."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from queuectl.errors import StoreError
from queuectl.store import open_store
from queuectl.store.protocol import Store
from tests.support.builders import SettableClock, a_worker, add, chained, new, stored
from tests.support.stores import Places

USES: dict[str, Callable[[Store], object]] = {
    "reads": lambda store: store.log.load("a"),
    "asks for a digest": lambda store: store.log.digest_at(1),
    "writes": lambda store: add(store, new("theirs")),
    "says that it lives": lambda store: store.workers.beat(a_worker()),
}


def refusal_in_a_child(work: Callable[[], object]) -> str:
    """Run the work in a forked child; return its refusal."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(writing, _refusal(work).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer


def _refusal(work: Callable[[], object]) -> str:
    try:
        work()
    except StoreError as error:
        return str(error)
    return "done"


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("meanwhile", ["idle", "in a transaction"])
def test_a_forked_child_is_refused_and_its_parent_continues(
    shared: Places, url: str, use: Callable[[Store], object], meanwhile: str
) -> None:
    store = shared.open(url)
    add(store, new("a"))

    def uses_and_closes() -> None:
        try:
            use(store)
        finally:
            store.close()

    if meanwhile == "idle":
        answer = refusal_in_a_child(uses_and_closes)
    else:
        with store.writer.transaction():
            add(store, new("b"))
            answer = refusal_in_a_child(uses_and_closes)
    assert "was forked with the queue" in answer
    add(store, new("c"))
    assert [row.stream_id for row in stored(store)] == ["a", *(["b"] if meanwhile != "idle" else []), "c"]
    assert [row.digest for row in stored(store)] == chained(stored(store))


ANOTHER_PROGRAM = "import apsw, sys; db = apsw.Connection(sys.argv[1]); db.execute('DELETE FROM workers'); db.close()"


def test_a_forked_child_does_not_reopen_its_parents_file(in_a_file: Store, path: str) -> None:
    """If the parent and another program close the file, the -wal is removed while the child writes to it."""
    add(in_a_file, new("a"))

    def opens_and_writes() -> None:
        mine = open_store(path, SettableClock())
        subprocess.run([sys.executable, "-c", ANOTHER_PROGRAM, path], check=True)
        add(mine, new("b"))

    assert "close it before" in refusal_in_a_child(opens_and_writes)


def test_a_store_closed_before_the_fork_can_be_opened_after_it(shared: Places, url: str) -> None:
    store = open_store(url, SettableClock())
    add(store, new("a"))
    store.close()
    assert refusal_in_a_child(lambda: add(open_store(url, SettableClock()), new("b"))) == "done"
    assert [row.stream_id for row in stored(shared.open(url))] == ["a", "b"]


def test_a_store_in_memory_is_new_each_time() -> None:
    """A store in memory has no file that another process could have open."""
    store = open_store(":memory:", SettableClock())
    assert refusal_in_a_child(lambda: add(open_store(":memory:", SettableClock()), new("b"))) == "done"
    store.close()
