"""Tables fit the terminal: which columns are left out, which cells are cut, and what stays."""

import subprocess
import sys

import pytest
from wcwidth import wcswidth

from queuectl.render.job_rows import Order, dead_table, field_table, job_table, short_error, short_id
from queuectl.render.schedule_text import schedule_table
from queuectl.render.tables import Column, table
from queuectl.units import SECOND

NOW = 1_795_490_400 * SECOND
UUID = "01a22682-61c4-75f8-9ef6-58ad6b20b9f9"
COMMAND, ERROR = Column("command", limit=50), Column("last_error", limit=40)
WIDE = [{"id": "i" * 36, "state": "pending", "n": 1, "command": "c" * 60, "last_error": "e" * 30}]


def test_long_cells_are_cut():
    rows = [{"command": "x" * 21}, {"command": "y" * 20}]
    assert table(rows, [Column("command", limit=20)], width=80).splitlines()[1:] == ["x" * 19 + "…", "y" * 20]


def test_commands_that_differ_in_the_middle_look_different():
    commands = [f"python train.py --lr {lr} --epochs 100 --out runs/v2" for lr in ("0.1", "0.01", "0.1")]
    rows = [{"command": each} for each in [*commands, "python other.py --epochs 100 --out runs/v3", "make"]]
    shown = table(rows, [Column("command", limit=24, middle=True)], width=80).splitlines()[1:]
    assert shown[:2] == ["python …lr 0.1 --epochs…", "python …lr 0.01 --epoch…"]
    assert shown[2:] == [shown[0], "python othe…-out runs/v3", "make"]


def test_of_three_commands_two_that_differ_later_look_different_too():
    rest = "--momentum 0.9 --weight-decay 0.001 --workers 8"
    pairs = ((1, 10), (2, 10), (2, 20))
    rows = [
        {"command": f"train --lr 0.00{lr} {rest} --epochs {number} --data sets/all --out v2"} for lr, number in pairs
    ]
    shown = table(rows, [Column("command", limit=24, middle=True)], width=80).splitlines()[1:]
    assert shown == ["train -… 0.001 --moment…", "train -…ochs 10 --data …", "train -…ochs 20 --data …"]


@pytest.mark.parametrize("width", [71, 80, 100, 120, 127, 200])
def test_a_table_fits_the_terminal(width):
    columns = ["id", Column("n", spare=1), Column("state", spare=2), COMMAND, ERROR]
    heading, row = table(WIDE, columns, width=width).splitlines()
    assert max(len(heading), len(row)) == min(width, 36 + 1 + 7 + 50 + 30 + 4 * 2) or width == 71
    assert ("N" in heading.split(), "STATE" in heading) == (width > 74, width > 71)
    assert ("c" * 49 + "…" in row) is (width >= 127 + 5)


def test_a_table_with_nothing_more_to_cut_stays_wider():
    (heading, row) = table(WIDE, ["id", Column("n", spare=1), COMMAND, ERROR], width=10).splitlines()
    assert heading.split() == ["ID", "COMMAND", "LAST", "ERROR"]
    assert row.split() == ["i" * 36, "c" * 11 + "…", "e" * 11 + "…"]


def test_a_chosen_field_stays_although_no_job_has_it():
    rows = [{"id": "a", "duration": None}]
    assert field_table(rows, ["id", "duration"], 80, False).split() == ["ID", "DURATION", "a", "-"]


def test_where_there_is_no_terminal_nothing_is_cut_or_left_out():
    heading, row = table(WIDE, ["id", Column("n", spare=1, usual=1, short="#"), COMMAND, ERROR]).splitlines()
    assert heading.split() == ["ID", "N", "COMMAND", "LAST", "ERROR"]
    assert row.split() == ["i" * 36, "1", "c" * 60, "e" * 30]


QUEUE = Column("queue", usual="default")


@pytest.mark.parametrize(
    ("queues", "shown"),
    [(["default"], False), (["mail"], True), (["mail", "mail"], False), (["mail", "ci"], True), ([None, None], False)],
)
def test_a_column_that_says_nothing_is_left_out(queues, shown):
    rows = [{"id": str(number), "queue": queue} for number, queue in enumerate(queues)]
    assert ("QUEUE" in table(rows, ["id", QUEUE], width=80)) is shown
    assert "QUEUE" in table(rows, ["id", QUEUE])


MIXED = [
    {"id": "a", "command": "echo hello", "tries": 1},
    {"id": "b", "command": "echo 日本語のとても長いコマンド名" * 4, "tries": 2},
    {"id": "c", "command": "echo 🎉🚀👩‍💻❤️ done " * 9, "tries": 3},
    {"id": "d", "command": "echo cafe\u0301 " * 12, "tries": 4},
]


@pytest.mark.parametrize("width", [None, 80, 31])
@pytest.mark.parametrize("middle", [False, True])
def test_columns_line_up_by_display_width_whatever_the_script(width, middle):
    columns = ["id", Column("command", limit=70, middle=middle), "tries"]
    lines = table(MIXED, columns, width=width).splitlines()
    assert {wcswidth(line) for line in lines} == {wcswidth(lines[0])}
    assert [line[-1] for line in lines[1:]] == ["1", "2", "3", "4"]
    assert width is None or wcswidth(lines[0]) <= width
    assert ("…" in "".join(lines)) is (width is not None)


