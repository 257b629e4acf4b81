"""`--batch` on every command that shows or moves jobs of one, and the other filters of `dlq`."""

import json

import pytest

from tests.support.command_line import Queuectl, assert_error


@pytest.fixture
def dead(queuectl: Queuectl) -> Queuectl:
    """Three dead jobs, two of them in the batch `grid`, and one done job in it."""
    queuectl.add_all(
        {"id": "a", "command": "exit 1", "max_retries": 0, "queue": "ci", "tags": {"k": "v"}},
        {"id": "b", "command": "exit 1", "max_retries": 0, "queue": "ci"},
    )
    queuectl.add("--batch", "grid", "--id", "c", "--max-retries", "0", "exit 1")
    queuectl.add("--batch", "grid", "--id", "d", "--max-retries", "0", "-q", "ci", "exit 1")
    queuectl.add("--batch", "grid", "--id", "e", "true")
    queuectl.drain()
    return queuectl


def ids(queuectl: Queuectl, *arguments: str) -> list[str]:
    return queuectl.ok(*arguments, "-o", "name").splitlines()


def test_dlq_takes_the_filters_of_the_other_commands(dead: Queuectl) -> None:
    assert set(ids(dead, "dlq", "list", "--batch", "grid")) == {"c", "d"}
    assert set(ids(dead, "dlq", "list", "--queue", "ci")) == {"a", "b", "d"}
    assert ids(dead, "dlq", "list", "--tag", "k=v") == ["a"]
    assert ids(dead, "dlq", "list", "--since", "tomorrow") == []
    assert dead("dlq", "retry", "--batch", "grid", "--queue", "ci", "--yes").err.endswith("1 job pending again\n")
    assert dead.state("d") == "pending"
    assert_error(dead("dlq", "purge", "--batch", "grid"), 2, "purge 1 dead job (batch grid)", "--yes")
    dead.ok("dlq", "purge", "--batch", "grid", "--yes")
    assert set(ids(dead, "dlq", "list")) == {"a", "b"}


def test_ids_and_filters_exclude_each_other(dead: Queuectl) -> None:
    for arguments in ((), ("a", "--all"), ("a", "--batch", "grid"), ("--all", "--queue", "ci")):
        assert_error(dead("dlq", "retry", *arguments), 2, "name the jobs by id, or give --all")


def test_status_counts_the_jobs_of_a_batch(dead: Queuectl) -> None:
    states = dead.json("status", "--batch", "grid")["states"]
    assert (states["dlq"], states["done"], states["pending"]) == (2, 1, 0)
    assert dead("status", "--batch", "none").err == "no jobs\n"
    assert dead.json("status", "--batch", "grid", "--as-of", "head")["states"] == states


def test_events_of_a_batch_are_those_of_its_jobs(dead: Queuectl) -> None:
    dead.ok("purge", "e")
    streams = {event["stream_id"] for event in map(_loads, dead.ok("events", "--batch", "grid", "--json").splitlines())}
    assert streams - {"$batch:grid"} == {"c", "d", "e"}
    late = dead.ok("events", "--batch", "grid", "--type", "dead_lettered", "-o", "ndjson").splitlines()
    assert {_loads(line)["stream_id"] for line in late} == {"c", "d"}


def _loads(line: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(line)
    return found


def test_a_changed_value_of_a_sweep_names_its_job(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", "--each", "--batch", "grid", "echo {}", ":::", "a", "b")
    done = queuectl("enqueue", "--each", "--batch", "grid", "echo {}", ":::", "a", "c")
    assert_error(done, 4, "job 2 of the batch", "grid.2")
