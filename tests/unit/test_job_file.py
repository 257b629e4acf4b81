"""Reads a job list: how many shells it takes to find lines that are only parts of commands."""

import io
import subprocess
from typing import Any

import pytest

from queuectl.application.job_file import read_jobs
from queuectl.application.job_input import JobReader
from queuectl.config import Config
from queuectl.errors import UsageError

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


def _read(lines: list[str]) -> int:
    """How many jobs these lines are."""
    reader = JobReader(Config({}, {}, {}, dict), now=0)
    return len(read_jobs(io.BytesIO("\n".join(lines).encode()), reader))


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
