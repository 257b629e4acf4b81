"""Job lists in formats that people use: each is read as intended, or refused with the number of its line."""

import json
from typing import Any

import pytest

from tests.support.command_line import PROGRAM, Queuectl, assert_error
from tests.support.job_lists import BROKEN, COMMANDS, LISTS, Refused


def _hints(err: str) -> list[str]:
    """The lines on stderr, except the one that names a new queue and the one that names a missing worker."""
    return [line for line in err.splitlines() if not line.startswith(("made a new queue", "no worker serves"))]


@pytest.mark.parametrize("name", LISTS)
def test_a_job_list_is_read_as_intended(queuectl: Queuectl, name: str) -> None:
    text, meant = LISTS[name]
    done = queuectl("enqueue", "--file", "-", stdin=text)
    if isinstance(meant, Refused):
        assert_error(done, 2, f"line {meant.line}", *meant.words)
        assert queuectl.position() == 0
    else:
        assert (done.code, _hints(done.err)) == (0, [])
        rows = queuectl.json("list", "--limit", "0", "--sort", "created")
        assert sorted(row["command"] for row in rows) == sorted(meant)


def test_a_line_that_only_affects_its_shell_is_named(queuectl: Queuectl) -> None:
    done = queuectl("enqueue", "--file", "-", stdin="cd /srv/app\nmake all\ncd /tmp && pwd\n")
    assert done.code == 0
    said = "queuectl: line 1: cd /srv/app has no effect on other lines: each job has its own shell"
    assert _hints(done.err) == [said]


def test_the_incomplete_line_is_found_among_many(queuectl: Queuectl) -> None:
    lines = [f'echo "$(date)" {i}; true' for i in range(3000)]
    lines[1999] = "while true; do echo"
    assert_error(queuectl("enqueue", "--file", "-", stdin="\n".join(lines)), 2, "line 2000", "sh")
    lines[1999], lines[2500] = "echo ( ", "cat <<'`'"
    assert_error(queuectl("enqueue", "--file", "-", stdin="\n".join(lines)), 2, "line 2000")


# ── jobs that were printed ──────────────────────────────────────────────────────────────────────────────


def test_a_printed_list_can_be_enqueued_again_unchanged(queuectl: Queuectl) -> None:
    ids = {queuectl.add("--tag", "a=1", "--unique", f"k{i}", f"echo {i}") for i in range(3)}
    queuectl.drain()
    before = queuectl.position()
    for command in (("list",), *(("show", job_id) for job_id in ids)):
        done = queuectl("enqueue", "--file", "-", stdin=queuectl.ok(*command, "--json"))
        assert (done.code, set(done.out.split()) <= ids) == (0, True)
        assert len(done.err.splitlines()) == 1
    assert queuectl.position() == before


def test_the_list_of_one_queue_can_be_added_to_another(queuectl: Queuectl) -> None:
    first = queuectl.add("--max-retries", "0", "--backoff-base", "1.5", "exit 3")
    second = queuectl.add("--env", "A=1", "--timeout", "5m", "--", "printf", "%s", "a b")
    queuectl.drain()
    text = json.dumps([queuectl.show(first), queuectl.show(second)], indent=1)
    done = queuectl("--db", "other.db", "enqueue", "--file", "-", stdin=text)
    assert (done.code, done.out.split()) == (0, [first, second])
    here, there = queuectl.show(second), queuectl.json("--db", "other.db", "show", second)
    promised = ("command", "argv", "env", "cwd", "timeout", "max_retries", "backoff_base", "backoff_cap", "jitter")
    assert [there[name] for name in promised] == [here[name] for name in promised]
    assert (there["state"], there["attempts"]) == ("pending", 0)


def test_a_printed_job_that_differs_is_reported(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "--env", "A=1", "true")
    text = queuectl.ok("list", "--json")
    before = queuectl.position()
    done = queuectl("enqueue", "--file", "-", stdin=text)
    assert (done.code, done.out) == (4, "")
    assert "the id a is taken" in done.err
    assert queuectl.position() == before


WELL_KNOWN: dict[str, Any] = {
    "id": "unique-job-id",
    "command": "echo 'Hello World'",
    "state": "pending",
    "attempts": 0,
    "max_retries": 2,
    "created_at": "2025-11-04T10:30:00Z",
    "updated_at": "2025-11-04T10:30:00Z",
}


def test_a_job_with_only_seven_fields_is_accepted(queuectl: Queuectl) -> None:
    done = queuectl("enqueue", json.dumps(WELL_KNOWN))
    assert (done.code, done.out) == (0, "unique-job-id\n")
    said = "queuectl: ignored, because only queuectl sets it: state, attempts, created_at, updated_at"
    assert _hints(done.err) == [said]
    assert (queuectl.show("unique-job-id")["max_retries"], queuectl.state("unique-job-id")) == (2, "pending")


