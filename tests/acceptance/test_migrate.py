"""`migrate`: the queue at another place, and the old one closed."""

from tests.support.command_line import Queuectl, assert_error, check_log, eventually


def test_the_queue_continues_at_the_other_place(queuectl: Queuectl) -> None:
    done, waits = queuectl.add("echo hi"), queuectl.add("--delay", "1h", "echo later")
    queuectl.ok("pause", "mail")
    queuectl("run", "--once")
    head, jobs = queuectl.ok("head"), queuectl.json("list")
    there = str(queuectl.folder / "there" / "queue.db")
    told = queuectl("migrate", "--yes", "--to", there)
    assert told.code == 0
    assert there in told.err
    assert head in told.err
    assert queuectl.ok("--db", there, "head") == head
    assert queuectl.json("--db", there, "list") == jobs
    check_log(queuectl.folder / "there" / "queue.db")
    assert queuectl.ok("--db", there, "logs", done) == "hi"
    queuectl.ok("--db", there, "cancel", waits)
    assert queuectl.ok("--db", there, "verify").startswith("clean")


def test_the_old_place_can_be_read_and_says_where_to_go(queuectl: Queuectl) -> None:
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


def test_advice_is_quoted_for_the_shell(queuectl: Queuectl) -> None:
    queuectl.add("true")
    told = queuectl("migrate", "--yes", "--to", "from now & on.db")
    there = f"'{queuectl.folder / 'from now & on.db'}'"
    assert f"export QUEUECTL_DB={there}\n" in told.err
    assert_error(queuectl("enqueue", "true"), 5, f"use --db {there}")


def test_a_refused_migration_changes_neither_place(queuectl: Queuectl) -> None:
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
