"""`edit`, `copy`, `retry --set`: jobs with other fields, from options and from an editor."""

import os
import pty
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import PROGRAM, Queuectl, assert_error, eventually


def test_the_history_says_from_which_value_to_which_by_whom_and_why(queuectl: Queuectl) -> None:
    queuectl.add("--id", "march", "--timeout", "5m", "--env", "A=1", "--env", "B=1", "true")
    done = queuectl("edit", "march", "--timeout", "1h", "--env", "A=2", "--unset-env", "B", "--reason", "too short")
    assert (done.code, done.out, done.err) == (0, "", "march: timeout 5m → 1h; env A 1 → 2; env B removed\n")
    assert "timeout 5m → 1h; env A 1 → 2; env B removed, by " in queuectl.ok("history", "march")
    assert ": too short" in queuectl.ok("history", "march")
    original = queuectl.json("show", "march", "--original")
    assert (original["timeout"], original["env"]) == (300, {"A": "1", "B": "1"})
    assert (queuectl.show("march")["timeout"], queuectl.show("march")["env"]) == (3600, {"A": "2"})
    queuectl.check()


def test_an_edited_job_runs_as_it_was_changed(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--queue", "mail", "--delay", "9h", "exit 3")
    here = {**queuectl.env, "NAME": "new"}
    changes = ("--command", "echo $NAME", "--env", "NAME", "--queue", "other", "--now")
    assert queuectl("edit", job_id, *changes, env=here).code == 0
    assert_error(queuectl("edit", job_id, "--env", "NOWHERE"), 2, "there is no variable NOWHERE to copy")
    queuectl.drain("--queue", "other")
    assert (queuectl.show(job_id)["state"], queuectl.show(job_id)["stdout"]) == ("done", "new\n")


def test_the_same_enqueue_is_still_the_same_job(queuectl: Queuectl) -> None:
    again = ("--id", "a", "--priority", "1", "true")
    queuectl.add(*again)
    queuectl.ok("edit", "a", "--priority", "9")
    assert queuectl.ok("enqueue", *again) == "a"
    assert_error(queuectl("enqueue", "--id", "a", "--priority", "9", "true"), 4, "priority")


def test_of_several_jobs_all_are_edited_or_none(queuectl: Queuectl) -> None:
    queuectl.add_all({"id": "a", "command": "true"}, {"id": "b", "command": "true"})
    queuectl.ok("cancel", "b")
    assert_error(queuectl("edit", "a", "b", "--priority", "4"), 4, "b", "cancelled", "retry b --set")
    assert queuectl.types("a") == ["enqueued"]
    queuectl.ok("retry", "b")
    queuectl.ok("edit", "a", "b", "--priority", "4")
    assert [queuectl.show(each)["priority"] for each in "ab"] == [4, 4]


def test_a_running_job_is_not_edited_but_can_be_copied(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--unique", "key", "--tag", "a=b", "touch ran; until [ -e go ]; do sleep 0.05; done")
    worker = queuectl.start("run", "--once")
    eventually((queuectl.folder / "ran").exists, "the job runs")
    assert_error(queuectl("edit", job_id, "--priority", "4"), 4, "processing", "cancel it", "--set")
    copied = queuectl.ok("copy", job_id, "--priority", "7", "--tag", "c=d").strip()
    (queuectl.folder / "go").touch()
    assert worker.ended().code == 0
    job = queuectl.show(copied)
    assert (job["priority"], job["tags"], job["unique_key"]) == (7, {"a": "b", "c": "d"}, None)
    assert job["origin"] == f"copy:{job_id}"


def test_a_copy_may_have_another_retry_policy(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--delay", "1h", "--max-retries", "1", "true")
    copied = queuectl.ok("copy", job_id, "--max-retries", "9", "--retry-wait", "5m", "--jitter").strip()
    job = queuectl.show(copied)
    assert (job["max_retries"], job["retry_wait"], job["jitter"]) == (9, 300, True)
    capped = queuectl.show(queuectl.ok("copy", job_id, "--backoff-cap", "10m").strip())
    assert (capped["max_retries"], capped["backoff_cap"]) == (1, 600)
    before = queuectl.position()
    assert_error(queuectl("copy", job_id, "--retry-wait", "5m", "--backoff-base", "3"), 2, "--retry-wait is a fixed")
    assert queuectl.position() == before


def test_a_job_that_waits_for_another_one_is_edited(queuectl: Queuectl) -> None:
    queuectl.add("--id", "first", "true")
    queuectl.add("--id", "second", "--after", "first", "true")
    queuectl.ok("edit", "second", "--priority", "3")
    queuectl.ok("copy", "second", "--id", "free", "--delay", "1h")
    assert (queuectl.show("second")["priority"], queuectl.show("second")["due_at"]) == (3, None)
    assert queuectl.show("free")["due_at"] is not None
    assert in_editor(queuectl, """sed -i 's/"none"/"1h"/' "$1" """, "second") == (0, "second: timeout none → 1h")
    queuectl.ok("run", "--once")
    queuectl.ok("run", "--once")
    assert queuectl.state("second") == "done"
    queuectl.check()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--timeout", "never"], "timeout"),
        (["--priority", "9999999"], "priority"),
        (["--command", " "], "empty"),
        (["--at", "tomorrow", "--now"], "one of"),
        (["--env", "1=2"], "env"),
        ([], "options"),
    ],
)
def test_a_wrong_option_changes_nothing(queuectl: Queuectl, options: list[str], word: str) -> None:
    queuectl.add("--id", "a", "true")
    assert_error(queuectl("edit", "a", *options), 2, word)
    assert queuectl.types("a") == ["enqueued"]


def test_a_retry_with_changes_has_the_notes_of_an_edit(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    for retry in (["a"], ["--state", "cancelled", "--yes"]):
        queuectl.ok("cancel", "a")
        assert "in the background" in queuectl("retry", *retry, "--set", "command=make &> log").err


def test_an_ended_job_is_retried_with_changes_in_one_append(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "--max-retries", "0", "exit $CODE")
    queuectl.drain()
    assert_error(queuectl("retry", "a", "--set", "speed=1"), 2, "timeout", "env.NAME")
    assert_error(queuectl("retry", "a", "--set", "priority=high"), 2, "a number")
    queuectl.ok("retry", "a", "--set", "env.CODE=0", "--set", "timeout=2h", "--reason", "it was not set")
    assert queuectl.types("a")[-2:] == ["amended", "requeued"]
    queuectl.drain()
    assert (queuectl.state("a"), queuectl.show("a")["timeout"]) == ("done", 7200)
    queuectl.check()


def test_edits_are_exported_imported_and_migrated(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "--delay", "1h", "true")
    queuectl.ok("edit", "a", "--queue", "mail", "--priority", "3")
    queuectl.ok("export", "log.ndjson")
    queuectl.ok("--db", "other/queue.db", "import", "log.ndjson")
    queuectl.ok("migrate", "--yes", "--to", "moved/queue.db")
    for db in ("other/queue.db", "moved/queue.db"):
        job = queuectl.json("--db", db, "show", "a")
        assert (job["queue"], job["priority"]) == ("mail", 3)
        assert queuectl.ok("--db", db, "verify")


# ── in an editor ────────────────────────────────────────────────────────────────────────────────────────


def in_editor(queuectl: Queuectl, script: str, *arguments: str) -> tuple[int, str]:
    """Run `edit` on a terminal with a script of sed as the editor; its exit code and what it printed."""
    editor = queuectl.folder / "editor"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    ours, theirs = pty.openpty()
    command = [PROGRAM, "--db", str(queuectl.db), "edit", *arguments]
    env = {**os.environ, "VISUAL": str(editor), "COLUMNS": "200"}
    done = subprocess.Popen(command, cwd=queuectl.folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            said += (more := os.read(ours, 4096))
        except OSError:
            break
        if not more:
            break
    os.close(ours)
    return done.wait(60), " ".join(said.decode().split())


def test_a_job_is_edited_as_text(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "--timeout", "5m", "--env", "A=1", "--delay", "1h", "true")
    code, said = in_editor(queuectl, """sed -i 's/"5m"/"1h"/; s/"A": "1"/"B": "2"/' "$1" """, "a", "--reason", "why")
    assert (code, said) == (0, "a: timeout 5m → 1h; env A removed; env B → 2")
    assert queuectl.types("a") == ["enqueued", "amended"]
    due = queuectl.show("a")["due_at"]
    assert due == queuectl.json("show", "a", "--original")["due_at"]


def test_dependencies_are_edited_as_text(queuectl: Queuectl) -> None:
    for job_id in ("a", "b"):
        queuectl.add("--id", job_id, "--delay", "1h", "true")
    queuectl.add("--id", "c", "--after", "a", "true")
    script = """sed -i 's/^    "a"/    "b:end"/; s/"if_unmet": "hold"/"if_unmet": "cancel"/' "$1" """
    assert in_editor(queuectl, script, "c") == (0, "c: if-unmet hold → cancel; after a (ok) → b (end)")
    job = queuectl.show("c")
    assert (job["after"], job["if_unmet"], job["waiting"]) == ([{"job": "b", "on": "end"}], "cancel", True)
    assert in_editor(queuectl, "true", "c") == (0, "nothing changed")
    code, said = in_editor(queuectl, """sed -i '/"b:end"/d' "$1" """, "c")
    assert (code, said[-22:]) == (0, "; after b (end) → none")
    assert queuectl.show("c")["waiting"] is False


def test_if_unmet_is_edited_and_a_copy_may_wait(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "--delay", "1h", "true")
    queuectl.add("--id", "b", "--after", "a", "true")
    assert queuectl("edit", "b", "--if-unmet", "cancel").err == "b: if-unmet hold → cancel\n"
    before = queuectl.position()
    assert_error(queuectl("edit", "a", "--if-unmet", "cancel"), 2, "job a waits for no other job")
    assert_error(queuectl("edit", "b", "--if-unmet", "run"), 2, "if_unmet", "run")
    assert_error(queuectl("edit", "b", "--no-after", "--if-unmet", "hold"), 2, "one of --if-unmet and --no-after")
    assert_error(queuectl("copy", "a", "--if-unmet", "hold"), 2, "say what the job waits for")
    assert_error(queuectl("copy", "a", "--after", "nothing"), 3, "no such job: nothing")
    assert queuectl.position() == before
    copied = queuectl.show(queuectl.ok("copy", "b", "--after", "a:end").strip())
    assert (copied["after"], copied["if_unmet"]) == ([{"job": "a", "on": "end"}], "hold")
    queuectl.ok("cancel", "a")
    assert queuectl.state("b") == "cancelled"
    queuectl.check()


def test_an_unchanged_text_changes_nothing(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    assert in_editor(queuectl, "true", "a") == (0, "nothing changed")
    assert queuectl.types("a") == ["enqueued"]


def test_a_wrong_text_is_shown_again_with_the_error(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    script = """grep '^# error' "$1" > seen; sed -i 's/"timeout": ".*"/"timeout": "'$(cat next)'"/; $d' "$1"
echo '}' >> "$1"; echo 10m > next"""
    (queuectl.folder / "next").write_text("soon")
    code, said = in_editor(queuectl, script, "a")
    assert (code, said) == (0, "a: timeout none → 10m")
    assert "timeout" in (queuectl.folder / "seen").read_text()


def test_a_text_for_a_claimed_job_is_kept_in_a_file(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    code, said = in_editor(
        queuectl, f"""{PROGRAM} --db {queuectl.db} run --drain; sed -i 's/"none"/"1h"/' "$1" """, "a"
    )
    assert code == 4
    kept = Path(said.rpartition("your text is in ")[2])
    assert '"timeout": "1h"' in kept.read_text()
    kept.unlink()


def test_an_edit_changes_how_retries_wait(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    done = queuectl("edit", "a", "--backoff-cap", "10m", "--jitter")
    assert (done.code, done.err) == (0, "a: backoff-cap 1h → 10m; jitter no → yes\n")
    assert (
        queuectl("edit", "a", "--retry-wait", "30s", "--no-jitter").err == "a: retry-wait none → 30s; jitter yes → no\n"
    )
    job = queuectl.show("a")
    assert (job["retry_wait"], job["backoff_cap"], job["jitter"]) == (30, 600, False)
    assert queuectl("edit", "a", "--backoff-cap", "5m").err == "a: backoff-cap 10m → 5m; retry-wait 30s → none\n"
    job = queuectl.show("a")
    assert (job["retry_wait"], job["backoff_cap"]) == (None, 300)
    assert_error(queuectl("edit", "a", "--retry-wait", "1m", "--backoff-base", "3"), 2, "leave out --backoff-base")
    assert_error(queuectl("edit", "a", "--retry-wait", "soon"), 2, "retry_wait")
