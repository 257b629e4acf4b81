"""`status` answers what runs now, what is next and what nobody will run; other commands say the last of these too."""

from datetime import datetime

from tests.support.command_line import UNSERVED, Queuectl, eventually


def test_status_names_the_running_jobs(queuectl: Queuectl) -> None:
    queuectl.add("--id", "long", "touch began; until [ -e go ]; do sleep 0.05; done")
    worker = queuectl.start("run", "--drain", "--name", "one")
    eventually((queuectl.folder / "began").exists, "the job runs")
    found = queuectl.json("status")
    assert [(job["id"], job["number"], job["locked_by"]) for job in found["running"]] == [("long", 1, "one")]
    text = queuectl.ok("status")
    assert "touch began" in text
    assert "one" in text
    (queuectl.folder / "go").touch()
    assert worker.ended().code == 0
    assert queuectl.json("status")["running"] == []


def test_status_tells_retries_from_jobs_that_never_ran(queuectl: Queuectl) -> None:
    queuectl.add("--backoff-base", "900", "false")
    queuectl.ok("run", "--once")
    queuectl.add("--delay", "2h", "true")
    found = queuectl.json("status")
    assert (found["retrying"], found["states"]["pending"], found["oldest_due"]) == (1, 2, None)
    assert found["next_due"] == min(row["due_at"] for row in queuectl.json("list"))
    text = queuectl.ok("status")
    assert "1 of 2 pending jobs waits for a retry" in text
    assert "next due in 14m5" in text
    assert queuectl.json("status", "--as-of", "head")["retrying"] == 1


def test_status_names_the_command_for_dead_jobs(queuectl: Queuectl) -> None:
    queuectl.add("--max-retries", "0", "false")
    assert "dead" not in queuectl.ok("status")
    queuectl.drain()
    assert "1 dead job (`queuectl failures`)" in queuectl.ok("status").splitlines()


def test_explain_names_a_cause_for_a_kill_from_outside(queuectl: Queuectl) -> None:
    for name, command in (("killed", "kill -9 $$"), ("child", "sh -c 'kill -9 $$'; exit $?"), ("other", "exit 3")):
        queuectl.add("--id", name, "--max-retries", "0", command)
    queuectl.drain()
    said = [name for name in ("killed", "child", "other") if "memory" in queuectl.ok("explain", name)]
    assert said == ["killed", "child"]
    queuectl.ok("retry", "killed")
    assert "memory" not in queuectl.ok("explain", "killed")


def test_a_queue_that_no_worker_serves_is_named(queuectl: Queuectl) -> None:
    assert queuectl("enqueue", "--queue", "mail", "true").err.endswith(UNSERVED)
    assert UNSERVED.strip() in queuectl.ok("status").splitlines()
    assert queuectl.json("status")["unserved"] == ["mail"]
    worker = queuectl.start("run", "--queue", "ci")
    eventually(lambda: queuectl.json("status")["workers"], "the worker is there")
    assert queuectl("enqueue", "--queue", "mail", "true").err == UNSERVED
    assert queuectl("enqueue", "--queue", "ci", "--delay", "1h", "true").err == ""
    assert f"mail: {UNSERVED.strip()}" in queuectl.ok("status").splitlines()
    assert queuectl.json("status")["unserved"] == ["mail"]
    assert queuectl.json("status", "--as-of", "head")["unserved"] is None
    worker.stop()


def test_the_same_job_again_is_not_said_to_wait(queuectl: Queuectl) -> None:
    assert queuectl("enqueue", "--id", "a", "true").err.endswith(UNSERVED)
    assert queuectl("enqueue", "--id", "a", "true") == (0, "a\n", "")


def test_waiting_commands_name_a_missing_worker(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    done = queuectl("wait", "a", "--timeout", "0.1s")
    assert (done.code, done.out) == (124, "")
    assert done.err.startswith(UNSERVED)
    follower = queuectl.start("logs", "-f", "a")
    eventually(lambda: follower.stderr.read_text(encoding="utf-8") == UNSERVED, "the follower says so")
    queuectl.drain()
    assert follower.ended().code == 0
    assert queuectl("wait", "a") == (0, "", "")


def test_a_command_that_waits_names_the_queue_in_its_advice(queuectl: Queuectl) -> None:
    done = queuectl("--db", "my queue.db", "enqueue", "true")
    assert done.err.splitlines()[-1] == "no worker serves these queues: queuectl --db 'my queue.db' run"


def test_the_json_of_a_running_job_says_where_it_runs(queuectl: Queuectl) -> None:
    running = queuectl.add("until [ -e go ]; do sleep 0.02; done")
    waiting = queuectl.add("--delay", "1h", "true")
    queuectl.start("run", "--name", "w")
    eventually(lambda: queuectl.state(running) == "processing", "the job runs")
    (worker,) = queuectl.json("worker", "list")
    rows = {row["id"]: row for row in queuectl.json("list")}
    (shown,) = queuectl.json("status")["running"]
    for row in (rows[running], queuectl.show(running), shown):
        assert (row["pid"], row["host"]) == (worker["pid"], worker["host"])
        assert datetime.fromisoformat(row["created_at"]) <= datetime.fromisoformat(row["started_at"])
    assert [rows[waiting][name] for name in ("started_at", "pid", "host")] == [None, None, None]
    (queuectl.folder / "go").touch()
    eventually(lambda: queuectl.state(running) == "done", "the job ends")
    assert queuectl.show(running)["started_at"] is None


def test_status_counts_what_failed(queuectl: Queuectl) -> None:
    queuectl.add("--max-retries", "0", "false")
    queuectl.add("--retry-wait", "1h", "false")
    queuectl.add("--delay", "1h", "true")
    queuectl.ok("run", "--once")
    queuectl.ok("run", "--once")
    found = queuectl.json("status")
    assert (found["failed"], found["retrying"], found["states"]["dlq"]) == (2, 1, 1)


def test_a_pause_of_a_queue_without_jobs_says_so(queuectl: Queuectl) -> None:
    queuectl.add("--queue", "mail", "true")
    assert queuectl("pause", "mial").err == "no job is in queue mial; the queues of jobs are mail\npaused queue mial\n"
    assert queuectl("pause", "mail").err == "paused queue mail\n"
    assert queuectl("pause").err == "paused every queue\n"
