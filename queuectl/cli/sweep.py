"""`enqueue --each`, `--batch` and `--dry-run`: loaded only when one of them is given."""

from collections.abc import Sequence

from queuectl.application.job_spec import as_fields
from queuectl.application.queue import NewJob, Receipt
from queuectl.cli.messages import say
from queuectl.render.terminal import clean, to_json
from queuectl.units import counted

__all__ = ["print_jobs", "say_added"]


def say_added(batch: str, receipts: Sequence[Receipt]) -> None:
    """Say how many jobs a batch has got."""
    new, jobs = sum(receipt.created for receipt in receipts), counted(len(receipts), "job")
    say(f"batch {batch}: {jobs}" if new == len(receipts) else f"batch {batch}: {new} new of {jobs}")


def print_jobs(jobs: Sequence[NewJob], *, as_json: bool) -> None:
    """The jobs that would be added: an array of objects, or a line each with its id, if it has one, and its command."""
    if as_json:
        print(to_json([as_fields(job.spec, job.id) for job in jobs]))
        return
    for job in jobs:
        print(clean(f"{job.id}  {job.spec.command}" if job.id else job.spec.command, newlines=False))
