"""A job never runs twice at once: a worker that is frozen past its lease, and leftover processes."""

import os
import subprocess
from signal import SIGCONT, SIGKILL, SIGSTOP

from tests.support.command_line import Queuectl, eventually, lines

DETECTOR = """
if mkdir running 2>/dev/null; then echo $QUEUECTL_RUN >> began; else echo $QUEUECTL_RUN >> overlaps; fi
%s
rmdir running; echo $QUEUECTL_RUN >> ended
"""
"""A job that notices when another run of it is on. A run that was killed leaves its mark behind: see `first_killed`."""

FIRST_HANGS = '[ "$QUEUECTL_RUN" != 1 ] || { touch started; exec sleep 300; }'


def test_a_frozen_worker_loses_its_job_and_its_late_result(queuectl: Queuectl) -> None:
    script = f'[ "$QUEUECTL_RUN" = 1 ] || rmdir running; {DETECTOR % FIRST_HANGS}'
    job_id = queuectl.add(script)
    frozen = queuectl.start("run", "--name", "frozen", "--lease", "3s")
    eventually((queuectl.folder / "started").exists, "the job runs")
    # A worker that is frozen before it gave the lock away hangs before the start, so it is killed and records nothing.
    eventually(lambda: b"run 1 started" in frozen.stderr.read_bytes(), "the job's lock is the job's alone")
    frozen.signal(SIGSTOP)
    try:
        queuectl.start("run", "--name", "other", "--lease", "3s")
        eventually(lambda: queuectl.state(job_id) == "done", "the job was freed and run again", 60)
    finally:
        frozen.signal(SIGCONT)
    eventually(lambda: queuectl.events("result_rejected"), "the late result is recorded")
    assert lines(queuectl.folder / "began") == ["1", "2"]
    assert not (queuectl.folder / "overlaps").exists()
    assert queuectl.show(job_id)["run"] == 2
    assert [each["run"] for each in queuectl.events("result_rejected")] == [1]


def test_the_detector_sees_an_overlap(queuectl: Queuectl) -> None:
    """The negative control: the same job, started twice without the queue."""
    script = DETECTOR % "while [ ! -e overlaps ] && [ ! -e stop ]; do sleep 0.05; done"
    runs = [
        subprocess.Popen(["/bin/sh", "-c", script], cwd=queuectl.folder, env={**queuectl.env, "QUEUECTL_RUN": run})
        for run in ("1", "2")
    ]
    try:
        eventually((queuectl.folder / "overlaps").exists, "the overlap is seen")
    finally:
        (queuectl.folder / "stop").touch()
        for run in runs:
            run.wait(30)


def test_a_run_waits_for_leftovers_of_the_last_one(queuectl: Queuectl) -> None:
    """A process that ignores SIGTERM holds the job's lock for the grace period; the retry starts only after it."""
    left = "(trap '' TERM; touch left; while [ ! -e gone ]; do sleep 0.05; done) &"
    job_id = queuectl.add(
        "--max-retries",
        "1",
        "--backoff-base",
        "0",
        f"""
        [ "$QUEUECTL_RUN" = 1 ] || exit 0
        {left}
        while [ ! -e left ]; do sleep 0.05; done; exit 1""",
    )
    queuectl.start("run", "--grace", "1m")
    eventually(lambda: queuectl.types(job_id)[-1] == "retry_scheduled", "the first attempt has failed")
    other = queuectl.add("true")
    eventually(lambda: queuectl.state(other) == "done", "other jobs run meanwhile")
    assert queuectl.state(job_id) == "pending"
    (queuectl.folder / "gone").touch()
    eventually(lambda: queuectl.state(job_id) == "done", "the retry runs once the lock is free")


def test_a_job_is_done_while_a_background_process_holds_its_output(queuectl: Queuectl) -> None:
    left = "(trap '' TERM; touch left; exec sleep 300) & echo $! > pid"
    job_id = queuectl.add(f"{left}; while [ ! -e left ]; do sleep 0.05; done; echo hi")
    queuectl.start("run", "--grace", "1m")
    eventually(lambda: queuectl.state(job_id) == "done", "the job is done while its background process lives")
    assert queuectl.ok("logs", job_id) == "hi"
    os.kill(int((queuectl.folder / "pid").read_text()), SIGKILL)  # or the worker waits for its grace period
