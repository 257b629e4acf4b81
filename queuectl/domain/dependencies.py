"""Dependencies: one job waits until others have ended in a wanted way. This file has the rules alone.

A dependency is open while the other job is live, and then met or unmeetable. Unmeetable is not final: it is open again
when someone retries the other job.
"""

from collections.abc import Iterable

from msgspec import Struct

from queuectl.domain.events import After
from queuectl.domain.job import Job
from queuectl.domain.machine import FINISHED, State

__all__ = [
    "BATCH",
    "JOB",
    "MET",
    "NEVER",
    "OPEN",
    "WANTED",
    "BatchState",
    "describe",
    "held_because",
    "outcome",
    "standing_of_batch",
    "standing_of_job",
    "why_never",
]

JOB, BATCH = "job", "batch"
WANTED = ("ok", "end", "failed")
"""The ends that a job can wait for: done; ended in any way; in the dead-letter queue."""

OPEN, MET, NEVER = "open", "met", "never"

_OF_JOB = {
    "ok": {State.DONE: MET, State.DLQ: NEVER, State.CANCELLED: NEVER},
    "end": {State.DONE: MET, State.DLQ: MET, State.CANCELLED: MET},
    "failed": {State.DONE: NEVER, State.DLQ: MET, State.CANCELLED: NEVER},
}
_ENDED_AS = {State.DONE: "is done", State.DLQ: "is in the dead-letter queue", State.CANCELLED: "was cancelled"}


class BatchState(Struct, frozen=True):
    """Whether jobs of a batch are live, in the dead-letter queue, or cancelled; purged ones as before the purge."""

    live: bool
    dead: bool
    cancelled: bool


def outcome(job: Job | None) -> State | None:
    """How a job ended, also if it was purged since; None for a live one."""
    if job is None:
        return None
    state = job.purged_from if job.state is State.PURGED else job.state
    return state if state in FINISHED else None


def standing_of_job(wanted: str, ended: State | None) -> str:
    """Whether a dependency is open, met or unmeetable. `ended`: how the other job ended, None if it has not."""
    return OPEN if ended is None else _OF_JOB[wanted][ended]


def standing_of_batch(wanted: str, batch: BatchState) -> str:
    """The same for a batch."""
    if batch.live:
        return OPEN
    if wanted == "end":
        return MET
    if wanted == "failed":
        return MET if batch.dead else NEVER
    return NEVER if batch.dead or batch.cancelled else MET


def why_never(after: After, ended: State | None) -> str:
    """Why a dependency cannot be met: `build is in the dead-letter queue`."""
    if after.kind == BATCH:
        return f"batch {after.name} has ended {'without a failed job' if after.on == 'failed' else 'with failed jobs'}"
    return f"{after.name} {_ENDED_AS[ended] if ended else 'has not ended'}"


def held_because(jobs: int) -> str:
    """Why so many jobs are held: `what they wait for can no longer happen`."""
    return f"what {'it waits' if jobs == 1 else 'they wait'} for can no longer happen"


def describe(edges: Iterable[After]) -> str:
    """`build (ok), batch grid (end)`."""
    return ", ".join(f"{'batch ' if each.kind == BATCH else ''}{each.name} ({each.on})" for each in edges)
