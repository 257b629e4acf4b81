"""Changes to jobs and queues, for the HTTP interface and for buttons, each with the command that does the same."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from queuectl.application import bulk
from queuectl.application.dependencies import resolved
from queuectl.application.job_fields import check_queue
from queuectl.application.job_input import JobReader
from queuectl.application.queue import NewJob, Queue
from queuectl.application.schedules import Schedules
from queuectl.application.workers import Stop
from queuectl.domain.names import PAUSE_ALL
from queuectl.errors import UsageError, command_line
from queuectl.units import counted
from queuectl.web.site import Site

__all__ = [
    "JOB_CHANGES",
    "SCHEDULE_VERBS",
    "Done",
    "JobChange",
    "Reason",
    "add_jobs",
    "change_schedule",
    "named",
    "named_or_counted",
    "pause",
    "stop_worker",
]

SCHEDULE_VERBS = {
    "run": "Add a job of a schedule now.",
    "pause": "Add no more jobs of a schedule.",
    "resume": "Add jobs of a schedule again.",
}

MOST_NAMED = 20
"""The largest number of ids in such a command."""


class Done(Struct, frozen=True, kw_only=True):
    """The outcome of a change: a sentence, the equal command, the jobs concerned, and those that were left.

    `notes` are the ones that this command prints. `retried`: the jobs are dead ones that run again.
    """

    said: str
    command: str
    jobs: Sequence[str] = ()
    notes: Sequence[str] = ()
    left: dict[str, str] = {}
    retried: bool = False


def named(ids: Sequence[str]) -> list[str]:
    """The ids, or the first of very many, for a command."""
    return [*ids[:MOST_NAMED], *(["…"] if len(ids) > MOST_NAMED else [])]


def named_or_counted(ids: Sequence[str]) -> str:
    """The id of the only job, or how many jobs there are."""
    return ids[0] if len(ids) == 1 else counted(len(ids), "job")


class Reason(Struct, forbid_unknown_fields=True):
    """The body of a change: a reason, which `history` shows."""

    reason: str = ""


class JobChange(Struct, frozen=True):
    """One kind of change to jobs. `one` raises when a job cannot be changed, `many` leaves those that cannot."""

    name: str
    about: str
    one: Callable[[Queue, Sequence[str], str], Any]
    many: Callable[[Queue, Sequence[str], str], bulk.Left]
    said: str

    def carry_out(self, queue: Queue, ids: Sequence[str], reason: str) -> Done:
        """Change one job, or as many of several as can be. Raises QueuectlError when the only job cannot."""
        if not ids:
            raise UsageError("no job is selected")
        left: bulk.Left = {}
        if len(ids) == 1:
            self.one(queue, ids, reason)
        else:
            left = self.many(queue, ids, reason)
        changed = [job_id for job_id in ids if job_id not in left]
        command = command_line(self.name, *(["--reason", reason] if reason else []), *named(ids))
        said = f"{named_or_counted(changed)} {self.said}"
        said += f"; {counted(len(left), 'job')} could not be changed" if left else ""
        return Done(said=said, command=command, jobs=changed, left={name: str(error) for name, error in left.items()})


def _unblock_all(queue: Queue, ids: Sequence[str], reason: str) -> bulk.Left:
    """Unblock all or none."""
    queue.unblock(ids, reason)
    return {}


JOB_CHANGES = {
    change.name: change
    for change in (
        JobChange(
            "cancel",
            "Cancel a job. A running one is stopped by its worker.",
            Queue.cancel,
            bulk.cancel_all,
            "cancelled (a running job is being stopped)",
        ),
        JobChange("retry", "Run an ended job again.", Queue.requeue, bulk.retry_all, "pending again"),
        JobChange(
            "purge", "Take an ended job out of the tables.", bulk.purge_named, bulk.purge_all, "purged; history remains"
        ),
        JobChange(
            "unblock",
            "Start a job that waits for other jobs, without waiting.",
            Queue.unblock,
            _unblock_all,
            "no longer waits",
        ),
    )
}


def add_jobs(site: Site, queue: Queue, jobs: Sequence[str], *, numbered: bool = False) -> list[dict[str, Any]]:
    """Add all jobs (each in JSON) or none. Raises QueuectlError.

    `numbered`: an error says which job is wrong. Returns each one's id, whether it is new, and the notes that
    `enqueue` prints.
    """
    site.rights.check_adding()
    reader = JobReader(site.config(), site.clock.now(), umask=site.umask)
    wanted, notes = list[NewJob](), list[list[str]]()
    for number, each in enumerate(jobs, 1):
        try:
            wanted.append(reader.from_json(each))
        except UsageError as error:
            raise UsageError(f"job {number}: {error}" if numbered else str(error)) from None
        notes.append(reader.taken_notes())
    receipts = queue.enqueue(resolved(queue, wanted))
    return [
        {"id": receipt.id, "created": receipt.created, "notes": said}
        for receipt, said in zip(receipts, notes, strict=True)
    ]


def pause(queue: Queue, name: str, *, resume: bool = False) -> Done:
    """Pause or resume a queue; `*` stands for all of them."""
    verb = "resume" if resume else "pause"
    where = name if name == PAUSE_ALL else check_queue(name)
    changed = queue.resume(where) if resume else queue.pause(where)
    thing = "every queue" if name == PAUSE_ALL else f"queue {name}"
    said = f"{verb}d {thing}" if changed else f"{thing} was {'not paused' if resume else 'paused already'}"
    return Done(said=said, command=command_line(verb, *([] if name == PAUSE_ALL else [name])))


def change_schedule(queue: Queue, name: str, verb: str) -> Done:
    """Run, pause or resume a schedule. Raises NoSuchJobError."""
    schedules, command = Schedules(queue), command_line("schedule", verb, name)
    if verb == "run":
        job_id, is_new = schedules.run(name)
        said = f"job {job_id} added" if is_new else f"nothing was added: {job_id} has the unique key of the schedule"
        return Done(said=said, command=command, jobs=[job_id])
    changed = schedules.resume([name]) if verb == "resume" else schedules.pause([name])
    if not changed:
        return Done(said=f"{name} was {'not paused' if verb == 'resume' else 'paused already'}", command=command)
    return Done(said=f"{verb}d {name}", command=command)


def stop_worker(queue: Queue, name: str) -> Done:
    """Ask a worker to stop once it has finished its running jobs."""
    Stop(queue, [name], (), now=False).ask()
    return Done(
        said=f"worker {name} stops when its running jobs have ended", command=command_line("worker", "stop", name)
    )
