"""The feed: positions as ids, the backlog, what is new, and where a page that was away goes on."""

import asyncio
import json
from contextlib import closing

import apsw
from msgspec.structs import replace

from queuectl.application.queue import NewJob, Queue
from queuectl.domain.commands import Exit, Report
from queuectl.errors import StoreError
from queuectl.web import feed
from queuectl.web.feed import Feed, Wanted
from tests.support.builders import ACTOR, a_spec, claimant
from tests.support.queues import opened
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


def test_filters_with_the_same_ends_get_their_own_events(client, queue):
    add(queue, "a")
    queue.cancel(["a"])
    queue.requeue(["a"])
    add(queue, "b")
    for other, middle in (("cancelled", 2), ("requeued", 3), ("cancelled", 2)):
        stream = client.stream(f"/api/events?type=enqueued&type={other}")
        assert positions(stream.events("caught_up")) == [1, middle, 4]
        stream.close()


def test_a_slow_reader_gets_what_is_no_longer_remembered(tmp_path):
    with opened(tmp_path / "queue.db") as store:
        add(Queue(store, ACTOR), *"abcde")
        slow = Feed(lambda: store)
        slow._take(store, 5)
        slow.position = 5
        for _ in range(2):
            slow._recent.popleft()
        found, end = asyncio.run(slow._next(store, 0, Wanted()))
    assert ([entry.position for entry in found], end) == ([1, 2, 3, 4, 5], 5)


def test_the_remembered_events_have_no_gaps(tmp_path, monkeypatch):
    with opened(tmp_path / "queue.db") as store:
        add(Queue(store, ACTOR), *"abcde")
        behind = Feed(lambda: store)
        monkeypatch.setattr(feed, "RECENT", 2)
        for position in (1, 5):
            behind._take(store, position)
        behind.position = 5
        found, end = asyncio.run(behind._next(store, 0, Wanted()))
    assert ([entry.position for entry in found], end) == ([1, 2, 3, 4, 5], 5)


def test_nothing_is_read_twice_while_the_loop_is_busy(tmp_path):
    with opened(tmp_path / "queue.db") as store:
        add(Queue(store, ACTOR), *"abc")
        busy = Feed(lambda: store)
        for position in (2, 3):
            busy._take(store, position)
        assert [entry.position for entry in busy._recent] == [1, 2, 3]


class _Away:
    """A writer whose server is away at first."""

    def __init__(self, writer):
        self._writer, self.asked = writer, 0

    def on_disk(self):
        self.asked += 1
        if self.asked == 1:
            raise StoreError("the server is away")
        return self._writer.on_disk()

    def __getattr__(self, name):
        return getattr(self._writer, name)


def test_the_feed_resumes_when_the_server_is_back(path, monkeypatch):
    monkeypatch.setattr(feed, "AGAIN", 1)
    with served(path, wrapped=lambda store: replace(store, writer=_Away(store.writer))) as (client, queue):
        stream = client.stream("/api/events")
        stream.events("caught_up")
        add(queue, "a")
        assert positions(stream.events('"a"')) == [1]
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


def test_an_open_stream_holds_no_read_transaction(path):
    with served(path) as (client, queue):
        add(queue, "a")
        streams = [
            client.stream("/api/events"),
            client.stream("/api/events", {**BEARER, "accept": "application/x-ndjson"}),
        ]
        streams[0].events("caught_up")
        client.result(streams[1].parts.get())
        add(queue, "b")
        streams[0].events('"b"')
        client.get("/")
        with closing(apsw.Connection(path)) as other:
            ((busy, pages, _),) = other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert (busy, pages) == (0, 0)


def test_a_stream_without_events_shows_that_it_is_alive(path, monkeypatch):
    monkeypatch.setattr(feed, "SILENCE", 0.02)
    with served(path) as (client, queue):
        add(queue, "a")
        stream = client.stream("/api/events?from=2")
        parts = [client.result(asyncio.wait_for(stream.parts.get(), 20)) for _ in range(3)]
        assert parts[0].startswith(b"event: caught_up")
        assert parts[1:] == [b": nothing new\n\n"] * 2
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
