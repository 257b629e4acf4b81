"""Without the token nothing is changed and nothing is shown, whatever the Host, the Origin, the path or the headers."""

import socket

import pytest

from queuectl.application.queue import NewJob
from queuectl.errors import StoreError, UsageError
from queuectl.web.security import HEADERS, Token, cookie_of
from queuectl.web.server import Address, read_tokens
from tests.support.builders import a_spec
from tests.web.client import BEARER, COOKIE, HOST, TOKEN, served
from tests.web.hostile import try_requests

SECRET = "the-command-of-the-only-job"
OWN_COOKIE = {"cookie": f"{COOKIE}={cookie_of(TOKEN)}"}
ORIGIN = {"origin": f"http://{HOST}"}


@pytest.fixture(autouse=True)
def _one_job(queue):
    queue.enqueue([NewJob(a_spec(f"echo {SECRET}"), "a")])


# ── the guard, rule by rule ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "page", ["/", "/jobs", "/jobs/a", "/api/jobs", "/api/events", "/metrics", "/static/queuectl.js"]
)
def test_nothing_is_shown_without_a_token(client, page):
    answer = client.get(page, {})
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8600",
        "",
        "169.254.169.254",
        "[::1",
        "a@localhost",
    ],
)
def test_another_host_is_refused_even_with_the_token(client, host):
    assert client.get("/api/jobs", {**BEARER, "host": host}).status == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9999", "[::1]:8600"])
def test_names_of_this_machine_are_served_at_any_port(client, host):
    assert client.get("/api/jobs", {**BEARER, "host": host}).status == 200


def test_two_hosts_are_refused(client):
    assert client.call("GET", "/api/jobs", [("host", HOST), ("host", HOST), *BEARER.items()]).status == 400


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", f"http://{HOST}.evil.example", "http://localhost:8600", "file://", "http://[", ""],
)
def test_a_change_from_another_site_is_refused(client, queue, origin):
    for credentials in (BEARER, OWN_COOKIE):
        assert client.post("/api/jobs/a/cancel", {}, {**credentials, "origin": origin}).status == 403
    assert queue.store.log.head().position == 1


def test_two_origins_are_refused_when_one_is_another_site(client, queue):
    for origins in ((ORIGIN["origin"], "http://evil.example"), ("http://evil.example", ORIGIN["origin"])):
        headers = [*BEARER.items(), *(("origin", each) for each in origins)]
        assert client.call("POST", "/api/jobs/a/cancel", headers).status == 403
    assert queue.store.log.head().position == 1


def test_a_change_with_the_cookie_needs_its_origin(client, queue):
    assert client.post("/api/jobs/a/cancel", {}, OWN_COOKIE).status == 403
    assert queue.store.log.head().position == 1
    assert client.post("/api/jobs/a/cancel", {}, {**OWN_COOKIE, **ORIGIN}).status == 200


def test_a_request_that_the_browser_calls_cross_site_is_refused(client, queue):
    headers = {**OWN_COOKIE, **ORIGIN, "sec-fetch-site": "cross-site"}
    assert client.post("/api/jobs/a/cancel", {}, headers).status == 403
    assert queue.store.log.head().position == 1


def test_the_token_in_the_url_is_exchanged_for_a_cookie(client):
    answer = client.get(f"/jobs?q=state:dlq&token={TOKEN.secret}", {})
    assert (answer.status, answer.headers["location"]) == (303, "/jobs?q=state%3Adlq")
    cookie = answer.headers["set-cookie"]
    assert TOKEN.secret not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert client.get("/api/jobs", {"cookie": cookie.partition(";")[0]}).status == 200


def test_the_cookie_of_a_page_with_tls_is_secure(client):
    form = ("content-type", "application/x-www-form-urlencoded")
    for origin, is_secure in ((f"https://{HOST}", True), (f"http://{HOST}", False)):
        answer = client.call("POST", "/sign-in", [form, ("origin", origin)], f"token={TOKEN.secret}".encode())
        assert ("Secure" in answer.headers["set-cookie"].split("; ")) is is_secure


def test_a_token_is_not_a_password_or_a_cookie(client):
    for headers in (
        {"authorization": f"Basic {TOKEN.secret}"},
        {"authorization": TOKEN.secret},
        {"authorization": f"Bearer {TOKEN.secret[:-1]}"},
        {"authorization": f"Bearer {TOKEN.secret}x"},
        {"cookie": f"{COOKIE}={TOKEN.secret}"},
    ):
        assert client.get("/api/jobs", headers).status == 401


def test_the_redirect_stays_on_this_host(client):
    answer = client.get(f"//evil.example/?token={TOKEN.secret}", {})
    assert answer.headers["location"] == "/evil.example/"


def test_a_change_goes_back_only_to_this_host(client):
    for back in ("//evil.example", "https://evil.example", "/\\evil.example"):
        headers = [("content-type", "application/x-www-form-urlencoded"), *BEARER.items()]
        answer = client.call("POST", "/do/pause", headers, f"queue=ci&back={back}".encode())
        assert answer.headers["location"].startswith("/?notice=")


