"""The process of a job: environment, stdin, session, descriptors, signals, umask, folder, output."""

import json
import os
import signal
import sys
from typing import Any

from tests.support.command_line import PROGRAM, Queuectl, alive, assert_error, eventually

LOOK = """
import json, os, sys
opened = {}
for descriptor in os.listdir("/proc/self/fd"):
    try:
        opened[descriptor] = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        pass  # that of the listing itself
mask = os.umask(0)
flags = {fd: int(open(f"/proc/self/fdinfo/{fd}").read().split("flags:")[1].split()[0], 8) for fd in (1, 2)}
print(json.dumps({"env": dict(os.environ), "opened": opened, "mask": mask, "cwd": os.getcwd(), "pid": os.getpid(),
    "session": os.getsid(0), "group": os.getpgid(0), "appending": [bool(flags[fd] & os.O_APPEND) for fd in flags]}))
"""


def _run_and_inspect(queuectl: Queuectl, *flags: str, **options: Any) -> dict[str, Any]:
    job_id = queuectl.add(*flags, "--", sys.executable, "-c", LOOK)
    queuectl.drain("--name", "the-worker", **options)
    seen: dict[str, Any] = json.loads(queuectl.ok("logs", job_id))
    return {**seen, "id": job_id}


def test_a_job_gets_its_own_variables(queuectl: Queuectl) -> None:
    seen = _run_and_inspect(queuectl)
    env = {name: value for name, value in seen["env"].items() if name.startswith("QUEUECTL_")}
    del env["QUEUECTL_RUN_TOKEN"]
    env.pop("QUEUECTL_HOME", None)  # a server's queue has a place on this machine besides
    assert env == {
        "QUEUECTL_DB": queuectl.place,
        "QUEUECTL_JOB_ID": seen["id"],
        "QUEUECTL_RUN": "1",
        "QUEUECTL_ATTEMPT": "1",
        "QUEUECTL_WORKER": "the-worker",
        "QUEUECTL_QUEUE": "default",
        "QUEUECTL_SLOT": "0",
    }


def test_runs_keep_counting_when_attempts_are_reset(queuectl: Queuectl) -> None:
    line = 'echo "$QUEUECTL_RUN $QUEUECTL_ATTEMPT" >> counted; exit 1'
    job_id = queuectl.add("--max-retries", "1", "--backoff-base", "0", line)
    queuectl.drain()
    queuectl.ok("retry", job_id)
    queuectl.drain()
    assert (queuectl.folder / "counted").read_text() == "1 1\n2 2\n3 1\n4 2\n"


def test_stdin_is_empty_and_output_is_appended(queuectl: Queuectl) -> None:
    seen = _run_and_inspect(queuectl)
    assert seen["opened"]["0"] == "/dev/null"
    assert seen["appending"] == [True, True]
    assert {seen["opened"][fd].startswith(f"{queuectl.output}/") for fd in ("1", "2")} == {True}
    assert seen["opened"]["1"] != seen["opened"]["2"]


def test_a_job_has_its_own_session_and_its_callers_umask(queuectl: Queuectl) -> None:
    before = os.umask(0o027)
    try:
        seen = _run_and_inspect(queuectl)
    finally:
        os.umask(before)
    assert seen["session"] == seen["group"] == seen["pid"]
    assert seen["mask"] == 0o027


def test_a_job_inherits_only_the_descriptor_of_its_lock(queuectl: Queuectl) -> None:
    seen = _run_and_inspect(queuectl)
    assert set(seen["opened"]) == {"0", "1", "2", "250"}
    assert seen["opened"]["250"].startswith(f"{queuectl.output}/")


