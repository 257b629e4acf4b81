"""The lines on runs in a worker's log: several are written at once, each as if it had been written alone."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from queuectl.cli.log_output import log_to_stderr
from queuectl.domain.commands import Exit, Report
from queuectl.domain.events import Exited
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.worker.log import RunLog
from tests.support.builders import SECOND, START, a_spec, claimed

RUNNING = Job("a", a_spec("printf '\x1b[2J\n'"), 7, START, START, 2, State.PROCESSING, run=1, claim=claimed())
DONE = Report("a", 1, Exit(None, SECOND))
FAILED = Report("a", 1, Exit(Exited(7), SECOND))


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    """Returns the lines written since it was last called."""
    logger = logging.getLogger("queuectl")
    before = (logger.handlers, logger.level, logger.propagate)

    def lines() -> list[str]:
        return capsys.readouterr().err.splitlines()

    yield lines
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def after(state: State) -> Job:
    return Job("a", RUNNING.spec, 7, START, START, 3, state, run=1)


def some_runs() -> RunLog:
    run_log = RunLog()
    run_log.started(RUNNING, 10)
    run_log.ended(DONE, RUNNING, after(State.DONE), 20)
    run_log.ended(FAILED, RUNNING, after(State.DLQ), 30)
    run_log.started(RUNNING, 40)
    return run_log


def test_lines_written_at_once_are_lines_with_their_levels(stderr):
    log_to_stderr("info", "text")
    some_runs().write()
    assert [line.split(" ", 2)[2] for line in stderr()] == [
        r"info job a run 1 started: printf '\n'",
        "info job a run 1 done",
        "error job a run 1 failed (exit 7), no retries left: dead",
        r"info job a run 1 started: printf '\n'",
    ]


def test_each_line_has_its_own_fields_in_json(stderr):
    log_to_stderr("info", "json")
    some_runs().write()
    found = [json.loads(line) for line in stderr()]
    assert [line["outcome"] for line in found] == ["started", "done", "dead", "started"]
    assert [line["exit_code"] for line in found] == [None, 0, 7, None]
    assert found[1]["message"] == "job a run 1 done"


def test_lines_below_the_level_are_counted_and_not_written(stderr):
    log_to_stderr("error", "text")
    run_log = some_runs()
    run_log.write()
    assert [line.split(" ", 3)[2] for line in stderr()] == ["error"]
    assert run_log.summary() == "2 runs: 1 dead, 1 done"


def test_a_run_that_ended_before_another_started_is_logged_before_it(stderr):
    """Its result is recorded later, together with others."""
    log_to_stderr("info", "text")
    run_log = RunLog()
    run_log.started(RUNNING, 20)
    run_log.ended(FAILED, RUNNING, after(State.DLQ), 10)
    run_log.write()
    assert [line.split(" ", 3)[2] for line in stderr()] == ["error", "info"]


def test_lines_that_may_wait_are_written_when_the_first_is_old(stderr):
    log_to_stderr("info", "text")
    run_log = some_runs()
    run_log.write(older_than=9)
    assert stderr() == []
    run_log.write(older_than=10)
    run_log.write()
    assert len(stderr()) == 4
