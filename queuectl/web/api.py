"""The HTTP interface: its routes."""

from codecs import getincrementaldecoder
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from queuectl.application.job_output import CHUNK, Piece, read_output
from queuectl.application.metrics import metrics
from queuectl.application.queue import Queue
from queuectl.errors import UsageError
from queuectl.process.output_files import STREAMS
from queuectl.render.terminal import clean, complete, to_ndjson
from queuectl.web.answers import document, reporting
from queuectl.web.changing import Done, add_jobs
from queuectl.web.feed import ALL_TYPES, Entry, Wanted
from queuectl.web.openapi import description
from queuectl.web.reading import READINGS, Reading, answer, job_id_of, output_of
from queuectl.web.requests import Parameters, WrongContentError, body_of, read_body
from queuectl.web.site import Site
from queuectl.web.verbs import JOB, VERBS, Verb

__all__ = ["api_routes"]

EVENT_PARAMETERS = ("from", "type", "job")
STREAM = {"cache-control": "no-store", "x-accel-buffering": "no"}
MOST_FORMED = 20
"""Texts of events that are remembered."""
EVENT_STREAM, LINES = "text/event-stream", "application/x-ndjson"


def api_routes(site: Site) -> list[Route]:
    """Every route under /api/, and /metrics."""
    found = [Route(reading.path, _reading(site, reading), methods=["GET"]) for reading in READINGS]
    for path, endpoint in (
        ("/api/jobs/{job_id}/logs", _Output(site).answer),
        ("/api/events", _Events(site).answer),
        ("/api/openapi.json", _description),
        ("/metrics", _metrics(site)),
    ):
        found.append(Route(path, reporting(endpoint), methods=["GET"]))
    found.append(Route("/api/jobs", reporting(_adding(site)), methods=["POST"]))
    found += [Route(verb.path, reporting(_changing(site, verb)), methods=["POST"]) for verb in VERBS]
    return found


def _reading(site: Site, reading: Reading) -> Any:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(answer, site, reading, request)

    return reporting(endpoint)


async def _description(request: Request) -> Response:
    Parameters(request, ())
    return document(description())


def _metrics(site: Site) -> Any:
    async def endpoint(request: Request) -> Response:
        text = await run_in_threadpool(metrics, site.queue, site.feed.tally)
        return Response(text, 200, {"cache-control": "no-store"}, "text/plain; version=0.0.4; charset=utf-8")

    return endpoint


# ── changes ─────────────────────────────────────────────────────────────────────────────────────────


def _adding(site: Site) -> Any:
    """The endpoint that adds a job, or an array of jobs."""

    async def endpoint(request: Request) -> Response:
        raw = await _json(request)
        if not raw.strip():
            raise UsageError("the body is empty: send a job, or an array of jobs, in JSON")
        many = raw.lstrip().startswith(b"[")
        jobs = body_of(raw, list[msgspec.Raw]) if many else [msgspec.Raw(raw)]
        texts = [bytes(each).decode() for each in jobs]
        found = await _in_thread(site, request, lambda queue: add_jobs(site, queue, texts, numbered=many))
        return document(found if many else found[0], 201)

    return endpoint


def _changing(site: Site, verb: Verb) -> Any:
    """The endpoint of a verb. Each change is one event, or several, in the name of the token."""

    async def endpoint(request: Request) -> Response:
        body = body_of(await _json(request), verb.body)

        def change(queue: Queue) -> Done:
            name = job_id_of(queue, request) if verb.target == JOB else request.path_params[verb.target]
            return verb.change(site, queue, [name], body)

        return document(await _in_thread(site, request, change))

    return endpoint


async def _in_thread(site: Site, request: Request, change: Callable[[Queue], Any]) -> Any:
    queue = site.changing(request.scope.get("who", ""))
    return await run_in_threadpool(change, queue)


async def _json(request: Request) -> bytes:
    """The body. A page of another site cannot send this type without being asked first."""
    raw = await read_body(request)
    if raw and request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise WrongContentError("the body must be JSON, with Content-Type: application/json")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the body is not UTF-8: byte {error.start + 1} is wrong") from None
    return raw


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────


