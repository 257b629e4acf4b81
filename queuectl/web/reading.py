"""`GET /api/…`: what the reading commands print with `--json`."""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from queuectl.application import job_details, schedule_views
from queuectl.application.batches import batches
from queuectl.application.ended_jobs import ended_runs, span_of
from queuectl.application.explain import explain
from queuectl.application.failures import Wanted, failures
from queuectl.application.job_output import read_output
from queuectl.application.listing import any_filter, job_filter, job_rows
from queuectl.application.overview import overview
from queuectl.application.queue import Queue
from queuectl.application.schedules import Schedules
from queuectl.application.workers import workers
from queuectl.errors import UsageError
from queuectl.process.output_files import STREAMS
from queuectl.render import json_shapes
from queuectl.web.answers import document, etag, not_modified
from queuectl.web.requests import Parameters
from queuectl.web.site import Site

__all__ = ["READINGS", "Reading", "answer", "output_of"]

LABELS = ("queue", "tag", "since", "batch")
SELECTION = ("state", *LABELS)
RELATIVE = ("since", "ended")
"""Parameters that may mean another time with each request, so that the answer does not follow from the log alone."""
SHOWN = 100
"""Jobs that are listed when no limit is given."""
ABOUT = {
    "as_of": "The queue as it was at this position or time.",
    "state": "Only jobs in this state; may be repeated.",
    "queue": "Only jobs of this queue; may be repeated.",
    "tag": "Only jobs with this tag, NAME=VALUE; may be repeated.",
    "since": "Only jobs added since this time; of failures: only those since this time.",
    "batch": "Only jobs of this batch.",
    "ended": "Only jobs with a run that ended in this time, FROM..TO.",
    "limit": "At most so many; 0: all.",
    "sort": "As `list --sort`; with - the greatest comes first.",
    "run": "The number of a run; without it the newest.",
    "stream": "stdout or stderr.",
    "tail": "Only the last so many bytes.",
    "from": "Only events from this position on.",
    "type": "Only events of this type; may be repeated.",
    "job": "Only events of this job.",
    "attempts": "1: every failed attempt. Reads the log.",
    "flaky": "1: failed attempts of jobs that were done in the end. Reads the log.",
}
"""Every parameter, for /api/openapi.json."""


class Reading(Struct, frozen=True):
    """One thing that is read: its path, its parameters, and the function that finds it.

    `by_log`: it follows from the log alone, so that its ETag is a position.
    """

    path: str
    about: str
    find: Callable[[Site, Queue, Request, Parameters], Any]
    parameters: tuple[str, ...] = ()
    by_log: bool = True
    many: bool = False

    @property
    def known(self) -> tuple[str, ...]:
        """Every parameter."""
        return (*self.parameters, "as_of")


def answer(site: Site, reading: Reading, request: Request) -> Response:
    """The answer to one request. Raises QueuectlError."""
    given = Parameters(request, reading.known)
    with site.reading(given.text("as_of")) as queue:
        moves_on = any(given.text(name) for name in RELATIVE if name in reading.parameters)
        tag = etag(queue.store.log.head().position) if reading.by_log and not moves_on else None
        if tag and (same := not_modified(request, tag)):
            return same
        found = reading.find(site, queue, request, given)
    return document([*found] if isinstance(found, Iterator) else found, tag=tag)


def _status(site: Site, queue: Queue, request: Request, given: Parameters) -> Any:
    wanted = any_filter(given.selection(queue.store.log.wall()))
    return overview(queue, live=given.text("as_of") is None, wanted=wanted)[0]


def _jobs(site: Site, queue: Queue, request: Request, given: Parameters) -> Any:
    now, ended = queue.store.log.wall(), given.text("ended")
    wanted = job_filter(given.selection(now), given.text("sort") or "-created")
    if ended is not None:
        wanted = ended_runs(queue.store, span_of(ended, now)).narrowed(wanted)
    return map(json_shapes.job, job_rows(queue, wanted, given.number("limit", SHOWN)))


