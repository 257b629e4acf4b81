"""`queuectl serve` as a process: what it prints, where it listens, what it refuses, and that it ends when asked."""

import os
import re
import socket
import sys
import urllib.error
import urllib.request
from signal import SIGTERM

import pytest

from tests.support.command_line import Started, assert_error, eventually

HIDDEN = "import sys; sys.modules['starlette'] = None; from queuectl.cli import run; run(['serve'])"


@pytest.fixture
def start(queuectl):
    """Starts a server; returns it and the URL that it prints."""

    def started(*options: str) -> tuple[Started, str]:
        server = queuectl.start("serve", "--listen", "127.0.0.1:0", *options)
        url = eventually(lambda: server.stdout.read_text().strip(), "the URL")
        return server, url

    return started


def fetch(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        return answer.read().decode()


def base_and_token(url):
    base, _, token = url.partition("/?token=")
    return base, {"Authorization": f"Bearer {token}"}


def test_it_prints_one_url_and_ends_when_asked(queuectl, start):
    queuectl.add("--id", "a", "true")
    server, url = start()
    base, token = base_and_token(url)
    assert '"id":"a"' in fetch(f"{base}/api/jobs", **token)
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(f"{base}/api/jobs")
    refused.value.close()
    assert refused.value.code == 401
    request = urllib.request.Request(f"{base}/api/events", headers=token)
    with urllib.request.urlopen(request, timeout=20) as stream:
        assert stream.readline() == b"id: 1\n"
        server.signal(SIGTERM)
        done = server.ended()
    assert (done.code, done.out.splitlines(), done.err) == (0, [url], "")


def test_a_page_that_is_open_has_the_queue_verified(queuectl, start):
    queuectl.add("true")
    base, token = base_and_token(start()[1])
    eventually(lambda: re.search(r"verified</span> \d+s ago", fetch(base, **token)), "it has been verified", 60)
    base, token = base_and_token(start("--no-verify")[1])
    assert "verif" not in fetch(base, **token)


def test_each_start_has_a_token_of_its_own(queuectl, start):
    queuectl.add("true")
    tokens = {base_and_token(start()[1])[1]["Authorization"].removeprefix("Bearer ") for _ in range(2)}
    assert [len(token) > 20 for token in tokens] == [True, True]


def test_a_change_is_seen_by_the_command_line(queuectl, start):
    queuectl.add("--id", "a", "true")
    base, token = base_and_token(start()[1])
    request = urllib.request.Request(f"{base}/api/jobs/a/cancel", method="POST", headers=token)
    urllib.request.urlopen(request, timeout=20).close()
    (event,) = [event for event in queuectl.json("history", "a") if event["type"] == "cancelled"]
    assert event["actor"].endswith(" web")


def test_an_added_job_has_the_umask_of_whoever_serves(queuectl, start):
    before = os.umask(0o002)
    try:
        _, url = start("--allow-enqueue")
    finally:
        os.umask(before)
    base, token = base_and_token(url)
    job = b'{"id": "a", "command": "umask"}'
    headers = {**token, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{base}/api/jobs", job, headers), timeout=20) as answer:
        assert answer.status == 201
    queuectl.drain()
    assert queuectl.show("a")["stdout"] == "0002\n"


def test_it_listens_at_a_socket_of_this_user_only(queuectl, tmp_path):
    queuectl.add("true")
    place = tmp_path / "web.sock"
    server = queuectl.start("serve", "--listen", f"unix:{place}", "--no-token")
    eventually(server.stdout.read_text, "the URL")
    assert place.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))
        client.sendall(b"GET /api/status HTTP/1.1\r\nHost: localhost:8600\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    server.signal(SIGTERM)
    assert server.ended().code == 0
    assert not place.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen", "0.0.0.0:0"), ("--token-file",)),
        (("--listen", "0.0.0.0:0", "--no-token"), ("--token-file",)),
        (("--listen", "nowhere"), ("unix:PATH",)),
        (("--listen", ""), ("--listen ''", "unix:PATH")),
        (("--listen", "unix:"), ("--listen 'unix:'", "unix:PATH")),
        (("--read-only", "--allow-enqueue"), ("one of",)),
        (("--token-file", "missing"), ("missing",)),
        (("--no-token", "--token-file", "x"), ("one of",)),
    ],
)
def test_serving_others_without_tokens_is_refused(queuectl, options, words):
    queuectl.add("true")
    assert_error(queuectl("serve", *options), 2, *words)


def test_a_port_that_is_taken_is_one_line(queuectl):
    queuectl.add("true")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_error(queuectl("serve", "--listen", f"127.0.0.1:{port}"), 5, "cannot listen", "in use")


def test_a_page_that_only_reads_makes_no_queue(queuectl):
    assert_error(queuectl("serve", "--read-only"), 5, "there is no queue")


def test_a_server_makes_a_queue_only_to_add_jobs_to_it(queuectl, start):
    assert_error(queuectl("serve"), 5, "there is no queue")
    assert not queuectl.db.exists()
    server, _ = start("--allow-enqueue")
    assert queuectl.db.exists()
    server.signal(SIGTERM)
    assert "made a new queue" in server.ended().err


def test_without_the_extra_it_says_how_to_install_it(queuectl):
    done = queuectl.start_program(sys.executable, "-c", HIDDEN).ended()
    assert (done.code, done.out) == (2, "")
    assert "pip install '.[web]'" in done.err
    assert len(done.err.splitlines()) == 1
