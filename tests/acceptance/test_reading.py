"""The reading commands: JSON shapes, tables, filters and shortened ids; stdout has nothing else."""

import json
import os
import pty
import re
import shlex
import subprocess
import termios
from datetime import datetime
from typing import Any

import pytest

from queuectl.application.listing import FIELDS
from tests.support.command_line import PROGRAM, Queuectl, assert_error, eventually

PUBLIC = """
    id command state attempts max_retries next_run_at locked_at locked_by stdout stderr last_error created_at
    updated_at version run queue priority timeout exit_code tags due_at
"""
"""The columns of `jobs` that are a public contract."""


COMMANDS = "enqueue run status list show history logs wait cancel retry purge dlq pause resume config"


@pytest.fixture
def varied(queuectl: Queuectl) -> Queuectl:
    """A queue with a job in every state; each job's id names its state."""
    queuectl.add_all(
        {"id": "done", "command": "true", "tags": {"team": "red", "kind": "x"}, "priority": 2},
        {"id": "dlq", "command": "false", "max_retries": 0, "tags": {"team": "blue"}},
        {"id": "failed", "command": "false", "max_retries": 1, "backoff_base": 900},
        {"id": "cancelled-job", "command": "true", "queue": "mail", "delay": "1h"},
        {"id": "pending", "command": "true", "queue": "mail", "delay": "1h", "tags": {"team": "red"}},
        {"id": "later", "command": "true", "queue": "mail", "delay": "2h", "priority": 1},
    )
    queuectl.ok("cancel", "cancelled-job")
    for _ in range(3):
        queuectl.ok("run", "--once")
    return queuectl


def _ids(queuectl: Queuectl, *flags: str) -> list[str]:
    return [row["id"] for row in queuectl.json("list", *flags)]


def test_a_job_has_the_columns_of_jobs(varied: Queuectl) -> None:
    rows = varied.json("list")
    assert isinstance(rows, list)
    for row in rows:
        assert list(row)[: len(PUBLIC.split())] == PUBLIC.split()
        shown = varied.show(row["id"])
        assert {name: shown[name] for name in row} == row
        for name in ("created_at", "updated_at", "next_run_at", "locked_at"):
            if row[name] is not None:
                assert row[name].endswith("Z")
                assert datetime.fromisoformat(row[name])
    states = {row["id"]: row["state"] for row in rows}
    assert states == {
        "done": "done",
        "dlq": "dlq",
        "failed": "pending",
        "cancelled-job": "cancelled",
        "pending": "pending",
        "later": "pending",
    }
    assert [row["exit_code"] for row in rows if row["id"] in ("done", "dlq")] == [1, 0]


FILTERS = {
    "": "later pending cancelled-job failed dlq done",
    "--state pending": "later pending failed",
    "--state done": "done",
    "--state completed": "done",
    "--state dlq": "dlq",
    "--state dead": "dlq",
    "--state failed": "failed dlq",
    "--state retrying": "failed",
    "--state cancelled": "cancelled-job",
    "--state processing": "",
    "--state done --state dlq": "dlq done",
    "--state done --state retrying": "failed done",
    "--queue mail": "later pending cancelled-job",
    "--queue none": "",
    "--queue none --queue mail": "later pending cancelled-job",
    "--tag team=red": "pending done",
    "--tag team=red --tag kind=x": "done",
    "--tag team=green": "",
    "--since -1h": "later pending cancelled-job failed dlq done",
    "--since 2090-01-01": "",
    "--limit 2": "later pending",
    "--limit 0": "later pending cancelled-job failed dlq done",
    "--sort created": "done dlq failed cancelled-job pending later",
    "--sort -created": "later pending cancelled-job failed dlq done",
    "--sort id": "cancelled-job dlq done failed later pending",
    "--sort -priority --limit 2": "done later",
    "--queue mail --state pending --sort due": "pending later",
    "--ended -1h.. --sort id": "dlq done failed",
    "--ended -2h..-1h": "",
}


