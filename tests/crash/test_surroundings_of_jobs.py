"""The environment of a command: limits, umask, folder, /proc, and background processes."""

import os
import resource
import subprocess
from pathlib import Path
from signal import SIGKILL

import pytest

from queuectl.process import procfs
from queuectl.process.output_files import Capture, can_name_files
from tests.support.command_line import PROGRAM, Queuectl, alive, eventually, lines


@pytest.mark.parametrize("limit", [128, 250])
def test_a_low_limit_of_open_files_costs_no_attempt(queuectl: Queuectl, limit: int) -> None:
    """The number of the lock's descriptor must be below the limit."""
    job_id = queuectl.add("--max-retries", "0", "true")
    done = subprocess.run(
        ["sh", "-c", f"ulimit -n {limit}; exec {PROGRAM} run --drain"],
        cwd=queuectl.folder,
        env=queuectl.env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    assert queuectl.state(job_id) == "done"


def test_a_lock_at_a_low_descriptor_is_found(queuectl: Queuectl) -> None:
    """Only its lock shows that the process, which has another session and no environment, is one of the job's."""
    pids = queuectl.folder / "pids"
    escape = f"setsid env -i /bin/sh -c 'echo $$ > {pids}; exec /bin/sleep 300' & wait"
    job_id = queuectl.add("--max-retries", "0", escape)
    first = queuectl.start_program("sh", "-c", f"ulimit -n 128; exec {PROGRAM} run --name first")
    [left] = eventually(lambda: lines(pids), "the job has started it", 30)
    first.signal(SIGKILL)
    first.ended()
    second = queuectl.start("run", "--name", "second")
    eventually(lambda: queuectl.state(job_id) == "dlq", "the job is freed", 30)
    assert not alive(int(left))
    assert "killing what its lost worker left: sh (pid " in second.stderr.read_text()
    assert f"sleep (pid {left})" in second.stderr.read_text()


def test_a_worker_with_too_few_open_files_is_refused(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "true")
    shell = f"ulimit -n 64; exec {PROGRAM} run --drain"
    done = subprocess.run(
        ["sh", "-c", shell], cwd=queuectl.folder, env=queuectl.env, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert b"raise `ulimit -n`" in done.stderr
    assert queuectl.types(job_id) == ["enqueued"]


def test_a_limit_lowered_later_costs_no_attempt(queuectl: Queuectl) -> None:
    worker = queuectl.start("run")
    eventually(lambda: "started" in worker.stderr.read_text(), "the worker is there")
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (200, 200))
    job_id = queuectl.add("--max-retries", "0", "true")
    eventually(lambda: queuectl.state(job_id) == "done", "the job is done")
    assert "dead_lettered" not in queuectl.types(job_id)


def test_a_job_has_the_umask_of_its_enqueuer(queuectl: Queuectl) -> None:
    made = queuectl.folder / "made"
    for umask, mode in ((0o022, 0o644), (0o002, 0o664)):
        before = os.umask(umask)
        try:
            queuectl.add("rm -f made; touch made")
        finally:
            os.umask(before)
        queuectl.drain()
        assert made.stat().st_mode & 0o777 == mode
    assert [event.get("umask") for event in queuectl.events("enqueued")] == [None, 0o002]
    assert {path.stat().st_mode & 0o077 for path in queuectl.db.parent.rglob("*")} == {0}


def test_the_umask_option_overrides_the_setting(queuectl: Queuectl) -> None:
    queuectl.ok("config", "set", "umask", "077")
    queuectl.add("umask")
    queuectl.add("--umask", "027", "umask")
    queuectl.drain()
    assert [event["stdout"].strip() for event in queuectl.events("completed")] == ["0077", "0027"]
    assert queuectl("enqueue", "--umask", "9", "true").code == 2


@pytest.mark.parametrize("command", [["env"], ["--", "env"]])
def test_pwd_is_the_folder_of_the_job(queuectl: Queuectl, command: list[str]) -> None:
    there = queuectl.folder / "there"
    there.mkdir()
    job_id = queuectl.add("--cwd", str(there), *command)
    queuectl.drain(env={"PWD": "/nowhere", "OLDPWD": "/old"})
    printed = queuectl.show(job_id)["stdout"].splitlines()
    assert f"PWD={there}" in printed
    assert not [line for line in printed if line.startswith("OLDPWD")]


def test_a_job_without_a_shell_has_the_same_environment(queuectl: Queuectl) -> None:
    """The second command needs a shell, and both of them print what they have: descriptors, limits, signals, folder."""
    program = queuectl.folder / "program"
    prints = "env | grep -v 'JOB_ID=\\|TOKEN=' | sort; ls /proc/self/fd; umask; pwd -P; grep Sig /proc/self/status"
    program.write_text(f"#!/bin/sh\n{prints}\n")
    program.chmod(0o755)
    ids = [queuectl.add("--cwd", str(queuectl.folder), f"./program{rest}") for rest in ("", ";")]
    queuectl.drain(env={"PWD": "/nowhere", "PATH": f"{queuectl.folder}:{os.environ['PATH']}"})
    direct, by_shell = (queuectl.show(job_id)["stdout"] for job_id in ids)
    assert direct == by_shell
    assert f"PWD={queuectl.folder}" in direct


def test_a_script_without_a_first_line_is_run_by_the_shell(queuectl: Queuectl) -> None:
    script = queuectl.folder / "script"
    script.write_text('echo "hello $1"\n')
    script.chmod(0o755)
    job_id = queuectl.add("./script 'a  b'")
    queuectl.drain()
    assert queuectl.show(job_id)["stdout"] == "hello a  b\n"


def test_the_shell_says_that_a_program_is_not_found(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "no-such-program --at-all")
    queuectl.drain()
    shown = queuectl.show(job_id)
    assert "not found" in shown["stderr"]
    assert shown["last_error"].startswith("exited with code 127: ")


def test_leftover_background_processes_are_reported(queuectl: Queuectl) -> None:
    pids = queuectl.folder / "pids"
    job_id = queuectl.add(f"for i in 1 2; do sleep 300 & echo $! >> '{pids}'; done")
    worker = queuectl.drain()
    assert queuectl.state(job_id) == "done"
    assert queuectl.events("completed")[0]["left_behind"] == 2
    assert "ending what it left in the background: " in worker.err
    for command in ("history", "explain"):
        assert "killed 2 background processes that it left" in queuectl.ok(command, job_id)
    assert not any(alive(int(pid)) for pid in lines(pids))


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("make &> log", "bash -c '...'"),
        ("bash build.sh &>> log", "bash -c '...'"),
        ('echo "it is done" && make &>log', "bash -c '...'"),
        ('{"command": "make &> log"}', "bash -c '...'"),
        ("sleep 1 &", "the command ends in &"),
        ('{"command": "echo \\"&\\" &"}', "the command ends in &"),
        ("true && true", ""),
        ("true 2>&1", ""),
        ("bash -c 'make &> log'", ""),
        ('bash -c "make \\"&\\" &> log"', ""),
        ("echo \\&> log", ""),
        ("echo \\&", ""),
        ("echo '&'", ""),
        ('{"argv": ["echo", "&"]}', ""),
    ],
)
def test_enqueue_hints_at_background_work(queuectl: Queuectl, command: str, hint: str) -> None:
    done = queuectl("enqueue", command)
    assert done.code == 0
    assert (hint in done.err) if hint else ("background" not in done.err)


