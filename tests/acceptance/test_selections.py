"""The filters that `list`, `cancel`, `retry`, `purge` and `wait` share, and ids from stdin."""

import pytest

from tests.support.command_line import Queuectl, assert_error


@pytest.fixture
def dead(queuectl: Queuectl) -> Queuectl:
    """Two dead jobs in queue ci, one done job in queue default, and one that waits there."""
    queuectl.add_all(
        {"id": "a", "command": "false", "queue": "ci", "max_retries": 0, "tags": {"team": "red"}},
        {"id": "b", "command": "false", "queue": "ci", "max_retries": 0},
        {"id": "c", "command": "true"},
        {"id": "d", "command": "true", "delay": "1h"},
    )
    for _ in range(3):
        queuectl.ok("run", "--once")
    return queuectl


def test_retry_takes_filters_and_means_dead_jobs_by_them(dead: Queuectl) -> None:
    done = dead("retry", "--queue", "ci", "--tag", "team=red", "--yes")
    assert (done.code, done.err) == (0, "1 job pending again\n")
    assert (dead.state("a"), dead.state("b"), dead.state("c")) == ("pending", "dlq", "done")
    assert dead("retry", "--queue", "default", "--yes").err == "nothing to retry\n"
    dead.ok("retry", "--state", "done", "--since", "an hour ago", "--yes")
    assert dead.state("c") == "pending"
    dead.ok("retry", "--state", "failed", "--yes")
    assert dead.state("b") == "pending"


def test_purge_takes_the_same_filters(dead: Queuectl) -> None:
    dead.ok("purge", "--queue", "ci", "--tag", "team=red", "--yes")
    assert [row["id"] for row in dead.json("list")] == ["d", "c", "b"]
    dead.ok("purge", "--since", "-1h", "--yes")
    assert [row["id"] for row in dead.json("list")] == ["d"]


@pytest.mark.parametrize(("command", "last"), [("cancel", "since"), ("retry", "sig"), ("purge", "older-than")])
def test_a_move_without_jobs_names_its_filters(dead: Queuectl, command: str, last: str) -> None:
    assert_error(dead(command), 2, "select them with --state, --queue, --tag, --batch", f" or --{last}")


@pytest.mark.parametrize("command", ["cancel", "retry", "purge"])
def test_a_move_of_many_says_its_scope_and_asks(dead: Queuectl, command: str) -> None:
    before = dead.position()
    queue = "default" if command == "cancel" else "ci"
    assert_error(dead(command, "--queue", queue), 2, f"{command} ", f"queue {queue}", "add --yes")
    assert_error(dead(command), 2, "name the jobs by id, or select them with --state")
    assert_error(dead(command, "a", "--queue", "ci"), 2, "name the jobs by id, or select them with --state")
    assert_error(dead(command, "--state", "no-state"), 2, "state no-state")
    assert_error(dead(command, "--tag", "team"), 2, "--tag team")
    assert_error(dead(command, "--since", "once"), 2, "--since", "once")
    assert dead.position() == before


def test_several_states_in_one_word_are_answered_with_the_way(dead: Queuectl) -> None:
    for command in (("list",), ("purge", "--yes"), ("cancel", "--queue", "default")):
        assert_error(dead(*command, "--state", "done,cancelled"), 2, "(give --state once for each state)")


def test_wait_takes_a_state_and_a_time(dead: Queuectl) -> None:
    assert dead("wait", "--state", "processing") == (0, "", "no jobs to wait for\n")
    assert dead("wait", "--since", "tomorrow") == (0, "", "no jobs to wait for\n")
    assert dead("wait", "--state", "pending", "--since", "-1h", "--timeout", "0.1s").code == 124
    assert_error(dead("wait", "--state", "done"), 2, "--state done is not possible here: jobs that have not ended are")


def test_wait_takes_a_queue_a_tag_or_all(dead: Queuectl) -> None:
    assert dead("wait", "--queue", "ci") == (0, "", "no jobs to wait for\n")
    for flags in (("--all",), ("--queue", "default"), ("--queue", "ci", "--all"), ("d", "--all"), ()):
        done = dead("wait", *flags, "--timeout", "0.1s")
        assert done.code == (124 if len(flags) in (1, 2) and "d" not in flags else 2), flags
    dead.ok("cancel", "d")
    assert dead("wait", "--all").code == 0


def test_ids_may_come_from_stdin(dead: Queuectl) -> None:
    names = dead.ok("list", "--state", "dlq", "-o", "name")
    assert dead("wait", "-", stdin=names).code == 1
    dead.ok("retry", "-", stdin=names)
    assert (dead.state("a"), dead.state("b")) == ("pending", "pending")
    before = dead.position()
    assert_error(dead("cancel", "-", stdin="a nothing"), 3, "no such job: nothing")
    assert_error(dead("cancel", "-", stdin=" \n"), 2, "stdin has no ids")
    assert_error(dead("cancel", "-", stdin=b"\xff\n"), 2, "UTF-8")
    assert dead.position() == before
