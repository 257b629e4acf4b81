"""What goes into a store and comes back from it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from queuectl.domain.events import Event
from queuectl.domain.job import Job
from queuectl.domain.machine import State

__all__ = ["Change", "Count", "Head", "JobFilter", "Sign", "Standing", "StoredEvent", "WorkerRow"]


class Change(Struct, frozen=True):
    """Events to append to one stream that stands at `version`; `job` is what the stream folds to (None: no job)."""

    stream_id: str
    version: int
    events: Sequence[Event]
    job: Job | None = None


class Head(Struct, frozen=True):
    """The place and digest of the log's last event; before the first, its base."""

    position: int
    digest: bytes
    recorded_at: int


class StoredEvent(NamedTuple):
    """A row of `events`."""

    position: int
    stream_id: str
    version: int
    type: str
    schema: int
    recorded_at: int
    actor: str
    data: str | None
    salt: bytes | None
    data_digest: bytes | None
    digest: bytes


class Standing(NamedTuple):
    """Where a job stood at some moment: `move` is the type of its last move, `recorded_at` that of its enqueueing."""

    job_id: str
    recorded_at: int
    queue: str
    move: str


class Sign(NamedTuple):
    """Something about the store's own health; `bad`: it slows the queue down, and `remedy` is what helps."""

    about: str
    bad: bool
    what: str
    remedy: str | None = None


class Count(Struct, frozen=True):
    """How many jobs of a queue are in a state."""

    queue: str
    state: State
    jobs: int


class JobFilter(Struct, frozen=True):
    """Which rows of `jobs` to list: no states, no queues and `limit` 0 mean all of them.

    `since` and `ended_by` are microseconds.
    """

    states: tuple[State, ...] = ()
    failed: bool = False
    queues: tuple[str, ...] = ()
    tags: Mapping[str, str] = {}
    since: int | None = None
    ended_by: int | None = None
    sort: str = "created"
    descending: bool = True
    limit: int = 50


class WorkerRow(Struct, frozen=True, kw_only=True):
    """A worker's heartbeat. It is liveness, not history: not in the log, and not rebuilt.

    `beat_at` is microseconds on the monotonic clock of that boot, `started_at` and `last_heartbeat` UNIX seconds.
    """

    name: str
    host: str
    boot_id: str
    pid: int
    pid_namespace: int
    pid_started_at: int
    slots: int
    queues: tuple[str, ...]
    started_at: int
    last_heartbeat: int
    beat_at: int
    running: int = 0
    jobs_done: int = 0
    stop_requested: int = 0
