"""The HTTP interface: the same JSON as the command line's, errors with their exit codes, changes as events."""

import asyncio
import json
import re

import pytest
from starlette.requests import Request

from queuectl.application.overview import overview
from queuectl.application.queue import NewJob
from queuectl.domain.commands import Exit, Report
from queuectl.errors import UsageError
from queuectl.web.requests import read_body
from queuectl.web.site import Rights
from tests.support.builders import a_spec, claimant
from tests.web.client import BEARER, served

IN_BACKGROUND = "so the command would run in the background"
"""A part of the note on `&>`."""


def add(served_queue, *ids, **spec):
    served_queue.enqueue([NewJob(a_spec("true", **spec), job_id) for job_id in ids])


def last_event(queue):
    return list(queue.store.log.records())[-1]


def test_status_is_what_the_command_prints(client, queue):
    add(queue, "a")
    assert client.get("/api/status").json() == json.loads(json.dumps(overview(queue, live=True)[0]))


def test_jobs_are_filtered_as_on_the_command_line(client, queue):
    add(queue, "a", "b", queue="ci")
    add(queue, "c", tags={"team": "web"})
    assert [job["id"] for job in client.get("/api/jobs").json()] == ["c", "b", "a"]
    assert [job["id"] for job in client.get("/api/jobs?queue=ci&limit=1").json()] == ["b"]
    assert [job["id"] for job in client.get("/api/jobs?tag=team=web&state=pending&sort=created").json()] == ["c"]
    assert [job["id"] for job in client.get("/api/jobs?as_of=1").json()] == ["a"]


@pytest.mark.parametrize(
    ("page", "status", "code"),
    [
        ("/api/jobs?nothing=1", 400, 2),
        ("/api/jobs?state=odd", 400, 2),
        ("/api/jobs?limit=-1", 400, 2),
        (f"/api/jobs?limit={'0' * 5000}5", 400, 2),
        ("/api/jobs?limit=²", 400, 2),
        ("/api/jobs?limit=%C2%B2", 400, 2),
        ("/api/jobs?tag=x", 400, 2),
        ("/api/jobs?since=never", 400, 2),
        ("/api/jobs?ended=-1h..-2h", 400, 2),
        ("/api/status?as_of=99999", 400, 2),
        ("/api/jobs/none", 404, 3),
        ("/api/jobs/none/history", 404, 3),
        ("/api/nothing", 404, 3),
        ("/api/events?type=odd", 400, 2),
        ("/api/jobs/a/logs?stream=odd", 400, 2),
        ("/api/jobs/a/logs?run=7", 404, 3),
    ],
)
def test_an_error_has_its_sentence_and_exit_code(client, queue, page, status, code):
    add(queue, "a")
    answer = client.get(page)
    assert (answer.status, answer.json()["exit_code"]) == (status, code)
    assert "\n" not in answer.json()["error"]


def test_an_answer_about_a_relative_time_has_no_etag(client, queue):
    add(queue, "a")
    for page in ("/api/jobs?since=-2h", "/api/jobs?ended=-2h..", "/api/status"):
        assert "etag" not in client.get(page).headers


def test_jobs_are_selected_by_when_their_runs_ended(client, queue):
    add(queue, "a", "b")
    (job,) = queue.claim(claimant(), (), 1, lambda job: job.id == "a")
    queue.execute([Report("a", job.run, Exit(None, 1000, "hello\n", ""))])
    assert client.get("/api/jobs/a/logs?tail=3").text == "lo\n"
    assert [job["id"] for job in client.get("/api/jobs?ended=-1h..").json()] == ["a"]
    assert [job["id"] for job in client.get("/api/jobs?ended=-1h..&state=pending").json()] == []
    assert client.get("/api/jobs?ended=-2h..-1h").json() == []
    assert client.get("/api/jobs?ended=-1h..&as_of=2").json() == []


