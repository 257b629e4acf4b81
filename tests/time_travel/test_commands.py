"""`--as-of`, `diff`, `explain` and `events` through the installed command line."""

import json

import pytest

from tests.support.command_line import Queuectl, assert_error, eventually, query


@pytest.fixture
def lived(queuectl: Queuectl) -> Queuectl:
    """A queue in which jobs were enqueued, run, cancelled and purged, and settings and pauses changed."""
    queuectl.add("--id", "ok", "true")
    queuectl.add("--id", "bad", "--max-retries", "0", "echo why >&2; exit 3")
    queuectl.add("--id", "off", "--queue", "mail", "--delay", "1h", "true")
    queuectl.ok("config", "set", "max-retries", "7")
    queuectl.ok("pause", "mail")
    queuectl.drain("--queue", "default")
    queuectl.ok("cancel", "off", "--reason", "no longer wanted")
    queuectl.ok("config", "unset", "max-retries")
    queuectl.ok("resume", "mail")
    queuectl.ok("purge", "ok", "bad", "--yes")
    return queuectl


def place(queuectl: Queuectl, kind: str) -> str:
    """The position of the last event of a type."""
    return str(query(queuectl.db, f"SELECT max(position) FROM events WHERE type = '{kind}'")[0][0])


# ── --as-of ─────────────────────────────────────────────────────────────────────────────────────────


def test_status_of_the_past(lived: Queuectl) -> None:
    then = lived.json("status", "--as-of", place(lived, "dead_lettered"))
    assert then["states"] == {"pending": 1, "processing": 0, "done": 1, "dlq": 1, "cancelled": 0}
    assert [row["queue"] for row in then["paused"]] == ["mail"]
    assert then["workers"] is None
    assert then["oldest_due"] is None
    live = lived.json("status")
    assert live["states"] == {"pending": 0, "processing": 0, "done": 0, "dlq": 0, "cancelled": 1}
    assert lived.json("status", "--as-of", "head") == {**live, "workers": None, "unserved": None}
    assert "not part of history" in lived.ok("status", "--as-of", "head")
    assert lived("status", "--as-of", "0").err == "no jobs\n"


def test_jobs_of_the_past(lived: Queuectl) -> None:
    buried = place(lived, "dead_lettered")
    rows = {row["id"]: row for row in lived.json("list", "--as-of", buried)}
    assert {name: row["state"] for name, row in rows.items()} == {"ok": "done", "bad": "dlq", "off": "pending"}
    assert [row["id"] for row in lived.json("list", "--as-of", buried, "--state", "dead")] == ["bad"]
    assert "59m" in lived.ok("list", "--as-of", buried)
    assert lived.json("show", "bad", "--as-of", buried)["last_error"] == "exited with code 3: why"
    assert lived.json("show", "ok", "--as-of", "1")["state"] == "pending"
    assert [row["id"] for row in lived.json("dlq", "list", "--as-of", buried)] == ["bad"]
    assert lived.json("dlq", "list", "--as-of", "head") == lived.json("dlq", "list") == []
    assert lived.json("list", "--as-of", "head") == lived.json("list")


def test_a_job_before_its_enqueue_or_after_its_purge(lived: Queuectl) -> None:
    assert_error(lived("show", "off", "--as-of", "2"), 3, "no such job")
    assert_error(lived("show", "ok"), 3, "history")
    assert_error(lived("show", "ok", "--as-of", "head"), 3, "history")


def test_settings_of_the_past(lived: Queuectl) -> None:
    paused = place(lived, "queue_paused")
    assert lived.ok("config", "get", "max-retries", "--as-of", paused) == "7"
    assert lived.ok("config", "get", "max-retries") == "3"
    assert lived.ok("config", "get", "max-retries", "--as-of", "3") == "3"
    for command in (("config",), ("config", "show")):
        rows = {row["key"]: row for row in lived.json(*command, "--as-of", paused)}
        assert (rows["max-retries"]["value"], rows["max-retries"]["origin"]) == ("7", "config set")
    flag = {"QUEUECTL_MAX_RETRIES": "1"}
    assert lived.ok("config", "get", "max-retries", "--as-of", paused, env=flag) == "1"


