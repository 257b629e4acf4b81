"""`failures` and what follows from it: a thousand jobs, three kinds of failure, one repair."""

import json

from tests.support.command_line import Queuectl, assert_error


def test_one_repair_of_a_thousand_jobs_takes_four_commands(queuectl: Queuectl) -> None:
    down = 'echo "curl: (7) Failed to connect to db port 54$N: Connection refused" >&2; exit 7'
    kinds = {
        "fetch": (400, f"[ -e repaired ] || {{ {down}; }}"),
        "parse": (80, "echo \"KeyError: 'customer-$N'\" >&2; exit 1"),
        "huge": (20, "kill -9 $$"),
        "good": (500, "true"),
    }
    jobs = [
        {"id": f"{kind}-{number}", "command": command, "max_retries": 0, "env": {"N": str(number)}}
        for kind, (count, command) in kinds.items()
        for number in range(count)
    ]
    (queuectl.folder / "jobs").write_text("\n".join(map(json.dumps, jobs)))
    queuectl.ok("enqueue", "--file", "jobs")
    queuectl.drain("--concurrency", "4", timeout=300)

    found = queuectl.json("failures")
    assert [(row["jobs"], row["error"].partition(":")[0]) for row in found] == [
        (400, "exited with code 7"),
        (80, "exited with code 1"),
        (20, "ended by SIGKILL"),
    ]
    (queuectl.folder / "repaired").touch()
    sig = found[0]["signature"]
    assert "10 jobs pending again" in queuectl("retry", "--sig", sig, "--limit", "10", "--yes").err
    queuectl.drain()
    assert "390 jobs pending again" in queuectl("retry", "--sig", sig, "--spread", "1s", "--yes").err
    queuectl.drain("--concurrency", "4", timeout=300)
    assert [row["jobs"] for row in queuectl.json("failures")] == [80, 20]
    assert len(queuectl.json("list", "--state", "done")) == 900
    queuectl.check()


def test_only_failures_of_that_time_and_queue_count(queuectl: Queuectl) -> None:
    queuectl.add("--queue", "mail", "--max-retries", "0", "exit 1")
    queuectl.add("--max-retries", "0", "exit 1")
    queuectl.drain()
    assert [row["jobs"] for row in queuectl.json("failures", "--queue", "mail")] == [1]
    assert queuectl.json("failures", "--since", "+1h") == []
    assert queuectl.json("failures", "--as-of", "2") == []
    assert "1 signature, 2 jobs in the dead-letter queue" in queuectl("failures").err


def test_attempts_count_retries_and_flaky_those_that_were_done(queuectl: Queuectl) -> None:
    queuectl.add("--max-retries", "1", "--retry-wait", "0s", "[ -e ok ] || { touch ok; exit 5; }")
    queuectl.add("--max-retries", "1", "--retry-wait", "0s", "exit 6")
    queuectl.drain()
    assert [(row["attempts"], row["jobs"]) for row in queuectl.json("failures", "--attempts")] == [(2, 1), (1, 1)]
    (flaky,) = queuectl.json("failures", "--flaky")
    assert (flaky["attempts"], flaky["error"]) == (1, "exited with code 5")
    assert_error(queuectl("failures", "--flaky", "--attempts"), 2, "one of them")


def test_a_bulk_retry_asks_and_a_dry_run_prints_ids(queuectl: Queuectl) -> None:
    queuectl.add_all(*({"id": f"j{number}", "command": "exit 1", "max_retries": 0} for number in range(3)))
    queuectl.drain()
    (row,) = queuectl.json("failures")
    sig, before = row["signature"], queuectl.position()
    assert_error(queuectl("retry", "--sig", sig), 2, "retry 3 jobs", "--yes")
    assert queuectl.ok("dlq", "retry", "--sig", sig, "--limit", "2", "--dry-run") == "j0\nj1"
    assert_error(queuectl("retry", "--sig", "xyz"), 2, "8 hex digits")
    assert queuectl("retry", "--sig", "00000000", "--yes").err == "nothing to retry\n"
    assert queuectl.position() == before
    queuectl.ok("dlq", "retry", "--sig", sig, "--limit", "1", "--set", "command=true", "--yes")
    queuectl.ok("dlq", "purge", "--sig", sig, "--yes")
    queuectl.drain()
    assert [job["state"] for job in queuectl.json("list")] == ["done"]


def test_one_group_has_its_jobs_and_how_to_retry_them(queuectl: Queuectl) -> None:
    for number, queue in enumerate(("a", "a", "b")):
        queuectl.add("--id", f"j{number}", "--queue", queue, "--max-retries", "0", "exit 7")
    queuectl.add("--max-retries", "0", "exit 8")
    queuectl.drain()
    sig = next(row["signature"] for row in queuectl.json("failures") if row["jobs"] == 3)
    assert [job["id"] for job in queuectl.json("failures", sig)["members"]] == ["j0", "j1", "j2"]
    shown = queuectl.ok("failures", sig, "--queue", "a")
    assert "j1" in shown
    assert "j2" not in shown
    assert f"queuectl retry --sig {sig} --queue a" in shown
    limited = queuectl("failures", sig, "--limit", "1")
    assert "j1" not in limited.out
    assert "1 of 3" in limited.err
    assert "queuectl retry" not in queuectl.ok("failures", sig, "--as-of", "head")


def test_a_group_that_has_no_dead_jobs_is_refused(queuectl: Queuectl) -> None:
    queuectl.add("true")
    assert_error(queuectl("failures", "00000000"), 3, "00000000", "failures")
    assert_error(queuectl("failures", "nosig"), 2, "'nosig' is not a signature", "8 hex digits")
    assert_error(queuectl("failures", "00000000", "--flaky"), 2, "leave out")
