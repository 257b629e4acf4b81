"""The lock of a job is found in a process that inherited it, whatever number its descriptor has there."""

import os
import signal
from pathlib import Path

import pytest

from queuectl.process import procfs
from queuectl.process.job_lock import LOCK_DESCRIPTOR, LockFile


@pytest.mark.parametrize("number", [LOCK_DESCRIPTOR, 199, 63])
def test_a_process_with_a_jobs_lock_is_found(tmp_path: Path, number: int) -> None:
    """Where the limit on open files is low, the number is lower than usual."""
    locks = LockFile(str(tmp_path / "locks"), procfs.this_process())
    copy = LockFile(str(tmp_path / "copy"), procfs.this_process())
    lock = locks.take(7)
    assert lock is not None
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, lock, number)])
    os.close(lock)
    try:
        assert locks.take(7) is None
        assert locks.is_held_by(pid, 7)
        assert not locks.is_held_by(pid, 8)
        assert not copy.is_held_by(pid, 7)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert locks.take(7) is not None
