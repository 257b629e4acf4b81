"""`history`: all events of a job, as text and as JSON, also after a purge."""

import os
import pwd
import re

from tests.support.command_line import Queuectl, assert_error

KEYS = ["position", "stream_id", "version", "type", "schema", "recorded_at", "actor", "data", "digest"]
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


def _add_purged_job(queuectl: Queuectl) -> str:
    """A job that failed twice, was retried from the dlq, succeeded, and was purged."""
    line = 'echo "attempt $QUEUECTL_RUN broke" >&2; [ $QUEUECTL_RUN -gt 2 ] || exit 7'
    job_id = queuectl.add("--backoff-base", "0.5", "--max-retries", "1", line)
    queuectl.drain("--name", "the-worker")
    queuectl.ok("dlq", "retry", job_id, "--reason", "repaired")
    queuectl.drain("--name", "the-worker")
    queuectl.ok("purge", job_id, "--reason", "tidying")
    return job_id


MOVES = [
    "enqueued",
    *("claimed", "retry_scheduled"),
    *("claimed", "dead_lettered"),
    "requeued",
    *("claimed", "completed"),
    "purged",
]


def test_history_names_every_event_in_order(queuectl: Queuectl) -> None:
    job_id = _add_purged_job(queuectl)
    story = queuectl.ok("history", job_id)
    me = f"by {pwd.getpwuid(os.getuid()).pw_name}@{os.uname().nodename}:"
    expected = [
        f"job {job_id}",
        "enqueued",
        "at most 1 retry",
        me,
        "claimed for run 1",
        "worker the-worker (pid ",
        "by the-worker",
        "run 1 failed after ",
        "(exit 7: attempt 1 broke)",
        "attempt 1 of 2: retry in 0.5^1 s = 500ms, at ",
        "claimed for run 2",
        "run 2 failed after ",
        "attempt 2 of 2: no retries left, moved to the dead-letter queue",
        "requeued",
        "reason: repaired",
        me,
        "claimed for run 3",
        "run 3 completed after ",
        "(exit 0)",
        "purged",
        "reason: tidying",
    ]
    places = [0]
    for word in expected:
        places.append(story.find(word, places[-1]))
        assert places[-1] >= 0, f"{word!r} does not follow {expected[: len(places) - 2]}:\n{story}"
    for event in queuectl.json("history", job_id):
        assert f"#{event['position']} " in story


def test_history_json_has_the_events_of_the_log(queuectl: Queuectl) -> None:
    job_id = _add_purged_job(queuectl)
    events = queuectl.json("history", job_id)
    assert [list(event) for event in events] == [KEYS] * len(MOVES)
    assert [event["type"] for event in events] == MOVES
    assert [event["version"] for event in events] == list(range(1, len(MOVES) + 1))
    positions = [event["position"] for event in events]
    assert positions == sorted(set(positions))
    assert {event["stream_id"] for event in events} == {job_id}
    assert all(MOMENT.fullmatch(event["recorded_at"]) for event in events)
    assert all(re.fullmatch("[0-9a-f]{64}", event["digest"]) for event in events)
    assert events[2]["data"]["cause"] == {"kind": "exited", "code": 7}
    assert [event["data"]["run"] for event in events if event["type"] == "claimed"] == [1, 2, 3]
    claim = events[1]["data"]
    assert {"worker", "host", "boot_id", "pid", "pid_namespace", "pid_started_at", "lease"} <= set(claim)


def test_a_purged_job_has_a_history_and_can_be_retried(queuectl: Queuectl) -> None:
    job_id = _add_purged_job(queuectl)
    assert_error(queuectl("show", job_id), 3, "history")
    assert queuectl.json("list") == []
    assert queuectl.types(job_id[:30]) == MOVES
    queuectl.ok("retry", job_id)
    job = queuectl.show(job_id)
    assert (job["state"], job["attempts"], job["run"]) == ("pending", 0, 3)
    queuectl.drain()
    assert queuectl.show(job_id)["run"] == 4


def test_a_jobs_retry_settings_are_shown(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--timeout", "5m", "--delay", "1h", "--unique", "k", "--queue", "mail", "echo hi")
    story = queuectl.ok("history", job_id)
    for word in ("$ echo hi", f"in {queuectl.folder}", "queue mail", "5m", "1h", "unique key k", "2^n"):
        assert word in story


def test_equal_waits_have_no_exponent(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--backoff-base", "1", "true")
    assert "at most 3 retries, each after 1s\n" in queuectl.ok("history", job_id)


def test_hostile_text_cannot_steer_the_terminal(queuectl: Queuectl) -> None:
    job_id = queuectl.add("printf '\\033[2J%s' >&2 # \x1b[31m\x9b31m\u202e; exit 1")
    queuectl.drain()
    for command in (("history", job_id), ("show", job_id), ("list",), ("dlq", "list"), ("status",)):
        done = queuectl(*command)
        assert done.code == 0
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", done.out), command
        assert "\x1b" not in queuectl(*command, "--json").out
