"""Every option of the table "Shared options" of docs/commands.md, on every command that has it there."""

import csv
import json
import re
from io import StringIO
from pathlib import Path

import pytest

from tests.support.command_line import PROGRAM, Queuectl, assert_error
from tests.support.pseudo_terminal import PseudoTerminal

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
NAMES = ("tag", "queue", "batch", "sig", "since")
"""In `jobs`, the ids of the jobs that a filter of that name selects."""
FLAGS = {"queue": ("--queue", "q"), "tag": ("--tag", "t=1"), "batch": ("--batch", "b")}
FILTERS = ("--state", *(f"--{name}" for name in NAMES))
MOVES = ("cancel", "retry", "purge", "dlq retry", "dlq purge")
LIVE = ("cancel", "wait", "graph")
"""Commands that are tried on pending jobs. For the others the jobs are dead."""
WORDS = {"diff": "diff 1 head", "config get": "config get lease"}
WORDS |= {f"schedule {verb}": f"schedule {verb} nightly" for verb in ("show", "history", "next")}
WORDS |= {name: f"{name} bad" for name in ("show", "dlq show", "history", "explain")}
WORDS |= {"edit": "edit held", "unblock": "unblock held", "schedule backfill": "schedule backfill nightly --from -2d"}
WORDS |= {"migrate": "migrate --to other.db", "retry": "retry --queue q", "dlq retry": "dlq retry --queue q"}
WORDS |= {"cancel": "cancel --state pending", "purge": "purge --queue q", "dlq purge": "dlq purge --queue q"}
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
    """For each filter one job of its name that it selects: dead ones, or pending ones for the commands in LIVE."""
    live = request.node.callspec.params["command"] in LIVE
    queuectl.add("--id", "state", "true")
    queuectl.drain()
    for name in NAMES:
        if name == "since" and not live:
            queuectl.drain()
        text = "echo other >&2; exit 9" if name == "sig" else "exit 3"
        more = ("--delay", "1h") if live else ("--max-retries", "0")
        queuectl.add("--id", name, *more, *FLAGS.get(name, ()), text)
        if live:
            queuectl.add("--id", f"behind-{name}", "--after", name, "true")
    if live:
        queuectl.add("--id", "retried", "--retry-wait", "1h", "false")
        queuectl.add("--id", "behind-retried", "--after", "retried", "true")
    queuectl.ok("run", "--once" if live else "--drain")
    return queuectl


@pytest.fixture
def used(queuectl: Queuectl) -> Queuectl:
    """A queue with two dead jobs, one that waits for another, a batch and a schedule."""
    queuectl.add("--id", "bad", "--max-retries", "0", "exit 3")
    queuectl.add("--id", "worse", "--max-retries", "0", "--queue", "q", "exit 4")
    queuectl.add("--id", "first", "--batch", "b", "--delay", "1h", "true")
    queuectl.ok("run", "--drain", "--queue", "q")
    queuectl.ok("run", "--once")
    queuectl.add("--id", "held", "--after", "first", "true")
    queuectl.ok("schedule", "add", "nightly", "@daily", "true")
    return queuectl


def _filter(queuectl: Queuectl, command: str, option: str) -> tuple[str, str]:
    """A value by which this filter selects one job, and the job."""
    if option == "--state":
        return ("retrying", "retried") if command in LIVE else ("done", "state")
    if option == "--sig":
        return next(row["signature"] for row in queuectl.json("dlq", "list") if row["id"] == "sig"), "sig"
    if option == "--since":  # the exact time: a failure counts since it happened, an event since it was recorded
        return queuectl.json("history", "since")[-1 if command == "failures" else 0]["recorded_at"], "since"
    return FLAGS[option[2:]][1], option[2:]


def _selected(queuectl: Queuectl, command: str, *flags: str) -> set[str]:
    """The jobs that a command with these flags is about. A move has a reason, which is stored."""
    if command in MOVES:
        before = queuectl.position()
        queuectl.ok(*command.split(), *flags, "--yes", "--reason", "why not")
        added = queuectl.query(f"SELECT stream_id, data FROM events WHERE position > {before}")
        assert all(json.loads(data)["reason"] == "why not" for stream, data in added if "behind" not in stream)
        return {stream for stream, _ in added}
    if command == "wait":
        done = queuectl("wait", *flags, "--timeout", "0.1s")
        assert done.code == 124, done
        return set(re.findall(r"[\w-]+", done.err)) & {*NAMES, "retried", "state"}
    if command == "events":
        return {json.loads(line)["stream_id"] for line in queuectl.ok("events", *flags, "--json").splitlines()}
    if command == "status":
        found = _selected(queuectl, "list", *flags)
        assert sum(queuectl.json("status", *flags)["states"].values()) == len(found)
        return found
    if command == "failures":
        rows = queuectl.json("failures", *flags)
        assert [row["jobs"] for row in rows] == [1]
        return {rows[0]["example"]}
    return set(queuectl.ok(*command.split(), *flags, "-o", "name").split())


