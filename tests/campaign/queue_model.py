"""A queue as a few dictionaries, written from its specification: the answers of commands and the rows of tables.

It has no log, no clock and no store. `now` (of the log) and `wall` are set before each command; `position` counts the
expected events.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Model", "NotAllowedError", "NotThereError"]

SECOND = 1_000_000
LIVE = ("pending", "processing")
FINISHED = ("done", "dlq", "cancelled")

Record = dict[str, Any]


class NotAllowedError(Exception):
    """The command is not allowed."""


class NotThereError(Exception):
    """There is no such job."""


class Model:
    """The queue."""

    def __init__(self) -> None:
        self.now = self.wall = self.position = 0
        self.behind_for: int | None = None
        self.clocks: list[int] = []
        """The wall clock at each event."""
        self.jobs: dict[str, Record] = {}
        self.pauses: dict[str, tuple[int, str]] = {}
        self.settings: dict[str, str] = {}

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Undo all changes if the command is refused."""
        before = self.position, {name: dict(job) for name, job in self.jobs.items()}
        try:
            yield
        except (NotAllowedError, NotThereError):
            self.position, self.jobs = before
            del self.clocks[self.position :]
            raise

    def _count(self) -> None:
        self.position += 1
        self.clocks.append(self.wall)

    def _event(self, job: Record, **changes: Any) -> None:
        self._count()
        job.update(changes, version=job["version"] + 1, updated=self.now)
        if "since" in changes:
            job["set_at"] = self.position

    # ── what people ask for ─────────────────────────────────────────────────────────────────────────

    def enqueue(self, batch: Sequence[tuple[str, Record]]) -> list[tuple[str, bool]]:
        """(id, promises) of each -> (id of the job that answers, whether it is new)."""
        with self.whole():
            return [self._enqueue(name, promises) for name, promises in batch]

    def _enqueue(self, name: str, promises: Record) -> tuple[str, bool]:
        if known := self.jobs.get(name):
            if known["promises"] != promises:
                raise NotAllowedError
            return name, False
        if holder := self.holder(promises["unique"]):
            return holder, False
        at, delay = promises["at"], promises["delay"]
        due, since = (at, None) if at is not None else (self.wall + delay, self.wall)
        fields = ["locked", "worker", "error", "code", "stdout", "stderr", "finished", "duration", "cancel"]
        job = {"id": name, "promises": promises, "state": "pending", "attempts": 0, "run": 0, "due": due, "version": 0}
        self.jobs[name] = {**job, **dict.fromkeys(fields), "stdout": "", "stderr": "", "created": self.now}
        self._event(self.jobs[name], position=self.position + 1, since=since)
        return name, True

    def holder(self, key: str | None) -> str | None:
        """The live job that holds a unique key."""
        live = (job for job in self.jobs.values() if job["state"] in LIVE)
        return next((job["id"] for job in live if key is not None and job["promises"]["unique"] == key), None)

    def each(self, names: Sequence[str], act: Callable[[Record], None]) -> None:
        """Do the same for several jobs, or for none if one is refused."""
        with self.whole():
            for name in names:
                if name not in self.jobs:
                    raise NotThereError
                act(self.jobs[name])

    def cancel(self, job: Record) -> None:
        if job["state"] == "pending":
            self._event(job, state="cancelled", due=None, finished=self.now)
        elif job["state"] != "processing":
            raise NotAllowedError
        elif job["cancel"] is None:
            self._event(job, cancel="why")

    def requeue(self, job: Record) -> None:
        key = job["promises"]["unique"]
        if job["state"] in LIVE or self.holder(key) not in (None, job["id"]):
            raise NotAllowedError
        self._event(job, state="pending", attempts=0, due=self.wall, since=self.wall, finished=None)

    def purge(self, job: Record) -> None:
        if job["state"] not in FINISHED:
            raise NotAllowedError
        self._event(job, state="purged")

    def pause(self, queue: str, who: str) -> bool:
        if queue in self.pauses:
            return False
        self._count()
        self.pauses[queue] = (self.now // SECOND, who)
        return True

    def resume(self, queue: str) -> bool:
        if queue in self.pauses:
            self._count()
        return self.pauses.pop(queue, None) is not None

    def configure(self, key: str, value: str | None) -> bool:
        if self.settings.get(key) == value:
            return False
        self._count()
        self.settings = {name: kept for name, kept in {**self.settings, key: value}.items() if kept is not None}
        return True

    # ── what workers ask for ────────────────────────────────────────────────────────────────────────

    def claim(self, worker: str, queues: Collection[str], limit: int, locked: Collection[str]) -> list[str]:
        """The ids of the claimed jobs in order; those in `locked` cannot be claimed."""
        line = [job for job in self.open_jobs(queues) if self._is_due(job) and job["id"] not in locked]
        line.sort(key=lambda job: (-job["promises"]["priority"], self._turn(job), job["position"]))
        for job in line[:limit]:
            taken = {"state": "processing", "due": None, "locked": self.now, "worker": worker}
            self._event(job, run=job["run"] + 1, **taken)
        return [job["id"] for job in line[:limit]]

    def _is_due(self, job: Record) -> bool:
        """Whether the job is due: by the wall clock, or by its measured wait if the recording clock was ahead."""
        if job["due"] <= self.wall or self.behind_for is None:
            return bool(job["due"] <= self.wall)
        return self._is_misdated(job) and bool(job["due"] - job["since"] <= self._waited(job, self.behind_for))

    def _waited(self, job: Record, behind_for: int) -> int:
        """For how long the clock has been right again, as far as anyone can know: by later events, or as seen."""
        right = (clock for clock in self.clocks[job["set_at"] :] if clock <= self.wall)
        return max(behind_for, self.wall - next(right, self.wall))

    def _is_misdated(self, job: Record) -> bool:
        return job["since"] is not None and job["since"] > self.wall

    def _turn(self, job: Record) -> int:
        return 0 if self._is_misdated(job) else int(job["due"])

    def open_jobs(self, queues: Collection[str]) -> list[Record]:
        """Pending jobs of these queues (none: all) that are not paused."""
        pending = [job for job in self.jobs.values() if job["state"] == "pending" and "*" not in self.pauses]
        named = [(job, job["promises"]["queue"]) for job in pending]
        return [job for job, queue in named if queue not in self.pauses and (not queues or queue in queues)]

    def report(self, name: str, run: int, end: Mapping[str, Any]) -> None:
        """`end`: cause (None: it succeeded), said (the error's text), code, jitter, and what a run leaves."""
        with self.whole():
            job = self._found(name)
            left = {field: end[field] for field in ("stdout", "stderr", "duration")}
            if job["state"] != "processing" or job["run"] != run:
                if end["cause"] != "worker_lost":
                    self._event(job)
            elif end["cause"] is None:
                self._leave(job, "done", attempts=job["attempts"] + 1, code=0, error=None, finished=self.now, **left)
            elif job["cancel"] is not None:
                self._leave(job, "cancelled", finished=self.now, **left)
            else:
                self._fail(job, end, left)

    def _fail(self, job: Record, end: Mapping[str, Any], left: Record) -> None:
        failed = {**left, "attempts": job["attempts"] + 1, "code": end["code"], "error": end["said"]}
        promises = job["promises"]
        if job["attempts"] == promises["max_retries"]:
            self._leave(job, "dlq", finished=self.now, **failed)
            return
        wait = min(promises["backoff_base"] ** failed["attempts"] * SECOND, promises["backoff_cap"])
        wait *= end["jitter"] if promises["jitter"] else 1
        due = self.wall + (0 if end["cause"] == "worker_lost" else round(wait))
        self._leave(job, "pending", due=due, since=self.wall, **failed)

    def release(self, name: str, run: int, end: Mapping[str, Any]) -> None:
        with self.whole():
            job = self._found(name)
            left = {field: end[field] for field in ("stdout", "stderr", "duration")}
            if job["state"] != "processing" or job["run"] != run:
                self._event(job)
            elif job["cancel"] is not None:
                self._leave(job, "cancelled", finished=self.now, **left)
            else:
                self._leave(job, "pending", due=self.wall, since=self.wall, **left)

    def _leave(self, job: Record, state: str, **changes: Any) -> None:
        """End the run of a job."""
        self._event(job, state=state, locked=None, worker=None, cancel=None, **changes)

    def _found(self, name: str) -> Record:
        if name not in self.jobs:
            raise NotThereError
        return self.jobs[name]

    # ── what the tables have to say ─────────────────────────────────────────────────────────────────

    def rows(self) -> dict[str, Record]:
        """The table `jobs`, by id."""
        return {name: _row(job) for name, job in self.jobs.items() if job["state"] != "purged"}

    def dead(self) -> dict[str, Record]:
        """The table `dlq`, by id."""
        return {name: _dead_row(job) for name, job in self.jobs.items() if job["state"] == "dlq"}

    def counts(self) -> dict[tuple[str, str], int]:
        """(queue, state) -> how many."""
        there = [job for job in self.jobs.values() if job["state"] != "purged"]
        return dict(Counter((job["promises"]["queue"], job["state"]) for job in there))


ALONE = {"after": None, "if_unmet": None, "waits": 0, "waiting": None, "held": 0, "origin": None}
"""The columns about other jobs: those of the model wait for none, and no job has added them."""


def _row(job: Record) -> Record:
    promises, due, duration = job["promises"], job["due"], job["duration"]
    return {
        "id": job["id"],
        "command": promises["command"],
        "state": job["state"],
        "attempts": job["attempts"],
        "max_retries": promises["max_retries"],
        "next_run_at": None if due is None else (due + SECOND - 1) // SECOND,
        "locked_at": _seconds(job["locked"]),
        "locked_by": job["worker"],
        "stdout": job["stdout"],
        "stderr": job["stderr"],
        "last_error": job["error"],
        "created_at": _seconds(job["created"]),
        "updated_at": _seconds(job["updated"]),
        "version": job["version"],
        "run": job["run"],
        "queue": promises["queue"],
        "priority": promises["priority"],
        "timeout": None if promises["timeout"] is None else promises["timeout"] / SECOND,
        "exit_code": job["code"],
        "batch": None,
        "seq": None,
        "tags": json.dumps(promises["tags"], sort_keys=True, separators=(",", ":")),
        "due_at": due,
        "position": job["position"],
        "unique_key": promises["unique"],
        "finished_at": _seconds(job["finished"]),
        "duration": None if duration is None else duration / SECOND,
        "cancel_requested": job["cancel"],
        **ALONE,
    }


def _dead_row(job: Record) -> Record:
    return {
        "id": job["id"],
        "command": job["promises"]["command"],
        "attempts": job["attempts"],
        "last_error": job["error"],
        "moved_at": _seconds(job["finished"]),
        "original_created_at": _seconds(job["created"]),
    }


def _seconds(moment: int | None) -> int | None:
    return None if moment is None else moment // SECOND