def test_the_etag_is_the_position(client, queue):
    add(queue, "a")
    answer = client.get("/api/jobs")
    assert answer.headers["etag"] == '"1"'
    assert client.get("/api/jobs", {**BEARER, "if-none-match": '"1"'}).status == 304
    add(queue, "b")
    assert client.get("/api/jobs", {**BEARER, "if-none-match": '"1"'}).status == 200


def test_a_change_is_an_event_in_the_name_of_the_token(client, queue):
    add(queue, "a")
    answer = client.post("/api/jobs/a/cancel", {"reason": "wrong branch"})
    assert (answer.status, answer.json()["command"]) == (200, "queuectl cancel --reason 'wrong branch' a")
    event = last_event(queue)
    assert (event.type, event.event.reason) == ("cancelled", "wrong branch")
    assert event.actor.endswith(" web:ada")
    assert client.post("/api/jobs/a/cancel").status == 409
    assert client.post("/api/jobs/a/retry").status == 200
    assert last_event(queue).type == "requeued"


def test_a_queue_is_paused_and_resumed(client, queue):
    assert client.post("/api/queues/ci/pause").status == 200
    assert set(queue.store.tables.pauses()) == {"ci"}
    assert client.post("/api/queues/ci/resume").status == 200
    assert client.post("/api/queues/*/pause").json()["said"] == "paused every queue"
    assert set(queue.store.tables.pauses()) == {"*"}


def test_jobs_are_added_alone_or_all_of_an_array(client, queue):
    assert client.post("/api/jobs", {"id": "a", "command": "true", "queue": "ci"}).json() == {
        "id": "a",
        "created": True,
        "notes": [],
    }
    assert [
        each["created"] for each in client.post("/api/jobs", [{"command": "true"}, {"command": "false"}]).json()
    ] == [
        True,
        True,
    ]
    wrong = client.post("/api/jobs", [{"command": "true"}, {"comand": "x"}])
    assert (wrong.status, wrong.json()["error"].partition(":")[0]) == (400, "job 2")
    assert client.post("/api/jobs", {"id": "a", "command": "false"}).status == 409
    assert len(client.get("/api/jobs").json()) == 3


def test_an_added_job_has_the_notes_that_the_command_prints(client, queue):
    jobs = [{"command": "true", "at": "00:00"}, {"command": "a &> b"}, {"command": "true", "at": "00:00", "number": 3}]
    one, two, three = (each["notes"] for each in client.post("/api/jobs", jobs).json())
    midnight = re.fullmatch(r"at 00:00: that is tomorrow, (\S+ 00:00:00)\+00:00", one[0])
    assert midnight is not None
    assert client.get("/api/jobs?limit=1").json()[0]["due_at"] == f"{midnight[1].replace(' ', 'T')}Z"
    assert (len(one), len(two)) == (1, 1)
    assert IN_BACKGROUND in two[0]
    assert three == ["ignored, because only queuectl sets it: number", one[0]]


def test_a_changed_job_has_the_notes_that_the_command_prints(client, queue):
    add(queue, "a")
    for verb in ("copy", "edit", "retry"):
        if verb == "retry":
            client.post("/api/jobs/a/cancel")
        answer = client.post(f"/api/jobs/a/{verb}", {"set": ["command=a &> b"]}).json()
        assert IN_BACKGROUND in answer["notes"][0]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]x",
        b'{"reason": 1}',
        b'{"why": "x"}',
        b"\xff",
        b"[" * 100_000,
        b'{"reason": "\xff", "command": "\xff"}',
    ],
)
def test_a_body_that_is_not_as_expected_changes_nothing(client, queue, body):
    add(queue, "a")
    headers = [("content-type", "application/json"), *BEARER.items()]
    assert client.call("POST", "/api/jobs/a/cancel", headers, body).status == 400
    assert client.call("POST", "/api/jobs", headers, body).status == 400
    assert queue.store.log.head().position == 1


