"""`doctor` reports faults with the command that repairs them, and reports none on a healthy machine."""

import os
import pwd
import shutil
from contextlib import closing
from pathlib import Path
from signal import SIGKILL

import apsw
import pytest

from queuectl.application.liveness import is_alive
from queuectl.checks import doctor
from queuectl.checks.doctor import NETWORKED, Finding
from tests.archive.logs import checkpoint
from tests.support.builders import HOUR, SECOND, SettableClock, add, new
from tests.support.command_line import Queuectl, eventually, lines
from tests.support.queues import corrupt, opened


def faults_by_subject(findings) -> dict[str, Finding]:
    return {each.about: each for each in findings if each.level != "ok"}


def test_a_healthy_queue_has_no_fault(queuectl):
    queuectl.add("true")
    queuectl.drain()
    found = queuectl.json("doctor")
    assert {each["about"] for each in found} >= {
        "SQLite",
        "file system",
        "permissions",
        "disk",
        "archive",
        "quarantine",
    }
    assert [each for each in found if each["level"] == "problem"] == []
    assert {each["about"]: each["what"] for each in found}["archive"].startswith("the archive is up to date")


def test_a_missing_queue_is_not_a_fault_and_is_not_created(queuectl):
    done = queuectl("doctor")
    assert done.code == 0
    assert f"ok       queue: there is no queue at {queuectl.db} yet" in done.out
    assert "archive" not in done.out
    assert list(queuectl.folder.iterdir()) == []


@pytest.mark.parametrize(("number", "name"), NETWORKED.items())
def test_a_network_file_system_is_reported(number, name):
    found = doctor.file_system("/mnt", number)
    assert (found.level, name in found.what) == ("problem", True)
    assert "--db" in found.remedy


def test_a_local_file_system_is_ok(tmp_path):
    assert doctor.file_system("/tmp", doctor.file_system_number(str(tmp_path))).level == "ok"
    assert doctor.file_system_number("/proc") == 0x9FA0
    assert doctor.file_system_number("/nowhere") == 0


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.52.0"])
def test_a_sqlite_version_with_the_wal_bug_is_reported(monkeypatch, version):
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    found = faults_by_subject([doctor.sqlite()])["SQLite"]
    assert (found.level, version in found.what, found.remedy) == ("problem", True, "pip install -U apsw")


@pytest.mark.parametrize("name", ["data", "data/queue.db", "data/queue.db.archive"])
def test_files_that_others_can_write_are_reported(queuectl, name):
    queuectl.add("true")
    place = queuectl.folder / name
    place.chmod(0o777)
    done = queuectl("doctor")
    assert done.code == 1
    assert f"others can write to {place}" in done.out
    assert f"chmod go-rwx {place}" in done.out
    os.chmod(place, 0o700)
    assert queuectl("doctor").code == 0


def test_a_file_of_another_user_is_reported(monkeypatch, small):
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(small).st_uid + 1)
    [found] = [each for each in doctor.sqlite_files(str(small)) if each.about == "permissions"]
    name = pwd.getpwuid(os.stat(small).st_uid).pw_name
    assert (found.level, found.remedy) == ("problem", f"sudo -u '{name}' queuectl doctor")
    assert f"of the queue belong to {name}" in found.what


@pytest.mark.parametrize(("blocks", "level"), [(1, "problem"), (100_000, "warning"), (10_000_000, "ok")])
def test_little_free_disk_space_is_reported(monkeypatch, small, blocks, level):
    """`purge` is advised only while the log can still be written."""
    found = list(os.statvfs("/"))
    found[1], found[4] = 4096, blocks
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(found))
    [disk] = [each for each in doctor.sqlite_files(str(small)) if each.about == "disk"]
    assert disk.level == level
    assert ("queuectl purge" in (disk.remedy or "")) == (level == "warning")


def test_a_large_wal_is_reported(small):
    wal = Path(f"{small}-wal")
    with wal.open("ab") as file:
        file.truncate(doctor.LONG_WAL + 1)
    assert faults_by_subject(doctor.sqlite_files(str(small)))["wal"].level == "warning"


def findings_about(path: Path, clock: SettableClock | None = None, *, archived: bool = False) -> dict[str, Finding]:
    with opened(path, clock, archived=archived) as store:
        return faults_by_subject(doctor.queue(store, is_alive))


