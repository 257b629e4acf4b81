"""The changes that visitors can make: one table, from which come the HTTP interface, its description, and the forms."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from queuectl.application import bulk
from queuectl.application.queue import Queue
from queuectl.errors import UsageError
from queuectl.web.amending import Amended, SomeRetried, copy, edit, retry, retry_failures
from queuectl.web.changing import JOB_CHANGES, SCHEDULE_VERBS, Done, Reason, change_schedule, pause, stop_worker
from queuectl.web.requests import whole_number
from queuectl.web.site import Site

__all__ = ["FORMS", "JOB", "VERBS", "Field", "Form", "Nothing", "Verb"]

JOB = "job"
"""The target of the verbs that change jobs; several jobs may be named."""

Field = Callable[[str], str]
"""The value of a field of a form; empty when it is not there."""
Select = Callable[[Queue, Any], list[str]]
"""The jobs of a filter that a verb can change."""


class Nothing(Struct, forbid_unknown_fields=True):
    """An empty body."""


class Form(Struct, frozen=True):
    """A form of the pages: the last part of its path, and how its fields become the body."""

    name: str
    body: Callable[[Field], Any]


class Verb(Struct, frozen=True):
    """A change: its path, what it does, the type of its body, the function, the forms that ask for it.

    `change` gets what the path names, for jobs whole ids. `select` finds the jobs when a form names them by a filter.
    """

    path: str
    about: str
    body: Any
    change: Callable[[Site, Queue, Sequence[str], Any], Done]
    forms: Sequence[Form]
    select: Select | None = None

    @property
    def target(self) -> str:
        """The thing that it changes, as the path and a field of a form name it."""
        found = re.search(r"\{(\w+)\}", self.path)
        assert found is not None
        return found[1].removesuffix("_id")


def _plain(name: str) -> Sequence[Form]:
    return (Form(name, lambda one: Nothing()),)


def _finished(queue: Queue, wanted: Any) -> list[str]:
    return bulk.selected(queue, wanted, live=False)


def _live(queue: Queue, wanted: Any) -> list[str]:
    return bulk.selected(queue, wanted, live=True)


# ── the bodies of the forms ─────────────────────────────────────────────────────────────────────────


def _reason(one: Field) -> Reason:
    return Reason(one("reason"))


def _words(one: Field) -> Amended:
    """Changes that are divided by blanks."""
    return Amended(_divided(one("set")), one("reason"))


def _lines(one: Field) -> Amended:
    """Changes, one a line."""
    return Amended([line.strip() for line in one("set").splitlines() if line.strip()], one("reason"))


def _some_lines(one: Field) -> Amended:
    """Changes, one a line, at least one."""
    found = _lines(one)
    if not found.settings:
        raise UsageError("no change is given: write each as FIELD=VALUE, one a line")
    return found


def _priority(one: Field) -> Amended:
    return Amended([f"priority={one('priority')}"], one("reason"))


def _retried(one: Field) -> SomeRetried:
    limit, settings = whole_number(one("limit")), _divided(one("set"))
    if one("limit") and limit is None:
        raise UsageError(f"limit: {one('limit')} is no whole number")
    if one("edited") and not settings:
        raise UsageError("no change is given: write each as FIELD=VALUE")
    return SomeRetried(limit, settings, one("reason"))


def _divided(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise UsageError(f"{text}: a quote is not closed") from None


# ── the table ───────────────────────────────────────────────────────────────────────────────────────


def _job_verb(name: str, select: Select = _finished) -> Verb:
    """A change of JOB_CHANGES, which needs a reason only."""
    found = JOB_CHANGES[name]
    return Verb(
        f"/api/jobs/{{job_id}}/{name}",
        found.about,
        Reason,
        lambda site, queue, ids, body: found.carry_out(queue, ids, body.reason),
        (Form(name, _reason),),
        select,
    )


def _queue_verb(name: str, about: str) -> Verb:
    def change(site: Site, queue: Queue, names: Sequence[str], body: Nothing) -> Done:
        return pause(queue, names[0], resume=name == "resume")

    return Verb(f"/api/queues/{{queue}}/{name}", about, Nothing, change, _plain(name))


def _schedule_verb(name: str, about: str) -> Verb:
    def change(site: Site, queue: Queue, names: Sequence[str], body: Nothing) -> Done:
        return change_schedule(queue, names[0], name)

    return Verb(f"/api/schedules/{{schedule}}/{name}", about, Nothing, change, _plain(f"schedule-{name}"))


VERBS = (
    _job_verb("cancel", _live),
    _job_verb("purge"),
    _job_verb("unblock", _live),
    Verb(
        "/api/jobs/{job_id}/retry",
        "Run an ended job again, with changes if there are any.",
        Amended,
        retry,
        (Form("retry", lambda one: Amended([], one("reason"))), Form("amend-retry", _some_lines)),
        _finished,
    ),
    Verb(
        "/api/jobs/{job_id}/edit",
        "Change a pending job.",
        Amended,
        edit,
        (Form("edit", _words), Form("prioritize", _priority), Form("amend-edit", _lines)),
        bulk.pending,
    ),
    Verb(
        "/api/jobs/{job_id}/copy",
        "Add a job like this one, with changes if there are any.",
        Amended,
        copy,
        (Form("amend-copy", _lines),),
    ),
    _queue_verb("pause", "Start no more jobs of a queue; * is all."),
    _queue_verb("resume", "Start jobs of a queue again."),
    *(_schedule_verb(name, about) for name, about in SCHEDULE_VERBS.items()),
    Verb(
        "/api/workers/{worker}/stop",
        "Stop a worker once its running jobs have ended.",
        Nothing,
        lambda site, queue, names, body: stop_worker(queue, names[0]),
        _plain("stop"),
    ),
    Verb(
        "/api/failures/{signature}/retry",
        "Retry the dead jobs of a signature.",
        SomeRetried,
        lambda site, queue, names, body: retry_failures(site, queue, names[0], body),
        (Form("retry-signature", _retried),),
    ),
)
"""Every change but adding jobs, which names none."""

FORMS: Mapping[str, tuple[Verb, Form]] = {form.name: (verb, form) for verb in VERBS for form in verb.forms}
"""The forms of the pages, by the last part of their path."""
