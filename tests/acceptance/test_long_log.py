"""`verify` and `rebuild` of a log that is long enough for several processes."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGSTOP

import apsw
import pytest

from queuectl.store import StoreOptions, open_store
from queuectl.store.ranges import SMALL
from queuectl.store.rows import Change
from tests.support.builders import SettableClock, a_spec, claimed, completed
from tests.support.command_line import Queuectl, Started, alive, eventually

JOBS = SMALL // 3 + 1


@pytest.fixture(scope="module")
def _long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "data" / "queue.db"
    events = [a_spec(), claimed(), completed()]
    with closing(open_store(str(path), SettableClock(), StoreOptions(archived=False))) as store:
        for start in range(0, JOBS, 5000):
            numbers = range(start, min(start + 5000, JOBS))
            store.writer.append([Change(f"job-{number:06}", 0, events) for number in numbers], "test")
    return path


@pytest.fixture
def long(queuectl: Queuectl, _long: Path) -> Iterator[Queuectl]:
    """A queue of its own with more events than one process reads alone."""
    shutil.copytree(_long.parent, queuectl.db.parent)
    return queuectl


def children(pid: int) -> list[int]:
    """The child processes of a command that have begun: each interpreter names its entry."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in found if b"queuectl.parallel" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except FileNotFoundError:
        return []


def test_any_number_of_processes_says_the_same(long):
    said = long.ok("verify", "--jobs", "1")
    assert said.startswith(f"clean: {3 * JOBS} events")
    for options in ((), ("--jobs", "2"), ("--jobs", "3")):
        assert long("verify", *options) == (0, said + "\n", "")


def test_the_same_differences_are_found_and_corrected(long):
    with closing(apsw.Connection(str(long.db))) as db:
        db.execute("UPDATE jobs SET state = 'pending' WHERE position % 500 = 1; DELETE FROM jobs WHERE position = 4")
    one, two = (long("verify", "--json", "--jobs", jobs) for jobs in ("1", "2"))
    assert one == two
    assert one.code == 1
    differences = [long.json("rebuild", "--jobs", jobs)["differences"] for jobs in ("2", "1")]
    assert differences == [json.loads(one.out)["problems"]["table"], 0]


def interrupted(long: Queuectl, command: str) -> tuple[Started, list[int]]:
    """A command whose two children have been stopped before they finished."""
    started = long.start(command, "--jobs", "2", start_new_session=True)
    found = eventually(lambda: len(pids := children(started.pid)) == 2 and pids, "two children")
    for child in found:
        os.kill(child, SIGSTOP)
    return started, found


@pytest.mark.parametrize("command", ["verify", "rebuild"])
def test_ctrl_c_ends_the_children(long, command):
    started, found = interrupted(long, command)
    os.killpg(started.pid, SIGINT)
    done = started.ended()
    assert (done.code, done.out, done.err) == (130, "", "")
    assert not any(map(alive, found))


@pytest.mark.parametrize("command", ["verify", "rebuild"])
def test_a_killed_child_is_an_error(long, command):
    started, found = interrupted(long, command)
    os.kill(found[0], SIGKILL)
    done = started.ended()
    assert (done.code, done.out) == (5, "")
    assert done.err.startswith("queuectl: a child process was ended by SIGKILL before its work was done: ")
    assert not any(map(alive, found))


def test_one_process_starts_none(long, tmp_path):
    """The children would write this file, whose name each interpreter reads at its start."""
    (tmp_path / "sitecustomize.py").write_text(f"open({str(tmp_path / 'starts')!r}, 'a').write('x')")
    starts = tmp_path / "starts"
    for jobs, expected in (("1", 1), ("2", 3)):
        starts.write_text("")
        long.ok("verify", "--jobs", jobs, env={"PYTHONPATH": str(tmp_path)})
        assert len(starts.read_text()) == expected


def test_other_options_work_together_with_it(long):
    head = long.ok("head")
    assert long.ok("verify", "--jobs", "2", "--expect", head).startswith("clean: ")
    assert long("verify", "--jobs", "2", "--expect", head.replace("a", "b")).code == 1
    assert long.ok("verify", "--jobs", "2", "--job", "job-000001").startswith("clean: 3 events")


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_a_number_of_processes_that_makes_no_sense(queuectl, jobs):
    queuectl.add("true")
    assert queuectl("verify", "--jobs", jobs).code == 2
