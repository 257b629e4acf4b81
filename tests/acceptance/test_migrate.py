"""`migrate`: the queue continues in another store, and the old one becomes read-only."""

from tests.support.command_line import Queuectl, assert_error, check_log, eventually


def test_the_queue_continues_in_the_new_store(queuectl: Queuectl) -> None:
    done, waits = queuectl.add("echo hi"), queuectl.add("--delay", "1h", "echo later")
    queuectl.ok("pause", "mail")
    queuectl("run", "--once")
    head, jobs = queuectl.ok("head"), queuectl.json("list")
    there = str(queuectl.folder / "there" / "queue.db")
    migrated = queuectl("migrate", "--yes", "--to", there)
    assert migrated.code == 0
    assert there in migrated.err
    assert head in migrated.err
    assert queuectl.ok("--db", there, "head") == head
    assert queuectl.json("--db", there, "list") == jobs
    check_log(queuectl.folder / "there" / "queue.db")
    assert queuectl.ok("--db", there, "logs", done) == "hi"
    queuectl.ok("--db", there, "cancel", waits)
    assert queuectl.ok("--db", there, "verify").startswith("clean")


def test_the_old_store_can_be_read_and_names_the_new_one(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    there = str(queuectl.folder / "there.db")
    queuectl.ok("migrate", "--yes", "--to", there)
    for change in (
        ("enqueue", "true"),
        ("run", "--drain", "--log-level", "error"),
        ("cancel", "a"),
        ("migrate", "--yes", "--to", "elsewhere.db"),
    ):
        assert_error(queuectl(*change), 5, "moved", there)
    read = queuectl("list")
    assert read.code == 0
    assert there in read.err
    assert "a " in read.out
    assert not (queuectl.folder / "elsewhere.db").exists()
    assert "no worker serves" not in queuectl("status").out


def test_advice_is_quoted_for_the_shell(queuectl: Queuectl) -> None:
    queuectl.add("true")
    done = queuectl("migrate", "--yes", "--to", "from now & on.db")
    there = f"'{queuectl.folder / 'from now & on.db'}'"
    assert f"export QUEUECTL_DB={there}\n" in done.err
    assert_error(queuectl("enqueue", "true"), 5, f"use --db {there}")


def test_a_refused_migration_changes_neither_store(queuectl: Queuectl) -> None:
    assert_error(queuectl("migrate", "--yes", "--to", "there.db"), 5, "no queue")
    queuectl.add("true")
    assert_error(queuectl("migrate"), 2, "--to")
    assert_error(queuectl("migrate", "--yes", "--to", str(queuectl.db)), 2, "--to")
    assert_error(queuectl("migrate", "--yes", "--to", ":memory:"), 2, "--to")
    queuectl.ok("--db", "other.db", "enqueue", "true")
    assert_error(queuectl("migrate", "--yes", "--to", "other.db"), 4, "already has events")
    queuectl.add("sleep 60")
    queuectl.start("run", "-c", "2")
    eventually(lambda: queuectl.query("SELECT 1 FROM workers WHERE name <> ''"), "the worker is known")
    assert_error(queuectl("migrate", "--yes", "--to", "there.db"), 4, "worker stop")
    assert not (queuectl.folder / "there.db").exists()
    assert queuectl.add("true")
