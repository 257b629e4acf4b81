"""Input from other programs and users: a foreign `.env`, a locale, a folder's name, another user's folder."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import PROGRAM, UNSERVED, Queuectl, assert_error

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


def test_a_dotenv_of_another_program_is_ignored(queuectl: Queuectl) -> None:
    queuectl.add("true")
    dotenv = queuectl.folder / ".env"
    dotenv.write_bytes(b"NAME=caf\xe9\n'\n")
    assert queuectl("enqueue", "--id", "a", "true") == (0, "a\n", UNSERVED)
    dotenv.unlink()
    os.mkfifo(dotenv)
    assert queuectl("enqueue", "--id", "b", "true") == (0, "b\n", UNSERVED)


def test_a_dotenv_that_cannot_be_read_is_one_warning(queuectl: Queuectl) -> None:
    queuectl.add("true")
    (queuectl.folder / ".env").symlink_to(".env")
    done = queuectl("enqueue", "--id", "a", "true")
    assert (done.code, done.out, len(done.err.splitlines())) == (0, "a\n", 2)
    assert "cannot be read and is ignored" in done.err


def test_a_latin_1_locale_changes_no_command(queuectl: Queuectl, tmp_path: Path) -> None:
    made = subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(tmp_path / "latin1")], capture_output=True, check=False
    )
    if not (tmp_path / "latin1" / "LC_CTYPE").exists():
        pytest.skip(f"no locale can be made here: {made.stderr.decode(errors='replace')}")
    latin1 = {"LOCPATH": str(tmp_path), "LC_ALL": "latin1"}
    (tmp_path / "größe").mkdir()
    job_id = queuectl.add("--cwd", "größe", "echo 'dös'", env=latin1)
    queuectl.drain(env=latin1)
    job = queuectl.show(job_id)
    assert (job["command"], job["stdout"], job["cwd"]) == ("echo 'dös'", "dös\n", str(tmp_path / "größe"))


def test_a_folder_name_that_is_not_utf8_is_named_as_a_folder(queuectl: Queuectl) -> None:
    folder = os.fsencode(queuectl.folder) + b"/\xff"
    os.mkdir(folder)
    for command, code in ((("status",), 0), (("enqueue", "true"), 2), (("run", "--drain"), 2), (("pause",), 2)):
        done = queuectl(*command, cwd=Path(os.fsdecode(folder)))
        assert (command, done.code) == (command, code)
        assert "argument" not in done.err
    assert os.listdir(folder) == []
    assert_error(queuectl("enqueue", b"\xff"), 2, "command: ", "is not UTF-8")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--db", b"\xff.db", "enqueue", "true"), "an argument"),
        (("--db", b"\xff/queue.db", "run", "--drain"), "an argument"),
        (("show", b"\xff"), "an argument"),
        (("list", "--tag", b"k=\xff"), "an argument"),
        (("cancel", "a", "--reason", b"\xff"), "reason: "),
    ],
)
def test_an_argument_that_is_not_utf8_writes_nothing(
    queuectl: Queuectl, words: tuple[str | bytes, ...], named: str
) -> None:
    queuectl.add("--id", "a", "true")
    before = queuectl.position(), sorted(os.listdir(queuectl.folder))
    assert_error(queuectl(*words), 2, named, "is not UTF-8")
    assert (queuectl.position(), sorted(os.listdir(queuectl.folder))) == before


@pytest.mark.parametrize(
    ("used", "place"),
    [(True, "data"), (False, "data"), (True, "data/queue.db")],
    ids=["after a run", "before any run", "only the database"],
)
def test_a_read_only_disk_is_exit_code_5(queuectl: Queuectl, namespace: list[str], used: bool, place: str) -> None:
    """Each command ends, with one line; no supervisor starts workers that cannot work."""
    queuectl.add("true")
    if used:
        queuectl.drain()
    script = f'mount --bind {place} {place} && mount -o remount,bind,ro {place} && exec "$0" "$@"'
    workers = (("worker", "start"), ("worker", "start", "--detach"), ("run",))
    for command in (*workers, ("run", "--drain"), ("enqueue", "true"), ("pause",)):
        ended = queuectl.start_program(*namespace, "sh", "-c", script, PROGRAM, *command).ended()
        assert ended.code == 5, (command, ended)
        errors = [line for line in ended.err.splitlines() if line.startswith("queuectl: ")]
        assert len(errors) == 1, (command, ended)
        assert "read-only" in errors[0].lower()
    examined = queuectl.start_program(*namespace, "sh", "-c", script, PROGRAM, "doctor").ended()
    if place == "data":
        assert examined.code == 1
        assert f"{queuectl.db.parent} is mounted read-only" in examined.out
        assert f"findmnt -T {queuectl.db.parent}" in examined.out


def test_a_file_url_is_not_taken_for_a_name(queuectl: Queuectl) -> None:
    assert_error(queuectl("--db", "file:x", "enqueue", "true"), 2, "file:", "./file:x")
    assert not (queuectl.folder / "file:x").exists()


def as_nobody(queuectl: Queuectl) -> list[str]:
    """The words before a command that have another user run it, who may enter the test's folder."""
    for folder in (queuectl.folder, *queuectl.folder.parents[:-1]):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001 and str(folder) != "/tmp":
            folder.chmod(folder.stat().st_mode | 0o011)
    command = ["setpriv", "--reuid", "65534", "--clear-groups"]
    if queuectl.start_program(*command, "test", "-r", PROGRAM).ended().code:
        pytest.skip("another user may not read the installed queuectl")
    return command


