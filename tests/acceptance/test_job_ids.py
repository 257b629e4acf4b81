"""How jobs are named on the command line: whole ids, numbers, beginnings and ends of ids, and `last`."""

import pytest

from tests.support.command_line import Queuectl, assert_error

TAKES_AN_ID = ["show", "history", "logs", "wait", "cancel", "retry", "purge", "explain", "dlq show", "verify --job"]


@pytest.fixture
def three(queuectl: Queuectl) -> list[str]:
    """The ids of three jobs, whose numbers are 1, 2, 3: of the first two ids queuectl made, the last is `backup-7`."""
    return [queuectl.add("true"), queuectl.add("true"), queuectl.add("--id", "backup-7", "true")]


def test_a_number_and_the_end_of_an_id_name_a_job(queuectl: Queuectl, three: list[str]) -> None:
    first, second, third = three
    named = {"1": first, "#2": second, "3": third, first[-8:]: first, second[-4:]: second, "kup-7": third}
    assert {text: queuectl.show(text)["id"] for text in named} == named
    assert [queuectl.show(each)["number"] for each in three] == [1, 2, 3]
    assert {row["id"]: row["number"] for row in queuectl.json("list")} == dict(zip(three, (1, 2, 3), strict=True))


def test_every_command_that_takes_an_id_takes_a_number(queuectl: Queuectl, three: list[str]) -> None:
    for command in TAKES_AN_ID:
        assert_error(queuectl(*command.split(), "99"), 3, "no such job: 99")
        assert_error(queuectl(*command.split(), "#4"), 3, "no such job: #4")
        assert_error(queuectl(*command.split(), "no-such-end"), 3, "no such job: no-such-end")
    queuectl.ok("cancel", "1", "#2", three[2][-4:])
    assert {row["id"] for row in queuectl.json("list", "--state", "cancelled")} == set(three)


def test_the_number_of_another_event_is_no_job(queuectl: Queuectl, three: list[str]) -> None:
    queuectl.ok("cancel", "1")
    assert queuectl.position() == 4
    assert_error(queuectl("show", "4"), 3, "no such job: 4")
    for text in ("00", "#", "#01", "9" * 40, "-1", "１"):
        done = queuectl("show", "--", text)
        assert (done.code, done.out) == (3, ""), text


def test_a_purged_job_keeps_its_number(queuectl: Queuectl, three: list[str]) -> None:
    queuectl.ok("cancel", "2")
    queuectl.ok("purge", "2")
    assert queuectl.json("history", "2")[0]["stream_id"] == three[1]
    assert queuectl.json("history", three[1][-6:])[0]["stream_id"] == three[1]
    assert queuectl("show", "2").code == 3
    queuectl.ok("retry", "2")
    assert queuectl.show("2")["id"] == three[1]


def test_a_number_that_begins_another_id_is_ambiguous(queuectl: Queuectl, three: list[str]) -> None:
    queuectl.add("--id", "2-nightly", "true")
    before = queuectl.position()
    assert_error(queuectl("cancel", "2"), 2, three[1], "2-nightly")
    assert queuectl.position() == before
    assert queuectl.show("#2")["id"] == three[1]
    assert queuectl.show("2-")["id"] == "2-nightly"
    assert queuectl.add("--id", "2", "true") == "2"
    assert queuectl.show("2")["id"] == "2"


def test_a_beginning_comes_before_an_end_and_ends_are_unique(queuectl: Queuectl) -> None:
    queuectl.add_all(*({"id": name, "command": "true"} for name in ("data-load", "load-all", "preload")))
    assert queuectl.show("load")["id"] == "load-all"
    assert queuectl.json("show", "a-load")["id"] == "data-load"
    queuectl.add("--id", "x-load", "true")
    before = queuectl.position()
    assert_error(queuectl("cancel", "--", "-load"), 2, "ambiguous", "data-load", "x-load")
    assert_error(queuectl("cancel", "oad"), 3, "no such job: oad")
    assert queuectl.position() == before


def test_last_is_the_newest_job_of_the_user(queuectl: Queuectl, three: list[str]) -> None:
    assert queuectl.show("last")["id"] == three[2]
    newest = queuectl.add("--queue", "mail", "true")
    queuectl.ok("cancel", three[0])
    assert queuectl.show("last")["id"] == newest
    assert queuectl.json("explain", "last", "--as-of", "2")["id"] == three[1]
    queuectl.add("--id", "last", "--delay", "1h", "true")
    queuectl.add("true")
    assert queuectl.show("last")["id"] == "last"


def test_last_without_a_job_of_the_user_is_refused(queuectl: Queuectl) -> None:
    queuectl.ok("pause", "mail")
    assert_error(queuectl("show", "last"), 3, "no such job: last", "you have added none")


def test_an_ambiguous_name_of_a_batch_names_its_option(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", "--batch", "sweep", "--each", "echo {}", ":::", "1", "2")
    queuectl.add("--batch", "tests", "--id", "unit", "true")
    before = queuectl.position()
    assert_error(queuectl("cancel", "sweep"), 2, "ambiguous", "--batch sweep")
    assert_error(queuectl("show", "tests"), 3, "no such job", "--batch tests")
    assert_error(queuectl("enqueue", "--after", "sweep", "true"), 2, "write batch:sweep")
    assert_error(queuectl("enqueue", "--after", "tests", "true"), 2, "write batch:tests")
    assert queuectl.position() == before


def test_show_takes_several_jobs(queuectl: Queuectl, three: list[str]) -> None:
    assert [job["id"] for job in queuectl.json("show", "2", "1")] == [three[1], three[0]]
    assert queuectl.json("show", "2")["id"] == three[1]
    first, second = queuectl.ok("show", "1", "3").split("\n\n")
    assert three[0] in first
    assert three[2] in second
    assert len(queuectl.ok("show", "1", "3", "--as-shell").splitlines()) == 2
    assert_error(queuectl("show", "1", "none"), 3, "no such job: none")
