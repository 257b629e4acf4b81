"""The past is one, whether it is read from the begin of the log or back from the present, and while the log grows."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from queuectl.application.queue import NewJob, Queue
from queuectl.application.time_travel import as_of
from queuectl.domain import events as e
from queuectl.domain.machine import State
from queuectl.store import open_store, past_folds
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter
from queuectl.store.sql.job_filter import TURN
from tests.store.test_histories import ACTIONS, JOBS, OFTEN, Player, Step
from tests.support.builders import ACTOR, START, SettableClock, a_spec
from tests.time_travel.test_positions import FILTERS, read_from

LISTS = [
    *FILTERS,
    JobFilter(batch="odd", limit=1),
    JobFilter(text="echo", limit=2),
    JobFilter(held=True),
    JobFilter(dependent=True, limit=1),
    JobFilter(sort="id", limit=2),
    JobFilter(states=(State.PENDING,), sort=TURN, descending=False, limit=2, now=START),
    JobFilter(positions=(2, 12), limit=2),
]
QUESTIONS: dict[str, Callable[[Store], Any]] = {
    "counts": lambda store: store.tables.counts(),
    "processing": lambda store: sorted(store.tables.processing()),
    "claimable": lambda store: store.tables.claimable((), 2, store.log.wall()),
    "claimable of one": lambda store: store.tables.claimable(("mail",), 2, store.log.wall(), skip=JOBS[:1]),
    "next_due": lambda store: store.tables.next_due(()),
    "oldest_due": lambda store: store.tables.oldest_due(store.log.wall()),
    "oldest_due_by_queue": lambda store: store.tables.oldest_due_by_queue(),
    "dlq": lambda store: store.tables.dlq(),
    "dead": lambda store: store.tables.dead((), 0),
    "holder": lambda store: store.tables.holder("key"),
    "batches": lambda store: store.batches.all(),
    "counts of a batch": lambda store: store.tables.counts(JobFilter(batch="odd")),
    "dead of a batch": lambda store: store.batches.dead("odd", 5),
    "names of batches": lambda store: store.batches.names("", 9),
    "waits": lambda store: store.waits.dependencies(),
    "waits by queue": lambda store: store.waits.by_queue(),
    "behind": lambda store: store.waits.behind("batch", "odd", 2),
    "crowd": lambda store: store.waits.crowd("batch", "odd"),
    **{repr(wanted): lambda store, wanted=wanted: store.tables.jobs(wanted) for wanted in LISTS},  # type: ignore[misc]
}


class Dependent(Player):
    """Some jobs wait for another one, or for a batch."""

    def _spec(self, job_id: str, how: int) -> e.Enqueued:
        spec, number = super()._spec(job_id, how), JOBS.index(job_id)
        after = {3: e.After(JOBS[number - 1], "ok"), 4: e.After("odd", "end", "batch")}.get(how)
        return spec if after is None else a_spec("echo after", after=(after,), queue=spec.queue)


def lived(seed: int, steps: int) -> tuple[Store, Player, random.Random]:
    rng, clock = random.Random(seed), SettableClock()
    store = open_store(":memory:", clock)
    player = Dependent(Queue(store, ACTOR), clock)
    player.play(some(rng, steps))
    return store, player, rng


def some(rng: random.Random, steps: int) -> list[Step]:
    names = [*ACTIONS, *OFTEN, *OFTEN, "enqueue", "enqueue"]
    return [Step(rng.choice(names), rng.choice(JOBS), rng.randrange(5)) for _ in range(steps)]


def answer(store: Store, position: int, question: str, *, begin: bool) -> Any:
    """On a new past: it must fold all that the question needs."""
    with read_from(begin=begin):
        past = as_of(store, str(position))
        try:
            return QUESTIONS[question](past)
        finally:
            past.close()


@pytest.fixture(scope="module")
def lives() -> Iterator[Callable[[int], tuple[Store, list[int]]]]:
    """Makes the queue of a seed once: its store, and the positions that are looked at. The tests only read it."""

    made: dict[int, tuple[Store, list[int]]] = {}

    def life(seed: int) -> tuple[Store, list[int]]:
        if seed not in made:
            store, _, rng = lived(seed, 120)
            made[seed] = store, rng.sample(range(store.log.head().position + 1), 12)
        return made[seed]

    yield life
    for store, _ in made.values():
        store.close()


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_both_ends_of_the_log_give_one_answer(question, lives):
    check_both_ends(question, *lives(0))


def check_both_ends(question: str, store: Store, positions: list[int]) -> None:
    """The question has the same answer, from whichever end the log is read."""
    for position in positions:
        from_begin = answer(store, position, question, begin=True)
        assert answer(store, position, question, begin=False) == from_begin, position


def test_a_past_stays_as_it_was_while_the_log_grows():
    check_it_stays(0)


def check_it_stays(seed: int) -> None:
    """The past of a queue that works on has the same answers."""
    store, player, rng = lived(seed, 60)
    position = store.log.head().position - rng.randrange(20)
    wanted = {name: answer(store, position, name, begin=True) for name in QUESTIONS}
    with read_from(begin=False):
        past = as_of(store, str(position))
        for name in rng.sample([*QUESTIONS], len(QUESTIONS)):
            assert QUESTIONS[name](past) == wanted[name], name
            player.play(some(rng, 5))
    store.close()


def test_each_store_is_read_back_from_the_present(store, clock):
    player, rng = Dependent(Queue(store, ACTOR), clock), random.Random(7)
    player.play(some(rng, 80))
    for position in rng.sample(range(store.log.head().position + 1), 3):
        for question in QUESTIONS:
            from_begin = answer(store, position, question, begin=True)
            assert answer(store, position, question, begin=False) == from_begin, (position, question)


def test_the_nearer_end_of_a_long_log_is_read():
    assert past_folds.is_nearer_the_begin(10_000, 0, 10_001)
    assert past_folds.is_nearer_the_begin(49_000, 0, 100_000)
    assert not past_folds.is_nearer_the_begin(51_000, 0, 100_000)


def test_a_job_that_changes_between_two_reads_is_shown_once():
    store, *_ = lived(1, 0)
    queue = Queue(store, ACTOR)
    queue.enqueue([NewJob(a_spec("true"), name) for name in "abc"])
    with read_from(begin=False):
        past = as_of(store, "head")
        found, ids = store.history.unchanged(3), past.tables._folds._unchanged.ids
        past.tables._folds._unchanged.ids = lambda wanted: [ids(wanted), queue.cancel(["b"], "")][0]
        assert found.counts()[1] == 3
        rows = past.tables.jobs(JobFilter(descending=False))
    assert [(row["id"], row["state"]) for row in rows] == [("a", "pending"), ("b", "pending"), ("c", "pending")]
    store.close()