TAKE_AS_OF = ["status", "list", "show ok", "dlq list", "config show", "config get lease", "explain ok"]


def test_an_invalid_moment_is_refused(lived: Queuectl) -> None:
    for command in TAKE_AS_OF:
        head = lived.position()
        assert_error(lived(*command.split(), "--as-of", str(head + 1)), 2, f"no position {head + 1}", f"ends at {head}")
        assert_error(lived(*command.split(), "--as-of", "whenever"), 2, "'whenever' is not a time")


def test_a_time_before_the_first_event_is_an_empty_queue(lived: Queuectl) -> None:
    for when in ("-2h", "yesterday 14:00", "2020-01-01T00:00:00Z"):
        assert lived.json("list", "--as-of", when) == []
        assert sum(lived.json("status", "--as-of", when)["states"].values()) == 0
    assert lived.json("list", "--as-of", "now") == lived.json("list")


def test_as_of_does_not_create_a_missing_queue(queuectl: Queuectl) -> None:
    assert queuectl.json("list", "--as-of", "head") == []
    assert queuectl.json("diff", "0", "head")["jobs"] == []
    assert queuectl.ok("events") == ""
    assert not queuectl.db.exists()


# ── diff ────────────────────────────────────────────────────────────────────────────────────────────


def test_diff_shows_the_changes_between_two_positions(lived: Queuectl) -> None:
    before, after = "4", place(lived, "cancelled")
    report = lived.json("diff", before, after)
    jobs = {job["id"]: job for job in report["jobs"]}
    assert (report["from"]["position"], report["to"]["position"]) == (4, int(after))
    assert {name: job["change"] for name, job in jobs.items()} == dict.fromkeys(("ok", "bad", "off"), "changed")
    assert jobs["ok"]["columns"]["state"] == {"old": "pending", "new": "done"}
    assert jobs["bad"]["columns"]["last_error"] == {"old": None, "new": "exited with code 3: why"}
    assert report["settings"] == []
    assert [(row["queue"], row["old"]) for row in report["paused"]] == [("mail", None)]
    table = lived.ok("diff", before, after)
    assert "state pending → dlq; attempts 0 → 1" in table
    assert "queue mail: paused by" in table


def test_diff_shows_jobs_added_and_purged_in_between(lived: Queuectl) -> None:
    report = lived.json("diff", place(lived, "dead_lettered"))
    assert {job["id"]: job["change"] for job in report["jobs"]} == {"off": "changed", "ok": "removed", "bad": "removed"}
    assert report["settings"] == [{"key": "max-retries", "old": "7", "new": None}]
    assert [row["new"] for row in report["paused"]] == [None]
    added = lived.json("diff", "0", "3")["jobs"]
    assert [(job["id"], job["change"]) for job in added] == [("ok", "added"), ("bad", "added"), ("off", "added")]
    assert added[0]["columns"]["command"] == {"old": None, "new": "true"}
    table = lived.ok("diff", "1")
    assert "setting" not in table
    assert "removed" in table


def test_diff_takes_times(lived: Queuectl) -> None:
    everything = lived.json("diff", "0", "head")["jobs"]
    assert lived.json("diff", "-1h", "now")["jobs"] == everything
    assert lived.json("diff", "--", "-1h")["jobs"] == everything
    assert "no job changed" in lived.ok("diff", "-2h", "-1h")
    assert lived.ok("diff", "head", "head").startswith("from position")


def test_diff_refuses_invalid_positions(lived: Queuectl) -> None:
    assert_error(lived("diff", "5", "3"), 2, "5", "is after 3", "swap them")
    assert_error(lived("diff", "1", "9999"), 2, "no position 9999")
    assert_error(lived("diff", "1", "soon"), 2, "not a time")
    assert_error(lived("diff"), 2)
    assert_error(lived("diff", "1", "2", "3"), 2)
    assert_error(lived("diff", "1", "--frobnicate"), 2, "--frobnicate")


