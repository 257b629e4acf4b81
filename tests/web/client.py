"""A client that calls the application in this process, without a socket: any header, any path, and open streams."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import quote

from queuectl.application.access import QueueAccess
from queuectl.application.queue import Queue
from queuectl.runtime import SystemClock
from queuectl.store.protocol import Store
from queuectl.web.app import application
from queuectl.web.security import Door, Token
from queuectl.web.site import Rights, Site
from queuectl.web.verification import Verification
from tests.support.builders import ACTOR

HOST = "127.0.0.1:8600"
TOKEN = Token("ada", "a-token-of-the-tests")
BEARER = {"authorization": f"Bearer {TOKEN.secret}"}
HTML = {**BEARER, "accept": "text/html"}
COOKIE = "queuectl-test"
PATIENCE = 20


class Answer(NamedTuple):
    """An answer: its status, its headers (the last of each name) and its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Stream:
    """An answer that goes on: its parts as they come."""

    def __init__(self, client: "Client", scope: dict[str, Any]) -> None:
        self._client, self.parts = client, asyncio.Queue[bytes]()
        self._gone = asyncio.Event()
        self._task = client.later(client.app(scope, self._receive, self._send))
        client.streams.append(self._task)
        self._rest = ""

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            self.parts.put_nowait(message.get("body", b""))

    def events(self, until: str) -> list[dict[str, str]]:
        """Server-sent events, up to the first whose text or kind contains `until`."""
        found: list[dict[str, str]] = []
        while not any(until in value for event in found for value in event.values()):
            part = self._client.result(asyncio.wait_for(self.parts.get(), PATIENCE))
            *whole, self._rest = (self._rest + part.decode()).split("\n\n")
            found += [_fields(block) for block in whole if not block.startswith(":")]
        return found

    def close(self) -> None:
        """Go away, as a closed tab does."""
        self._client.loop.call_soon_threadsafe(self._gone.set)
        self._task.result(PATIENCE)


def _fields(block: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in block.splitlines())


class Client:
    """Calls an application that runs in a thread of its own."""

    def __init__(self, app: Any) -> None:
        self.app, self.loop = app, asyncio.new_event_loop()
        self.streams: list[Any] = []
        self._thread = Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._lifespan: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._started = asyncio.Event()
        self._life = self.later(self.app({"type": "lifespan"}, self._lifespan.get, self._lived))
        self.loop.call_soon_threadsafe(self._lifespan.put_nowait, {"type": "lifespan.startup"})
        self.result(asyncio.wait_for(self._started.wait(), PATIENCE))

    async def _lived(self, message: dict[str, Any]) -> None:
        assert "failed" not in message["type"], message
        self._started.set()

    def later(self, coroutine: Any) -> Any:
        """Start a coroutine in the application's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def result(self, coroutine: Any) -> Any:
        """Run a coroutine in the application's loop."""
        return self.later(coroutine).result(PATIENCE)

    def close(self) -> None:
        """Stop the application."""
        self.loop.call_soon_threadsafe(self._lifespan.put_nowait, {"type": "lifespan.shutdown"})
        self._life.result(PATIENCE)
        for stream in self.streams:
            stream.result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()

    def get(self, path: str, headers: Mapping[str, str] = BEARER) -> Answer:
        """GET a path."""
        return self.call("GET", path, [*headers.items()])

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] = BEARER) -> Answer:
        """POST JSON."""
        raw = b"" if body is None else json.dumps(body).encode()
        return self.call("POST", path, [("content-type", "application/json"), *headers.items()], raw)

    def call(self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes = b"") -> Answer:
        """Any request. A Host is added when the headers have none."""
        sent: list[dict[str, Any]] = []

        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        self.result(self.app(self.scope(method, path, headers), receive, send))
        start, *parts = sent
        found = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], found, b"".join(part.get("body", b"") for part in parts))

    def stream(self, path: str, headers: Mapping[str, str] = BEARER) -> Stream:
        """GET a path whose answer goes on."""
        return Stream(self, self.scope("GET", path, [*headers.items()]))

    def scope(self, method: str, path: str, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """The scope of a request."""
        if not any(name.lower() == "host" for name, _ in headers):
            headers = [("host", HOST), *headers]
        place, _, query = path.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": place,
            "raw_path": quote(place).encode(),
            "query_string": query.encode("latin-1", "replace"),
            "root_path": "",
            "headers": [(name.lower().encode("latin-1", "replace"), value.encode("utf-8")) for name, value in headers],
            "client": ("127.0.0.1", 1234),
            "server": ("127.0.0.1", 8600),
        }


def door(*, read_only: bool = False, tokens: Sequence[Token] = (TOKEN,)) -> Door:
    """A door for the usual hosts."""
    return Door(frozenset({"127.0.0.1", "localhost", "[::1]"}), tokens, COOKIE, read_only)


@contextmanager
def served(
    url: str,
    rights: Rights = Rights(),  # noqa: B008
    wrapped: Callable[[Store], Store] = lambda store: store,
    verification: Verification | None = None,
    **options: Any,
) -> Iterator[tuple[Client, Queue]]:
    """A client of the queue at a path or URL, and the queue. `wrapped` is asked for the store that the feed reads."""
    access = QueueAccess(url=url, clock=SystemClock(), environ={}, dotenv={}, warn=print)
    store = access.open()
    try:
        queue = Queue(store, ACTOR)
        site = Site(queue, lambda found: access.config(found.store), lambda: wrapped(access.open()), rights)
        site.verification = verification
        client = Client(application(site, door(read_only=rights.read_only, **options)))
        try:
            yield client, queue
        finally:
            client.close()
    finally:
        store.close()