@pytest.mark.parametrize("before", ["", "true\n", '{"command": "true"}\n'])
def test_each_line_of_a_file_is_hinted_at(queuectl: Queuectl, before: str) -> None:
    done = queuectl("enqueue", "--file", "-", stdin=f"{before}make &> log\n")
    assert done.code == 0
    assert "bash -c '...'" in done.err


def test_a_background_process_is_asked_to_end_before_it_is_killed(queuectl: Queuectl) -> None:
    left = "trap 'echo asked > asked; exit' TERM; touch ready; while :; do sleep 0.05; done"
    queuectl.add(f'sh -c "{left}" & until [ -e ready ]; do sleep 0.05; done')
    queuectl.drain()
    assert (queuectl.folder / "asked").exists()


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("echo hello\n", 0o755, "has no #! line"),
        ("#!/bin/sh\r\necho hello\r\n", 0o755, "has Windows line ends"),
        ("#!/no/such\n", 0o755, "needs /no/such"),
        ("#!/bin/sh\n", 0o644, "is not executable: chmod +x ./script"),
    ],
)
def test_the_error_says_why_a_script_cannot_start(queuectl: Queuectl, text: str, mode: int, why: str) -> None:
    script = queuectl.folder / "script"
    script.write_text(text, newline="")
    script.chmod(mode)
    job_id = queuectl.add("--max-retries", "0", "--", "./script")
    queuectl.drain()
    assert why in queuectl.show(job_id)["last_error"]


