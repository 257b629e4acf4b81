"""Changes to what jobs were promised: edits, retries with changes, and copies."""

from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from queuectl.application.editing import Editor, parse_settings
from queuectl.application.queue import Queue
from queuectl.errors import UsageError, command_line
from queuectl.units import counted
from queuectl.web.changing import Done, named
from queuectl.web.site import Site

__all__ = ["AMENDMENTS", "Amended", "amend", "edit_all"]

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


def _options(verb: str, wanted: Amended) -> Iterator[str]:
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
