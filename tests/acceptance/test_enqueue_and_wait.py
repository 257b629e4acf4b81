"""`enqueue --wait`, `enqueue --dry-run`, `show --as-shell`, and `logs` of the newest run."""

import json
import shlex

from tests.support.command_line import Queuectl, assert_error, eventually


def test_enqueue_waits_prints_the_output_and_has_the_jobs_code(queuectl: Queuectl) -> None:
    queuectl.ok("pause", "mail")
    queuectl.start("run")
    eventually(lambda: queuectl.json("worker", "list"), "the worker is there")
    done = queuectl("enqueue", "--wait", "--id", "a", "--max-retries", "0", "echo out; echo err >&2; exit 7")
    assert (done.code, done.out, done.err) == (7, "out\n", "job a\nerr\n")
    followed = queuectl("enqueue", "--wait", "--follow", "--id", "b", "echo 1; sleep 0.3; echo 2")
    assert (followed.code, followed.out, followed.err) == (0, "1\n2\n", "job b\n")


def test_a_dry_run_writes_nothing_and_makes_no_folder(queuectl: Queuectl) -> None:
    assert queuectl.ok("enqueue", "--dry-run", "--queue", "ci", "--delay", "5m", "echo hi") == "echo hi"
    (job,) = json.loads(queuectl.ok("enqueue", "--dry-run", "--json", "--tag", "a=b", "--", "echo", "x y"))
    assert (job["argv"], job["tags"], job["max_retries"]) == (["echo", "x y"], {"a": "b"}, 3)
    assert_error(queuectl("enqueue", "--dry-run", "--queue", "no queue", "true"), 2, "queue")
    assert list(queuectl.folder.iterdir()) == []


def test_the_output_of_a_dry_run_can_be_enqueued(queuectl: Queuectl) -> None:
    flags = ("--priority", "3", "--env", "A=1", "--timeout", "90s", "--unique", "k", "--id", "a", "--umask", "027")
    printed = queuectl.ok("enqueue", "--dry-run", "--json", *flags, "echo 'x y'")
    assert queuectl("enqueue", "--file", "-", stdin=printed).out == "a\n"
    shown = queuectl.show("a")
    assert (shown["command"], shown["priority"], shown["timeout"], shown["env"]) == ("echo 'x y'", 3, 90.0, {"A": "1"})


def test_options_that_exclude_each_other_are_refused(queuectl: Queuectl) -> None:
    assert_error(queuectl("enqueue", "--follow", "true"), 2, "--follow goes with --wait")
    assert_error(queuectl("enqueue", "--json", "true"), 2, "--json goes with --dry-run")
    assert_error(queuectl("enqueue", "--dry-run", "--wait", "true"), 2, "--dry-run")
    assert list(queuectl.folder.iterdir()) == []


def test_a_job_as_a_command_line_adds_it_again(queuectl: Queuectl) -> None:
    rest = ("--tag", "a=b c", "--timeout", "5m", "--max-retries", "7", "--queue", "ci", "--backoff-base", "1.5")
    ids = [
        queuectl.add(*rest, "--delay", "1h", "--env", "A=it's", "echo \"$A\" '日本'"),
        queuectl.add(*rest, "--at", "2090-01-01T00:00:00Z", "--", "printf", "%s", "a  b", "--x"),
        queuectl.add('{"command": "-x", "backoff_cap": 60, "jitter": true}'),
        queuectl.add("--batch", "grid", "--timeout", "none", "true"),
        queuectl.add("--batch", "grid", '{"command": "-y"}'),
        queuectl.add("printf '\b\x1b[2J\x7f\x9b\u202eä\U0001f600'"),
    ]
    queuectl.ok("config", "set", "timeout", "9m")
    for job_id in ids:
        line = queuectl.ok("show", job_id, "--as-shell")
        assert line.isprintable(), "no control character reaches the terminal"
        words = shlex.split(line)
        assert words[:2] == ["queuectl", "enqueue"]
        again = queuectl.add(*words[2:])
        new, old = (queuectl.json("history", each)[0]["data"] for each in (again, job_id))
        assert new == old
    assert_error(queuectl("show", "none", "--as-shell"), 3)


def test_logs_without_an_id_are_those_of_the_newest_run(queuectl: Queuectl) -> None:
    queuectl.ok("pause", "mail")
    assert_error(queuectl("logs"), 3, "no job has run yet")
    queuectl.add_all(*({"id": f"job-{n}", "command": f"echo {n}"} for n in (1, 2)))
    queuectl.drain()
    queuectl.add("--delay", "1h", "true")
    assert queuectl("logs") == (0, "2\n", "job job-2: echo 2\n")


def test_logs_prints_only_the_last_lines_of_each_stream(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "seq 20000; seq 3 >&2; printf end")
    queuectl.drain()
    assert queuectl("logs", "a", "-n", "2") == (0, "20000\nend", "2\n3\n")
    assert queuectl("logs", "a", "-n", "0") == (0, "", "")
    assert queuectl("logs", "a", "-f", "-n", "1", "--stderr") == (0, "3\n", "")
    assert_error(queuectl("logs", "a", "-n", "-1"), 2)


def test_events_prints_only_the_last_ones(queuectl: Queuectl) -> None:
    queuectl.add_all(*({"id": f"job-{n}", "command": "true"} for n in range(5)))
    printed = queuectl.ok("events", "-n", "2", "-o", "ndjson").splitlines()
    assert [json.loads(line)["position"] for line in printed] == [4, 5]
    assert queuectl.ok("events", "-n", "1", "--job", "job-2", "-o", "name") == "3"
    assert queuectl.ok("events", "--until", "an hour ago") == ""
    assert len(queuectl.ok("events", "--until", "now").splitlines()) == 5
    assert [line.split(",")[0] for line in queuectl.ok("events", "-o", "csv").splitlines()][:2] == ["position", "1"]
    assert_error(queuectl("events", "--until", "once"), 2, "--until", "once")


def test_times_on_a_screen_are_in_one_zone(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    berlin = {"TZ": "CET-1"}
    for command in (("show", "a"), ("history", "a"), ("events",), ("diff", "0", "head"), ("explain", "a")):
        assert "+01:00" in queuectl.ok(*command, env=berlin), command
        assert "+00:00" in queuectl.ok("--utc", *command, env=berlin), command
    done = queuectl("list", "--as-of", "yesterday", env=berlin)
    assert "queuectl: the log began at " in done.err
    assert "+01:00: there is nothing before that" in done.err
