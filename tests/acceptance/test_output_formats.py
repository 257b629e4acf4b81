"""`-o table|wide|json|ndjson|csv|name` and QUEUECTL_OUTPUT: the same on every command that reads."""

import csv
import json
import re
from io import StringIO
from typing import Any

import pytest

from tests.support.command_line import Queuectl, assert_error

LISTS = {
    "list": "id",
    "dlq list": "id",
    "worker list": "name",
    "history bad": "position",
    "show bad": "id",
    "dlq show bad": "id",
}
"""Commands that print rows, and the column that is a row's name."""


@pytest.fixture
def used(queuectl: Queuectl) -> Queuectl:
    """A dead job, and one with odd text that waits."""
    queuectl.add("--id", "bad", "--max-retries", "0", "echo broken >&2; exit 3")
    queuectl.drain()
    queuectl.add("--delay", "1h", "--tag", "a=b", 'echo "日本, 語"\nprintf "\x1b[31m"')
    return queuectl


@pytest.mark.parametrize("command", LISTS)
def test_each_format_has_the_same_rows(used: Queuectl, command: str) -> None:
    words = command.split()
    document = used.json(*words)
    rows = document if isinstance(document, list) else [document]
    assert json.loads(used.ok(*words, "-o", "json")) == document
    assert [json.loads(line) for line in used.ok(*words, "-o", "ndjson").splitlines()] == rows
    assert used.ok(*words, "-o", "name").splitlines() == [str(row[LISTS[command]]) for row in rows]
    read = list(csv.DictReader(StringIO(used.ok(*words, "-o", "csv"))))
    assert [row[LISTS[command]] for row in read] == [str(row[LISTS[command]]) for row in rows]
    assert all(set(row) <= set(cells) for row, cells in zip(rows, read, strict=True))
    tables = [used.ok(*words, *flags) for flags in ((), ("-o", "table"), ("-o", "wide"))]
    assert len({re.sub(r"\d+s", "", table) for table in tables}) == 1


def test_csv_holds_what_has_parts_as_json_and_cannot_steer_a_terminal(used: Queuectl) -> None:
    text = used.ok("list", "-o", "csv")
    row = next(row for row in csv.DictReader(StringIO(text)) if row["tags"] != "{}")
    assert (json.loads(row["tags"]), row["last_error"]) == ({"a": "b"}, "")
    assert row["command"].startswith('echo "日本, 語"\n')
    assert "\x1b" not in text


def test_names_are_arguments_of_the_next_command(used: Queuectl) -> None:
    ids = used.ok("list", "-o", "name").splitlines()
    assert ids == [row["id"] for row in used.json("list")]
    used.ok("cancel", *used.ok("list", "--state", "pending", "-o", "name").split())
    assert used.ok("list", "--state", "pending", "-o", "name") == ""


def test_a_variable_sets_the_format_and_an_option_wins(used: Queuectl) -> None:
    rows = used.json("list")
    env = {"QUEUECTL_OUTPUT": "json"}
    assert json.loads(used.ok("list", env=env)) == rows
    assert used.ok("list", "-o", "name", env=env).splitlines() == [row["id"] for row in rows]
    assert used.json("list", env={"QUEUECTL_OUTPUT": "csv"}) == rows
    (used.folder / ".env").write_text("QUEUECTL_OUTPUT=name\n")
    assert used.ok("list").splitlines() == [row["id"] for row in rows]
    assert used.ok("list", env={"QUEUECTL_OUTPUT": ""}).splitlines() == [row["id"] for row in rows]


@pytest.mark.parametrize("command", [*LISTS, "status"])
def test_an_unknown_format_is_refused(used: Queuectl, command: str) -> None:
    words = command.split()
    assert_error(used(*words, "-o", "xml"), 2, "-o xml", "table, wide, json, ndjson, csv, name")
    assert_error(used(*words, "-o"), 2)
    assert_error(used(*words, "--json", "-o", "csv"), 2, "--json and -o csv")
    assert_error(used(*words, env={"QUEUECTL_OUTPUT": "xml"}), 2, "QUEUECTL_OUTPUT xml")
    assert used.ok(*words, "--json", "-o", "json") == used.ok(*words, "--json")


CHECKS = {"verify": "position", "audit": "rule", "rebuild": "key", "doctor": "about"}
"""Commands that check, and the column that `-o name` prints."""


def _read(text: str) -> Any:
    """The document, without the space on the disk: other programs change it meanwhile."""
    return json.loads(re.sub(r"[\d.]+\w*B are free", "SPACE", text))


@pytest.mark.parametrize("command", CHECKS)
def test_checks_take_the_formats(used: Queuectl, command: str) -> None:
    document = _read(used.ok(command, "--json"))
    rows = document if isinstance(document, list) else document.get("rules", document.get("first", [document]))
    assert _read(used.ok(command, "-o", "json")) == document
    assert [_read(line) for line in used.ok(command, "-o", "ndjson").splitlines()] == rows
    assert used.ok(command, "-o", "name").splitlines() == [str(row[CHECKS[command]]) for row in rows]
    assert len(list(csv.DictReader(StringIO(used.ok(command, "-o", "csv"))))) == len(rows)
    assert _read(used.ok(command, env={"QUEUECTL_OUTPUT": "json"})) == document
    assert_error(used(command, "-o", "xml"), 2, "-o xml")


def test_recover_takes_the_formats(used: Queuectl) -> None:
    head = used.json("head")
    (row,) = csv.DictReader(StringIO(used.ok("recover", "--force", "-o", "csv")))
    assert (row["position"], row["digest"], row["lost"]) == (str(head["position"]), head["digest"], "[]")
    assert json.loads(used.ok("recover", "--force", "-o", "json"))["lost"] == []


def test_recover_of_a_sound_queue_prints_its_document(used: Queuectl) -> None:
    head = used.json("head")
    done = used("recover", "--json")
    assert (done.code, json.loads(done.out)) == (
        0,
        {
            **{name: head[name] for name in ("position", "digest")},
            "kept": [[1, head["position"]]],
            "restored": [],
            "lost": [],
            "lost_jobs": [],
            "old_files": None,
            "old_archive": None,
        },
    )
    assert "nothing to recover" in done.err


def test_an_empty_list_is_empty_in_every_format(queuectl: Queuectl) -> None:
    queuectl.ok("pause", "mail")
    assert json.loads(queuectl.ok("list", "-o", "json")) == []
    for form in ("ndjson", "csv", "name"):
        assert queuectl("list", "-o", form) == (0, "", "")
