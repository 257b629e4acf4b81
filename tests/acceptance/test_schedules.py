# ruff: noqa: E501 (tables of bad input)
"""`schedule` on the command line: what each verb prints, what is refused, files of schedules, and crontabs."""

import json
import os

import pytest

from tests.support.command_line import Queuectl, assert_error, eventually

BACKUP = ("schedule", "add", "backup", "0 2 * * *", "--tz", "Europe/Berlin")
JOBS = """\
[backup]
cron = "0 2 * * *"
tz = "Europe/Berlin"
command = "restic backup /srv"

[poll]
every = "15m"
argv = ["./poll", "--all"]
"""


def write(queuectl: Queuectl, text: str, name: str = "jobs.toml") -> str:
    (queuectl.folder / name).write_text(text, encoding="utf-8")
    return name


def schedules(queuectl: Queuectl) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in queuectl.json("schedule", "list")}


def test_add_says_when_it_runs(queuectl: Queuectl) -> None:
    done = queuectl(*BACKUP, "restic backup /srv")
    assert done.out == "backup\n"
    assert "backup: At 02:00 every day (Europe/Berlin)\n" in done.err
    assert done.err.count(" 02:00:00+0") == 3
    assert "nothing is added while no worker runs: queuectl run" in done.err
    row = schedules(queuectl)["backup"]
    assert (row["schedule"], row["tz"], row["command"]) == ("0 2 * * *", "Europe/Berlin", "restic backup /srv")
    assert row["late"] is row["paused_at"] is row["last_job"] is None


def test_a_name_that_is_taken_takes_replace(queuectl: Queuectl) -> None:
    queuectl.ok(*BACKUP, "one")
    assert_error(queuectl(*BACKUP, "two"), 4, "there is a schedule backup already: add --replace to change it")
    queuectl.ok(*BACKUP, "two", "--replace")
    assert schedules(queuectl)["backup"]["command"] == "two"


def test_a_schedule_adds_jobs_that_run(queuectl: Queuectl) -> None:
    queuectl.ok(
        "schedule", "add", "tick", "--every", "1s", "--overlap", "allow", "--", "sh", "-c", "env | grep QUEUECTL_SCHED"
    )
    queuectl.start("run")
    eventually(lambda: len(queuectl.json("list", "--state", "done")) >= 2, "two jobs are done")
    [first, *_] = queuectl.json("list", "--state", "done", "--sort", "created")
    assert first["id"].startswith("tick.2")
    shown = queuectl.json("show", first["id"])
    assert "QUEUECTL_SCHEDULE=tick\n" in shown["stdout"]
    assert "QUEUECTL_SCHEDULED_FOR=2" in shown["stdout"]
    assert "schedule:tick" in queuectl.ok("list", "-o", "wide")
    assert "schedule tick made it for " in queuectl.ok("explain", first["id"])
    assert "added tick." in queuectl.ok("schedule", "history", "tick")
    slots = queuectl.json("schedule", "show", "tick")["slots"]
    assert ("fired", "done") in [(slot["became"], slot["state"]) for slot in slots]


def test_run_adds_a_job_besides_the_times(queuectl: Queuectl) -> None:
    queuectl.ok(*BACKUP, "true")
    before = schedules(queuectl)["backup"]["next_at"]
    job_id = queuectl.ok("schedule", "run", "backup")
    assert job_id.startswith("backup.m20")
    assert queuectl.json("show", job_id)["state"] == "pending"
    assert schedules(queuectl)["backup"]["next_at"] == before
    assert queuectl.json("schedule", "show", "backup")["slots"][0]["became"] == "manual"


@pytest.mark.parametrize("how", ["add", "sync"])
def test_a_schedules_jobs_have_the_umask_of_its_author(queuectl: Queuectl, how: str) -> None:
    before = os.umask(0o002)
    try:
        queuectl.ok(*((*BACKUP, "true") if how == "add" else ("schedule", "sync", write(queuectl, JOBS))))
    finally:
        os.umask(before)
    job_id = queuectl.ok("schedule", "run", "backup")
    assert queuectl.show(job_id)["umask"] == "002"