def test_a_job_does_not_inherit_the_workers_descriptors(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--", sys.executable, "-c", LOOK)
    reader, writer = os.pipe()
    try:
        assert queuectl.start("run", "--drain", pass_fds=(reader, writer)).ended().code == 0
    finally:
        os.close(reader)
        os.close(writer)
    assert set(json.loads(queuectl.ok("logs", job_id))["opened"]) == {"0", "1", "2", "250"}


def test_a_jobs_signals_have_the_default_action(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--", "cat", "/proc/self/status")
    # The worker itself is started with SIGPIPE ignored, and Python ignores it in any case.
    assert queuectl.start("run", "--drain", restore_signals=False).ended().code == 0
    status = dict(line.split(":\t", 1) for line in queuectl.ok("logs", job_id).splitlines() if ":\t" in line)
    for name in ("SigBlk", "SigIgn", "SigCgt"):
        # Signals that no program can name are the C library's own business.
        assert not [number for number in signal.valid_signals() if int(status[name], 16) >> number - 1 & 1], name


def test_a_job_runs_in_the_folder_where_it_was_enqueued(queuectl: Queuectl) -> None:
    place = queuectl.folder / "a place"
    place.mkdir()
    here = queuectl.add("pwd", env={"QUEUECTL_DB": queuectl.place}, cwd=place)
    there = queuectl.add("--cwd", "a place", "pwd")
    queuectl.drain()
    assert [queuectl.show(job)["stdout"] for job in (here, there)] == [f"{place}\n"] * 2


def test_a_jobs_environment_is_the_workers_plus_its_own(queuectl: Queuectl) -> None:
    seen = _run_and_inspect(queuectl, "--env", "OWN=a b", "--env", "BOTH=job", env={"WORKERS": "1", "BOTH": "worker"})
    assert (seen["env"]["OWN"], seen["env"]["WORKERS"], seen["env"]["BOTH"]) == ("a b", "1", "job")


def test_a_job_enqueues_into_its_own_queue_wherever_it_runs(queuectl: Queuectl) -> None:
    place = queuectl.folder / "elsewhere"
    place.mkdir()
    queuectl.add("--cwd", str(place), "--", PROGRAM, "enqueue", "--id", "child", "true")
    queuectl.drain("--concurrency", "2", env={"QUEUECTL_DB": os.path.relpath(queuectl.db, queuectl.folder)})
    assert queuectl.json("show", "child")["state"] == "done"
    assert [*place.iterdir()] == []
    other = str(place / "other.db")
    queuectl.add("--env", f"QUEUECTL_DB={other}", "--", PROGRAM, "enqueue", "--id", "other", "true")
    queuectl.drain()
    assert '"other"' in queuectl.ok("--db", other, "list", "--json")


def test_a_secret_is_passed_and_not_stored(queuectl: Queuectl) -> None:
    secret = "correct-horse-battery-staple"
    line = '[ "$TOKEN" = "$OTHER-battery-staple" ] && sleep 0.1'
    job_id = queuectl.add("--secret-env", "TOKEN", line, env={"TOKEN": secret})
    queuectl.drain("--log-level", "debug", env={"TOKEN": secret, "OTHER": "correct-horse"})
    assert queuectl.state(job_id) == "done"
    stored = queuectl.stored()
    assert [each for each in stored if b"battery-staple" in each]
    assert not [each for each in stored if secret.encode() in each]
    assert secret not in queuectl.ok("history", job_id) + queuectl.ok("show", job_id)
    assert "TOKEN" in queuectl.ok("history", job_id, "--json")


def test_a_secret_that_the_worker_lacks_is_a_failed_attempt(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "--secret-env", "TOKEN", "true")
    queuectl.drain()
    job = queuectl.show(job_id)
    assert job["state"] == "dlq"
    assert job["last_error"].startswith("not started: ")
    assert "TOKEN" in job["last_error"]


def test_background_processes_end_with_their_job(queuectl: Queuectl) -> None:
    job_id = queuectl.add("sleep 300 & echo $! > pid; echo done")
    queuectl.drain()
    assert queuectl.show(job_id)["stdout"] == "done\n"
    assert not alive(int((queuectl.folder / "pid").read_text()))


# ── how it can end ──────────────────────────────────────────────────────────────────────────────────────


def test_a_timeout_ends_the_whole_tree(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "--timeout", "300ms", "sleep 300 & echo $! > pid; wait")
    queuectl.drain()
    job = queuectl.show(job_id)
    assert (job["state"], job["exit_code"]) == ("dlq", 124)
    assert "timed out after 300ms" in job["last_error"]
    assert not alive(int((queuectl.folder / "pid").read_text()))
    (event,) = queuectl.events("dead_lettered")
    assert event["cause"] == {"kind": "timed_out", "after": 300_000}


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(queuectl: Queuectl) -> None:
    line = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"
    job_id = queuectl.add("--max-retries", "0", "--timeout", "300ms", line)
    queuectl.drain("--grace", "300ms")
    assert queuectl.show(job_id)["exit_code"] == 124
    assert not alive(int((queuectl.folder / "pid").read_text()))


def test_each_kind_of_end_has_its_own_cause(queuectl: Queuectl) -> None:
    commands = {"code": "exit 3", "signal": "kill -KILL $$", "unknown": "no-such-command-here"}
    queuectl.add_all(*({"id": name, "command": line, "max_retries": 0} for name, line in commands.items()))
    queuectl.drain()
    causes = {event["stream_id"]: event["cause"] for event in queuectl.events("dead_lettered")}
    assert causes == {
        "code": {"kind": "exited", "code": 3},
        "signal": {"kind": "signalled", "signal": signal.SIGKILL},
        "unknown": {"kind": "exited", "code": 127},
    }
    assert "SIGKILL" in queuectl.show("signal")["last_error"]
    assert "not found" in queuectl.show("unknown")["last_error"]


def _unstartable(queuectl: Queuectl) -> dict[str, str]:
    """Jobs that cannot start, and a word of the reason for each."""
    script = queuectl.folder / "script"
    script.write_bytes(b"\0\0 no program\n")
    script.chmod(0o755)
    (queuectl.folder / "plain").write_text("echo hi\n")
    (queuectl.folder / "gone").mkdir()
    jobs: dict[str, dict[str, Any]] = {
        "no-such-program-here": {"argv": ["no-such-program-here"]},
        "/no/such/program": {"argv": ["/no/such/program"]},
        "./plain": {"argv": ["./plain"]},
        "./script": {"argv": ["./script"]},
        "/usr": {"argv": ["/usr"]},
        str(queuectl.folder / "gone"): {"command": "true", "cwd": "gone"},
        str(queuectl.folder / "plain"): {"command": "true", "cwd": "plain"},
    }
    ids = queuectl.add_all(*({"max_retries": 0, **job} for job in jobs.values()))
    (queuectl.folder / "gone").rmdir()
    return dict(zip(ids, jobs, strict=True))


def test_a_command_that_cannot_start_is_a_failed_attempt(queuectl: Queuectl) -> None:
    jobs = _unstartable(queuectl)
    last = queuectl.add("true")
    done = queuectl.drain()
    assert "Traceback" not in done.err
    assert queuectl.state(last) == "done"
    for job_id, word in jobs.items():
        job = queuectl.show(job_id)
        assert (job["state"], job["exit_code"], job["attempts"]) == ("dlq", 127, 1), job
        assert job["last_error"].startswith("not started: "), job
        assert word in job["last_error"], job
    assert {event["cause"]["kind"] for event in queuectl.events("dead_lettered")} == {"not_started"}


def test_a_system_without_a_shell_fails_the_attempt(queuectl: Queuectl, namespace: list[str]) -> None:
    job_id = queuectl.add("--max-retries", "0", "true")
    no_shell = 'mount --bind /dev/null /bin/sh && exec "$@"'
    worker = queuectl.start_program(*namespace, "sh", "-c", no_shell, "sh", PROGRAM, "run", "--drain")
    assert worker.ended().code == 0
    job = queuectl.show(job_id)
    assert (job["state"], job["exit_code"]) == ("dlq", 127)
    assert "/bin/sh" in job["last_error"]


def test_a_worker_stays_in_the_folder_it_was_started_in(queuectl: Queuectl) -> None:
    """So relative paths in .env and libpq's settings keep their meaning, and the jobs' folders can be unmounted."""
    for name in ("one", "gone"):
        (queuectl.folder / name).mkdir()
        queuectl.add("--cwd", name, "--max-retries", "0", "until [ -e ../go ]; do sleep 0.05; done")
    (queuectl.folder / "gone").rmdir()
    worker = queuectl.start("run", "--concurrency", "2")
    eventually(lambda: queuectl.json("list", "--state", "dlq"), "a job of no folder has failed")
    eventually(lambda: queuectl.json("list", "--state", "processing"), "the other one runs")
    assert os.path.samefile(f"/proc/{worker.pid}/cwd", queuectl.folder)
    (queuectl.folder / "go").touch()
    worker.stop()


def test_a_worker_whose_folder_vanished_continues(queuectl: Queuectl) -> None:
    place = queuectl.folder / "place"
    place.mkdir()
    first = queuectl.add("--cwd", str(place), "rmdir ../place; echo $QUEUECTL_RUN")
    second = queuectl.add("pwd")
    queuectl.drain()
    assert [queuectl.state(job) for job in (first, second)] == ["done", "done"]


# ── what it prints ──────────────────────────────────────────────────────────────────────────────────────


def test_the_row_has_the_tail_and_a_private_file_the_rest(queuectl: Queuectl) -> None:
    job_id = queuectl.add("seq 3000; seq 5 >&2")
    queuectl.drain()
    job = queuectl.show(job_id)
    whole = "".join(f"{i}\n" for i in range(1, 3001))
    assert (job["stdout"], job["stderr"]) == (whole[-4096:], "1\n2\n3\n4\n5\n")
    file = queuectl.output / job_id / "1.stdout"
    assert file.read_text() == whole
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_bytes_that_are_not_text_are_replaced(queuectl: Queuectl) -> None:
    job_id = queuectl.add(r"printf 'a\000b\377c'")
    queuectl.drain()
    assert queuectl.show(job_id)["stdout"] == "a\ufffdb\ufffdc"


def test_all_files_of_a_queue_are_private(queuectl: Queuectl) -> None:
    queuectl.add("seq 3000")
    queuectl.drain()
    folder = queuectl.output.parent
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_an_invalid_variable_is_refused(queuectl: Queuectl) -> None:
    bad = {
        "--env": ("NOT_SET", "=1", ".a=1", "a-b=1", "A B=1", "1A=1"),
        "--secret-env": ("A=1", "", "A B"),
        "--tag": ("t", "=1"),
    }
    for flag, value in [(flag, value) for flag, values in bad.items() for value in values]:
        assert_error(queuectl("enqueue", flag, value, "true"), 2, flag.lstrip("-").replace("-", "_"))
    assert queuectl.position() == 0


def test_leftover_processes_do_not_write_to_the_next_output(queuectl: Queuectl) -> None:
    left = "(trap '' TERM; until [ -e second ]; do sleep 0.05; done; echo from the first) &"
    first = queuectl.add(left)
    second = queuectl.add("touch second; sleep 0.5; echo from the second")
    queuectl.drain("--grace", "5s")
    assert queuectl.show(first)["stdout"] == ""
    assert queuectl.show(second)["stdout"] == "from the second\n"


def test_output_over_its_limit_is_cut_and_the_job_continues(queuectl: Queuectl) -> None:
    job_id = queuectl.add("seq 100000; sleep 2; seq 100001 200000; touch end")
    queuectl.drain(env={"QUEUECTL_MAX_OUTPUT": "64KiB"})
    assert (queuectl.folder / "end").exists()
    assert queuectl.state(job_id) == "done"
    kept = queuectl.ok("logs", job_id).splitlines()
    assert (kept[0], kept[-1]) == ("1", "200000")
    assert len("\n".join(kept)) < 2 * 64 * 1024


def test_a_job_sees_the_end_of_its_input(queuectl: Queuectl) -> None:
    job_id = queuectl.add("cat; echo end")
    worker = queuectl.start("run", "--drain")
    eventually(lambda: worker.process.poll() is not None, "the worker is through")
    assert queuectl.show(job_id)["stdout"] == "end\n"