def test_a_queue_without_an_archive_is_a_warning(small):
    assert findings_about(small)["archive"].level == "warning"


def test_a_deleted_archive_is_reported_until_the_next_change(queuectl):
    queuectl.add("true")
    shutil.rmtree(f"{queuectl.db}.archive")
    done = queuectl("doctor")
    assert done.code == 0
    assert "warning  archive: the archive is missing: the next change brings it up to date" in done.out
    queuectl.add("true")
    found = queuectl.json("doctor")
    assert {each["about"]: each["what"] for each in found}["archive"].startswith("the archive is up to date")


def test_an_archive_that_lacks_events_is_reported(tmp_path):
    path = tmp_path / "queue.db"
    with opened(path, archived=True) as store:
        add(store, new("a"))
    with opened(path) as store:
        add(store, new("b"))
    found = findings_about(path, archived=True)["archive"]
    assert (found.level, found.what.partition(":")[0]) == ("warning", "the archive is 1 event behind")


def test_unreferenced_zeroed_pages_are_reported(large):
    """Reading the events does not touch these pages."""
    checkpoint(str(large))
    with closing(apsw.Connection(str(large))) as db:
        sql = "SELECT rootpage FROM sqlite_schema WHERE name IN ('jobs_by_position', 'jobs_unique', 'settings')"
        pages = [page for (page,) in db.execute(sql)]
    with large.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4096)
            file.write(bytes(4096))
    found = findings_about(large)["database"]
    assert (found.level, found.remedy) == ("problem", "queuectl recover")


def test_a_diverged_archive_is_reported(tmp_path):
    path = tmp_path / "queue.db"
    with opened(path, archived=True) as store:
        add(store, new("a"))
        add(store, new("b"))
    corrupt(path, "UPDATE events SET digest = zeroblob(32) WHERE position = 2")
    found = findings_about(path, archived=True)["archive"]
    assert (found.level, found.remedy) == ("problem", "queuectl recover")


def test_quarantined_events_are_reported(small):
    corrupt(small, "UPDATE events SET actor = 'x' WHERE position IN (3, 8)")
    found = [each for each in _queue(small) if each.about == "quarantine"]
    assert [each.what.split(" is")[0] for each in found] == ["event 3 of one", "event 8 of three"]
    assert {(each.level, each.remedy) for each in found} == {("problem", "queuectl recover")}


def _queue(path: Path) -> list[Finding]:
    with opened(path) as store:
        return list(doctor.queue(store, is_alive))


def test_a_clock_behind_the_log_is_reported(small):
    clock = SettableClock(HOUR + SettableClock().now())
    with opened(small, clock) as store:
        assert "clock" not in faults_by_subject(doctor.queue(store, is_alive))
        clock.turn(store.log.head().recorded_at - clock.now() - 90 * SECOND)
        found = faults_by_subject(doctor.queue(store, is_alive))["clock"]
    assert (found.level, found.remedy) == ("warning", None)
    assert "1m30s ahead of the clock" in found.what


def test_a_lost_worker_and_its_job_are_reported(queuectl: Queuectl):
    mark = queuectl.folder / "runs"
    queuectl.add(f"echo $$ > {mark}; exec sleep 60")
    worker = queuectl.start("run", "--name", "w1")
    [pid] = eventually(lambda: lines(mark), "the job runs")
    worker.signal(SIGKILL)
    worker.ended()
    done = queuectl("doctor")
    os.kill(int(pid), SIGKILL)
    assert done.code == 1
    assert "worker w1 is dead and holds 1 job:" in done.out
    assert "queuectl run" in done.out


def test_a_queue_that_has_moved_is_reported(queuectl):
    queuectl.add("true")
    queuectl.ok("migrate", "--yes", "--to", "there.db")
    there = queuectl.folder / "there.db"
    done = queuectl("doctor")
    assert done.code == 0
    assert f"warning  queue: closed, moved to {there}  ->  queuectl --db {there} doctor" in done.out
    assert "queue: closed" not in queuectl("--db", str(there), "doctor").out


def test_a_queue_that_cannot_be_opened_is_reported(queuectl):
    queuectl.add("true")
    connection = apsw.Connection(str(queuectl.db))
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    connection.close()
    done = queuectl("doctor")
    assert done.code == 1
    assert "format 99" in done.out