def test_pause_resume_and_remove_take_all_or_none(queuectl: Queuectl) -> None:
    queuectl.ok(*BACKUP, "true")
    head = queuectl.ok("head")
    assert_error(queuectl("schedule", "pause", "backup", "nope"), 3, "no such schedule: nope")
    assert queuectl.ok("head") == head
    assert queuectl("schedule", "pause", "backup").err == "backup paused\n"
    assert queuectl("schedule", "pause", "backup").err == "backup was paused already\n"
    assert "paused" in queuectl.ok("schedule", "list")
    assert queuectl("schedule", "resume", "backup").err == "backup resumed\n"
    assert queuectl("schedule", "remove", "backup").err == "removed 1 schedule; the jobs that were added stay\n"
    assert queuectl("schedule", "list").err == "no schedules\n"
    assert "removed" in queuectl.ok("schedule", "history", "backup")


def test_the_next_times_have_the_offset_of_the_zone(queuectl: Queuectl) -> None:
    queuectl.ok(*BACKUP, "true")
    times = queuectl.ok("schedule", "next", "backup", "-n", "400").splitlines()
    assert len(times) == 400
    assert {time[10:] for time in times} == {" 02:00:00+01:00", " 02:00:00+02:00", " 03:00:00+02:00"}
    assert queuectl.json("schedule", "next", "backup", "-n", "400") == [time.replace(" ", "T") for time in times]


def test_a_schedules_jobs_have_the_retries_and_output_asked_for(queuectl: Queuectl) -> None:
    queuectl.ok(*BACKUP, "--retry-wait", "10m", "--jitter", "--merge-output", "true")
    job = queuectl.show(queuectl.ok("schedule", "run", "backup").strip())
    assert (job["retry_wait"], job["jitter"], job["merge_output"]) == (600, True, True)
    queuectl.ok(*BACKUP, "--backoff-cap", "5m", "--no-jitter", "--replace", "true")
    job = queuectl.show(queuectl.ok("schedule", "run", "backup").strip())
    assert (job["retry_wait"], job["backoff_cap"], job["jitter"], job["merge_output"]) == (None, 300, False, False)
    assert_error(
        queuectl(*BACKUP, "--retry-wait", "1m", "--backoff-cap", "2m", "true"), 2, "--retry-wait is a fixed wait"
    )


def test_backfill_adds_the_jobs_of_past_times(queuectl: Queuectl) -> None:
    queuectl.ok("schedule", "add", "report", "0 6 * * *", "--tz", "UTC", "true")
    span = ("schedule", "backfill", "report", "--from", "2026-01-01", "--to", "2026-01-04T00:00Z")
    assert_error(queuectl(*span), 2, "add 3 jobs of report", "add --yes")
    ids = queuectl.ok("--utc", *span, "--yes").split()
    assert ids == [f"report.2026010{day}T060000Z" for day in (1, 2, 3)]
    assert queuectl("--utc", *span, "--yes").err == "nothing to add (3 others have made one already)\n"


def test_the_past_has_its_schedules(queuectl: Queuectl) -> None:
    queuectl.ok(*BACKUP, "one")
    then = json.loads(queuectl.ok("head", "--json"))["position"]
    queuectl.ok(*BACKUP, "two", "--replace", "--paused")
    queuectl.ok("schedule", "remove", "backup")
    [row] = queuectl.json("schedule", "list", "--as-of", str(then))
    assert (row["command"], row["paused_at"]) == ("one", None)
    assert queuectl.json("schedule", "show", "backup", "--as-of", str(then + 2))["paused_at"]
    assert queuectl.json("schedule", "list") == []


def test_schedules_go_along_with_the_log(queuectl: Queuectl) -> None:
    """Exported, imported, migrated and rebuilt, they are the same, and so is their history."""
    queuectl.ok(*BACKUP, "true", "--paused")
    queuectl.ok("schedule", "run", "backup")
    queuectl.ok("export", "log.ndjson")
    queuectl.ok("--db", "other.db", "import", "log.ndjson")
    for table in ("schedule list", "schedule history backup"):
        assert queuectl.json("--db", "other.db", *table.split()) == queuectl.json(*table.split())
    queuectl.ok("--db", "other.db", "migrate", "--yes", "--to", "moved.db")
    queuectl.ok("--db", "moved.db", "verify")
    queuectl.ok("--db", "moved.db", "rebuild")
    assert queuectl.json("--db", "moved.db", "schedule", "show", "backup") == queuectl.json(
        "schedule", "show", "backup"
    )