@needs_root
def test_a_dotenv_of_root_that_nobody_may_read_is_one_warning(queuectl: Queuectl) -> None:
    dotenv = queuectl.folder / ".env"
    dotenv.write_text("QUEUECTL_DB=secret.db\n")
    dotenv.chmod(0o600)
    place = queuectl.folder / "place"
    place.mkdir()
    os.chown(place, 65534, 65534)
    command = [*as_nobody(queuectl), PROGRAM, "--db", str(place / "queue.db")]
    warning = "queuectl: ./.env cannot be read and is ignored: Permission denied"
    for words in (("enqueue", "true"), ("status",), ("run", "--drain")):
        ended = queuectl.start_program(*command, *words).ended()
        assert (words, ended.code) == (words, 0), ended
        assert ended.err.splitlines().count(warning) == 1
        assert "secret" not in ended.out + ended.err


@needs_root
@pytest.mark.parametrize("place", ["data", "data/queue.db"])
def test_a_queue_that_may_not_be_read_names_its_owner(queuectl: Queuectl, place: str) -> None:
    queuectl.add("true")
    if place != "data":
        queuectl.db.parent.chmod(0o755)
    command = [*as_nobody(queuectl), PROGRAM]
    said = "belongs to root, and you may not read it: sudo -u 'root' queuectl"
    for words in (("status",), ("list",), ("verify",)):
        ended = queuectl.start_program(*command, *words).ended()
        assert (words, ended.code, ended.out) == (words, 5, "")
        assert f"cannot read the queue {queuectl.db}: " in ended.err
        assert said in ended.err


@needs_root
def test_a_folder_of_root_is_named_as_the_cause(queuectl: Queuectl, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    place = ["--db", str(tmp_path / "data" / "queue.db"), "enqueue", "true"]
    ended = queuectl.start_program(*as_nobody(queuectl), PROGRAM, *place).ended()
    assert (ended.code, ended.out) == (5, ""), ended
    assert "belongs to root" in ended.err
    assert "chown" in ended.err


# ── commands that replace a queue ───────────────────────────────────────────────────────────────────────


def test_recover_of_a_healthy_queue_changes_nothing(queuectl: Queuectl) -> None:
    queuectl.add("true")
    queuectl.drain()
    head, inode = queuectl.ok("head"), queuectl.db.stat().st_ino
    done = queuectl("recover")
    assert (done.code, done.out) == (0, "")
    assert "nothing to recover: " in done.err
    assert (queuectl.ok("head"), queuectl.db.stat().st_ino) == (head, inode)
    queuectl.ok("recover", "--force")
    assert queuectl.db.stat().st_ino != inode
    assert queuectl.ok("head") == head


def test_migrate_asks_and_refuses_when_it_cannot(queuectl: Queuectl) -> None:
    queuectl.add("true")
    assert_error(queuectl("migrate", "--to", "there.db"), 2, "--yes")
    assert not (queuectl.folder / "there.db").exists()
    queuectl.add("true")
    queuectl.ok("migrate", "--yes", "--to", "there.db")


def test_a_time_that_differs_from_the_typed_one_is_shown(queuectl: Queuectl) -> None:
    queuectl.add("true")
    berlin = {"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}
    done = queuectl("enqueue", "--at", "2090-03-26 02:30", "true", env=berlin)
    assert done.code == 0
    assert done.err == (
        "queuectl: at 2090-03-26 02:30: the clocks skip that time; the job runs when they go forward, "
        "2090-03-26 03:00:00+02:00\n" + UNSERVED
    )
    assert queuectl.show(done.out.strip())["next_run_at"] == "2090-03-26T01:00:00Z"