class _Events:
    """`GET /api/events`: server-sent events for browsers, NDJSON for programs."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._formed: dict[tuple[object, ...], bytes] = {}

    async def answer(self, request: Request) -> Response:
        """The events from a position on, then new ones as they come."""
        given = Parameters(request, EVENT_PARAMETERS)
        after = given.number("from", 1, 1) - 1
        last = request.headers.get("last-event-id", "")
        if last.isascii() and last.isdigit() and len(last) < 20:
            after = int(last)
        for kind in given.texts("type"):
            if kind not in ALL_TYPES:
                raise UsageError(f"type={kind}: the types are {', '.join(ALL_TYPES)}")
        job = given.text("job")
        if job is not None:
            (job,) = await run_in_threadpool(self._site.queue.resolve, [job])
        wanted = Wanted(given.texts("type") or ALL_TYPES, job)
        is_lines = "ndjson" in request.headers.get("accept", "")
        form, kind = (_as_lines, LINES) if is_lines else (_as_stream, EVENT_STREAM)
        return StreamingResponse(self._parts(after, wanted, form), 200, STREAM, kind)

    async def _parts(
        self, after: int, wanted: Wanted, form: Callable[[list[Entry] | None, int], str]
    ) -> AsyncIterator[bytes]:
        async for entries in self._site.feed.follow(self._site.queue.store, after, wanted):
            yield self._text(entries, wanted, form) if entries else form(entries, self._site.feed.position).encode()

    def _text(self, entries: list[Entry], wanted: Wanted, form: Callable[[list[Entry] | None, int], str]) -> bytes:
        """The text of these events. Pages that follow the log get the same ones, so they are put together once."""
        key = (form, wanted, entries[0].position, entries[-1].position)
        if key not in self._formed:
            while len(self._formed) >= MOST_FORMED:
                del self._formed[next(iter(self._formed))]
            self._formed[key] = form(entries, 0).encode()
        return self._formed[key]


def _as_stream(entries: list[Entry] | None, position: int) -> str:
    if entries is None:
        return ": nothing new\n\n"
    if not entries:
        return f'event: caught_up\ndata: {{"caught_up":{position}}}\n\n'
    return "".join(f"id: {entry.position}\ndata: {entry.text}\n\n" for entry in entries)


def _as_lines(entries: list[Entry] | None, position: int) -> str:
    if entries is None:
        return "\n"
    return "".join(f"{entry.text}\n" for entry in entries) if entries else f'{{"caught_up":{position}}}\n'


class _Output:
    """`GET /api/jobs/ID/logs`: the output as text; with `follow`, as it comes, as server-sent events."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def answer(self, request: Request) -> Response:
        """The output of a run."""
        if "follow" not in request.query_params:
            return await run_in_threadpool(output_of, self._site, request)
        given = Parameters(request, ("run", "follow"))
        run = given.number("run", 0, 1) or None
        pieces = await run_in_threadpool(self._pieces, request, run)
        return StreamingResponse(self._parts(pieces), 200, STREAM, EVENT_STREAM)

    def _pieces(self, request: Request, run: int | None) -> Iterator[Piece | None]:
        queue = self._site.queue
        return read_output(queue, job_id_of(queue, request), run, follow=True)

    async def _parts(self, pieces: Iterator[Piece | None]) -> AsyncIterator[str]:
        ended, quiet, texts = object(), 0, {name: _Text() for name in STREAMS}
        while not self._site.feed.ended and (piece := await run_in_threadpool(next, pieces, ended)) is not ended:
            quiet = quiet + 1 if piece is None else 0
            if isinstance(piece, Piece) and (text := texts[piece.stream].take(piece)):
                yield f"data: {to_ndjson({'run': piece.run, 'stream': piece.stream, 'text': text})}\n\n"
            elif quiet % 100 == 1:
                yield ": nothing new\n\n"
        yield "event: ended\ndata: {}\n\n"


class _Text:
    """Decodes the pieces of one stream: a character, or a terminal sequence, may be divided between two of them."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def take(self, piece: Piece) -> str:
        """The text of the next piece, without control characters."""
        text = self._held + self._decoder.decode(piece.data, piece.is_last)
        whole, self._held = (text, "") if piece.is_last or len(text) > CHUNK else complete(text)
        return clean(whole)
