"""Many processes on one queue: every job is done exactly once, and the log has no gap."""

import signal
from concurrent.futures import ThreadPoolExecutor

from tests.support.command_line import Queuectl, eventually

ENQUEUERS, JOBS = 8, 25


def test_many_workers_do_each_job_of_many_enqueuers_once(queuectl: Queuectl) -> None:
    """The queue does not exist at first: all processes create it at the same time."""
    (queuectl.folder / "ran").mkdir()
    workers = [queuectl.start("run", "--concurrency", "2", "--log-level", "error") for _ in range(3)]

    def enqueue(number: int) -> list[str]:
        line = "echo $QUEUECTL_JOB_ID >> ran/$QUEUECTL_JOB_ID"
        return [queuectl.add(line, timeout=120) for _ in range(JOBS)]

    with ThreadPoolExecutor(ENQUEUERS) as pool:
        ids = [job_id for found in pool.map(enqueue, range(ENQUEUERS)) for job_id in found]
    assert len(set(ids)) == ENQUEUERS * JOBS
    assert queuectl.drain(timeout=120).code == 0
    for worker in workers:
        worker.signal(signal.SIGTERM)
    assert [worker.ended().code for worker in workers] == [0, 0, 0]
    assert {path.name: path.read_text() for path in (queuectl.folder / "ran").iterdir()} == {
        job_id: job_id + "\n" for job_id in ids
    }
    assert queuectl.json("status")["states"]["done"] == len(ids)
    moves: dict[str, list[str]] = {job_id: [] for job_id in ids}
    for stream_id, kind in queuectl.query("SELECT stream_id, type FROM events ORDER BY position"):
        if not stream_id.startswith("$"):
            moves[stream_id].append(kind)
    assert all(kinds == ["enqueued", "claimed", "completed"] for kinds in moves.values()), moves


def test_one_id_enqueued_by_many_at_once_is_one_job(queuectl: Queuectl) -> None:
    with ThreadPoolExecutor(ENQUEUERS) as pool:
        same = list(pool.map(lambda _: queuectl("enqueue", "--id", "job", "echo same"), range(ENQUEUERS)))
    assert {done.code for done in same} == {0}
    with ThreadPoolExecutor(ENQUEUERS) as pool:
        other = list(pool.map(lambda i: queuectl("enqueue", "--id", "other", f"echo {i}"), range(ENQUEUERS)))
    assert sorted(done.code for done in other) == [0, *[4] * (ENQUEUERS - 1)]
    assert len(queuectl.events("enqueued")) == 2


def test_a_unique_key_requested_by_many_has_one_holder(queuectl: Queuectl) -> None:
    with ThreadPoolExecutor(ENQUEUERS) as pool:
        ids = set(pool.map(lambda i: queuectl.add("--unique", "key", f"echo {i}"), range(ENQUEUERS)))
    assert len(ids) == 1
    assert len(queuectl.events("enqueued")) == 1


def test_one_job_claimed_by_many_workers_runs_once(queuectl: Queuectl) -> None:
    workers = [queuectl.start("run", "--log-level", "error") for _ in range(4)]
    eventually(lambda: len(queuectl.json("status")["workers"]) == 4, "the workers are up")
    for number in range(5):
        job_id = queuectl.add(f"echo x >> ran-{number}")
        assert queuectl("wait", job_id).code == 0
        assert (queuectl.folder / f"ran-{number}").read_text() == "x\n"
    assert all(worker.process.poll() is None for worker in workers)
    assert len(queuectl.events("claimed")) == 5