# ── explain ─────────────────────────────────────────────────────────────────────────────────────────


def test_explain_names_state_reason_and_next_command(lived: Queuectl) -> None:
    explanation = lived.ok("explain", "off")
    assert explanation.startswith("job off is cancelled")
    assert "reason: no longer wanted" in explanation
    assert "next: queuectl retry off" in explanation
    document = lived.json("explain", "bad")
    assert list(document) == ["id", "state", "position", "why", "next"]
    assert (document["state"], document["next"]) == ("purged", ["queuectl retry bad"])
    dead = lived.ok("explain", "ba", "--as-of", place(lived, "dead_lettered"))
    assert "run 1 failed" in dead
    assert "no retries left" in dead
    assert_error(lived("explain", "nobody"), 3, "no such job")
    assert_error(lived("explain", "off", "--as-of", "1"), 3, "no such job")


def test_a_commands_output_cannot_steer_the_terminal(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "--max-retries", "0", "printf '\\033[2Jhello' >&2; exit 1")
    queuectl.drain()
    for command in (("explain", "a"), ("events",), ("diff", "0")):
        assert "\x1b" not in queuectl.ok(*command)


# ── undo ────────────────────────────────────────────────────────────────────────────────────────────


def test_every_change_names_its_undo_command(queuectl: Queuectl) -> None:
    for name in ("a", "b", "c"):
        queuectl.add("--id", name, "--max-retries", "0", "false")
    assert "undo: queuectl retry a" in queuectl("cancel", "a").err
    assert "undo: queuectl retry a" in queuectl("purge", "a", "--yes").err
    queuectl.drain()
    queuectl.add("--id", "d", "sleep 60")
    worker = queuectl.start("run", "--once")
    eventually(lambda: queuectl.state("d") == "processing", "it runs")
    assert "queuectl retry d" in queuectl("cancel", "d").err
    assert worker.ended().code == 0
    assert "undo: queuectl retry b" in queuectl("dlq", "purge", "b", "--yes").err
    assert "undo: queuectl retry c" in queuectl("dlq", "purge", "--all", "--yes").err
    queuectl.ok("retry", *"abcd")
    assert [queuectl.state(name) for name in "abcd"] == ["pending"] * 4


# ── events ──────────────────────────────────────────────────────────────────────────────────────────


def listed(queuectl: Queuectl, *flags: str) -> list[dict]:
    return [json.loads(line) for line in queuectl.ok("events", "--json", *flags).splitlines()]


def test_events_prints_the_log(lived: Queuectl) -> None:
    found = listed(lived)
    assert [each["position"] for each in found] == list(range(1, lived.position() + 1))
    assert [each for each in found if each["stream_id"] == "bad"] == lived.json("history", "bad")
    table = lived.ok("events").splitlines()
    assert len(table) == len(found)
    assert "$ true" in table[0]
    assert "max-retries set to 7" in table[3]
    assert "max-retries unset" in "\n".join(table)


def test_events_can_be_filtered(lived: Queuectl) -> None:
    found = listed(lived)
    assert listed(lived, "--from", "3", "--to", "5") == found[2:5]
    assert listed(lived, "--to", "0") == []
    assert listed(lived, "--from", "9999") == []
    assert {each["type"] for each in listed(lived, "-t", "claimed", "--type", "enqueued")} == {"claimed", "enqueued"}
    assert listed(lived, "--job", "ba", "--type", "claimed") == lived.json("history", "bad")[1:2]
    assert listed(lived, "--since", "-1h") == found
    assert listed(lived, "--since", "+1h") == []
    assert listed(lived, "--since", found[5]["recorded_at"])[0]["recorded_at"] == found[5]["recorded_at"]


def test_events_refuses_invalid_options(lived: Queuectl) -> None:
    assert_error(lived("events", "--type", "exploded"), 2, "exploded", "enqueued")
    assert_error(lived("events", "--job", "nobody"), 3, "no such job")
    assert_error(lived("events", "--since", "soon"), 2, "--since", "not a time")
    assert_error(lived("events", "--from", "0"), 2, "--from")
