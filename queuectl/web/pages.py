"""The pages: HTML for people, rendered here, and the forms behind their buttons."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import count
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from queuectl import __version__
from queuectl.application.queue import Queue
from queuectl.errors import QueuectlError, UsageError, command_line
from queuectl.render.terminal import clean, to_ndjson
from queuectl.units import SECOND
from queuectl.web.answers import failed
from queuectl.web.changing import Done, add_jobs
from queuectl.web.group_views import failures_view, schedules_view
from queuectl.web.job_list import JobWords, jobs_view
from queuectl.web.job_views import job_view
from queuectl.web.past_moments import StillReadingError
from queuectl.web.requests import Parameters, read_body, whole_number
from queuectl.web.site import Site
from queuectl.web.templating import environment
from queuectl.web.verbs import FORMS, JOB, Verb
from queuectl.web.views import header, overview_view, workers_view

__all__ = ["Pages"]

VISIBLE = ("as_of", "notice")
NOTICES = 100
"""Notices of changes that are remembered until the page that shows them is opened."""
FRESH = 1_000_000
"""Microseconds for which a page that refreshes itself is reused, so that many open pages cost as much as one."""
REFRESH = "x-queuectl-refresh"
PATIENCE = 0.4
"""Seconds for which an earlier moment is waited for, before a page says how much of it has been read."""
ADDING = ("command", "queue", "cwd", "priority", "max_retries", "timeout", "delay")
FAR = 1 << 40
"""Seconds: later than any moment."""
WHOLE_NUMBERS = ("priority", "max_retries")

View = Callable[[Queue, Parameters, int | None, dict[str, Any]], dict[str, Any]]


class Pages:
    """Renders the pages of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._templates = environment()
        self._notices: OrderedDict[str, Done] = OrderedDict()
        self._numbers = count(1)
        self._made: OrderedDict[str, tuple[int, Response]] = OrderedDict()
        self._lock = Lock()

    def routes(self) -> list[Route]:
        """Every page, and every form."""
        found = [
            Route("/", self._page("overview", self._overview, ("from", "to"))),
            Route("/jobs", self._page("jobs", self._jobs, ("q", "before"))),
            Route("/jobs/{job_id}", self._page("job", self._job)),
            Route("/failures", self._page("failures", self._failures)),
            Route("/schedules", self._page("schedules", self._schedules)),
            Route("/workers", self._page("workers", self._workers)),
            Route("/add", self._page("add", self._add)),
        ]
        return [*found, Route("/do/{change}", self._change, methods=["POST"])]

    # ── one page ────────────────────────────────────────────────────────────────────────────────────

    def _page(self, name: str, view: View, parameters: tuple[str, ...] = ()) -> Any:
        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(self._answer, request, name, view, parameters)

        return endpoint

    def _answer(self, request: Request, name: str, view: View, parameters: tuple[str, ...]) -> Response:
        """The page. One that only refreshes itself may get what another one got within the last second."""
        key, now = str(request.url), self._site.clock.monotonic()
        if REFRESH in request.headers:
            with self._lock:
                made = self._made.get(key)
            if made is not None and now - made[0] < FRESH:
                return made[1]
        answer = self._answered(request, name, view, parameters)
        with self._lock:
            self._made[key] = (now, answer)
            while len(self._made) > NOTICES:
                self._made.popitem(last=False)
        return answer

    def _answered(self, request: Request, name: str, view: View, parameters: tuple[str, ...]) -> Response:
        try:
            given = Parameters(request, (*parameters, *VISIBLE))
            past, elsewhere = self._moment(request, given)
            if elsewhere is not None:
                return RedirectResponse(elsewhere, 303)
            with self._site.reading(None if past is None else str(past), PATIENCE) as queue:
                context = self._context(request, queue, past, "jobs" if name == "job" else name, given)
                return self._rendered(f"{name}.html", {**context, **view(queue, given, past, context)})
        except StillReadingError as reading:
            return self._reading(request, reading.share)
        except (QueuectlError, OSError) as error:
            return self._failed(request, error)

    def _reading(self, request: Request, share: float) -> Response:
        """The page that asks again until an earlier moment has been read."""
        with self._site.reading() as queue:
            context = self._context(request, queue, None, "", Parameters(request, tuple(request.query_params)))
        percent = min(99, int(100 * share))
        return self._rendered("reading.html", {**context, "percent": percent, "where": _with(request)}, 202)

    def _moment(self, request: Request, given: Parameters) -> tuple[int | None, str | None]:
        """The requested position. For a time: the URL with the position in its place. Raises UsageError."""
        text = given.text("as_of")
        if text is None:
            return None, _with(request, as_of=None) if "as_of" in request.query_params else None
        if text.isascii() and text.isdigit():
            return int(text[:20]), None
        return None, _with(request, as_of=str(self._site.position_of(text.removeprefix("#"))))

    def _context(self, request: Request, queue: Queue, past: int | None, tab: str, given: Parameters) -> dict[str, Any]:
        site, kept = self._site, [pair for pair in request.query_params.multi_items() if pair[0] not in VISIBLE]
        found = header(site, queue, past, tab)
        can_change = past is None and not site.rights.read_only
        position = past if past is not None else 0
        return {
            **found,
            "past": past is not None,
            "version": __version__,
            "path": request.url.path,
            "url": _with(request, notice=None),
            "kept": kept,
            "link": partial(_link, past),
            "at": lambda place: _link(place, request.url.path),
            "step": lambda by: _with(request, as_of=str(min(max(1, position + by), found["present"]))),
            "now_link": _with(request, as_of=None),
            "can_change": can_change,
            "can_add": can_change and site.rights.allow_enqueue,
            "notice": self._notices.get(given.text("notice") or ""),
            "as_of_command": command_line("status", "--as-of", str(position)),
        }

    def _rendered(self, template: str, context: dict[str, Any], status: int = 200) -> Response:
        text = self._templates.get_template(template).render(context)
        return Response(text, status, {"cache-control": "no-store"}, "text/html")

    def _failed(self, request: Request, error: Exception, template: str = "error.html", **more: Any) -> Response:
        status, found = failed(error)
        try:
            with self._site.reading() as queue:
                context = self._context(request, queue, None, "", Parameters(request, tuple(request.query_params)))
        except (QueuectlError, OSError):  # there is no queue to show around the error
            return PlainTextResponse(f"{found['error']}\n", status, {"cache-control": "no-store"})
        title = "Not found" if status == 404 else "That did not work"
        return self._rendered(template, {**context, "error": found["error"], "title": title, **more}, status)

    # ── the views ───────────────────────────────────────────────────────────────────────────────────

    def _overview(self, queue: Queue, given: Parameters, past: int | None, context: dict[str, Any]) -> dict[str, Any]:
        start, end = given.number("from", 0, high=FAR) * SECOND, given.number("to", 0, high=FAR) * SECOND
        return overview_view(self._site, queue, past, context["counts"], (start, end) if start < end else None)

    def _jobs(self, queue: Queue, given: Parameters, past: int | None, context: dict[str, Any]) -> dict[str, Any]:
        text, before = given.text("q") or "", given.number("before", 0) or None
        try:
            return {**jobs_view(queue, text, before, past), "error": None}
        except UsageError as error:
            return {
                **jobs_view(queue, "", None, past),
                "q": text,
                "rows": [],
                "before": None,
                "error": clean(str(error)),
            }

    def _job(self, queue: Queue, given: Parameters, past: int | None, context: dict[str, Any]) -> dict[str, Any]:
        return job_view(self._site, queue, context["path"].removeprefix("/jobs/"), past)

    def _failures(self, queue: Queue, given: Parameters, past: int | None, context: dict[str, Any]) -> dict[str, Any]:
        return failures_view(queue, context["notice"])

    def _schedules(self, queue: Queue, given: Parameters, past: int | None, context: dict[str, Any]) -> dict[str, Any]:
        return schedules_view(queue, past)

    def _workers(self, queue: Queue, given: Parameters, past: int | None, context: dict[str, Any]) -> dict[str, Any]:
        return workers_view(self._site, queue, past)

    def _add(self, queue: Queue, given: Parameters, past: int | None, context: dict[str, Any]) -> dict[str, Any]:
        self._site.rights.check_adding()
        return {"given": dict.fromkeys(ADDING, ""), "error": None}

    # ── the forms ───────────────────────────────────────────────────────────────────────────────────

    async def _change(self, request: Request) -> Response:
        """Carry out the change of a button, and return to its page."""
        raw = await read_body(request)
        fields = parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True)
        return await run_in_threadpool(self._changed, request, fields)

    def _changed(self, request: Request, fields: dict[str, list[str]]) -> Response:
        queue, change = self._site.changing(request.scope.get("who", "")), request.path_params["change"]
        try:
            done = self._carry_out(queue, change, fields)
        except (QueuectlError, OSError) as error:
            if change == "add":
                given = {name: fields.get(name, [""])[0] for name in ADDING}
                return self._failed(request, error, "add.html", given=given, tab="add")
            return self._failed(request, error)
        return RedirectResponse(self._with_notice(fields.get("back", ["/"])[0], done), 303)

    def _carry_out(self, queue: Queue, change: str, fields: dict[str, list[str]]) -> Done:
        def one(name: str) -> str:
            return fields.get(name, [""])[0].strip()

        if change == "add":
            return self._added(queue, {name: one(name) for name in ADDING if one(name)})
        if change not in FORMS:
            raise UsageError(f"there is no change {change}")
        verb, form = FORMS[change]
        body = form.body(one)
        targets = [one(verb.target)] if verb.target != JOB else self._chosen(queue, verb, fields)
        return verb.change(self._site, queue, targets, body)

    def _chosen(self, queue: Queue, verb: Verb, fields: dict[str, list[str]]) -> list[str]:
        """Ids of the jobs whose boxes are ticked, or of all that the page's filter selects."""
        if "all" in fields and verb.select is not None:
            wanted = JobWords.of(fields["all"][0], queue.store.log.wall()).resolved(queue)
            return verb.select(queue, wanted)
        return queue.resolve(fields["job"]) if fields.get("job") else []

    def _added(self, queue: Queue, given: dict[str, str]) -> Done:
        job: dict[str, Any] = dict(given)
        for name in WHOLE_NUMBERS:
            if name in given:
                job[name] = whole_number(given[name])
                if job[name] is None:
                    raise UsageError(f"{name}: {given[name]} is no whole number")
        (receipt,) = add_jobs(self._site, queue, [to_ndjson(job)])
        options = [
            part for name in ADDING[1:] if name in given for part in (f"--{name.replace('_', '-')}", given[name])
        ]
        command = command_line("enqueue", *options, given.get("command", ""))
        added = receipt["id"]
        return Done(said=f"job {added} added", command=command, jobs=[added], notes=receipt["notes"])

    def _with_notice(self, back: str, done: Done) -> str:
        with self._lock:
            key = str(next(self._numbers))
            self._notices[key] = done
            while len(self._notices) > NOTICES:
                self._notices.popitem(last=False)
        path = back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/"
        return f"{path}{'&' if '?' in path else '?'}{urlencode({'notice': key})}"


def _link(past: int | None, path: str, **parameters: Any) -> str:
    """The URL of a page, at the moment that is shown."""
    base, _, query = path.partition("?")
    pairs = [(name, value) for name, (value, *_) in parse_qs(query).items()]
    pairs += [(name, str(value)) for name, value in parameters.items() if value not in (None, "")]
    pairs += [] if past is None else [("as_of", str(past))]
    return f"{base}?{urlencode(pairs)}" if pairs else base


def _with(request: Request, **changes: str | None) -> str:
    """The path of this request with other parameters; None: without it."""
    pairs = [pair for pair in request.query_params.multi_items() if pair[0] not in (*changes, "notice")]
    pairs += [(name, value) for name, value in changes.items() if value is not None]
    return f"{request.url.path}?{urlencode(pairs)}" if pairs else request.url.path
