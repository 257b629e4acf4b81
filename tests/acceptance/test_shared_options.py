"""Every option of the table "Shared options" of docs/commands.md, on every command that has it there."""

import csv
import json
import re
from io import StringIO
from pathlib import Path
from time import time

import pytest

from tests.support.command_line import Queuectl, assert_error, eventually

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
NAMES = ("tag", "queue", "batch", "sig", "since")
"""In `jobs`, the ids of the jobs that a filter of that name selects."""
FLAGS = {"queue": ("--queue", "q"), "tag": ("--tag", "t=1"), "batch": ("--batch", "b")}
FILTERS = ("--state", *(f"--{name}" for name in NAMES))
MOVES = ("cancel", "retry", "purge", "dlq retry", "dlq purge")
NO_LIST_OF_JOBS = ("status", "failures", "graph")
WORDS = {"diff": "diff 1 head", "config get": "config get lease"}
WORDS |= {f"schedule {verb}": f"schedule {verb} nightly" for verb in ("show", "history", "next")}
WORDS |= {name: f"{name} bad" for name in ("show", "dlq show", "history", "explain", "graph")}
"""Commands that need more words."""


def _table() -> dict[str, set[str]]:
    """Each command of the table, with its options."""
    text = PAGE.read_text(encoding="utf-8").partition("<!-- generated: shared options -->")[2]
    lines = text.partition("<!-- end -->")[0].strip().splitlines()
    heading, _, *rows = ([cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines)
    return {row[0]: {name for name, cell in zip(heading, row, strict=True) if cell == "✓"} for row in rows}


TABLE = _table()


def _having(*options: str) -> list[str]:
    return [command for command, taken in TABLE.items() if taken & set(options)]


def _words(command: str) -> list[str]:
    return WORDS.get(command, command).split()


@pytest.fixture
def jobs(request: pytest.FixtureRequest, queuectl: Queuectl) -> Queuectl:
    """For each filter one job of its name that it selects: dead ones, or pending ones for commands about those."""
    command = request.node.callspec.params["command"]
    queuectl.add("--id", "state", "true")
    queuectl.drain()
    for name in NAMES:
        if name == "since":
            _pass_a_second()
        text = "echo other >&2; exit 9" if name == "sig" else "exit 3"
        more = ("--delay", "1h") if command in ("cancel", "wait") else ("--max-retries", "0")
        queuectl.add("--id", name, *more, *FLAGS.get(name, ()), text)
    if command in ("cancel", "wait"):
        queuectl.add("--id", "retried", "--retry-wait", "1h", "false")
    queuectl.ok("run", *(("--once",) if command in ("cancel", "wait") else ("--drain",)))
    return queuectl


@pytest.fixture
def used(queuectl: Queuectl) -> Queuectl:
    """A queue with a dead job and a schedule."""
    queuectl.add("--id", "bad", "--max-retries", "0", "exit 3")
    queuectl.drain()
    queuectl.ok("schedule", "add", "nightly", "@daily", "true")
    return queuectl


def _pass_a_second() -> None:
    """The tables have times in whole seconds."""
    end = int(time()) + 1
    eventually(lambda: time() >= end, "the next second has begun")


def _filter(queuectl: Queuectl, command: str, option: str) -> tuple[str, str]:
    """A value by which this filter selects one job, and the job."""
    if option == "--state":
        return ("retrying", "retried") if command in ("cancel", "wait") else ("done", "state")
    if option == "--sig":
        return next(row["signature"] for row in queuectl.json("dlq", "list") if row["id"] == "sig"), "sig"
    if option == "--since":
        return queuectl.json("history", "since")[0]["recorded_at"], "since"
    return FLAGS[option[2:]][1], option[2:]


def _selected(queuectl: Queuectl, command: str, *flags: str) -> set[str]:
    """The jobs that a command with these flags is about. A move has a reason, which is stored."""
    if command in MOVES:
        before = queuectl.position()
        queuectl.ok(*command.split(), *flags, "--yes", "--reason", "why not")
        added = queuectl.query(f"SELECT stream_id, data FROM events WHERE position > {before}")
        assert all(json.loads(data)["reason"] == "why not" for _, data in added)
        return {stream for stream, _ in added}
    if command == "wait":
        done = queuectl("wait", *flags, "--timeout", "0.1s")
        assert done.code == 124, done
        return set(re.findall(r"[\w-]+", done.err)) & {*NAMES, "retried", "state"}
    if command == "events":
        return {json.loads(line)["stream_id"] for line in queuectl.ok("events", *flags, "--json").splitlines()}
    return set(queuectl.ok(*command.split(), *flags, "-o", "name").split())


@pytest.mark.parametrize("command", [each for each in _having(*FILTERS) if each not in NO_LIST_OF_JOBS])
def test_a_filter_selects_the_same_jobs(jobs: Queuectl, command: str) -> None:
    for option in [each for each in FILTERS if each in TABLE[command]]:
        if (command, option) == ("events", "--since"):
            continue  # it selects events by their own times
        value, job = _filter(jobs, command, option)
        found = _selected(jobs, command, option, value)
        streams = {each for each in found if not each.startswith("$")}
        assert job in streams, option
        assert streams <= {job, "retried"} if option == "--since" else streams == {job}, option


@pytest.mark.parametrize("command", _having("--output"))
def test_each_format_has_the_same_rows(used: Queuectl, command: str) -> None:
    words = _words(command)
    rows = [json.loads(line) for line in used.ok(*words, "-o", "ndjson").splitlines()]
    assert len([*csv.DictReader(StringIO(used.ok(*words, "-o", "csv")))]) == len(rows)
    if command != "events":  # a stream has no end
        document = json.loads(used.ok(*words, "--json"))
        assert type(json.loads(used.ok(*words, "-o", "json"))) is type(document)
        assert not isinstance(document, list) or len(document) == len(rows)
    assert_error(used(*words, "-o", "yaml"), 2, "yaml", "ndjson")
    assert_error(used(*words, "-o", "csv", "--json"), 2, "--json")


@pytest.mark.parametrize("command", _having("--as-of"))
def test_a_moment_is_written_in_the_same_ways(used: Queuectl, command: str) -> None:
    words = _words(command)
    for moment in ("head", str(used.position()), used.json("events", "-n", "1")["recorded_at"]):
        used.ok(*words, "--as-of", moment)
    assert_error(used(*words, "--as-of", "9999"), 2, "9999")
    assert_error(used(*words, "--as-of", "once"), 2, "once")