def test_an_array_of_jobs_that_is_not_utf_8_adds_nothing(client, queue):
    headers = [("content-type", "application/json"), *BEARER.items()]
    for body in (b'[{"command": "\xff"}]', b'{"command": "\xff"}', b'{"command": "\xc3"}'):
        answer = client.call("POST", "/api/jobs", headers, body)
        assert (answer.status, "byte 1" in answer.json()["error"]) == (400, True)
    assert queue.store.log.head().position == 0


def test_a_body_without_a_length_is_read_up_to_the_limit():
    parts = iter((b"x" * 6, b"x" * 6))

    async def receive():
        part = next(parts, b"")
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(UsageError, match="at most 10 bytes"):
        asyncio.run(read_body(request, 10))


def test_a_form_of_another_page_is_not_json(client, queue):
    add(queue, "a")
    headers = [("content-type", "text/plain"), *BEARER.items()]
    assert client.call("POST", "/api/jobs/a/cancel", headers, b'{"reason": "x"}').status == 415
    assert queue.store.log.head().position == 1


def test_jobs_are_added_only_when_that_is_allowed(path):
    with served(path) as (client, queue):
        answer = client.post("/api/jobs", {"command": "true"})
        assert answer.status == 409
        assert "--allow-enqueue" in answer.json()["error"]
        assert client.get("/add").status == 409
        assert queue.store.log.head().position == 0


def test_a_page_that_only_reads_changes_nothing(path):
    with served(path, Rights(read_only=True)) as (client, queue):
        add(queue, "a")
        assert client.post("/api/jobs/a/cancel").status == 403
        assert client.post("/do/pause").status == 403
        assert "<button formaction" not in client.get("/jobs").text
        assert queue.store.log.head().position == 1


def test_metrics_are_served(client, queue):
    add(queue, "a")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'queuectl_jobs{queue="default",state="pending"} 1' in answer.text


def test_a_job_is_edited_copied_and_retried_with_changes(client, queue):
    add(queue, "a")
    answer = client.post("/api/jobs/a/edit", {"set": ["timeout=5m", "tag.team=web"], "reason": "slow"})
    assert answer.json()["command"] == "queuectl edit a --timeout 5m --tag team=web --reason slow"
    job = client.get("/api/jobs/a").json()
    assert (job["timeout"], job["tags"]) == (300, {"team": "web"})
    assert client.post("/api/jobs/a/copy", {"set": ["command=false"]}).status == 200
    assert [job["command"] for job in client.get("/api/jobs").json()] == ["false", "true"]
    assert client.post("/api/jobs/a/retry", {"set": ["command=ls"]}).status == 409
    client.post("/api/jobs/a/cancel")
    answer = client.post("/api/jobs/a/retry", {"set": ["command=ls"]})
    assert answer.json()["command"] == "queuectl retry a --set command=ls"
    assert client.get("/api/jobs/a").json()["command"] == "ls"
    assert client.post("/api/jobs/a/edit", {"set": ["nothing=1"]}).status == 400
    assert client.post("/api/jobs/a/edit").status == 400


def test_jobs_are_edited_only_when_jobs_may_be_added(path):
    with served(path) as (client, queue):
        add(queue, "a")
        for verb in ("edit", "copy", "retry"):
            assert client.post(f"/api/jobs/a/{verb}", {"set": ["command=false"]}).status == 409
        assert queue.store.log.head().position == 1


def test_a_job_that_waits_for_another_is_unblocked(client, queue):
    assert (
        client.post(
            "/api/jobs", [{"id": "a", "command": "true"}, {"command": "true", "id": "b", "after": ["a"]}]
        ).status
        == 201
    )
    assert client.get("/api/jobs/b").json()["waiting"] is True
    assert 'formaction="/do/unblock"' in client.get("/jobs/b").text
    assert client.post("/api/jobs/b/unblock").json()["said"] == "b no longer waits"
    assert client.get("/api/jobs/b").json()["waiting"] is False
    assert client.post("/api/jobs/a/unblock").status == 409
