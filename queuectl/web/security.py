"""Access control: the Host and Origin headers, tokens, the cookie for which one is exchanged, and response headers.

It runs before everything else, so that a request without a token reaches no other code.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from queuectl.render.terminal import to_ndjson
from queuectl.web.requests import MOST_BODY, whole_number

__all__ = ["HEADERS", "Door", "Guard", "Token"]

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Sent with every answer. There is no CORS: other sites get nothing. With `no-referrer`, a form has no Origin."""
SAFE = ("GET", "HEAD")
SIGN_IN = "/sign-in"
LONGEST_FORM = 4096


class Token(Struct, frozen=True):
    """A token, and the name of its holder (which may be empty)."""

    name: str
    secret: str


class Door(Struct, frozen=True):
    """The access rules. No tokens: everyone who reaches the port has access. `cookie` is the cookie's name."""

    hosts: frozenset[str]
    tokens: Sequence[Token]
    cookie: str
    read_only: bool = False

    def holder(self, secret: str) -> Token | None:
        """The token with this secret."""
        found = [token for token in self.tokens if _same(token.secret, secret)]
        return found[0] if found else None

    def holder_of_cookie(self, value: str) -> Token | None:
        """The token that was exchanged for this cookie."""
        found = [token for token in self.tokens if _same(cookie_of(token), value)]
        return found[0] if found else None


def cookie_of(token: Token) -> str:
    """The cookie's value for a token. It survives a restart with the same token file."""
    return sha256(f"queuectl cookie {token.secret}".encode()).hexdigest()


class Guard:
    """ASGI middleware: lets a request pass, or answers it. Sets `scope["who"]` to the token's name."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(Request(scope, receive), send)

    async def _http(self, request: Request, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *more]  # an answer may be given several times
            await send(message)

        answer = self._refusal(request) or await self._sign_in(request)
        if answer is None:
            answer = self._unknown(request) or self._refused_change(request)
        await (answer or self._app)(request.scope, request.receive, with_headers)

    # ── the steps ───────────────────────────────────────────────────────────────────────────────────

    def _refusal(self, request: Request) -> Response | None:
        if not request.scope["query_string"].isascii():
            return _answer(request, 400, "the query of the URL has bytes that are not ASCII: write them as %XX")
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or _name_of(hosts[0]) not in self._door.hosts:
            return _answer(request, 400, "this Host is not served: name it with --allowed-host")
        if request.method not in SAFE and not _from_here(request, hosts[0]):
            return _answer(request, 403, "the request comes from another site")
        length = request.headers.get("content-length", "0")
        if (found := whole_number(length)) is None or not 0 <= found <= MOST_BODY:
            return _answer(request, 413, f"a request can have at most {MOST_BODY} bytes")
        return None

    async def _sign_in(self, request: Request) -> Response | None:
        """Exchange a token in the URL, or in the form, for a cookie."""
        if not self._door.tokens:
            return None
        if request.url.path == SIGN_IN and request.method == "POST":
            fields = dict(parse_qsl(await _short_body(request)))
            token = self._door.holder(fields.get("token", "").strip())
            return self._welcome(request, token, "/") if token else _ask(request, "this token is not known")
        given = request.query_params.get("token")
        if request.method != "GET" or given is None:
            return None
        token = self._door.holder(given)
        others = [pair for pair in parse_qsl(request.url.query, keep_blank_values=True) if pair[0] != "token"]
        path = "/" + request.url.path.lstrip("/\\")
        return self._welcome(request, token, path + (f"?{urlencode(others)}" if others else "")) if token else None

    def _welcome(self, request: Request, token: Token, place: str) -> Response:
        answer = RedirectResponse(place, 303, {"cache-control": "no-store"})
        secure = request.headers.get("origin", "").startswith("https:")
        answer.set_cookie(
            self._door.cookie, cookie_of(token), httponly=True, samesite="strict", path="/", secure=secure
        )
        return answer

    def _unknown(self, request: Request) -> Response | None:
        """The answer to a request without a token. Notes whose it is when there is one."""
        request.scope["who"] = ""
        if not self._door.tokens:
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        bearer = self._door.holder(given.strip()) if scheme.lower() == "bearer" else None
        token = bearer or self._door.holder_of_cookie(request.cookies.get(self._door.cookie, ""))
        if token is None:
            return _ask(request, "open the URL that `queuectl serve` printed, or give its token")
        if bearer is None and request.method not in SAFE and "origin" not in request.headers:
            return _answer(request, 403, "a change with the page's cookie needs its Origin")
        request.scope["who"] = token.name
        return None

    def _refused_change(self, request: Request) -> Response | None:
        if request.method in SAFE or not self._door.read_only:
            return None
        return _answer(request, 403, "this page only shows the queue: it was started with --read-only")


async def _short_body(request: Request) -> str:
    """The body of a form with a token; empty when it is too long to be one."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            return ""
    return body.decode("utf-8", "replace")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))


def _name_of(host: str) -> str:
    """The name in a Host header, without its port, in lower case. The port may be another one, behind `ssh -L`."""
    name = host.lower()
    if name.startswith("["):
        inner, closed, _ = name.partition("]")
        return inner + closed
    return name.rpartition(":")[0] if ":" in name else name


def _from_here(request: Request, host: str) -> bool:
    """Whether a change comes from our own page, or from a program that is not a browser."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origins = request.headers.getlist("origin")
    try:
        return all(urlsplit(origin).netloc.lower() == host.lower() for origin in origins)
    except ValueError:
        return False


def _answer(request: Request, status: int, message: str) -> Response:
    if request.scope["path"].startswith(("/api/", "/metrics")):
        text, kind = to_ndjson({"error": message, "exit_code": 2 if status in (400, 413) else 4}), "application/json"
        return Response(text, status, {"cache-control": "no-store"}, kind)
    return PlainTextResponse(f"{message}\n", status, {"cache-control": "no-store"})


_FORM = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>queuectl</title>
<meta name="viewport" content="width=device-width"></head>
<body><h1>queuectl</h1><p>{message}</p>
<form method="post" action="/sign-in"><label>Token <input name="token" type="password" autocomplete="off"></label>
<button>Sign in</button></form></body></html>
"""


def _ask(request: Request, message: str) -> Response:
    """Ask for the token: with a form where a person reads the answer."""
    if request.method in ("GET", "POST") and "text/html" in request.headers.get("accept", ""):
        return Response(_FORM.format(message=message), 401, {"cache-control": "no-store"}, "text/html")
    answer = _answer(request, 401, message)
    answer.headers["www-authenticate"] = "Bearer"
    return answer