@pytest.mark.parametrize("command", _having(*FILTERS))
def test_a_filter_selects_the_same_jobs(jobs: Queuectl, command: str) -> None:
    for option in [each for each in FILTERS if each in TABLE[command]]:
        value, job = _filter(jobs, command, option)
        found = _selected(jobs, command, option, value)
        streams = {each for each in found if not each.startswith(("$", "behind"))}
        assert job in streams, option
        assert streams <= {job, "retried"} if option == "--since" else streams == {job}, option


@pytest.mark.parametrize("command", _having(*FILTERS))
def test_filters_of_several_kinds_narrow_each_other(jobs: Queuectl, command: str) -> None:
    pairs = [(FLAGS["queue"], FLAGS["tag"]), (FLAGS["tag"], FLAGS["batch"])]
    for first, second in [pair for pair in pairs if {pair[0][0], pair[1][0]} <= TABLE[command]]:
        flags = (*first, *second, *(("--yes",) if command in MOVES else ()))
        done = jobs(*command.split(), *flags)
        assert done.code == 0, done
        assert not any(re.search(rf"\b{name}\b", done.out) for name in ("tag", "batch")), done


@pytest.mark.parametrize("command", _having("--queue"))
def test_a_filter_that_repeats_widens_the_selection(jobs: Queuectl, command: str) -> None:
    if command == "failures":
        assert [row["jobs"] for row in jobs.json("failures", "-q", "q", "-q", "default")][:1] == [4]
        return
    found = _selected(jobs, command, "--queue", "q", "--queue", "default")
    assert {"queue", "tag"} <= found


@pytest.mark.parametrize("command", _having("--limit"))
def test_a_limit_is_the_most_lines_and_0_means_all(used: Queuectl, command: str) -> None:
    words = WORDS.get(command, command).replace("--queue q", "--queue q --queue default").split()
    form = ["--dry-run"] if command.endswith("retry") else ["-o", "name"]
    everything = used.ok(*words, *form, "--limit", "0").splitlines()
    assert len(everything) >= 2
    assert len(used.ok(*words, *form, "--limit", "1").splitlines()) == 1
    assert used.ok(*words, *form, "-n", "99").splitlines() == everything
    assert_error(used(*words, *form, "--limit=-1"), 2, "--limit")


@pytest.mark.parametrize("command", _having("--watch"))
def test_each_watch_draws_until_ctrl_c(used: Queuectl, command: str) -> None:
    words = _words(command)
    assert_error(used(*words, "--watch"), 2, "needs a terminal")
    assert_error(used(*words, "--watch", "--json"), 2, "leave out")
    assert_error(used(*words, "--watch", "1ms"), 2, "the shortest interval is 100ms")
    if "--as-of" in TABLE[command]:
        assert_error(used(*words, "--watch", "--as-of", "1"), 2, "leave out")
    with PseudoTerminal([PROGRAM, *words, "--watch", "0.2s"], used.folder, used.env) as terminal:
        terminal.until("redrawn on changes, at most every 200ms")
        terminal.type("\x03")
        assert terminal.ended() == 130


@pytest.mark.parametrize("command", _having("ID"))
def test_an_id_is_a_whole_one_a_number_or_a_part(used: Queuectl, command: str) -> None:
    flag = ["--job"] if command in ("events", "verify") else []
    for text in ("no-such-job", "99", "#99"):
        assert_error(used(*command.split(), *flag, text), 3, f"no such job: {text}")
    number = used.show("worse")["number"]
    for text in ("wor", "orse", str(number), f"#{number}"):
        answers = [used(*command.split(), *flag, each) for each in ("worse", text)]
        assert len({done.code for done in answers}) == 1 or command in MOVES or command in ("edit", "copy"), answers
        assert all("no such job" not in done.err for done in answers), answers


@pytest.mark.parametrize("command", _having("--reason"))
def test_a_reason_is_in_the_events_of_a_move(used: Queuectl, command: str) -> None:
    words = {"edit": ["edit", "held", "--priority", "5"], "cancel": ["cancel", "held"]}.get(command, _words(command))
    before = used.position()
    used.ok(*words, "--reason", "why not", *(["--yes"] if "--yes" in TABLE[command] else []))
    added = used.query(f"SELECT data FROM events WHERE position > {before}")
    assert [json.loads(data)["reason"] for (data,) in added] == ["why not"]


@pytest.mark.parametrize("command", _having("--yes"))
def test_without_yes_nothing_is_done_where_none_can_ask(used: Queuectl, command: str) -> None:
    before = used.position()
    assert_error(used(*_words(command)), 2, "--yes")
    assert used.position() == before
    used.ok(*_words(command), "--yes")


@pytest.mark.parametrize("command", _having("--output"))
def test_every_command_has_the_same_rows_in_each_format(used: Queuectl, command: str) -> None:
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
