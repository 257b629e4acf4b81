"""Reads job lists and jobs in JSON, and how many shells it takes to find lines that are only parts of commands."""

import io
import subprocess
from typing import Any

import pytest

from queuectl.application.job_file import read_jobs
from queuectl.application.job_input import JobReader
from queuectl.config import Config
from queuectl.errors import UsageError
from tests.support.job_lists import BROKEN, COMMANDS, LISTS, Refused

LINES = 2000


@pytest.fixture
def shells(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The arguments of every process that is started."""
    started: list[object] = []
    run = subprocess.run

    def recorded(*words: Any, **options: Any) -> Any:
        started.append(words)
        return run(*words, **options)

    monkeypatch.setattr(subprocess, "run", recorded)
    return started


def _reader() -> JobReader:
    return JobReader(Config({}, {}, {}, dict), now=0)


def _commands(text: str | bytes) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    return [job.spec.command for job in read_jobs(io.BytesIO(raw), _reader())]


def _read(lines: list[str]) -> int:
    """How many jobs these lines are."""
    return len(_commands("\n".join(lines)))


@pytest.mark.parametrize("name", LISTS)
def test_each_job_list_is_read_or_refused(name: str) -> None:
    text, meant = LISTS[name]
    if not isinstance(meant, Refused):
        assert _commands(text) == meant
        return
    with pytest.raises(UsageError, match=f"^line {meant.line}[:,]") as refused:
        _commands(text)
    assert [word for word in meant.words if word not in str(refused.value)] == []


@pytest.mark.parametrize("text", [*BROKEN, "[]", '[{"command": "true"}]', '["true"]', "@job.json", "@"])
def test_broken_json_and_arrays_are_no_commands(text: str) -> None:
    with pytest.raises(UsageError, match=r"in JSON|--file"):
        _reader().from_text(text)


@pytest.mark.parametrize("text", COMMANDS)
def test_groups_and_tests_of_the_shell_stay_commands(text: str) -> None:
    assert _reader().from_text(text).spec.command == text


@pytest.mark.parametrize("line", ["python train.py --lr 0.1", "echo 'a b' \"$HOME\"", '{"command": "for i in 1"}'])
def test_plain_lines_and_json_need_no_shell(shells: list[object], line: str) -> None:
    assert _read([line] * LINES) == LINES
    assert shells == []


def test_one_shell_reads_all_other_lines(shells: list[object]) -> None:
    assert _read([f'echo "$(date)" {number}; true' for number in range(LINES)]) == LINES
    assert len(shells) == 1


def test_the_first_incomplete_line_takes_few_shells(shells: list[object]) -> None:
    lines = [f"echo $(date) {number}" for number in range(LINES)]
    lines[1000:] = ["while true; do"] * (LINES - 1000)
    with pytest.raises(UsageError, match=r"^line 1001: sh cannot read this line by itself"):
        _read(lines)
    assert len(shells) < 20
