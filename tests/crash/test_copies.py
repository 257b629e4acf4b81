"""A copy of a queue shares its log's id and nothing else: a worker on it leaves the original's processes alone."""

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
    assert "runs it in another copy of this queue" in worker.stderr.read_text()
    there = queuectl.json("--db", str(copy / "queue.db"), "history", "long")
    assert [event["type"] for event in there] == ["enqueued", "claimed", "released", "claimed"]
    assert queuectl.state("long") == "processing"


def test_jobs_at_the_same_place_in_two_copies_run_side_by_side(queuectl: Queuectl, pids: Path) -> None:
    """No claim is copied: both queues have a job at one position, and one of the workers is killed."""
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
    assert not alive(lost), "what the killed worker left is dead before its job runs again"
    assert alive(original)