def job_id_of(queue: Queue, request: Request) -> str:
    """The whole id of the job that a path names. Raises NoSuchJobError."""
    (found,) = queue.resolve([request.path_params["job_id"]])
    return found


def _job(site: Site, queue: Queue, request: Request, given: Parameters) -> Any:
    return job_details.details(queue, job_id_of(queue, request))


def _history(site: Site, queue: Queue, request: Request, given: Parameters) -> Any:
    return (json_shapes.event(event) for event, _ in job_details.history(queue, job_id_of(queue, request)))


def _explain(site: Site, queue: Queue, request: Request, given: Parameters) -> Any:
    found = job_id_of(queue, request)
    losses, live = site.config()["max-machine-losses"], given.text("as_of") is None
    return explain(queue.store, found, live=live, machine_losses=losses)


def _workers(site: Site, queue: Queue, request: Request, given: Parameters) -> Any:
    return map(json_shapes.worker, workers(queue))


def _failures(site: Site, queue: Queue, request: Request, given: Parameters) -> Any:
    if given.flag("attempts") and given.flag("flaky"):
        raise UsageError("attempts and flaky: give one of them")
    chosen = given.selection(queue.store.log.wall())
    return failures(queue, Wanted(chosen, given.flag("attempts"), given.flag("flaky")))


def _schedules(site: Site, queue: Queue, request: Request, given: Parameters) -> Any:
    return schedule_views.rows(queue.store, live=given.text("as_of") is None)


def _schedule(site: Site, queue: Queue, request: Request, given: Parameters) -> Any:
    found = Schedules(queue).named(request.path_params["schedule"])
    return schedule_views.details(queue.store, found, live=given.text("as_of") is None)


READINGS = (
    Reading(
        "/api/status",
        "How many jobs are in each queue and state, what runs, and the workers.",
        _status,
        LABELS,
        by_log=False,
    ),
    Reading("/api/jobs", "Jobs, the newest first.", _jobs, (*SELECTION, "ended", "limit", "sort"), many=True),
    Reading("/api/jobs/{job_id}", "One job: all its fields.", _job),
    Reading("/api/jobs/{job_id}/history", "Every event of a job.", _history, many=True),
    Reading("/api/jobs/{job_id}/explain", "Why a job is in its state, and what can be done.", _explain, by_log=False),
    Reading("/api/batches", "Batches and the counts of their jobs.", lambda s, q, r, g: batches(q), many=True),
    Reading(
        "/api/failures",
        "Dead jobs by what went wrong.",
        _failures,
        (*LABELS, "attempts", "flaky"),
        by_log=False,
        many=True,
    ),
    Reading("/api/schedules", "Schedules: the next time, the last job, how late.", _schedules, by_log=False, many=True),
    Reading("/api/schedules/{schedule}", "One schedule with its last slots.", _schedule, by_log=False),
    Reading("/api/workers", "The workers.", _workers, by_log=False, many=True),
)


# ── output ──────────────────────────────────────────────────────────────────────────────────────────


def output_of(site: Site, request: Request) -> Response:
    """The output of a run as text. Raises QueuectlError."""
    given = Parameters(request, ("run", "stream", "tail"))
    stream, tail = given.text("stream") or STREAMS[0], given.number("tail", 0)
    if stream not in STREAMS:
        raise UsageError(f"stream={stream}: the streams are {' and '.join(STREAMS)}")
    run = given.number("run", 0, 1) or None
    headers, data = dict[str, str](), bytearray()
    with site.reading() as queue:
        for piece in read_output(queue, job_id_of(queue, request), run, streams=(stream,)):
            if piece is None:
                continue
            data += piece.data
            if tail and len(data) > 2 * tail:
                del data[:-tail]
            headers |= {"x-queuectl-run": str(piece.run)}
            headers |= {} if piece.whole_on is None else {"x-queuectl-whole-on": piece.whole_on}
    shown = bytes(data[-tail:] if tail else data)
    return Response(shown, 200, {**headers, "cache-control": "no-store"}, "text/plain; charset=utf-8")
