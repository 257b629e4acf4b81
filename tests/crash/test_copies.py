"""A copy of a queue shares only its log's id: a worker on the copy does not touch the original's processes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Done, Queuectl, alive, eventually, lines

JOB = "echo $$ >> '{pids}'; exec sleep 300"


def backup(queuectl: Queuectl, copy: Path) -> Done:
    return queuectl("backup", str(copy / "queue.db"))


def export_and_import(queuectl: Queuectl, copy: Path) -> Done:
    queuectl.ok("export", str(copy / "log.ndjson"))
    return queuectl("--db", str(copy / "queue.db"), "import", str(copy / "log.ndjson"))


def copy_folder(queuectl: Queuectl, copy: Path) -> Done:
    shutil.copytree(queuectl.db.parent, copy, dirs_exist_ok=True)
    return Done(0, "", "1 job is running in the original (long)")  # nobody is there to say it


@pytest.fixture
def pids(queuectl: Queuectl) -> Path:
    return queuectl.folder / "pids"


def started(pids: Path, count: int) -> list[int]:
    eventually(lambda: len(lines(pids)) >= count, f"{count} runs have started", 60)
    return [int(pid) for pid in lines(pids)]


@pytest.mark.parametrize("make", [backup, export_and_import, copy_folder])
def test_a_worker_on_a_copy_leaves_the_original_job_alone(
    queuectl: Queuectl, pids: Path, make: Callable[[Queuectl, Path], Done]
) -> None:
    queuectl.ok("config", "set", "lease", "3s")
    queuectl.add("--id", "long", "--max-retries", "0", JOB.format(pids=pids))
    queuectl.start("run", "--name", "original")
    original = started(pids, 1)[0]
    copy = queuectl.folder / "copy"
    copy.mkdir()
    done = make(queuectl, copy)
    assert done.code == 0
    assert "1 job is running in the original (long)" in done.err
    worker = queuectl.start("--db", str(copy / "queue.db"), "run", "--name", "on-the-copy")
    again = started(pids, 2)[1]
    assert alive(original), "the original's job was killed"
    assert alive(again)
    said = worker.stderr.read_text()
    assert "runs it in another copy of this queue; it will run here too when its lease of 3s is over" in said
    assert "runs it in another copy of this queue: released" in said
    there = queuectl.json("--db", str(copy / "queue.db"), "history", "long")
    assert [event["type"] for event in there] == ["enqueued", "claimed", "released", "claimed"]
    assert queuectl.state("long") == "processing"


def test_jobs_at_one_position_of_two_copies_run_in_parallel(queuectl: Queuectl, pids: Path) -> None:
    """Both queues get a job at the same position after the copy, and one of the workers is killed."""
    queuectl.add("--id", "long", JOB.format(pids=pids))
    copy = queuectl.folder / "copy"
    shutil.copytree(queuectl.db.parent, copy)
    queuectl.start("run", "--name", "original")
    original = started(pids, 1)[0]
    first = queuectl.start("--db", str(copy / "queue.db"), "run", "--name", "first")
    lost = started(pids, 2)[1]
    first.process.kill()
    queuectl.start("--db", str(copy / "queue.db"), "run", "--name", "second")
    started(pids, 3)
    assert not alive(lost), "the leftovers of the killed worker are dead before its job runs again"
    assert alive(original)