@pytest.mark.parametrize("length", [str((16 << 20) + 1), "1e3", "-1", "", "\u00b2"])
def test_a_body_that_is_too_long_is_not_read(client, length):
    answer = client.call("POST", "/api/queues/ci/pause", [("content-length", length), *BEARER.items()])
    assert (answer.status, answer.json()["exit_code"]) == (413, 2)


def test_a_person_signs_in_with_a_form(client):
    assert "<form" in client.get("/", {"accept": "text/html"}).text
    form = [("content-type", "application/x-www-form-urlencoded"), *ORIGIN.items()]
    assert client.call("POST", "/sign-in", form, b"token=wrong").status == 401
    long = f"pad={'x' * 5000}&token={TOKEN.secret}"
    assert client.call("POST", "/sign-in", form, long.encode()).status == 401
    assert client.call("POST", "/sign-in", form, f"token={TOKEN.secret}".encode()).status == 303


def test_every_answer_has_the_headers_that_protect_the_page(client):
    for path, headers in (("/", BEARER), ("/api/jobs", BEARER), ("/nothing", BEARER), ("/", {}), ("/", {"host": "x"})):
        answer = client.get(path, headers)
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cache-control"] == ("no-cache" if "etag" in answer.headers else "no-store")


def test_the_policy_lets_in_nothing_but_the_page_itself(client):
    found = client.get("/").headers
    policy = dict(part.split(" ", 1) for part in found["content-security-policy"].split("; "))
    assert policy == {
        **dict.fromkeys(("default-src", "form-action"), "'self'"),
        **dict.fromkeys(("object-src", "base-uri", "frame-ancestors"), "'none'"),
    }
    assert (found["x-content-type-options"], found["x-frame-options"]) == ("nosniff", "DENY")
    assert found["referrer-policy"] == found["cross-origin-resource-policy"] == "same-origin"


def test_no_page_has_a_script_or_a_style_of_its_own(client):
    for path in ("/", "/jobs", "/jobs/a", "/workers", "/add"):
        text = client.get(path).text
        assert "<style" not in text
        assert " style=" not in text
        assert text.count("<script") == 1
        assert " onclick" not in text


def test_no_other_host_is_named_in_the_page(client):
    for path in ("/", "/jobs", "/jobs/a", "/workers", "/static/queuectl.css", "/static/queuectl.js"):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


def test_a_file_outside_the_page_is_not_served(client):
    for path in (
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/../../../../../etc/passwd",
    ):
        assert client.get(path).status == 404


def test_without_tokens_only_the_page_itself_changes_things(path):
    with served(path, tokens=()) as (client, _):
        assert client.get("/api/jobs", {}).status == 200
        assert client.post("/api/queues/ci/pause", {}, {"origin": "http://evil.example"}).status == 403
        assert client.post("/api/queues/ci/pause", {}, ORIGIN).status == 200


# ── addresses and token files ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "local"),
    [
        *((text, True) for text in ("127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/x")),
        *((text, False) for text in ("0.0.0.0:1", "[::]:1", "192.168.1.2:1", "box.example:1")),
    ],
)
def test_only_loopback_is_local(text, local):
    assert Address.of(text).is_local is local


@pytest.mark.parametrize("text", ["127.0.0.1", ":8600", "1.2.3.4:99999", "::1:8600", "http://x:1", ""])
def test_an_odd_address_is_refused(text):
    with pytest.raises(UsageError):
        Address.of(text)


def test_only_a_socket_that_nobody_listens_at_is_replaced(tmp_path):
    place, other = tmp_path / "web.sock", tmp_path / "other"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(place))
    other.write_text("x")
    with Address.of(f"unix:{place}").bind():
        assert place.stat().st_mode & 0o777 == 0o600
        for taken in (place, other):
            with pytest.raises(StoreError, match="cannot listen"):
                Address.of(f"unix:{taken}").bind()
    assert other.read_text() == "x"


def test_a_token_file_names_who_has_a_token(tmp_path):
    file = tmp_path / "tokens"
    file.write_text("# ours\nada 0123456789abcdef\n\nfedcba9876543210\n")
    file.chmod(0o600)
    assert read_tokens(str(file)) == [Token("ada", "0123456789abcdef"), Token("", "fedcba9876543210")]
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_tokens(str(file))


@pytest.mark.parametrize("text", ["short", "", "a b 0123456789abcdef", "# only a comment\n"])
def test_a_token_file_without_a_good_token_is_refused(tmp_path, text):
    file = tmp_path / "tokens"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(UsageError):
        read_tokens(str(file))


def test_random_requests_without_the_token_do_nothing(client, queue):
    statuses = try_requests(client, 10_000, SECRET)
    assert statuses == {400, 401, 403, 413}
    assert queue.store.log.head().position == 1
