"""`enqueue --file`: one job a line, all or none, and the number of the line that is wrong."""

from pathlib import Path

import pytest

from tests.support.command_line import Queuectl, assert_error

MIXED = """echo one

{"id": "second", "command": "echo two", "queue": "own"}
  echo three\t
{ echo four; }
{"argv": ["printf", "five"]}"""


def test_every_line_is_a_job_and_flags_are_its_defaults(queuectl: Queuectl) -> None:
    file = queuectl.folder / "jobs"
    file.write_text(MIXED)
    ids = queuectl.ok("enqueue", "--file", "jobs", "--queue", "q", "--priority", "2").splitlines()
    assert (len(ids), ids[1]) == (5, "second")
    jobs = [queuectl.show(job_id) for job_id in ids]
    assert [job["queue"] for job in jobs] == ["q", "own", "q", "q", "q"]
    assert [job["priority"] for job in jobs] == [2] * 5
    queuectl.drain()
    assert [queuectl.show(job_id)["stdout"] for job_id in ids] == ["one\n", "two\n", "three\n", "four\n", "five"]


def test_a_dash_is_stdin(queuectl: Queuectl) -> None:
    ids = queuectl.ok("enqueue", "--file", "-", stdin="".join(f"echo {i}\n" for i in range(200))).splitlines()
    assert len(set(ids)) == 200
    rows = queuectl.json("list", "--limit", "0", "--sort", "created")
    assert [row["id"] for row in rows] == ids
    assert [row["command"] for row in rows] == [f"echo {i}" for i in range(200)]


@pytest.mark.parametrize("line", ["echo one", '{"command": "echo one"}'])
def test_a_byte_order_mark_is_skipped(queuectl: Queuectl, line: str) -> None:
    job_id = queuectl.ok("enqueue", "--file", "-", stdin=f"\ufeff{line}\n")
    assert queuectl.show(job_id)["command"] == "echo one"


WRONG_LINES = [
    (b'{"command": "true", "prioriti": 1}', 2, "prioriti"),
    (b'{"queue": "q"}', 2, "command"),
    (b'{"command": "true", "priority": "high"}', 2, "priority"),
    (b'{"command": ', 2, "JSON"),
    (b"tr\0ue", 2, "NUL"),
    (b"echo \xff", 2, "UTF-8"),
    (b'{"command": "true", "delay": "10000y"}', 2, "delay"),
    (b": " + b"x" * (1 << 17), 2, "argument"),
    (b'{"command": "true", "tags": {"big": "' + b"x" * (1 << 21) + b'"}}', 2, "JSON"),
    (b'{"id": "taken", "command": "false"}', 4, "taken"),
    (b'{"id": "fresh", "command": "false"}', 4, "fresh"),
]


def test_one_bad_line_means_nothing_is_written(queuectl: Queuectl) -> None:
    queuectl.add("--id", "taken", "true")
    before = queuectl.position()
    for line, code, word in WRONG_LINES:
        text = b'true\n{"id": "fresh", "command": "true"}\n\n' + line + b"\ntrue\n"
        assert_error(queuectl("enqueue", "--file", "-", stdin=text), code, "line 4", word)
    assert queuectl.position() == before


def test_a_job_larger_than_the_log_allows_is_refused(queuectl: Queuectl) -> None:
    tag = "\\u0001" * 60_000
    text = "".join(f'{{"command": "true", "tags": {{"{name}": "{tag}"}}}}\n' for name in "ab")
    assert len(queuectl.ok("enqueue", "--file", "-", stdin=text).splitlines()) == 2
    tags = [each for i in range(40) for each in ("--tag", f"t{i}=" + "\x01" * 20_000)]
    assert_error(queuectl("enqueue", *tags, "true"), 2, "4194304 bytes")
    assert_error(queuectl("enqueue", "--file", "-", stdin=b"x" * (3 << 20)), 2, "line 1", "1048576 bytes")


def test_a_key_that_two_lines_share_is_one_job(queuectl: Queuectl) -> None:
    text = '{"command": "echo 1", "unique": "k"}\n{"command": "echo 2", "unique": "k"}\n'
    first, second = queuectl.ok("enqueue", "--file", "-", stdin=text).splitlines()
    assert first == second
    assert len(queuectl.json("list")) == 1


def test_a_batch_with_ids_can_be_repeated(queuectl: Queuectl) -> None:
    text = "".join(f'{{"id": "job-{i}", "command": "true"}}\n' for i in range(10))
    ids = queuectl.ok("enqueue", "--file", "-", stdin=text)
    before = queuectl.position()
    assert queuectl.ok("enqueue", "--file", "-", stdin=text) == ids
    assert queuectl.position() == before


@pytest.mark.parametrize("place", ["missing", "."])
def test_a_file_that_cannot_be_read_is_named(queuectl: Queuectl, place: str) -> None:
    assert_error(queuectl("enqueue", "--file", place), 2, f"cannot read {place}")


def test_an_id_for_a_whole_file_is_refused(queuectl: Queuectl) -> None:
    assert_error(queuectl("enqueue", "--file", "-", "--id", "a", stdin="true\n"), 2, "--id")


def test_the_systems_longest_command_is_accepted(queuectl: Queuectl) -> None:
    text = "true #" + "x" * (131_071 - 6)
    (job_id,) = queuectl.ok("enqueue", "--file", "-", stdin=text + "\n").splitlines()
    queuectl.drain()
    assert queuectl.state(job_id) == "done"
    before = queuectl.position()
    assert_error(queuectl("enqueue", "--file", "-", stdin=text + "x\n"), 2, "line 1")
    assert queuectl.position() == before


def test_cwd_is_where_it_was_enqueued(queuectl: Queuectl, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (job_id,) = queuectl.ok(
        "--db", str(queuectl.db), "enqueue", "--file", "-", stdin="pwd\n", cwd=tmp_path / "sub"
    ).splitlines()
    queuectl.drain()
    assert queuectl.show(job_id)["stdout"] == f"{tmp_path / 'sub'}\n"


def test_a_finished_job_of_the_file_does_not_hold_its_key(queuectl: Queuectl) -> None:
    first, second = {"id": "a", "command": "true", "unique": "k"}, {"id": "b", "command": "echo b", "unique": "k"}
    queuectl.add_all(first)
    queuectl.drain()
    assert queuectl.add_all(first, second) == ["a", "b"]
    assert queuectl.state("b") == "pending"