def test_each_filter_of_list_selects_its_jobs(varied: Queuectl) -> None:
    assert {flags: " ".join(_ids(varied, *flags.split())) for flags in FILTERS} == FILTERS


def test_an_invalid_filter_is_refused(queuectl: Queuectl) -> None:
    bad = {
        "--state": "purged",
        "--tag": "team",
        "--since": "once",
        "--ended": "-1h..-2h",
        "--sort": "colour",
        "--columns": "id,colour",
        "--limit": "-1",
    }
    for flag, value in bad.items():
        assert_error(queuectl("list", flag, value), 2, value.rpartition(",")[2])


def test_list_is_a_table(varied: Queuectl) -> None:
    head, *rows = varied.ok("list").splitlines()
    assert head.split()[:4] == ["NUMBER", "ID", "STATE", "QUEUE"]
    assert [row.split()[1] for row in rows] == ["failed", "pending", "later", "cancelled-job", "dlq", "done"]
    assert rows[0].split()[0] == str(varied.show("failed")["number"])
    assert "in 1h" in varied.ok("list", "--state", "pending", "--queue", "mail", "--sort", "-due").splitlines()[1]


def test_columns_are_the_fields_of_json_in_the_given_order(varied: Queuectl) -> None:
    [row] = varied.json("list", "--state", "done", "--columns", "state,exit_code,tags")
    assert [*row.items()] == [("state", "done"), ("exit_code", 0), ("tags", {"team": "red", "kind": "x"})]
    assert varied.ok("list", "--state", "done", "--columns", "id,exit_code", "-o", "csv") == "id,exit_code\ndone,0"
    head, first = varied.ok("list", "--state", "done", "--columns", "tags,duration,id").splitlines()
    assert head.split() == ["TAGS", "DURATION", "ID"]
    assert "team=red" in first.split()
    assert [*varied.json("list")[0]] == [*FIELDS]


def test_the_oldest_due_job_is_one_that_is_due(queuectl: Queuectl) -> None:
    queuectl.add("--id", "in-a-week", "--delay", "7d", "true")
    for filters in ((), ("--queue", "default"), ("--since", "-1h")):
        assert queuectl.json("status", *filters)["oldest_due"] is None
    queuectl.add("--id", "first", "--queue", "mail", "true")
    queuectl.add("--id", "urgent", "--priority", "9", "true")
    queuectl.ok("pause", "mail")
    assert queuectl.json("status")["oldest_due"]["id"] == "first"
    assert queuectl.json("status", "--as-of", "head")["oldest_due"]["id"] == "first"
    number = queuectl.show("first")["number"]
    assert f"oldest due job: first (#{number}), due since " in queuectl.ok("status")


def test_list_reports_jobs_over_its_limit_and_json_has_none(queuectl: Queuectl) -> None:
    queuectl.add_all(*({"command": "true", "queue": "mail", "tags": {"n": str(number)}} for number in range(60)))
    queuectl.add("true")
    assert len(queuectl.json("list")) == 61
    assert len(queuectl.json("list", "--limit", "7")) == 7
    for flags, shown in (((), "50 of 61"), (("--queue", "mail"), "50 of 60"), (("--limit", "3", "--tag", "n=5"), None)):
        done = queuectl("list", *flags)
        assert done.err == (f"{shown} (--limit 0: all)\n" if shown else "")
    assert queuectl("list", "--since", "-1h", "-n", "2").err == "2 of 61 (--limit 0: all)\n"
    everything = queuectl("list", "--limit", "0")
    assert (len(everything.out.splitlines()), everything.err) == (62, "")


