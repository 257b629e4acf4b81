"""A user's program is checked from outside by `mypy --strict`: what is right passes, what is wrong is named."""

import re
import subprocess
import sys

import pytest

GOOD = """
from datetime import UTC, datetime, timedelta

import queuectl
from queuectl.api import JobSpec


def add(queue: queuectl.JobQueue, project: str) -> queuectl.Job:
    return queue.enqueue(["make", "-C", project], retries=3, delay=timedelta(seconds=10), timeout="5m")


def main() -> None:
    many: list[JobSpec | str] = [{"command": "make", "retries": 1}, "true"]
    with queuectl.open_queue("queue.db") as queue:
        job = add(queue, "parser")
        reveal_type(job.due_at)
        reveal_type(queue.wait(job, timeout=1.5).duration)
        reveal_type(queue.enqueue_many(many, queue="ci", at=datetime.now(UTC)))
        reveal_type(queue.jobs(state="done", tag={"team": "web"}))
        reveal_type(queue.history(job)[0].data)
        if job.state == "done" or job.exit_code is None:
            print(queue.counts()["done"], queue.cancel(job.id).state)
    try:
        queue.retry_many([job, "other"])
    except queuectl.NoSuchJobError as error:
        reveal_type(error.exit_code)
"""
REVEALED = [
    "datetime.datetime | None",
    "datetime.timedelta | None",
    "list[queuectl.api.records.Job]",
    "list[queuectl.api.records.Job]",
    "dict[str, Any]",
    "int",
]

BAD = """
import queuectl

queue = queuectl.open_queue("queue.db")
queue.enqueue("make", retrys=3)
queue.enqueue("make", delay=[])
queue.enqueue(3)
queue.wait(None)
queue.job("a").no_such_field
queuectl.no_such_name
if queue.job("a").state == "finished":
    pass
"""


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """The output of mypy for a program; its cache is shared with the next one."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("outside")

    def run(text):
        (folder / "program.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder / "cache", "program.py"]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, cwd=folder)

    return run


def test_a_program_that_uses_the_api_is_checked_strictly(check):
    done = check(GOOD)
    assert done.returncode == 0, done.stdout
    revealed = [re.sub(r"\b(builtins|typing)\.", "", each) for each in re.findall(r'type is "(.*)"', done.stdout)]
    assert revealed == REVEALED


def test_mistakes_in_a_program_are_found_at_their_lines(check):
    done = check(BAD)
    wrong = sorted({int(line) for line in re.findall(r"^program\.py:(\d+): error", done.stdout, re.MULTILINE)})
    assert wrong == list(range(5, 12)), done.stdout
