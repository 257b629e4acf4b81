"""Queues with a history, and functions that corrupt them."""

import random
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Exit, Release, Report
from queuectl.errors import NoSuchJobError, RefusedError
from queuectl.store import open_store
from queuectl.store.options import StoreOptions
from queuectl.store.protocol import Store
from tests.support.builders import ACTOR, SECOND, SettableClock, a_spec, claimant


def _print_warning(message: str) -> None:
    print(message, file=sys.stderr)


WARNING = StoreOptions(warn=_print_warning)
"""A store whose warnings go to stderr."""

TRIGGERS = ("events_refuse_update", "events_refuse_delete", "events_refuse_replace")


@contextmanager
def opened(path: Path, clock: SettableClock | None = None, *, archived: bool = False) -> Iterator[Store]:
    """The queue at a path, by default without an archive."""
    clock = clock or SettableClock()
    with closing(open_store(str(path), clock, StoreOptions(archived=archived))) as store:
        yield store


def random_history(store: Store, clock: SettableClock, seed: int, steps: int = 200) -> None:
    """Append a random history with every kind of move and note."""
    rng = random.Random(seed)
    queue = Queue(store, ACTOR)
    for number in range(steps):
        clock.advance(rng.randrange(3 * SECOND))
        with suppress(RefusedError, NoSuchJobError):
            _step(queue, rng, number)


def _step(queue: Queue, rng: random.Random, number: int) -> None:
    job_id = f"job-{rng.randrange(number // 4 + 1)}"
    running = queue.store.tables.processing()
    match rng.randrange(10):
        case 0 | 1 | 2:
            spec = a_spec(f"echo {number} ä€𝄞", queue=rng.choice(["default", "mail"]), max_retries=1, tags={"a": "b"})
            queue.enqueue([NewJob(spec, f"job-{number // 4}")])
        case 3 | 4:
            queue.claim(claimant(), (), 2, lambda job: True)
        case 5 | 6 if running:
            cause = rng.choice([None, e.Exited(3), e.LostWorker("w1")])
            queue.execute([Report(*rng.choice(running), Exit(cause, 5, f"out {number}", "err"))])
        case 7 if running:
            queue.execute([Release(*rng.choice(running), "stopping")])
        case 8:
            rng.choice([queue.cancel, queue.requeue, queue.purge])([job_id])
        case 9:
            rng.choice([queue.pause, queue.resume])("mail")
            queue.change_setting("lease", rng.choice([None, "1m", "2m"]))


def corrupt(path: Path, *statements: str) -> None:
    """Run statements that queuectl cannot run: the triggers that protect the log are dropped first."""
    with closing(apsw.Connection(str(path))) as db:
        for trigger in TRIGGERS:
            db.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            db.execute(statement)


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every projection's rows in the order of its key, and its schema."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        found = {name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in NAMES}
        made = db.execute("SELECT name, sql, tbl_name FROM sqlite_schema ORDER BY 1").fetchall()
        return {**found, "schema": [row for row in made if row[2] in NAMES]}


NAMES = ("jobs", "dlq", "counts", "job_tags", "settings", "pauses", "schedules", "workers")
