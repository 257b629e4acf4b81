"""Random requests by someone who has no token."""

import random

from queuectl.web.security import Token, cookie_of
from tests.web.client import COOKIE, HOST, TOKEN

PATHS = [
    "/",
    "/jobs",
    "/do/cancel",
    "/do/retry",
    "/do/pause",
    "/do/add",
    "/do/stop",
    "/sign-in",
    "/api/jobs",
    "/api/jobs/a/cancel",
]
PATHS += [
    "/api/jobs/a/purge",
    "/api/queues/ci/pause",
    "/api/queues/*/pause",
    "/api/workers/x/stop",
    "/metrics",
    "/api/events",
]
PATHS += [
    "//",
    "/../api/jobs",
    "/%2e%2e/",
    "/api/../do/pause",
    "/api/jobs/\x00/cancel",
    "/static/../app.py",
    "*",
    "/;/api/jobs",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "post", "X"]
TOKENS = [
    "",
    "x",
    TOKEN.secret[:-1],
    TOKEN.secret + "x",
    TOKEN.secret.upper(),
    "*",
    "ada",
    "a-token-of-the-tests\u0430",
    "%00",
]
HOSTS = [HOST, "localhost", "evil.example", "", "127.0.0.1:8600, evil.example", "127.0.0.1\t", "[::1]", "127.1", "0"]
ORIGINS = [f"http://{HOST}", f"https://{HOST}", "http://evil.example", "null", "", "http://127.0.0.1:8600@evil.example"]
BODIES = [
    b"",
    b"{}",
    b'{"reason":"x"}',
    b'{"command":"true"}',
    b"job=a",
    b"queue=ci",
    b"command=true",
    b"\xff" * 9,
    b"token=x",
]


def hostile_request(rng):
    token = rng.choice(TOKENS)
    headers = [("host", rng.choice(HOSTS))]
    for name, values in (
        ("origin", ORIGINS),
        ("authorization", [f"Bearer {token}", f"bearer  {token}", f"Basic {token}", "Bearer", token]),
        (
            "cookie",
            [f"{COOKIE}={token}", f"{COOKIE}={cookie_of(Token('', token))}", f"x={cookie_of(TOKEN)}", ";;=", COOKIE],
        ),
        ("content-type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""]),
        ("content-length", ["0", "-1", "99999999999", "x", "²"]),
        ("sec-fetch-site", ["same-origin", "cross-site", "none"]),
        ("x-forwarded-for", ["127.0.0.1"]),
        ("x-forwarded-host", ["127.0.0.1:8600"]),
        ("x-http-method-override", ["POST", "GET"]),
        ("last-event-id", ["1", "-1", "9" * 40]),
        ("accept", ["text/html", "application/json"]),
    ):
        headers += [(name, rng.choice(values)) for _ in range(rng.choice([0, 0, 1, 1, 2]))]
    query = rng.choice(["", f"?token={token}", f"?token={token}&token=", "?as_of=1", "?token"])
    return rng.choice(METHODS), rng.choice(PATHS) + query, headers, rng.choice(BODIES)


def try_requests(client, number, secret):
    """Send so many requests; returns the statuses. None may be let in, get a cookie, or see the secret."""
    rng, statuses = random.Random(8600), set()
    for _ in range(number):
        answer = client.call(*hostile_request(rng))
        assert answer.status in (400, 401, 403, 413), answer
        assert secret not in answer.text
        assert "set-cookie" not in answer.headers
        statuses.add(answer.status)
    return statuses