IN_A_NEW_PROCESS = """
import sys
from queuectl.render.schedule_text import schedule_table
from queuectl.render.tables import Column, table
columns = [Column("command", limit=20), "n"]
print(table([{"command": "x" * 90, "n": 1}], columns, width=20))
print(*sorted({"wcwidth", "importlib.metadata"} & sys.modules.keys()))
print(table([{"command": "日本", "n": 1}, {"command": "ab", "n": 2}], columns))
import importlib.metadata
print(importlib.metadata.version("tabulate") > "")
"""


def test_only_wide_characters_load_the_table_of_widths():
    """It takes 9 ms to load, the other module 10; both can be imported afterwards."""
    done = subprocess.run([sys.executable, "-c", IN_A_NEW_PROCESS], capture_output=True, text=True, check=True)
    shortened = ["COMMAND            N", "x" * 16 + "…  1"]
    wide = ["COMMAND  N", "日本     1", "ab       2"]
    assert done.stdout.splitlines() == [*shortened, "", *wide, "True"]


# ── tables of jobs ──────────────────────────────────────────────────────────────────────────────────────


def a_row(number, **changed):
    columns = {"id": UUID, "command": "python train.py --lr 0.1 --epochs 200 --optimiser adam --seed 7"}
    times = {"created_at": NOW // SECOND - 60, "due_at": None, "locked_at": None, "locked_by": None}
    rest = {"state": "done", "queue": "default", "priority": 0, "attempts": 1, "last_error": None}
    return {**columns, **times, **rest, "position": number, **changed}


FAILED = "exited with code 1: FloatingPointError: loss is nan"
ROWS = [
    a_row(140, state="processing", locked_at=NOW // SECOND - 5, locked_by="box-1"),
    a_row(
        141, state="pending", due_at=NOW + 90 * SECOND, last_error=FAILED, command="訓練 --名前 長い名前のジョブ " * 3
    ),
    a_row(142, state="dlq", last_error=FAILED, queue="ci", attempts=4),
    a_row(7, id="nightly", state="done"),
]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_terminal_shows_number_state_and_why(width):
    heading, *lines = job_table(ROWS, NOW, width, False).splitlines()
    assert all(wcswidth(line) <= width for line in (heading, *lines))
    assert heading.split()[:3] == ["#", "ID", "STATE"]
    assert [line.split()[:3] for line in lines] == [
        ["140", "…6b20b9f9", "processing"],
        ["141", "…6b20b9f9", "pending"],
        ["142", "…6b20b9f9", "dlq"],
        ["7", "nightly", "done"],
    ]
    for line, why in zip(lines, ("for 5s on box-1", "in 1m30s; exit 1: Float", "exit 1: FloatingPoint"), strict=False):
        assert why in line
    assert all("--seed 7" in line for line in (lines[0], lines[2]))


def test_jobs_are_whole_where_there_is_no_terminal():
    heading, *lines = job_table(ROWS, NOW, None, False).splitlines()
    assert heading.split()[:5] == ["NUMBER", "ID", "STATE", "QUEUE", "PRIORITY"]
    assert all(UUID in line for line in lines[:3])
    assert FAILED in lines[1]
    assert FAILED in dead_table([{**ROWS[2], "moved_at": NOW // SECOND}], NOW, None)
    assert "exit 1: FloatingPointError: loss is nan" in dead_table([{**ROWS[2], "moved_at": NOW // SECOND}], NOW, 120)


def test_an_error_is_short_without_what_all_share():
    assert short_error(FAILED) == "exit 1: FloatingPointError: loss is nan"
    assert short_error("exited with code 3") == "exit 3"
    assert short_error("timed out after 5s: x") == "timed out after 5s: x"
    assert short_error(None) is None


def test_only_generated_ids_are_shortened():
    assert short_id(UUID) == "…6b20b9f9"
    for chosen in ("nightly", UUID.replace("-7", "-4"), UUID.upper(), UUID + "0"):
        assert short_id(chosen) == chosen


def test_schedules_keep_state_and_late_at_80_columns():
    row = {
        "name": "nightly-retraining-of-the-recommender",
        "schedule": "5,20,35,50 0,2,4,6,8,10,12,14 1-15,20-31 jan-jun mon,tue,wed,thu,fri",
        "tz": "America/Argentina/Buenos_Aires",
        "next_at": "2027-01-01T00:00:00Z",
        "last_slot": "2026-11-01T00:00:00Z",
        "last_state": "processing",
        "late": 4000,
        "paused_at": None,
        "paused_by": None,
    }
    drawn = schedule_table([row, {**row, "name": "backup", "schedule": "every 1h"}], 1_790_000_000_000_000, 80)
    assert {"NAME", "SCHEDULE", "NEXT", "STATE", "LATE"} <= set(drawn.splitlines()[0].split())
    assert all(len(line) <= 80 for line in drawn.splitlines())


def test_the_order_by_time_is_a_column_on_a_terminal():
    rows = [a_row(1, duration=74.2, finished_at=NOW // SECOND - 300), a_row(2, duration=None, finished_at=None)]
    heading, first, second = job_table(rows, NOW, 80, False, Order("duration")).splitlines()
    assert "TOOK" in heading
    assert "1m14s" in first
    assert "  -  " in second
    assert "5m ago" in job_table(rows, NOW, 80, False, Order("finished"))
    assert "TOOK" not in job_table(rows, NOW, 80, False, Order("created")).splitlines()[0]
