"""A folder with a queue full of hostile texts, in every state, and files that are no queue."""

from pathlib import Path
from random import Random

import apsw

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Claim, Exit, Report
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from queuectl.store.protocol import Store
from tests.campaign.hostile import altered, text
from tests.support.builders import a_spec, claimant

__all__ = ["fill"]

IDS = ("a", "b", "c", "d", "dead", "dead-2", "done-1", "done-2", "lost", "off", "gone", "later")


def fill(folder: Path, rng: Random) -> None:
    """Create the queue and the files."""
    store = open_store(str(folder / "queue.db"), SystemClock())
    try:
        _add_jobs(Queue(store, "ann@box:1"), store, rng)
    finally:
        store.close()
    _add_wrong_files(folder, rng)


def _add_jobs(queue: Queue, store: Store, rng: Random) -> None:
    queue.enqueue(NewJob(_spec(rng, name), name) for name in IDS)
    queue.cancel(["off"], text(rng))
    queue.pause("q")
    queue.change_setting("max-retries", "1")
    for name, end in _ends(rng).items():
        queue.execute([Report(name, _claim(queue, name), end, 0.5)])
    _claim(queue, "lost")
    queue.cancel(["lost"], text(rng))
    queue.purge(["gone"], text(rng))
    queue.note_worker("w1", e.WorkerLost(noticed_by=text(rng)))


def _spec(rng: Random, name: str) -> e.Enqueued:
    said = {"env": {"A": text(rng)}, "tags": {text(rng) or "t": text(rng)}, "cwd": "/" + text(rng)}
    return a_spec(f"true {text(rng)}", max_retries=int(name.startswith("done")), **said)


def _ends(rng: Random) -> dict[str, Exit]:
    failed = [e.Exited(3), e.Signalled(9), e.NotStarted(text(rng)), e.LostWorker(text(rng)), e.TimedOut(5)]
    dead = {name: Exit(rng.choice(failed), 7, text(rng, 9), text(rng, 9)) for name in ("dead", "dead-2", "gone")}
    return {**dead, **{name: Exit(None, 7, text(rng, 9), text(rng, 9)) for name in ("done-1", "done-2")}}


def _claim(queue: Queue, name: str) -> int:
    """Claim one job; return the run's number."""
    (job,) = queue.execute([Claim(name, claimant())])
    assert job is not None
    return job.run


def _add_wrong_files(folder: Path, rng: Random) -> None:
    """Create files that look like a queue, a log or a file of jobs but are not."""
    (folder / "folder").mkdir()
    (folder / "text").write_text(text(rng, 30), encoding="utf-8")
    (folder / "empty.db").touch()
    (folder / "half.db").write_bytes((folder / "queue.db").read_bytes()[: rng.randrange(1, 9000)])
    foreign = apsw.Connection(str(folder / "foreign.db"))
    foreign.execute("CREATE TABLE t (x)")
    foreign.close()
    lines = b'true\n{"command": "true"}\n' * rng.randrange(4)
    (folder / "jobs").write_bytes(altered(rng, lines) if rng.randrange(2) else lines)
    segment = next((folder / "queue.db.archive").iterdir())
    (folder / "log").write_bytes(altered(rng, segment.read_bytes()) if rng.randrange(2) else segment.read_bytes())
    if not rng.randrange(4):
        (folder / ".env").write_bytes(b"QUEUECTL_MAX_RETRIES=3\n" + altered(rng, b"QUEUECTL_TIMEOUT=5m\n"))
