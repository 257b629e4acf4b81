"""The most jobs that may wait for one job or batch: the next one is refused in one line, and nothing is written."""

from contextlib import closing

import pytest

from queuectl import cli
from queuectl.application import batch_limits, dependencies
from queuectl.domain.reactions import MOST_WAITING
from queuectl.errors import set_queue_options
from queuectl.runtime import SystemClock
from queuectl.store import open_store

FEW = 3


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command line in this process, where three jobs are the most; (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name in ("QUEUECTL_DB", "QUEUECTL_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dependencies, "MOST_WAITING", FEW)
    monkeypatch.setattr(batch_limits, "MOST_WAITING", FEW)

    def call(*arguments):
        code = cli._exit_code(["--db", "queue.db", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    yield call
    set_queue_options()


def head():
    with closing(open_store("queue.db", SystemClock())) as store:
        return store.log.head()


def refused(result, what):
    """Whether the command was refused in one line."""
    code, out, err = result
    assert (code, out) == (4, "")
    assert what in err
    assert err.count("\n") == 1


def lines_that_wait(number):
    """A file whose first line is a job, for which so many others wait."""
    with open("jobs", "w", encoding="utf-8") as file:
        file.write('{"id": "a", "command": "true"}\n')
        file.writelines(f'{{"id": "w{each}", "command": "true", "after": ["a"]}}\n' for each in range(number))
    return "enqueue", "--file", "jobs"


def test_the_limit_is_a_hundred_thousand():
    assert MOST_WAITING == dependencies.MOST_WAITING == batch_limits.MOST_WAITING == 100_000


@pytest.mark.parametrize("cause", ["a", "batch:g:end"])
def test_one_more_job_than_may_wait_is_refused(run, cause):
    assert run("enqueue", "--id", "a", "--batch", "g", "true")[0] == 0
    for _ in range(FEW):
        assert run("enqueue", "--after", cause, "true")[0] == 0
    before = head()
    refused(
        run("enqueue", "--after", cause, "true"), f"{FEW} jobs wait for {'a' if cause == 'a' else 'g'}: let this one"
    )
    assert head() == before
    assert run("enqueue", "true")[0] == 0


@pytest.mark.parametrize("first", [True, False], ids=["in a new queue", "in an old one"])
def test_a_file_with_one_too_many_adds_nothing(run, first):
    if not first:
        run("enqueue", "--id", "old", "true")
    refused(run(*lines_that_wait(FEW + 1)), "line 5: 3 jobs wait for a")
    assert first or head().position == 1
    assert run(*lines_that_wait(FEW))[0] == 0


def test_an_edit_cannot_add_one_more(run):
    run("enqueue", "--id", "other", "true")
    run(*lines_that_wait(FEW))
    before = head()
    refused(run("edit", "other", "--after", "a"), "3 jobs wait for a")
    assert head() == before


def test_a_job_that_is_freed_makes_room(run):
    run(*lines_that_wait(FEW))
    run("unblock", "w0")
    assert run("enqueue", "--after", "a", "true")[0] == 0


def test_a_batch_with_a_limit_of_failures_stays_small_too(run):
    run("enqueue", "--each", "--batch", "g", "--max-failures", "1", "echo {}", ":::", "1", "2", "3")
    before = head()
    refused(run("enqueue", "--batch", "g", "true"), "can have 3 pending jobs at most: make several")
    assert head() == before
