"""The web page on a queue that is on a server: every page, the interface, the feed and the metrics."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl.application.queue import NewJob, Queue
from queuectl.application.schedules import Put, Schedules
from queuectl.domain import events as e
from queuectl.domain.commands import Exit, Report
from queuectl.web.site import Rights
from tests.support.builders import SettableClock, a_spec, claimant
from tests.support.stores import Places
from tests.web.client import Client, served


@pytest.fixture
def site(tmp_path: Path, clock: SettableClock) -> Iterator[tuple[Client, Queue]]:
    places = Places("postgres", tmp_path, clock)
    with served(places.new_url(), Rights(allow_enqueue=True)) as found:
        yield found
    places.close()


@pytest.fixture
def client(site: tuple[Client, Queue]) -> Client:
    """A client of a queue with a dead, a done and a waiting job, and a schedule."""
    client, queue = site
    queue.enqueue([NewJob(a_spec("true", max_retries=0, queue="ci", tags={"a": "b"}), job_id) for job_id in ("x", "y")])
    for job, cause in zip(queue.claim(claimant(), (), 2, lambda job: True), (None, e.Exited(3)), strict=True):
        queue.execute([Report(job.id, job.run, Exit(cause, 1000, "", "KeyError"))])
    queue.enqueue([NewJob(a_spec("make TEST"), "z")])
    Schedules(queue).add(Put("nightly", e.ScheduleSet(every=3_600_000_000, tz="UTC", job=a_spec("true"))))
    return client


PAGES = ["/", "/jobs", "/jobs/y", "/jobs?q=state:dlq", "/jobs?q=tag:a%3Db", "/jobs?q=test", "/failures", "/schedules"]
PAGES += [
    "/workers",
    "/add",
    "/?as_of=5",
    "/jobs?as_of=5",
    "/failures?as_of=7",
    "/schedules?as_of=5",
    "/jobs/y?as_of=2",
]
PAGES += ["/api/status", "/api/jobs", "/api/jobs/y", "/api/jobs/y/history", "/api/jobs/y/explain", "/api/failures"]
PAGES += ["/api/schedules", "/api/schedules/nightly", "/api/batches", "/api/workers", "/api/status?as_of=3"]


def test_every_page_is_made(client: Client) -> None:
    assert {page: client.get(page).status for page in PAGES} == dict.fromkeys(PAGES, 200)


def test_jobs_are_found_by_text_in_any_case(client: Client) -> None:
    assert 'data-job="z"' in client.get("/jobs?q=test").text


def test_metrics_count_jobs_and_runs(client: Client) -> None:
    text = client.get("/metrics").text
    assert 'queuectl_jobs{queue="ci",state="dlq"} 1' in text
    assert 'queuectl_oldest_pending_seconds{queue="default"}' in text


def test_a_change_reaches_the_feed(client: Client) -> None:
    stream = client.stream("/api/events")
    first = [int(event["id"]) for event in stream.events("caught_up") if "id" in event]
    assert client.post("/api/jobs/z/cancel", {"reason": "no"}).status == 200
    after = [int(event["id"]) for event in stream.events('"type":"cancelled"') if "id" in event]
    assert first + after == [*range(1, first[-1] + 2)]
    stream.close()