def test_run_at_is_another_name_for_at(queuectl: Queuectl) -> None:
    job_id = queuectl.add('{"command": "true", "run_at": "2090-01-01T00:00:00Z", "state": "pending"}')
    assert queuectl.show(job_id)["next_run_at"] == "2090-01-01T00:00:00Z"
    assert_error(queuectl("enqueue", '{"command": "true", "at": "03:00", "run_at": "03:00"}'), 2, "run_at", "at")


def test_an_ignored_field_does_not_hide_a_wrong_one(queuectl: Queuectl) -> None:
    assert_error(queuectl("enqueue", '{"command": "true", "state": "done", "prioriti": 1}'), 2, "prioriti")
    assert_error(queuectl("enqueue", '{"command": "true", "state": 1, "priority": "x"}'), 2, "priority: ")
    assert_error(queuectl("enqueue", '{"command": "true", "state": "a", "state": "b"}'), 2, "state", "twice")


# ── broken JSON ─────────────────────────────────────────────────────────────────────────────────────────


def test_broken_json_is_not_taken_for_a_command(queuectl: Queuectl) -> None:
    for text in BROKEN:
        assert_error(queuectl("enqueue", text), 2, "not a", "JSON", "quotes")
    assert queuectl.position() == 0


def test_an_array_or_a_file_name_is_not_a_command(queuectl: Queuectl) -> None:
    for text in ("[]", '[{"command": "true"}]', '["true"]', "@job.json", "@"):
        assert_error(queuectl("enqueue", text), 2, "--file")
    assert queuectl.position() == 0


@pytest.mark.parametrize("text", COMMANDS)
def test_groups_and_tests_of_the_shell_are_commands(queuectl: Queuectl, text: str) -> None:
    assert queuectl.show(queuectl.add(text))["command"] == text


# ── stdout that cannot be written to ────────────────────────────────────────────────────────────────────


def test_an_id_that_cannot_be_printed_is_in_the_error(queuectl: Queuectl) -> None:
    full = queuectl.start_program("sh", "-c", 'exec "$@" > /dev/full', "sh", PROGRAM, "enqueue", "--id", "a", "true")
    ended = full.ended()
    assert (ended.code, ended.out) == (1, "")
    assert _hints(ended.err) == ["queuectl: added job a, but cannot write to stdout: No space left on device"]
    assert queuectl.state("a") == "pending"


@pytest.mark.parametrize(
    "command",
    [
        ("copy", "a"),
        ("schedule", "run", "s"),
        ("schedule", "backfill", "s", "--from", "2020-01-01 00:00", "--to", "2020-01-01 00:30", "--yes"),
    ],
)
def test_each_command_that_adds_a_job_names_it(queuectl: Queuectl, command: tuple[str, ...]) -> None:
    queuectl.add("--id", "a", "true")
    queuectl.ok("schedule", "add", "s", "0 * * * *", "true")
    full = queuectl.start_program("sh", "-c", 'exec "$@" > /dev/full', "sh", PROGRAM, *command)
    ended = full.ended()
    (added,) = {row["id"] for row in queuectl.json("list")} - {"a"}
    assert (ended.code, _hints(ended.err)) == (
        1,
        [f"queuectl: added job {added}, but cannot write to stdout: No space left on device"],
    )


def test_new_schedules_and_workers_are_named_too(queuectl: Queuectl) -> None:
    for command, made in (
        (("schedule", "add", "s", "@daily", "true"), "added schedule s"),
        (("worker", "start", "--detach", "--name", "w"), "started 1 worker w"),
    ):
        ended = queuectl.start_program("sh", "-c", 'exec "$@" > /dev/full', "sh", PROGRAM, *command).ended()
        assert (ended.code, _hints(ended.err)) == (
            1,
            [f"queuectl: {made}, but cannot write to stdout: No space left on device"],
        )
    queuectl.ok("worker", "stop", "w")


@pytest.mark.parametrize(("count", "named"), [(2, "2 jobs (j0, j1)"), (11, "11 jobs (j0 to j10)")])
def test_ids_of_a_file_that_cannot_be_printed_are_named(queuectl: Queuectl, count: int, named: str) -> None:
    text = "".join(f'{{"id": "j{number}", "command": "true"}}\n' for number in range(count))
    (queuectl.folder / "jobs").write_text(text)
    script = 'exec "$0" enqueue --file jobs > /dev/full'
    ended = queuectl.start_program("sh", "-c", script, PROGRAM).ended()
    assert (ended.code, _hints(ended.err)) == (
        1,
        [f"queuectl: added {named}, but cannot write to stdout: No space left on device"],
    )
    assert len(queuectl.json("list")) == count