def test_without_proc_the_output_has_named_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_name_files(str(tmp_path))
    real = os.link

    def link(source: str, target: str, **options: int) -> None:
        real(source.replace("/proc/", "/no-such-proc/"), target, **options)

    monkeypatch.setattr(os, "link", link)
    assert not can_name_files(str(tmp_path))
    capture = Capture(str(tmp_path), "a", 1, 8192 * 4, nameless=False)
    os.write(capture.descriptors[0], b"x" * 10_000)
    capture.tails()
    capture.settle()
    capture.discard()
    assert (tmp_path / "a" / "1.stdout").read_bytes() == b"x" * 10_000


def test_a_worker_without_proc_keeps_long_output(queuectl: Queuectl, namespace: list[str]) -> None:
    job_id = queuectl.add("seq 5000")
    hidden = queuectl.start_program(
        *namespace, "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh", PROGRAM, "run", "--drain"
    )
    assert hidden.ended().code == 0
    assert queuectl.ok("logs", job_id).splitlines() == [str(number) for number in range(1, 5001)]


def test_a_background_worker_without_proc_inherits_no_descriptor(queuectl: Queuectl, namespace: list[str]) -> None:
    script = 'mount -t tmpfs none /proc && exec 9> lock && flock 9 && "$@"'
    start = (PROGRAM, "worker", "start", "--detach", "--name", "w")
    assert queuectl.start_program(*namespace, "sh", "-c", script, "sh", *start).ended().code == 0
    assert queuectl.start_program("flock", "--nonblock", "lock", "true").ended().code == 0
    queuectl.ok("worker", "stop")


@pytest.mark.skipif(
    subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode != 0,
    reason="this user may not make pid namespaces",
)
def test_a_worker_that_is_pid_1_ends_no_foreign_process(queuectl: Queuectl, tmp_path: Path) -> None:
    """A process that is started in a container from outside becomes a child of PID 1 when its parent ends."""
    pids, stranger = tmp_path / "pids", tmp_path / "stranger"
    namespace = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    worker = queuectl.start_program(*namespace, PROGRAM, "run")
    eventually(lambda: "started" in worker.stderr.read_text(), "the worker is there")
    (inside,) = procfs.children(worker.pid)
    job_id = queuectl.add(f"sleep 300 & echo $! > '{pids}'; until [ -s '{stranger}' ]; do sleep 0.05; done")
    eventually(lambda: lines(pids), "the job has started")
    daemon = f"setsid env -i /bin/sh -c 'exec >&- 2>&-; echo $$ > {stranger}; exec /bin/sleep 301' &"
    subprocess.run(["nsenter", "-t", str(inside), "-p", "-m", "sh", "-c", daemon], check=True, timeout=30)
    eventually(lambda: queuectl.state(job_id) == "done", "the job is done")
    queuectl.add("--id", "next", "true")
    eventually(lambda: queuectl.state("next") == "done", "another job is done")
    assert queuectl.events("completed")[0]["left_behind"] == 1
    names = [procfs.environment(pid) + procfs.name_of(pid).encode() for pid in procfs.descendants(worker.pid)]
    assert [name for name in names if name.endswith(b"sleep")], "the foreign process was killed"


SCHEDULING = "cat /proc/$$/sched > slices; nice > nice; chrt -p $$ > policy"


@pytest.mark.parametrize("niceness", [0, 5])
def test_a_job_has_the_workers_priority_and_usual_time_slices(queuectl: Queuectl, niceness: int) -> None:
    """The short slices of the worker's thread, and the flag that takes them from its children, do not reach jobs."""
    queuectl.add(SCHEDULING)
    queuectl.add("cat /proc/$PPID/sched > worker; true")
    worker = queuectl.start_program("nice", "-n", str(niceness), PROGRAM, "run", "--drain")
    worker.ended()
    folder = queuectl.folder
    assert lines(folder / "nice") == [str(os.nice(0) + niceness)]
    assert "RESET_ON_FORK" not in (folder / "policy").read_text()
    usual = time_slice(Path("/proc/self/sched"))
    if usual is not None:  # Linux 6.12 and later show it
        assert time_slice(folder / "slices") == usual
        assert time_slice(folder / "worker") == 100_000


def time_slice(path: Path) -> int | None:
    """Nanoseconds, from /proc/PID/sched or a copy of it; None where the system does not tell."""
    if not path.exists():
        return None
    found = [line.split()[-1] for line in path.read_text().splitlines() if line.startswith("se.slice")]
    return int(found[0]) if found else None
