"""Changes to what jobs were promised: edits, retries with changes, and copies."""

from collections.abc import Iterator, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from queuectl.application import bulk
from queuectl.application.editing import Edit, Editor, parse_settings
from queuectl.application.failures import check_signature
from queuectl.application.listing import Selection
from queuectl.application.queue import Queue
from queuectl.domain.machine import State
from queuectl.errors import NoSuchJobError, UsageError, command_line
from queuectl.web.changing import JOB_CHANGES, Done, named, named_or_counted
from queuectl.web.site import Site

__all__ = ["Amended", "SomeRetried", "copy", "edit", "retry", "retry_failures"]


class Amended(Struct, forbid_unknown_fields=True):
    """The body of a change: settings as FIELD=VALUE (`env.NAME=VALUE`, `tag.NAME=VALUE`), and a reason."""

    settings: list[str] = field(default_factory=list, name="set")
    reason: str = ""


def edit(site: Site, queue: Queue, ids: Sequence[str], wanted: Amended) -> Done:
    """Change all these pending jobs or none. Raises QueuectlError."""
    editor = Editor(queue, site.config())
    editor.edit(ids, _allowed(site, ids, wanted), wanted.reason)
    return _done("edit", ids, "changed", wanted, editor)


def retry(site: Site, queue: Queue, ids: Sequence[str], wanted: Amended) -> Done:
    """Run these ended jobs again; with changes all or none, else those of several that can be. Raises QueuectlError."""
    if not wanted.settings:
        return JOB_CHANGES["retry"].carry_out(queue, ids, wanted.reason)
    editor = Editor(queue, site.config())
    editor.retry(ids, _allowed(site, ids, wanted), wanted.reason)
    return _done("retry", ids, "pending again, with changes", wanted, editor)


def copy(site: Site, queue: Queue, ids: Sequence[str], wanted: Amended) -> Done:
    """Add a job like each of these. Raises QueuectlError."""
    site.rights.check_adding()
    if not ids:
        raise UsageError("no job is selected")
    editor, change = Editor(queue, site.config()), parse_settings(wanted.settings)
    receipts = queue.enqueue([editor.copy(job_id, change) for job_id in ids])
    added = [receipt.id for receipt in receipts]
    said = f"job {', '.join(named(added))} added, like {', '.join(named(ids))}"
    command = command_line("copy", *named(ids), *_options("copy", wanted))
    return Done(said=said, command=command, jobs=added, notes=tuple(editor.notes))


def _allowed(site: Site, ids: Sequence[str], wanted: Amended) -> Edit:
    """The changes, which need a right. Raises RefusedError and UsageError."""
    site.rights.check_adding()
    found = parse_settings(wanted.settings)
    if not ids or not found:
        raise UsageError("no change is given: write each as FIELD=VALUE" if ids else "no job is selected")
    return found


def _done(verb: str, ids: Sequence[str], said: str, wanted: Amended, editor: Editor) -> Done:
    command = command_line(verb, *named(ids), *_options(verb, wanted))
    return Done(said=f"{named_or_counted(ids)} {said}", command=command, jobs=ids, notes=tuple(editor.notes))


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
    done = retry(site, queue, found[: wanted.limit], Amended(wanted.settings, wanted.reason))
    limit = [] if wanted.limit is None else ["--limit", str(wanted.limit)]
    command = command_line("retry", "--sig", signature, *limit, *_options("retry", wanted), "--yes")
    return replace(done, command=command, retried=True)


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