def test_a_late_schedule_is_named(queuectl: Queuectl) -> None:
    queuectl.ok("schedule", "add", "tick", "--every", "1s", "--grace", "0s", "true")
    late = "late by "
    eventually(lambda: late in queuectl("doctor").out, "it is late")
    assert "no worker runs" in queuectl("doctor").out
    assert "schedule tick is late by" in queuectl.ok("status")
    assert schedules(queuectl)["tick"]["late_why"] == "no worker runs"
    assert queuectl.json("status")["late_schedules"][0]["name"] == "tick"


# ── bad input: one line, the exit code, and nothing is made ─────────────────────────────────────────────

BAD = {
    "six fields": (["a", "0 0 2 * * *", "x"], "has six fields, cron has five: use --every for seconds"),
    "four fields": (["a", "0 2 * *", "x"], "has 4 fields"),
    "no such minute": (["a", "61 * * * *", "x"], "bad minute"),
    "no such day": (["a", "0 0 30 2 *", "x"], "bad day-of-month"),
    "a word": (["a", "@often", "x"], "is not one of @hourly"),
    "without quotes": (["a", "0", "2", "*", "*", "*", "x"], "7 words: give a NAME"),
    "no command": (["a", "0 2 * * *"], "2 words: give a NAME"),
    "an empty command": (["a", "0 2 * * *", " "], "the command is empty"),
    "cron and an interval": (["a", "0 2 * * *", "--every", "5m", "x"], "3 words: give a NAME, and a COMMAND"),
    "a short interval": (["a", "--every", "0.5s", "x"], "every: at least 1s"),
    "no interval": (["a", "--every", "often", "x"], "every: 'often' is not a duration"),
    "an endless interval": (["a", "--every", "99999w", "x"], "is too long"),
    "a negative interval": (["a", "--every=-5m", "x"], "is not a duration"),
    "a start without an interval": (["a", "0 2 * * *", "--start", "now", "x"], "--start goes with --every"),
    "a zone for an interval": (["a", "--every", "5m", "--tz", "UTC", "x"], "leave --tz out"),
    "no such zone": (["a", "0 2 * * *", "--tz", "Mars/Base", "x"], "this machine has no time zone 'Mars/Base'"),
    "a path for a zone": (["a", "0 2 * * *", "--tz", "../../etc/passwd", "x"], "this machine has no time zone"),
    "a misspelt zone": (["a", "0 2 * * *", "--tz", "Europe/Berln", "x"], "did you mean Europe/Berlin?"),
    "no such rule": (
        ["a", "0 2 * * *", "--overlap", "maybe", "x"],
        "overlap: 'maybe' is not one of skip, queue, allow",
    ),
    "no such catching up": (["a", "0 2 * * *", "--catch-up", "some", "x"], "is not one of latest, all, none"),
    "all and skip": (["a", "0 2 * * *", "--catch-up", "all", "x"], "catch_up all goes with overlap queue or allow"),
    "an end in the past": (["a", "0 2 * * *", "--until", "2020-01-01", "x"], "the schedule would never run"),
    "no moment": (["a", "0 2 * * *", "--until", "never", "x"], "until: 'never' is not a time"),
    "a bad name": (["a b", "0 2 * * *", "x"], "schedule: 'a b' is not allowed"),
    "a long name": (["a" * 101, "0 2 * * *", "x"], "use up to 100 letters"),
    "a name with $": (["$x", "0 2 * * *", "x"], "is not allowed"),
    "a delay": (["a", "0 2 * * *", '{"command": "x", "delay": 5}'], "takes no delay and no time"),
    "an id": (["a", "0 2 * * *", '{"command": "x", "id": "y"}'], "get their ids from the schedule"),
    "an unknown field": (["a", "0 2 * * *", '{"command": "x", "cron": "y"}'], "there is no field `cron`"),
    "a bad queue": (["a", "0 2 * * *", "--queue", "a b", "x"], "queue: 'a b' is not allowed"),
    "a variable": (
        ["a", "0 2 * * *", "--env", "x", "x"],
        "--env x: there is no variable x to copy: write it as NAME=VALUE",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_makes_no_queue(queuectl: Queuectl, arguments: list[str], said: str) -> None:
    assert_error(queuectl("schedule", "add", *arguments), 2, said)
    assert not (queuectl.folder / "data").exists()


@pytest.mark.parametrize("verb", ["show", "next", "run", "pause", "resume", "remove", "history"])
def test_a_schedule_that_is_not_there_is_exit_3(queuectl: Queuectl, verb: str) -> None:
    queuectl.ok(*BACKUP, "true")
    assert_error(queuectl("schedule", verb, "nope"), 3, "no such schedule: nope")


def test_next_times_are_shown_over_a_change_of_the_clocks(queuectl: Queuectl) -> None:
    queuectl.ok("schedule", "add", "night", "30 2 * * *", "--tz", "Europe/Berlin", "true")
    shown = queuectl.ok("schedule", "next", "night", "-n", "3", "--from", "2027-03-27T01:30:00Z")
    assert shown.splitlines() == [
        "2027-03-27 02:30:00+01:00",
        "2027-03-28 03:00:00+02:00",
        "2027-03-29 02:30:00+02:00",
    ]
    assert queuectl.json("schedule", "next", "night", "-n", "1", "--from", "2020-01-01")[0].startswith(
        "2020-01-01T02:30"
    )
    assert_error(queuectl("schedule", "next", "night", "--from", "soonish"), 2, "--from: ")


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────


def test_sync_makes_the_schedules_those_of_the_file(queuectl: Queuectl) -> None:
    file = write(queuectl, JOBS)
    dry = queuectl("schedule", "sync", file, "--dry-run")
    assert dry.out.splitlines() == [
        "+ backup: 0 2 * * * (Europe/Berlin) $ restic backup /srv",
        "+ poll: every 15m $ ./poll --all",
    ]
    assert dry.err == "would be: 2 added\n"
    assert not (queuectl.folder / "data").exists()
    assert queuectl("schedule", "sync", file).err.endswith("2 added\n")
    assert {name: row["managed_by"] for name, row in schedules(queuectl).items()} == dict.fromkeys(
        ("backup", "poll"), file
    )
    head = queuectl.ok("head")
    assert queuectl("schedule", "sync", file).err == "nothing to change\n"
    assert queuectl.ok("head") == head


def test_sync_changes_removes_and_leaves_the_others(queuectl: Queuectl) -> None:
    queuectl.ok("schedule", "sync", write(queuectl, JOBS))
    queuectl.ok("schedule", "add", "mine", "@daily", "true")
    changed = (
        JOBS.partition("[poll]")[0].replace("0 2 * * *", "30 2 * * *") + '[new]\ncron = "@hourly"\ncommand = "x"\n'
    )
    done = queuectl("schedule", "sync", write(queuectl, changed))
    assert [line[:8] for line in done.out.splitlines()] == ["+ new: 0", "~ backup", "- poll: "]
    assert "~ backup: cron '0 2 * * *' → '30 2 * * *'" in done.out
    assert sorted(schedules(queuectl)) == ["backup", "mine", "new"]


BAD_FILES = {
    "an unknown key": ('[a]\ncron = "@daily"\ncommand = "x"\ncolour = "red"\n', "jobs.toml, line 4: [a] colour is not a field"),
    "a bad expression": ('\n[a]\ncommand = "x"\ncron = "61 * * * *"\n', "jobs.toml, line 4: [a] cron: '61 * * * *': bad minute"),
    "a wrong type": ('[a]\ncron = "@daily"\ncommand = "x"\npriority = "high"\n', "jobs.toml, line 4: [a] priority: expected a whole number, got a string"),
    "a wrong type of two": ('[a]\nevery = true\ncommand = "x"\n', "[a] every: expected a number or a string, got true or false"),
    "no command": ('[a]\ncron = "@daily"\n', "jobs.toml, line 1: [a] a job has either a command or an argv"),
    "a key without a schedule": ('cron = "@daily"\n', "jobs.toml, line 1: cron comes before the first [NAME]"),
    "no TOML": ("[a\n", "jobs.toml, line 1:"),
    "a name twice": ("[a]\n[a]\n", "jobs.toml, line 2:"),
    "a bad name": ('["a b"]\ncron = "@daily"\ncommand = "x"\n', "jobs.toml, line 1: [a b] schedule: 'a b' is not allowed"),
    "neither": ('[a]\ncommand = "x"\n', "jobs.toml, line 1: [a] give either a cron expression or --every"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_names_the_line_and_changes_nothing(queuectl: Queuectl, text: str, said: str) -> None:
    good = '[z]\ncron = "@daily"\ncommand = "x"\n'
    assert_error(queuectl("schedule", "sync", write(queuectl, text + good)), 2, said)
    assert not (queuectl.folder / "data").exists()


def test_a_schedule_of_another_owner_is_not_taken_over(queuectl: Queuectl) -> None:
    queuectl.ok(*BACKUP, "true")
    assert_error(queuectl("schedule", "sync", write(queuectl, JOBS)), 4, "a schedule backup already, added by hand")
    assert sorted(schedules(queuectl)) == ["backup"]


CRONTAB = """\
SHELL=/bin/bash
MAILTO=me@example.org
0 2 * * * restic backup /srv
@reboot ./start
"""


def test_a_crontab_is_imported_as_a_whole_or_not(queuectl: Queuectl) -> None:
    file = write(queuectl, CRONTAB, "crontab")
    refused = queuectl("schedule", "import-crontab", file)
    assert refused.err.splitlines() == [
        "line 2: MAILTO=me@example.org: no mail is sent; `queuectl logs` has the output",
        "not carried over, line 4: @reboot has no counterpart: start it with the system, as a service",
        "queuectl: 1 line cannot be carried over: nothing was added (--partial adds the others)",
    ]
    assert not (queuectl.folder / "data").exists()
    done = queuectl("schedule", "import-crontab", file, "--partial", "--tz", "Asia/Tokyo")
    assert done.out == "restic: 0 2 * * * (Asia/Tokyo) $ /bin/bash -c 'restic backup /srv'\n"
    assert done.err.endswith("added 1 schedule\n")
    assert list(schedules(queuectl)) == ["restic"]


def test_a_crontab_imported_again_adds_only_new_entries(queuectl: Queuectl) -> None:
    entries = "A=1\n0 2 * * * ./backup\n0 3 * * * ./tidy\n"
    queuectl.ok("schedule", "import-crontab", write(queuectl, entries, "crontab"))
    file = write(queuectl, entries + "0 4 * * * ./backup\n", "crontab")
    for options, said in ((["--dry-run"], "would add 1 schedule"), ([], "added 1 schedule"), ([], "added 0 schedules")):
        done = queuectl("schedule", "import-crontab", file, *options)
        assert "line 2: schedule backup is this entry already\n" in done.err
        assert done.err.endswith(f"{said}\n")
    assert sorted(schedules(queuectl)) == ["backup", "backup-2", "tidy"]


def test_a_crontab_as_toml_is_what_sync_reads(queuectl: Queuectl) -> None:
    entry = "A=\"b 'c'\"\nHOME=/tmp\n*/5 * * * * say \"hi\\%\" \\\\ 'x'\n"
    text = queuectl.ok("schedule", "import-crontab", "-", "--toml", "--tz", "UTC", stdin=entry)
    queuectl.ok("schedule", "sync", write(queuectl, text + "\n"))
    shown = queuectl.json("schedule", "show", "say")["job"]
    assert (shown["command"], shown["env"], shown["cwd"]) == (
        "say \"hi%\" \\\\ 'x'",
        {"A": "b 'c'", "HOME": "/tmp"},
        "/tmp",
    )


@pytest.mark.parametrize(
    ("verb", "text"), [("sync", '[a]\ncron = "@daily"\ncommand = "x"\n'), ("import-crontab", "# mine\r\n@daily a\r\n")]
)
def test_a_file_may_begin_with_a_byte_order_mark(queuectl: Queuectl, verb: str, text: str) -> None:
    queuectl.ok("schedule", verb, write(queuectl, "\ufeff" + text))
    assert list(schedules(queuectl)) == ["a"]


@pytest.mark.parametrize("verb", ["sync", "import-crontab"])
def test_a_file_without_end_is_refused(queuectl: Queuectl, verb: str) -> None:
    assert_error(queuectl("schedule", verb, "/dev/zero"), 2, "/dev/zero is larger than 16 MiB")
