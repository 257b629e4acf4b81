"""A queue of another user is only read: whoever can write to a queue can run commands as its workers."""

import os
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from queuectl.checks import doctor
from queuectl.errors import StoreError
from queuectl.maintenance import recover as recovery
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from queuectl.store.options import StoreOptions
from queuectl.store.sqlite.ownership import foreign
from tests.support.builders import add, new
from tests.support.command_line import Queuectl, assert_error

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

READING = (
    "status",
    "list --json",
    "show a",
    "history a",
    "logs a",
    "events",
    "verify",
    "head",
    "export -",
    "backup copy.db",
)
WRITING = (
    *(
        "enqueue true",
        "run --once",
        "worker start --once",
        "worker stop",
        "cancel a",
        "retry a",
        "purge a --yes",
        "pause",
    ),
    *("config set timeout 5s", "rebuild", "recover", "import -", "dlq retry --all", "migrate --to other/queue.db"),
)


def give_away(folder: Path, *names: str) -> None:
    for each in [folder / name for name in names] or [folder, *folder.rglob("*")]:
        os.chown(each, NOBODY, NOBODY)


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file's owner and size, without the -shm, which SQLite manages."""
    found = {str(each): each.stat() for each in folder.rglob("*") if not each.name.endswith("-shm")}
    return {name: (each.st_uid, each.st_size) for name, each in found.items()}


@needs_root
def test_a_queue_of_another_user_is_only_read(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "echo hi")
    queuectl.drain()
    give_away(queuectl.db.parent)
    before = state(queuectl.db.parent)
    for line in READING:
        assert queuectl(*line.split()).code == 0, line
    for line in WRITING:
        assert_error(queuectl(*line.split()), 5, "belongs to another user", "sudo -u")
    assert state(queuectl.db.parent) == before
    assert queuectl("doctor").code == 1


@needs_root
@pytest.mark.parametrize("name", ["queue.db", "queue.db-wal", "queue.db.archive", "queue.db.output", "."])
def test_the_owner_of_each_part_counts(queuectl: Queuectl, name: str) -> None:
    queuectl.add("true")
    queuectl.drain()
    give_away(queuectl.db.parent, name)
    assert_error(queuectl("run", "--once"), 5, "belongs to another user")
    assert queuectl("status").code == 0


@needs_root
def test_reading_as_root_leaves_no_file_of_root(queuectl: Queuectl) -> None:
    """If there is no -wal and -shm, SQLite creates them, also for root."""
    queuectl.add("true")
    with closing(apsw.Connection(str(queuectl.db))) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    give_away(queuectl.db.parent)
    queuectl.ok("status")
    assert {each.stat().st_uid for each in queuectl.db.parent.iterdir()} == {NOBODY}


@needs_root
def test_a_dotenv_of_another_user_is_refused(queuectl: Queuectl) -> None:
    """It could name a queue of the other user, whose jobs this user's worker would run."""
    file = queuectl.folder / ".env"
    file.write_text("QUEUECTL_MAX_RETRIES=7\n")
    assert queuectl.ok("config", "get", "max-retries") == "7"
    give_away(queuectl.folder, ".env")
    assert_error(queuectl("config", "get", "max-retries"), 2, ".env belongs to another user")
    assert queuectl.ok("config", "get", "max-retries", env={"QUEUECTL_MAX_RETRIES": "5"}) == "5"
    file.write_text("OTHER=7\n")
    assert queuectl.ok("config", "get", "max-retries") == "3"


@needs_root
def test_a_flag_overrides_a_dotenv_of_another_user(queuectl: Queuectl) -> None:
    (queuectl.folder / ".env").write_text("QUEUECTL_DB=theirs.db\n")
    give_away(queuectl.folder, ".env")
    assert_error(queuectl("enqueue", "true"), 2, ".env belongs to another user")
    assert_error(queuectl("--archive-dir", "copy", "enqueue", "true"), 2, ".env belongs to another user")
    queuectl.ok("--db", str(queuectl.db), "enqueue", "true")
    queuectl.ok("enqueue", "true", env={"QUEUECTL_DB": str(queuectl.db)})
    assert not (queuectl.folder / "theirs.db").exists()
    with (queuectl.folder / ".env").open("a") as file:
        file.write("QUEUECTL_TIMEOUT=1s\n")
    assert_error(queuectl("--db", str(queuectl.db), "enqueue", "true"), 2, ".env belongs to another user")


@needs_root
def test_no_queue_is_created_in_another_users_folder(queuectl: Queuectl) -> None:
    place = queuectl.folder / "theirs"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    assert_error(queuectl("--db", str(place / "queue.db"), "enqueue", "true"), 5, "belongs to another user")
    assert list(place.iterdir()) == []


def test_root_and_the_user_are_trusted_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, me = str(tmp_path / "queue.db"), os.geteuid()
    store = open_store(path, SystemClock())
    add(store, new("a"))
    store.close()
    assert foreign(path) is None
    assert foreign(":memory:") is None
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert path in str(foreign(path))
    with closing(open_store(path, SystemClock())) as reader:
        assert reader.log.load("a") is not None
        with pytest.raises(StoreError, match="belongs to another user"):
            add(reader, new("b"))
    with pytest.raises(StoreError, match="belongs to another user"):
        recovery.recover(path, SystemClock(), StoreOptions(), print, force=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a folder of root's")
def test_a_folder_of_root_may_hold_a_users_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert foreign(str(tmp_path / "queue.db")) is None
    (tmp_path / "queue.db").touch()
    assert "root" in str(foreign(str(tmp_path / "queue.db")))


@needs_root
def test_a_worker_of_root_warns_once(queuectl: Queuectl) -> None:
    queuectl.add("true")
    done = queuectl.drain()
    assert (done.out, [" warning worker " in line for line in done.err.splitlines() if "as root" in line]) == (
        "",
        [True],
    )
    assert "as root" not in queuectl.drain("--log-level", "error").err
    assert "as root" not in queuectl("worker", "list").err


@pytest.mark.parametrize(("user", "levels"), [(0, ["warning"]), (NOBODY, [])])
def test_doctor_warns_root(monkeypatch: pytest.MonkeyPatch, user: int, levels: list[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert [each.level for each in doctor.installation() if each.about == "user"] == levels
