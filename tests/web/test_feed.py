"""The feed: positions as ids, the backlog, what is new, and where a page that was away goes on."""

import json

from queuectl.application.queue import NewJob
from queuectl.domain.commands import Exit, Report
from tests.support.builders import a_spec, claimant
from tests.web.client import BEARER, served


def add(queue, *ids):
    queue.enqueue([NewJob(a_spec("true"), job_id) for job_id in ids])


def positions(events):
    return [int(event["id"]) for event in events if "id" in event]


def test_the_backlog_then_a_mark_then_what_is_new(client, queue):
    add(queue, "a", "b")
    stream = client.stream("/api/events")
    first = stream.events("caught_up")
    assert positions(first) == [1, 2]
    assert first[-1] == {"event": "caught_up", "data": '{"caught_up":2}'}
    assert json.loads(first[0]["data"])["stream_id"] == "a"
    add(queue, "c")
    assert positions(stream.events('"c"')) == [3]
    stream.close()


def test_a_reader_that_was_away_misses_nothing(client, queue):
    add(queue, "a")
    stream = client.stream("/api/events?from=1")
    seen = positions(stream.events("caught_up"))
    stream.close()
    add(queue, "b", "c")
    again = client.stream("/api/events?from=1", {**BEARER, "last-event-id": str(seen[-1])})
    assert seen + positions(again.events('"c"')) == [1, 2, 3]
    again.close()


def test_a_restarted_server_continues_the_feed(path):
    with served(path) as (client, queue):
        add(queue, "a", "b")
        stream = client.stream("/api/events")
        seen = positions(stream.events('"b"'))
        stream.close()
    with served(path) as (client, queue):
        add(queue, "c")
        again = client.stream("/api/events", {**BEARER, "last-event-id": str(seen[-1])})
        assert seen + positions(again.events('"c"')) == [1, 2, 3]
        again.close()


def test_only_the_wanted_events_come(client, queue):
    add(queue, "a", "b")
    queue.cancel(["a"])
    stream = client.stream("/api/events?job=a&type=cancelled")
    assert positions(stream.events("caught_up")) == [3]
    queue.requeue(["a"])
    queue.cancel(["b"])
    queue.cancel(["a"])
    assert positions(stream.events("cancelled")) == [6]
    stream.close()


def test_a_long_backlog_comes_whole_and_in_order(client, queue):
    add(queue, *(f"job-{number}" for number in range(1300)))
    stream = client.stream("/api/events?from=5")
    assert positions(stream.events("caught_up")) == [*range(5, 1301)]
    stream.close()


def test_programs_get_one_event_a_line(client, queue):
    add(queue, "a")
    stream = client.stream("/api/events", {**BEARER, "accept": "application/x-ndjson"})
    text = ""
    while "caught_up" not in text:
        text += client.result(stream.parts.get()).decode()
    assert [json.loads(line).get("position") for line in text.splitlines()] == [1, None]
    stream.close()


def test_every_open_stream_ends_with_the_server(path):
    with served(path) as (client, queue):
        add(queue, "a")
        stream = client.stream("/api/events")
        stream.events("caught_up")
    assert stream._task.done()


def test_output_is_followed_as_text(client, queue):
    add(queue, "a")
    (job,) = queue.claim(claimant(), (), 1, lambda job: True)
    said = "d\u00e9j\u00e0 \x1b[31mred\x1b[0m\n"
    queue.execute([Report("a", job.run, Exit(None, 1000, said, "<b>"))])
    stream = client.stream("/api/jobs/a/logs?follow=1")
    events = stream.events("ended")
    pieces = [json.loads(event["data"]) for event in events if "event" not in event]
    assert [(piece["stream"], piece["text"]) for piece in pieces] == [
        ("stdout", "d\u00e9j\u00e0 red\n"),
        ("stderr", "<b>"),
    ]
    stream.close()
