"""Queues with a history, and the means to corrupt them."""

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Exit, Release, Report
from queuectl.errors import NoSuchJobError, RefusedError
from queuectl.store import open_store
from queuectl.store.archive.archive import Keeping
from queuectl.store.protocol import Store
from tests.support.builders import ACTOR, SECOND, SettableClock, a_spec, claimant

TRIGGERS = ("events_refuse_update", "events_refuse_delete", "events_refuse_replace")


@contextmanager
def opened(path: Path, clock: SettableClock | None = None, *, archived: bool = False) -> Iterator[Store]:
    """The queue at a path, by default without an archive."""
    clock = clock or SettableClock()
    with closing(open_store(str(path), clock, keep=lambda _: Keeping(archived=archived))) as store:
        yield store


def wander(store: Store, clock: SettableClock, seed: int, steps: int = 200) -> None:
    """A random history with every kind of move and note."""
    chance = random.Random(seed)
    queue = Queue(store, ACTOR)
    for number in range(steps):
        clock.advance(chance.randrange(3 * SECOND))
        with suppress(RefusedError, NoSuchJobError):
            _step(queue, chance, number)


def _step(queue: Queue, chance: random.Random, number: int) -> None:
    job_id = f"job-{chance.randrange(number // 4 + 1)}"
    running = queue.store.tables.processing()
    match chance.randrange(10):
        case 0 | 1 | 2:
            spec = a_spec(
                f"echo {number} ä€𝄞", queue=chance.choice(["default", "mail"]), max_retries=1, tags={"a": "b"}
            )
            queue.enqueue([NewJob(spec, f"job-{number // 4}")])
        case 3 | 4:
            queue.claim(claimant(), (), 2, lambda job: True)
        case 5 | 6 if running:
            cause = chance.choice([None, e.Exited(3), e.LostWorker("w1")])
            queue.execute([Report(*chance.choice(running), Exit(cause, 5, f"out {number}", "err"))])
        case 7 if running:
            queue.execute([Release(*chance.choice(running), "stopping")])
        case 8:
            chance.choice([queue.cancel, queue.requeue, queue.purge])([job_id])
        case 9:
            chance.choice([queue.pause, queue.resume])("mail")
            queue.change_setting("lease", chance.choice([None, "1m", "2m"]))


def wreck(path: Path, *statements: str) -> None:
    """Change the file as no program of ours could: the guards are taken off first."""
    with closing(apsw.Connection(str(path))) as db:
        for trigger in TRIGGERS:
            db.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            db.execute(statement)


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every projection, row by row in the order of its key, and how it is made."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        found = {name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in NAMES}
        made = db.execute("SELECT name, sql, tbl_name FROM sqlite_schema ORDER BY 1").fetchall()
        return {**found, "schema": [row for row in made if row[2] in NAMES]}


NAMES = ("jobs", "dlq", "counts", "settings", "pauses", "workers")
