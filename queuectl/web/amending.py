"""Changes to what jobs were promised: edits, retries with changes, and copies."""

from collections.abc import Iterator, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from queuectl.application import bulk
from queuectl.application.editing import Editor, parse_settings
from queuectl.application.failures import check_signature
from queuectl.application.listing import Selection
from queuectl.application.queue import Queue
from queuectl.domain.machine import State
from queuectl.errors import NoSuchJobError, UsageError, command_line
from queuectl.units import counted
from queuectl.web.changing import JOB_CHANGES, Done, named
from queuectl.web.site import Site

__all__ = ["AMENDMENTS", "Amended", "SomeRetried", "amend", "edit_all", "retry_failures"]

AMENDMENTS = {
    "edit": "Change a pending job.",
    "retry": "Run an ended job again, with changes if there are any.",
    "copy": "Add a job like this one, with changes if there are any.",
}


class Amended(Struct, forbid_unknown_fields=True):
    """The body of a change: settings as FIELD=VALUE (`env.NAME=VALUE`, `tag.NAME=VALUE`), and a reason."""

    settings: list[str] = field(default_factory=list, name="set")
    reason: str = ""


def edit_all(site: Site, queue: Queue, ids: Sequence[str], wanted: Amended) -> Done:
    """Change all these pending jobs or none. Raises QueuectlError."""
    if len(ids) == 1:
        return amend(site, queue, "edit", ids[0], wanted)
    site.rights.check_adding()
    edit = parse_settings(wanted.settings)
    if not ids or not edit:
        raise UsageError("no job is selected" if not ids else "no change is given: write each as FIELD=VALUE")
    Editor(queue, site.config()).edit(ids, edit, wanted.reason)
    command = command_line("edit", *named(ids), *_options("edit", wanted))
    return Done(said=f"{counted(len(ids), 'job')} changed", command=command, jobs=ids)


def amend(site: Site, queue: Queue, verb: str, job_id: str, wanted: Amended) -> Done:
    """Carry out one of AMENDMENTS on one job. Raises QueuectlError; then nothing is changed."""
    site.rights.check_adding()
    edit, editor = parse_settings(wanted.settings), Editor(queue, site.config())
    command = command_line(verb, job_id, *_options(verb, wanted))
    if verb == "copy":
        (receipt,) = queue.enqueue([editor.copy(job_id, edit)])
        return Done(said=f"job {receipt.id} added, like {job_id}", command=command, jobs=[receipt.id])
    if not edit:
        raise UsageError("no change is given: write each as FIELD=VALUE")
    change, said = (editor.edit, "changed") if verb == "edit" else (editor.retry, "pending again, with changes")
    change([job_id], edit, wanted.reason)
    return Done(said=f"{job_id} {said}", command=command, jobs=[job_id])


class SomeRetried(Struct, forbid_unknown_fields=True):
    """The body of a retry of a signature: at most so many jobs (null: all), changes as in an edit, and a reason."""

    limit: int | None = None
    settings: list[str] = field(default_factory=list, name="set")
    reason: str = ""


def retry_failures(site: Site, queue: Queue, text: str, wanted: SomeRetried) -> Done:
    """Retry the dead jobs of a signature, the oldest first. Raises NoSuchJobError when there are none."""
    signature = check_signature(text)
    if wanted.limit is not None and wanted.limit < 1:
        raise UsageError(f"limit: {wanted.limit} is less than 1")
    found = bulk.finished(queue, Selection(states=(State.DLQ.value,), signature=signature))
    if not found:
        raise NoSuchJobError(f"no dead job has the signature {signature}")
    done = _retried(site, queue, found[: wanted.limit], wanted)
    limit = [] if wanted.limit is None else ["--limit", str(wanted.limit)]
    command = command_line("retry", "--sig", signature, *limit, *_options("retry", wanted), "--yes")
    return replace(done, command=command, retried=True)


def _retried(site: Site, queue: Queue, ids: Sequence[str], wanted: SomeRetried) -> Done:
    if not wanted.settings:
        return JOB_CHANGES["retry"].carry_out(queue, ids, wanted.reason)
    site.rights.check_adding()
    Editor(queue, site.config()).retry(ids, parse_settings(wanted.settings), wanted.reason)
    return Done(said=f"{counted(len(ids), 'job')} pending again, with changes", command="", jobs=ids)


def _options(verb: str, wanted: Amended | SomeRetried) -> Iterator[str]:
    """The options of the command that does the same."""
    for text in wanted.settings:
        yield from _option(text) if verb != "retry" else ("--set", text)
    if wanted.reason and verb != "copy":
        yield from ("--reason", wanted.reason)


def _option(text: str) -> Sequence[str]:
    name, _, value = text.partition("=")
    if name == "jitter":
        return ("--jitter" if value.lower() in ("true", "1") else "--no-jitter",)
    group, dot, key = name.partition(".")
    return (f"--{group}", f"{key}={value}") if dot else (f"--{name.replace('_', '-')}", value)