def test_dlq_list_reports_jobs_over_its_limit_and_json_has_none(queuectl: Queuectl) -> None:
    queuectl.add_all(*({"command": "false", "max_retries": 0, "tags": {"n": str(number)}} for number in range(60)))
    queuectl.drain("-c", "2")
    assert len(queuectl.json("dlq", "list")) == 60
    assert len(queuectl.json("dlq", "list", "--limit", "7")) == 7
    for flags, shown, said in (
        ((), 50, "50 of 60 (--limit 0: all)\n"),
        (("--limit", "3"), 3, "3 of 60 (--limit 0: all)\n"),
        (("--limit", "0"), 60, ""),
        (("--tag", "n=5"), 1, ""),
    ):
        done = queuectl("dlq", "list", *flags)
        assert (len(done.out.splitlines()), done.err) == (shown + 1, said)


def test_an_empty_list_is_a_message(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    queuectl.drain()
    queuectl.ok("purge", "a")
    for command in (("list",), ("status",), ("dlq", "list"), ("worker", "list")):
        done = queuectl(*command)
        assert done.err.startswith("no ")
        assert len(done.err.splitlines()) == 1
        assert done.out == ("workers: 0, running 0 jobs\n" if command == ("status",) else "")


def test_status_and_list_agree_on_the_counts(varied: Queuectl) -> None:
    status = varied.json("status")
    counted = {row.pop("queue"): row for row in status["queues"]}
    for queue, states in counted.items():
        for state, count in states.items():
            assert len(varied.json("list", "--queue", queue, "--state", state)) == count, (queue, state)
    assert status["states"] == {"pending": 3, "processing": 0, "done": 1, "dlq": 1, "cancelled": 1}
    assert (status["paused"], status["workers"], status["oldest_due"]) == ([], [], None)
    text = varied.ok("status")
    for word in ("default", "mail", "total", "workers: 0"):
        assert word in text


def test_show_leaves_out_fields_that_are_off(queuectl: Queuectl) -> None:
    plain = queuectl.add("--umask", "022", "true")
    special = queuectl.add("--merge-output", "--jitter", "--umask", "027", "--after", "last", "true")
    off = {"waiting": False, "waits": 0, "held": False, "merge_output": False, "jitter": False, "umask": "022"}
    assert {name: queuectl.show(plain)[name] for name in off} == off
    assert not {line.split()[0] for line in queuectl.ok("show", plain).splitlines()} & set(off)
    words = [line.split() for line in queuectl.ok("show", special).splitlines()]
    for field in (["waiting", "yes"], ["waits", "1"], ["merge_output", "yes"], ["jitter", "yes"], ["umask", "027"]):
        assert field in words
    assert ["attempts", "0"] in words


def test_status_shows_the_workers(queuectl: Queuectl) -> None:
    job_id = queuectl.add("until [ -e go ]; do sleep 0.05; done")
    worker = queuectl.start("run", "--drain", "--name", "one", "--concurrency", "2", "--queue", "default")

    def running() -> list[dict[str, Any]]:
        return [row for row in queuectl.json("status")["workers"] if row["running"]]

    (row,) = eventually(running, "the worker says that it runs a job")
    assert (row["name"], row["pid"], row["slots"], row["queues"]) == ("one", worker.pid, 2, ["default"])
    job = queuectl.show(job_id)
    assert (job["state"], job["locked_by"], job["run"]) == ("processing", "one", 1)
    assert job["locked_at"] is not None
    (queuectl.folder / "go").touch()
    assert worker.ended().code == 0


LISTS_OF_OTHER_THINGS = ("batches", "failures", "graph", "graph --format dot", "schedule list", "diff 0 head")


def test_reading_a_missing_queue_shows_none_and_creates_none(queuectl: Queuectl) -> None:
    assert queuectl.json("list") == []
    assert queuectl.json("dlq", "list") == []
    assert queuectl.json("status")["queues"] == []
    for command in ("list", "status", "worker list", "dlq list", "events", "list --json", *LISTS_OF_OTHER_THINGS):
        done = queuectl(*command.split())
        assert (done.code, done.err.splitlines()[0]) == (0, f"queuectl: there is no queue at {queuectl.db}")
    for command in ("show", "history", "logs", "wait", "explain", "cancel", "retry", "purge"):
        assert_error(queuectl(command, "none"), 5, f"there is no queue at {queuectl.db}")
    assert_error(queuectl("worker", "stop"), 5, f"there is no queue at {queuectl.db}")
    assert list(queuectl.folder.iterdir()) == []


WITHOUT_A_QUEUE = (
    *("list", "status --json", "worker list", "dlq list", "events", "config", "config get lease"),
    *("enqueue true", "run --once", "pause", "config set lease 5s", "metrics", *LISTS_OF_OTHER_THINGS),
)


def test_must_exist_refuses_a_missing_queue_and_creates_none(queuectl: Queuectl) -> None:
    for command in WITHOUT_A_QUEUE:
        assert_error(queuectl("--must-exist", *command.split()), 5, f"there is no queue at {queuectl.db}")
    assert_error(queuectl("status", "--must-exist", "--json"), 5, f"there is no queue at {queuectl.db}")
    found = queuectl("--must-exist", "doctor", "--json")
    assert found.code == 1
    about = {each["about"]: each for each in json.loads(found.out)}["queue"]
    assert (about["level"], about["what"]) == ("problem", f"there is no queue at {queuectl.db}")
    assert list(queuectl.folder.iterdir()) == []


def test_must_exist_changes_nothing_where_there_is_a_queue(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", "--id", "job", "true")
    assert queuectl.ok("--must-exist", "enqueue", "--id", "other", "true") == "other"
    assert {job["id"] for job in json.loads(queuectl.ok("list", "--must-exist", "--json"))} == {"job", "other"}


def test_reading_a_missing_queue_by_its_url_creates_none(queuectl: Queuectl) -> None:
    assert queuectl.json("--db", f"sqlite:///{queuectl.folder}/other.db", "list") == []
    assert list(queuectl.folder.iterdir()) == []


def test_a_url_and_a_path_are_the_same_queue(queuectl: Queuectl) -> None:
    job_id = queuectl.ok("--db", f"sqlite:///{queuectl.db}", "enqueue", "true")
    assert _ids(queuectl) == [job_id]
    assert [row["id"] for row in queuectl.json("--db", "sqlite:///data/queue.db", "list")] == [job_id]


# ── ids ─────────────────────────────────────────────────────────────────────────────────────────────────

TAKES_AN_ID = ["show", "history", "logs", "wait", "cancel", "retry", "purge", "dlq show", "dlq retry", "dlq purge"]


def test_an_id_that_is_unknown_or_ambiguous_is_refused(queuectl: Queuectl) -> None:
    queuectl.add_all({"id": "ab1", "command": "true"}, {"id": "ab2", "command": "true"})
    before = queuectl.position()
    for command in TAKES_AN_ID:
        assert_error(queuectl(*command.split(), "ab"), 2, "ambiguous", "ab1", "ab2")
        assert_error(queuectl(*command.split(), "ab11"), 3, "no such job", "ab11")
    for name in ("$settings", "$queue:default", "", "%", "a_1"):
        assert_error(queuectl("history", name), 3, f"no such job: {name or repr('')} ")
    assert queuectl.position() == before


def test_a_unique_prefix_is_enough_and_a_whole_id_wins(queuectl: Queuectl) -> None:
    queuectl.add_all(*({"id": name, "command": "true"} for name in ("job", "job-2", "other")))
    assert queuectl.show("job")["id"] == "job"
    assert queuectl.show("job-")["id"] == "job-2"
    assert queuectl.show("o")["id"] == "other"
    queuectl.ok("cancel", "job", "o")
    assert {row["id"] for row in queuectl.json("list", "--state", "cancelled")} == {"job", "other"}


# ── colour and the like ─────────────────────────────────────────────────────────────────────────────────


def test_colour_needs_a_terminal_or_the_option(varied: Queuectl) -> None:
    assert "\x1b" not in varied.ok("list")
    assert "\x1b[32mdone\x1b[0m" in varied.ok("--color", "always", "list")
    assert "\x1b" not in varied.ok("--color", "never", "list")
    assert "\x1b" not in varied.ok("--color", "always", "list", "--json")
    assert_error(varied("--color", "purple", "list"), 2, "--color")


def test_help_and_version_are_on_stdout(queuectl: Queuectl) -> None:
    import queuectl as package

    assert queuectl("--version") == (0, f"queuectl {package.__version__}\n", "")
    overview = queuectl.ok("--help")
    for command in COMMANDS.split():
        assert f"\n  {command} " in overview
        assert queuectl.ok(command, "-h").startswith(f"Usage: queuectl {command} ")
    assert "NDJSON" in queuectl.ok("events", "-h")
    assert "One JSON document" not in queuectl.ok("events", "-h")


def test_an_incomplete_command_line_is_refused(queuectl: Queuectl) -> None:
    for arguments in (("frobnicate",), ("list", "--frobnicate"), ("list", "extra"), ("show",), ("--db",)):
        assert_error(queuectl(*arguments), 2)


@pytest.mark.parametrize("command", [("list",), ("dlq", "list"), ("diff", "0", "head")])
def test_a_table_is_cut_to_the_terminal_and_whole_in_a_pipe(queuectl: Queuectl, command: tuple[str, ...]) -> None:
    queuectl.add("--max-retries", "0", "false " + "x" * 400)
    queuectl.drain()
    text = _at_a_terminal(queuectl, 80, *command)
    shown = text[re.search("^(# *)?ID ", text, re.MULTILINE).start() :].splitlines()  # type: ignore[union-attr]
    assert max(map(len, shown)) <= 80
    assert re.search("false x*…x+ |xxx…", "".join(shown))
    assert "x" * 400 in queuectl.ok(*command)


@pytest.mark.parametrize("command", ["audit", "doctor", "verify"])
def test_checks_break_their_lines_between_words(queuectl: Queuectl, command: str) -> None:
    queuectl.add("true")
    shown = _at_a_terminal(queuectl, 60, command)
    too_long = [line for line in shown.splitlines() if len(line) > 60]
    assert [line for line in too_long if max(map(len, line.split())) < 50] == []  # a path or a digest is not broken
    whole = queuectl(command).out.split()
    assert [word for word in shown.split() if word.isalpha() and word not in whole] == []


def _at_a_terminal(queuectl: Queuectl, width: int, *command: str) -> str:
    """The text that a command prints on a terminal of that width."""
    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (24, width))
        env = {**queuectl.env, "COLUMNS": "", "NO_COLOR": "1"}
        subprocess.run([PROGRAM, *command], stdout=theirs, cwd=queuectl.folder, env=env, timeout=30, check=True)
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


ADVISED = r"(?:next: |undo: |run `|see `|no such job: x \(`|->  )(queuectl [^`)\n,]+)"


def test_advised_commands_can_be_pasted_and_name_the_queue(queuectl: Queuectl) -> None:
    """Each one quotes the path of this queue, which has a blank in it."""
    db = ("--db", "my queue.db")
    queuectl.ok(*db, "enqueue", "--id", "a", "true")
    cancelled = queuectl(*db, "cancel", "a").err
    said = [cancelled, queuectl(*db, "explain", "a").out, queuectl(*db, "show", "x").err]
    commands = {command for text in said for command in re.findall(ADVISED, text)}
    assert len(commands) >= 2
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == ["queuectl", *db]
        queuectl.ok(*words[1:])
    assert "`queuectl --db 'my queue.db' list`" in queuectl("show", "x", *db).err
    assert "--db" not in queuectl("show", "x").err


def test_a_remedy_names_the_queue_too(queuectl: Queuectl) -> None:
    db = ("--db", "my queue.db")
    queuectl.ok(*db, "enqueue", "--id", "a", "true")
    database = queuectl.folder / "my queue.db"
    database.unlink()
    (queuectl.folder / "my queue.db-wal").unlink(missing_ok=True)
    assert "run `queuectl --db 'my queue.db' recover`" in queuectl(*db, "list").err
