"""The log files of workers in the background: rotated by one process, followed by the others, removed when old."""

import logging
import os
from pathlib import Path

import pytest

from queuectl.units import SECOND
from queuectl.worker import log_file


@pytest.fixture(autouse=True)
def outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the tests' own output alone."""
    monkeypatch.setattr(os, "dup2", lambda *_: None)


def record(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text, "levelno": logging.INFO})


def test_the_supervisor_rotates_the_file_that_all_write_to(tmp_path: Path) -> None:
    path = tmp_path / "night.log"
    owner, worker = log_file.RotatedLogFile(str(path), longest=50), log_file.SharedLogFile(str(path))
    worker.emit(record("x" * 40))
    owner.rotate_if_long()
    assert not (tmp_path / "night.log.1").exists()
    for text in ("y" * 40, "after"):
        worker.emit(record(text))
        owner.rotate_if_long()
    assert (tmp_path / "night.log.1").read_text() == f"{'x' * 40}\n{'y' * 40}\n"
    assert path.read_text() == "after\n", "a worker goes on in the new file"
    assert path.stat().st_mode & 0o777 == 0o600
    for number in range(20):
        worker.emit(record(f"{number} {'z' * 60}"))
        owner.rotate_if_long()
    assert len(list(tmp_path.iterdir())) == 1 + log_file.KEPT
    owner.close()
    worker.close()


def test_the_files_of_old_workers_are_removed(tmp_path: Path) -> None:
    folder = Path(log_file.folder(str(tmp_path)))
    now = 10**9 * SECOND
    ages = {"old": 31, "used": 99, "young": 29}
    for name, days in ages.items():
        log_file.write_start(str(tmp_path), log_file.Start(name, 1, [], "/"))
        for file in (folder / f"{name}.json", folder / f"{name}.log", folder / f"{name}.log.1"):
            file.touch()
            os.utime(file, (10**9 - days * 86400,) * 2)
    os.utime(folder / "young.log.1", (0, 0))
    log_file.remove_old(str(tmp_path), now, lambda name: name == "used")
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{end}" for name in ("used", "young") for end in ("json", "log", "log.1")
    }


def test_a_start_is_recorded_and_read_again(tmp_path: Path) -> None:
    start = log_file.Start("night", 2, ["worker", "start", "-q", "a b"], "/srv")
    log_file.write_start(str(tmp_path), start)
    assert log_file.read_start(str(tmp_path), "night") == start
    assert log_file.read_start(str(tmp_path), "missing") is None
    (tmp_path / ".workers" / "night.json").write_text("{")
    assert log_file.read_start(str(tmp_path), "night") is None
