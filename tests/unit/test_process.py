"""Processes in /proc: whether a claimant is alive, which descriptors are inherited, and how processes are named.

On a server's queue a process of another user can be seen only with enough rights.
"""

import os
import shutil
import subprocess
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from msgspec.structs import replace

from queuectl.process import procfs as process
from queuectl.process.descendants import Descendants
from queuectl.process.job_lock import LockFile, lock_file, works_here
from queuectl.process.output_files import Capture
from queuectl.process.run import Run
from queuectl.runtime import Reach, boot_id
from queuectl.worker.background import detach
from tests.domain.scenario import claimed

ME, ANOTHER = 12001, 12002
KILL, PTRACE = 0x20, 0x80000


@pytest.fixture(params=[True, False], ids=["may look at all", "may not"])
def reaches_all(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether this process, run by user ME, may inspect all processes."""
    monkeypatch.setattr(os, "geteuid", lambda: ME)
    monkeypatch.setattr(process, "_reaches_all", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize("lives", [True, False])
@pytest.mark.parametrize("uid", [None, ME, ANOTHER])
def test_another_users_claimant_counts_as_on_another_machine(reaches_all: bool, uid: int | None, lives: bool) -> None:
    claim = replace(
        claimed(),
        host=os.uname().nodename,
        boot_id=boot_id(),
        pid=os.getpid(),
        pid_namespace=process.pid_namespace(),
        pid_started_at=process.started_at(os.getpid()) - (not lives),
        uid=uid,
    )
    assert process.alive(claim, Reach.ONE_HOST) is lives
    assert process.alive(claim, Reach.SEVERAL_HOSTS) is (lives if uid != ANOTHER or reaches_all else None)


def test_a_workers_lock_counts_only_in_its_own_lock_file(tmp_path: Path) -> None:
    """A copy of the queue has a lock file of its own, in which no lock of the original is."""
    me, copy = process.this_process(), tmp_path / "copy"
    copy.mkdir()
    file = LockFile(lock_file(str(tmp_path)), me)
    shutil.copy(file.path, copy)
    assert works_here(str(tmp_path), file.identity, me) is True
    assert works_here(str(tmp_path), file.identity, me._replace(pid=1)) is False
    assert works_here(str(copy), file.identity, me) is None


@pytest.mark.parametrize(("capabilities", "all_of_them"), [(KILL | PTRACE, True), (KILL, False), (PTRACE, False)])
def test_root_without_the_capability_sees_no_other_user(
    monkeypatch: pytest.MonkeyPatch, capabilities: int, all_of_them: bool
) -> None:
    monkeypatch.setattr(process, "_read", lambda path: b"Name:\ta: b\nCapEff:\t%016x\n" % capabilities)
    assert process._reaches_all.__wrapped__() is all_of_them


def test_without_proc_status_no_other_user_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_read", lambda path: b"")
    assert process._reaches_all.__wrapped__() is False


@pytest.mark.parametrize("allowed", [1024, -1], ids=["1024 descriptors", "any number of descriptors"])
def test_without_proc_no_descriptor_is_inherited_either(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    def listdir(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "listdir", listdir)
    monkeypatch.setattr(os, "sysconf", lambda name: allowed)
    reader, writer = os.pipe()
    try:
        os.set_inheritable(writer, True)
        process.keep_descriptors()
        assert [os.get_inheritable(number) for number in (2, reader, writer)] == [True, False, False]
    finally:
        os.close(reader)
        os.close(writer)


def test_every_process_is_named_ten_in_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "name_of", lambda pid: "sh")
    first, second = process.named(range(1, 13))
    assert (first[:25], second) == ("sh (pid 1), sh (pid 2), s", "sh (pid 11), sh (pid 12)")
    assert list(process.named([])) == []


def test_a_process_with_the_pid_of_one_that_was_seen_is_not_killed(tmp_path: Path) -> None:
    """The pid of a job's process may be given to another one before the job ends."""
    with subprocess.Popen(["sleep", "300"]) as other:
        descendants = Descendants(LockFile(str(tmp_path / "locks"), process.this_process()))
        descendants.look([os.getpid()])
        descendants._seen[other.pid] -= 1
        ended = Run("a", 1, 1, b"QUEUECTL_RUN_TOKEN=x", Capture(str(tmp_path), "a", 1, 1), 0, pid=1)
        assert descendants.end_strays(ended, (), (), [other.pid]) == 0
        assert other.poll() is None
        descendants.look([os.getpid()])
        assert descendants.end_strays(ended, (), (), [other.pid]) == 1
        assert other.wait() == -SIGKILL


def test_a_process_in_the_background_gets_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    spawn, passed_on = os.posix_spawn, list[bool]()

    def recorded(_path: str, _arguments: object, _environ: object, **options: Any) -> int:
        passed_on.append(os.get_inheritable(writer))
        return spawn("/bin/true", ["true"], {}, **options)

    monkeypatch.setattr(os, "posix_spawn", recorded)
    _, code = detach(["run"], str(tmp_path), str(tmp_path / "log"), lambda: False)
    os.close(reader)
    os.close(writer)
    assert (code, passed_on) == (0, [False])
