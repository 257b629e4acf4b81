"""`enqueue`: one job from flags, JSON or arguments; its output and the stored job."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import PROGRAM, UNSERVED, Queuectl, assert_error

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

ALL_FIELDS: dict[str, Any] = {
    "id": "all.fields-1",
    "command": "true",
    "queue": "mail",
    "priority": -7,
    "max_retries": 9,
    "backoff_base": 1.5,
    "delay": "1h30m",
    "timeout": 90,
    "cwd": "/usr",
    "env": {"A": "1", "B": "x=y"},
    "secret_env": ["TOKEN"],
    "tags": {"team": "red", "kind": "a b"},
    "unique": "the key",
}


def test_it_prints_the_id_and_nothing_else(queuectl: Queuectl) -> None:
    first, done = queuectl("enqueue", "true"), queuectl("enqueue", "echo hello")
    assert (first.code, first.err) == (0, f"made a new queue at {queuectl.db}\n{UNSERVED}")
    assert (done.code, done.err) == (0, UNSERVED)
    assert UUID7.fullmatch(done.out.removesuffix("\n"))
    job = queuectl.show(done.out.strip())
    assert (job["command"], job["state"], job["queue"], job["priority"]) == ("echo hello", "pending", "default", 0)
    assert (job["attempts"], job["max_retries"], job["backoff_base"], job["timeout"]) == (0, 3, 2.0, None)
    assert job["cwd"] == str(queuectl.folder)


def test_ids_sort_by_the_time_of_enqueueing(queuectl: Queuectl) -> None:
    ids = [queuectl.add("true") for _ in range(3)]
    assert ids == sorted(ids)


def test_every_flag_is_stored(queuectl: Queuectl) -> None:
    flags = "--id a.b-c_1 --queue mail --priority 5 --max-retries 0 --backoff-base 1.5 --delay 1h30m --timeout 5m"
    flags += " --cwd sub --env A=1 --env B=x=y --secret-env TOKEN --tag team=red --tag kind= --unique key"
    assert queuectl.add(*flags.split(), "echo hi") == "a.b-c_1"
    job = queuectl.show("a.b-c_1")
    assert (job["queue"], job["priority"], job["max_retries"], job["backoff_base"]) == ("mail", 5, 0, 1.5)
    assert (job["timeout"], job["cwd"]) == (300.0, str(queuectl.folder / "sub"))
    assert (job["env"], job["secret_env"]) == ({"A": "1", "B": "x=y"}, ["TOKEN"])
    assert (job["tags"], job["unique_key"]) == ({"team": "red", "kind": ""}, "key")
    (event,) = queuectl.json("history", "a.b-c_1")
    assert event["data"]["delay"] == 5_400_000_000


def test_at_sets_the_due_time(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--at", "2090-01-02T03:04:05+01:00", "true")
    assert queuectl.show(job_id)["next_run_at"] == "2090-01-02T02:04:05Z"


def test_a_folder_that_is_not_there_is_hinted_at(queuectl: Queuectl) -> None:
    hint = f"queuectl: {queuectl.folder}/none is not a folder on this machine"
    lines = '{"command": "true", "cwd": "none"}\n' * 3
    for done in (
        queuectl("enqueue", "--id", "a", "--cwd", "none", "true"),
        queuectl("enqueue", "--file", "-", stdin=lines),
        queuectl("edit", "a", "--cwd", "none", "--priority", "1"),
        queuectl("schedule", "add", "s", "--every", "1d", "--cwd", "none", "true"),
    ):
        assert done.code == 0
        assert done.err.count(hint) == 1, done
    assert "not a folder" not in queuectl("enqueue", "--cwd", "/", "true").err


def test_a_relative_time_repeated_is_the_same_job(queuectl: Queuectl) -> None:
    assert [queuectl.add("--id", "same", "--at", "+1h", "true") for _ in range(2)] == ["same", "same"]
    (promised,) = queuectl.events("enqueued")
    assert (promised["delay"], promised.get("at")) == (3600 * 1_000_000, None)


@pytest.mark.parametrize("job", [("--at", "00:00", "true"), ('{"command": "true", "at": "00:00"}',)])
def test_a_clock_time_that_has_passed_means_tomorrow(queuectl: Queuectl, job: tuple[str, ...]) -> None:
    before = datetime.now(UTC)
    due = datetime.fromisoformat(queuectl.show(queuectl.add(*job))["due_at"])
    assert before <= due <= before + timedelta(days=2)


def test_delay_and_at_exclude_each_other(queuectl: Queuectl) -> None:
    assert_error(queuectl("enqueue", "--delay", "1s", "--at", "2090-01-01", "true"), 2, "delay", "at")


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("blanks", ["", "  ", "\n\t"])
def test_a_job_in_json_has_the_same_fields(queuectl: Queuectl, blanks: str) -> None:
    text = blanks + json.dumps(ALL_FIELDS, indent=1 if blanks else None)
    assert queuectl.add(text) == "all.fields-1"
    job = queuectl.show("all.fields-1")
    kept = {name: job[name] for name in ALL_FIELDS if name not in ("delay", "timeout", "unique")}
    assert kept == {name: ALL_FIELDS[name] for name in kept}
    assert (job["timeout"], job["unique_key"]) == (90.0, "the key")


def test_flags_are_the_defaults_of_a_job_in_json(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--queue", "q", "--priority", "3", "--tag", "a=1", '{"command": "true", "priority": 4}')
    job = queuectl.show(job_id)
    assert (job["queue"], job["priority"], job["tags"]) == ("q", 4, {"a": "1"})


def test_json_takes_an_argv_and_a_time(queuectl: Queuectl) -> None:
    job_id = queuectl.add('{"argv": ["printf", "%s", "a b"], "at": "2090-01-01T00:00:00Z"}')
    job = queuectl.show(job_id)
    assert (job["argv"], job["next_run_at"]) == (["printf", "%s", "a b"], "2090-01-01T00:00:00Z")


def test_a_brace_group_is_a_shell_command(queuectl: Queuectl) -> None:
    job_id = queuectl.add("{ echo grouped; }")
    queuectl.drain()
    assert queuectl.show(job_id)["stdout"] == "grouped\n"


WRONG_TYPES: dict[str, Any] = {
    "id": 1,
    "command": ["true"],
    "queue": 1,
    "priority": "high",
    "max_retries": 1.5,
    "backoff_base": "two",
    "delay": [],
    "at": 5,
    "timeout": {},
    "cwd": 1,
    "env": {"A": 1},
    "secret_env": "TOKEN",
    "tags": ["a"],
    "unique": True,
}


def test_a_wrongly_typed_field_is_named(queuectl: Queuectl) -> None:
    queuectl.add("true")
    before = queuectl.position()
    for field, value in WRONG_TYPES.items():
        assert_error(queuectl("enqueue", json.dumps({"command": "true", field: value})), 2, f"JSON: {field}")
    assert queuectl.position() == before


WRONG_JSON = [
    ('{"command": "true", "prioriti": 1}', "prioriti"),
    ('{"queue": "q"}', "command"),
    ("{}", "command"),
    ('{"command": "true", "argv": ["false"]}', "argv"),
    ('{"argv": []}', "argv"),
    ('{"argv": ["true", 1]}', "argv"),
    ('{"command": ""}', "command"),
    ('{"command": "tr\\u0000ue"}', "NUL"),
    ('{"command": "echo \\ud800"}', "JSON"),
    ('{"command": "true"', "JSON"),
    ('{"command": "true"} {"command": "true"}', "JSON"),
    ('{"command": "true", "priority": 1e30}', "priority"),
    ('{"command": "true", "max_retries": -1}', "max_retries"),
    ('{"command": "true", "delay": "10000y"}', "delay"),
    ('{"command": "true", "delay": -5}', "delay"),
    ('{"command": "true", "timeout": "soon"}', "timeout"),
    ('{"command": "true", "at": "some day"}', "at"),
    ('{"command": "true", "env": {"A B": "1"}}', "env"),
    ('{"command": "true", "env": {"A": "\\u0000"}}', "env"),
    ('{"command": "true", "tags": {"": "1"}}', "tags"),
    ('{"command": "true", "delay": 1, "at": "2090-01-01"}', "at"),
    ('{"command": "true", "x": ' + "[" * 5000 + "]" * 5000 + "}", "x"),
]


def test_a_mistake_in_json_is_named(queuectl: Queuectl) -> None:
    queuectl.add("true")
    before = queuectl.position()
    for text, word in WRONG_JSON:
        assert_error(queuectl("enqueue", text), 2, word)
    assert queuectl.position() == before


# ── arguments ───────────────────────────────────────────────────────────────────────────────────────────


def test_after_two_dashes_a_program_runs_without_a_shell(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--tag", "a=1", "--", "printf", "[%s]", "a  b", "$HOME", "*", "--", "-n", "")
    queuectl.drain()
    job = queuectl.show(job_id)
    assert job["stdout"] == "[a  b][$HOME][*][--][-n][]"
    assert (job["argv"][0], job["tags"]) == ("printf", {"a": "1"})


def test_a_single_text_is_a_shell_command(queuectl: Queuectl) -> None:
    job_id = queuectl.add("X=1; echo $((X + 1)) | tr 2 3")
    queuectl.drain()
    assert queuectl.show(job_id)["stdout"] == "3\n"


def test_a_file_and_a_command_exclude_each_other(queuectl: Queuectl) -> None:
    assert_error(queuectl("enqueue", "--file", "-", "true"), 2, "--file")


# ── ids and keys ────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_id_with_the_same_job_is_the_same_job(queuectl: Queuectl) -> None:
    assert queuectl.add("--id", "a", "--tag", "x=1", "echo one") == "a"
    before = queuectl.position()
    assert queuectl("enqueue", "--id", "a", "--tag", "x=1", "echo one") == (0, "a\n", "")
    assert queuectl.position() == before


@pytest.mark.parametrize("after", ["", "done", "purged"])
def test_an_id_is_never_given_to_another_job(queuectl: Queuectl, after: str) -> None:
    queuectl.add("--id", "a", "echo one")
    if after:
        queuectl.drain()
    if after == "purged":
        queuectl.ok("purge", "a")
    before = queuectl.position()
    assert_error(queuectl("enqueue", "--id", "a", "echo two"), 4, "a")
    assert queuectl.position() == before
    assert queuectl.ok("enqueue", "--id", "a", "echo one") == "a"
    assert queuectl.position() == before


def test_an_invalid_id_is_refused(queuectl: Queuectl) -> None:
    for job_id in ("", "a b", "-a", ".a", "$settings", "a/b", "ä", "a" * 129):
        assert_error(queuectl("enqueue", f"--id={job_id}", "true"), 2, "id")
    assert queuectl.position() == 0


def test_a_taken_unique_key_prints_the_holders_id(queuectl: Queuectl) -> None:
    holder = queuectl.add("--unique", "k", "echo one")
    before = queuectl.position()
    done = queuectl("enqueue", "--unique", "k", "--queue", "other", "echo two")
    assert (done.code, done.out) == (0, holder + "\n")
    assert queuectl.position() == before
    queuectl.drain()
    assert queuectl.add("--unique", "k", "echo two") != holder


def test_requeueing_against_a_holder_is_refused(queuectl: Queuectl) -> None:
    first = queuectl.add("--unique", "k", "true")
    queuectl.drain()
    holder = queuectl.add("--unique", "k", "true")
    assert_error(queuectl("retry", first), 4, first, holder)


def test_a_job_can_enqueue_another(queuectl: Queuectl) -> None:
    queuectl.add("queuectl enqueue --id inner 'echo inner'", env={"PATH": _path_with_queuectl(queuectl)})
    queuectl.drain(env={"PATH": _path_with_queuectl(queuectl)})
    assert queuectl.show("inner")["stdout"] == "inner\n"


def _path_with_queuectl(queuectl: Queuectl) -> str:
    return f"{Path(PROGRAM).parent}:{queuectl.env['PATH']}"
