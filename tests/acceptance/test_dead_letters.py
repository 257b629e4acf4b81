"""Retries with their waits, and the dead-letter queue: `dlq list|show|retry|purge`."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.support.command_line import PROGRAM, Queuectl, assert_error, lines
from tests.support.pseudo_terminal import PseudoTerminal


def _add_dead_jobs(queuectl: Queuectl, *names: str) -> None:
    queuectl.add_all(*({"id": name, "command": f"echo {name} broke >&2; exit 3", "max_retries": 0} for name in names))
    queuectl.drain()


def test_the_wait_is_the_base_to_the_power_of_attempts(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--backoff-base", "60", "--max-retries", "2", "false")
    queuectl("run", "--once")
    queuectl("run", "--once")
    job = queuectl.show(job_id)
    assert (job["state"], job["attempts"], job["run"]) == ("pending", 1, 1)
    failed = queuectl.json("history", job_id)[-1]
    assert (failed["type"], failed["data"]["wait"]) == ("retry_scheduled", 60_000_000)
    waits_until = datetime.fromisoformat(failed["recorded_at"]) + timedelta(seconds=60)
    assert datetime.fromisoformat(job["due_at"]) == waits_until


def test_waits_grow_up_to_the_cap_and_are_recorded(queuectl: Queuectl) -> None:
    env = {"QUEUECTL_BACKOFF_CAP": "500ms"}
    job_id = queuectl.add("--backoff-base", "0.4", "--max-retries", "3", "exit 5", env=env)
    capped = queuectl.add("--backoff-base", "7", "--max-retries", "1", "exit 5", env=env)
    queuectl.drain("-c", "2")
    assert [e["data"]["wait"] for e in _retries(queuectl, job_id)] == [400_000, 160_000, 64_000]
    assert [e["data"]["wait"] for e in _retries(queuectl, capped)] == [500_000]
    for each in (job_id, capped):
        events = queuectl.json("history", each)
        for failed, claimed in pairwise(events):
            if failed["type"] == "retry_scheduled":
                due = datetime.fromisoformat(failed["recorded_at"]) + timedelta(microseconds=failed["data"]["wait"])
                assert datetime.fromisoformat(claimed["recorded_at"]) >= due
    assert "min(7^1 s, 500ms) = 500ms" in queuectl.ok("history", capped)


def _retries(queuectl: Queuectl, job_id: str) -> list[dict[str, Any]]:
    return [event for event in queuectl.json("history", job_id) if event["type"] == "retry_scheduled"]


def test_jitter_is_recorded_when_on_and_off_by_default(queuectl: Queuectl) -> None:
    plain = queuectl.add("--max-retries", "1", "--backoff-base", "0.1", "false")
    spread = queuectl.add("--max-retries", "1", "--backoff-base", "0.1", "false", env={"QUEUECTL_JITTER": "on"})
    queuectl.drain("-c", "2")
    assert "jitter" not in _retries(queuectl, plain)[0]["data"]
    (event,) = _retries(queuectl, spread)
    assert event["data"]["wait"] == round(100_000 * event["data"]["jitter"])


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_max_retries_counts_attempts_after_the_first(queuectl: Queuectl, retries: int) -> None:
    job_id = queuectl.add("--max-retries", str(retries), "--backoff-base", "0", "echo x >> ran; false")
    queuectl.drain()
    assert len(lines(queuectl.folder / "ran")) == retries + 1
    job = queuectl.show(job_id)
    assert (job["state"], job["attempts"], job["exit_code"]) == ("dlq", retries + 1, 1)


def test_a_later_attempt_may_succeed(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--backoff-base", "0", "[ -e marker ] || { touch marker; exit 1; }")
    queuectl.drain()
    job = queuectl.show(job_id)
    assert (job["state"], job["attempts"], job["exit_code"], job["last_error"]) == ("done", 2, 0, None)
    assert queuectl.json("dlq", "list") == []


def test_list_has_the_columns_of_dlq(queuectl: Queuectl) -> None:
    _add_dead_jobs(queuectl, "a", "b")
    rows = queuectl.json("dlq", "list")
    assert [list(row)[:6] for row in rows] == [
        ["id", "command", "attempts", "last_error", "moved_at", "original_created_at"]
    ] * 2
    assert [row["id"] for row in rows] == ["a", "b"]
    assert rows[0]["last_error"] == "exited with code 3: a broke"
    table = queuectl.ok("dlq", "list")
    assert "a broke" in table
    assert "LAST ERROR" in table


def test_show_is_for_dead_letters_only(queuectl: Queuectl) -> None:
    _add_dead_jobs(queuectl, "dead")
    queuectl.add("--id", "live", "true")
    assert queuectl.json("dlq", "show", "dead")["stderr"] == "dead broke\n"
    assert "dead broke" in queuectl.ok("dlq", "show", "de")
    assert_error(queuectl("dlq", "show", "live"), 4, "live", "pending")
    assert_error(queuectl("dlq", "show", "none"), 3, "none")


def test_retry_of_several_jobs_is_all_or_none(queuectl: Queuectl) -> None:
    _add_dead_jobs(queuectl, "a", "b")
    queuectl.add("--id", "live", "true")
    before = queuectl.position()
    assert_error(queuectl("dlq", "retry", "a", "live"), 4, "live")
    assert_error(queuectl("dlq", "retry", "a", "none"), 3, "none")
    assert queuectl.position() == before
    done = queuectl("dlq", "retry", "a", "--reason", "the disk is repaired")
    assert (done.code, done.out) == (0, "")
    job = queuectl.show("a")
    assert (job["state"], job["attempts"], job["run"]) == ("pending", 0, 1)
    assert [row["id"] for row in queuectl.json("dlq", "list")] == ["b"]
    assert "the disk is repaired" in queuectl.ok("history", "a")


def test_retry_of_all_requeues_every_dead_job(queuectl: Queuectl) -> None:
    _add_dead_jobs(queuectl, "a", "b", "c")
    assert queuectl("dlq", "retry", "--all").code == 0
    assert queuectl.json("dlq", "list") == []
    assert queuectl.json("status")["states"]["pending"] == 3
    queuectl.drain()
    assert len(queuectl.json("dlq", "list")) == 3


def test_retry_of_all_names_jobs_that_it_cannot_retry(queuectl: Queuectl) -> None:
    for job_id in ("a", "b", "c"):
        queuectl.add("--id", job_id, "--max-retries", "0", *(["--unique", "k"] if job_id < "c" else []), "false")
        queuectl.drain()
    before = queuectl.position()
    assert_error(queuectl("dlq", "retry", "a", "b"), 4, "b", "unique key", "a")
    assert queuectl.position() == before
    done = queuectl("dlq", "retry", "--all")
    assert (done.code, done.out) == (4, "")
    assert done.err.splitlines() == [
        "2 jobs pending again",
        "left: job b: its unique key is held by the live job a",
        "queuectl: 1 job could not be retried",
    ]
    assert [queuectl.state(job_id) for job_id in "abc"] == ["pending", "dlq", "pending"]


@pytest.mark.parametrize("answer", ["n", "y"])
def test_retry_of_all_asks_on_a_terminal(queuectl: Queuectl, answer: str) -> None:
    _add_dead_jobs(queuectl, "a", "b")
    before = queuectl.position()
    with PseudoTerminal([PROGRAM, "dlq", "retry", "--all"], queuectl.folder, queuectl.env) as terminal:
        terminal.until("retry 2 jobs (state dlq)? [y/N]")
        terminal.type(f"{answer}\n")
        assert terminal.ended() == (0 if answer == "y" else 1)
    assert (queuectl.position() == before) is (answer == "n")


def test_retry_of_all_takes_the_options_of_filters(queuectl: Queuectl) -> None:
    _add_dead_jobs(queuectl, "a", "b")
    done = queuectl("dlq", "retry", "--all", "--dry-run")
    assert (done.out.split(), queuectl.state("a")) == (["a", "b"], "dlq")
    queuectl.ok("dlq", "retry", "--all", "--limit", "1", "--set", "timeout=7s")
    assert (queuectl.show("a")["timeout"], queuectl.state("b")) == (7, "dlq")
    queuectl.ok("dlq", "retry", "b", "--set", "queue=slow")
    assert queuectl.show("b")["queue"] == "slow"
    assert_error(queuectl("dlq", "retry", "b", "--limit", "1"), 2, "not for ids")


@pytest.mark.parametrize("verb", ["retry", "purge"])
def test_a_bulk_move_needs_all(queuectl: Queuectl, verb: str) -> None:
    _add_dead_jobs(queuectl, "a")
    before = queuectl.position()
    assert_error(queuectl("dlq", verb), 2, "--all")
    assert_error(queuectl("dlq", verb, "a", "--all"), 2, "--all")
    assert queuectl.position() == before


@pytest.mark.parametrize("which", ["a", "--all"])
def test_purge_asks_or_refuses_without_a_terminal(queuectl: Queuectl, which: str) -> None:
    _add_dead_jobs(queuectl, "a", "b")
    before = queuectl.position()
    assert_error(queuectl("dlq", "purge", which), 2, "--yes")
    assert queuectl.position() == before
    assert queuectl("dlq", "purge", which, "--yes").code == 0
    assert [row["id"] for row in queuectl.json("dlq", "list")] == ([] if which == "--all" else ["b"])
    assert queuectl.types("a")[-1] == "purged"


def test_an_empty_dlq_is_reported(queuectl: Queuectl) -> None:
    queuectl.add("true")
    assert queuectl("dlq", "list").err == "no dead jobs\n"
    for arguments in ((), ("--yes",)):
        done = queuectl("dlq", "purge", "--all", *arguments)
        assert (done.code, done.out, done.err) == (0, "", "no dead jobs\n")
