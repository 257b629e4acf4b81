"""One order: positions are in the order of the commits, so a follower of the log misses nothing.

`QUEUECTL_ORDER=32x10000` says how many writers append how many events each.
"""

import os
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, product
from threading import Event

import psycopg
import pytest

from queuectl.application import follow
from queuectl.application.queue import Queue
from queuectl.errors import StoreError
from queuectl.runtime import SystemClock
from queuectl.store.protocol import Store
from tests.store.test_histories import ACTIONS, JOBS, Player, Step
from tests.support.builders import ACTOR, SettableClock, add, chained, derived, new, projected, stored
from tests.support.command_line import eventually

WRITERS, EACH = map(int, os.environ.get("QUEUECTL_ORDER", "8x12").split("x"))
PAUSE = "SELECT pg_sleep({})"


def followed(read: Callable[[int], list[int]], write: Callable[[int], None]) -> list[int]:
    """The positions that a follower reads while all writers run, each as `write(number)`."""
    seen: list[int] = []
    over = Event()

    def follow() -> None:
        while True:
            last_look = over.is_set()
            seen.extend(read(seen[-1] if seen else 0))
            if last_look:
                return

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        reader = pool.submit(follow)
        writers = [pool.submit(write, number) for number in range(WRITERS)]
        try:
            for writer in writers:
                writer.result()
        finally:
            over.set()
        reader.result()
    return seen


def pauses(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    return (PAUSE.format(rng.random() * 0.002) for _ in range(EACH))


def test_a_reader_that_follows_sees_every_event_once_and_in_order(places, url):
    stores = [places.open(url, SystemClock()) for _ in range(WRITERS + 1)]

    def write(number: int) -> None:
        for i, pause in enumerate(pauses(number)):
            with stores[number].writer.transaction():
                add(stores[number], new(f"{number}-{i}"))
                stores[number].engine.run(pause)

    def read(after: int) -> list[int]:
        return [row.position for row in stores[-1].log.stored(after=after)]

    assert followed(read, write) == [*range(1, WRITERS * EACH + 1)]
    rows = stored(stores[-1])
    assert [row.digest for row in rows] == chained(rows)
    assert [row.recorded_at for row in rows] == sorted(row.recorded_at for row in rows)


def test_a_reader_of_a_sequence_without_the_lock_misses_some(postgres):
    """A control that shows why the lock is needed: the order of a `bigserial` is not that of the commits."""
    postgres.ask("DROP TABLE IF EXISTS control; CREATE TABLE control (position bigserial PRIMARY KEY)")

    def write(number: int) -> None:
        with psycopg.connect(postgres.url()) as connection:
            for pause in pauses(number):
                connection.execute("INSERT INTO control DEFAULT VALUES")
                connection.execute(pause)
                connection.commit()

    with psycopg.connect(postgres.url(), autocommit=True) as connection:

        def read(after: int) -> list[int]:
            found = connection.execute("SELECT position FROM control WHERE position > %s ORDER BY 1", (after,))
            return [row[0] for row in found]

        def some_are_missed() -> bool:
            connection.execute("TRUNCATE control RESTART IDENTITY")
            return len(followed(read, write)) < WRITERS * EACH

        assert eventually(some_are_missed, "the reader misses some", 60)


def test_any_two_commands_can_run_at_once_on_a_job(places, url):
    """No deadlock, no errors except refusals, and a complete log."""
    clocks = SettableClock(), SettableClock()
    stores = [places.open(url, clock) for clock in clocks]
    players = [Player(Queue(store, ACTOR), clock) for store, clock in zip(stores, clocks, strict=True)]
    with ThreadPoolExecutor(2) as pool:
        for number, names in enumerate(product(ACTIONS, repeat=2)):
            steps = [Step(name, JOBS[number % 2], number % 5) for name in names]
            list(pool.map(lambda each: each[0].play([each[1]]), zip(players, steps, strict=True), timeout=60))
    check(stores[0])


def check(store: Store) -> None:
    rows = stored(store)
    assert [row.position for row in rows] == [*range(1, len(rows) + 1)]
    assert [row.digest for row in rows] == chained(rows)
    assert projected(store) == derived(store)


# ── hints ───────────────────────────────────────────────────────────────────────────────────────────


def test_notifications_are_sent_for_jobs_of_others_only(places, url):
    one, other = places.open(url), places.open(url)
    hints = one.workers.hints()
    add(one, new("mine"))
    assert not hints.heard()
    eventually(lambda: hinted(other, hints), "a hint comes")
    assert not hints.heard()


def test_hints_arrive_after_a_reconnect(postgres, places, url):
    one, other = places.open(url), places.open(url)
    hints = one.workers.hints()
    cut(postgres, one)
    eventually(hints.heard, "the end of the connection is noticed")
    eventually(lambda: works(one), "there is another one")
    eventually(lambda: hinted(other, hints), "hints come again")


def hinted(other, hints):
    """Whether a hint came for a job that another just added; of many at once only the first causes one."""
    add(other, new(f"job-{other.log.head().position}"))
    other.log.head()
    return hints.heard()


def cut(postgres, store):
    [(pid,)] = store.engine.run("SELECT pg_backend_pid()")
    postgres.ask(f"SELECT pg_terminate_backend({pid}, 10000)")


def works(store: Store) -> bool:
    try:
        return store.log.head().position >= 0
    except StoreError:
        return False


DEAF = """
import sys
from queuectl.store.postgres.connection import Link
from queuectl.cli import run
Link.descriptor, Link.heard = (lambda link: None), (lambda link: False)
run(sys.argv[1:])
"""


@pytest.mark.parametrize("program", [[], ["-c", DEAF]], ids=["heard", "dropped"])
def test_all_jobs_run_also_when_every_hint_is_dropped(queuectl, program):
    worker = queuectl.start_program(sys.executable, *(program or ["-m", "queuectl"]), "run", "--name", "w")
    eventually(lambda: queuectl.json("worker", "list"), "the worker is there")
    ids = queuectl.add_all(*({"command": "true"} for _ in range(5)))
    eventually(lambda: [queuectl.state(job_id) for job_id in ids] == ["done"] * 5, "all have run", 60)
    assert worker.process.poll() is None


def test_a_follower_polls_less_often_while_nothing_happens(places, url, monkeypatch):
    one, other = places.open(url), places.open(url)
    rests: list[int] = []

    def rest(microseconds: int, *_: object) -> bool:
        rests.append(microseconds)
        if len(rests) == 9:
            add(other, new("a"))
        return len(rests) == 7

    monkeypatch.setattr(follow, "_wait", rest)
    assert list(islice(follow.durable_positions(one), 2)) == [0, 1]
    doubled = [follow.POLL << times for times in range(6)]
    assert rests == [*doubled, follow.SLOWEST, *doubled[:2]]
