"""Every command once, on a queue that has been used: it succeeds and prints what it is for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl.cli.app import COMMANDS
from tests.support.command_line import Queuectl, eventually

SHOWN = (
    ("status", "default"),
    ("list", "good"),
    ("show good", "hello"),
    ("history good", "enqueued"),
    ("logs good", "hello"),
    ("wait good", ""),
    ("dlq list", "bad"),
    ("dlq show bad", "exited with code 3"),
    ("failures", "exited with code 3"),
    ("config show", "max-retries"),
    ("config get max-retries", "3"),
    ("worker list", ""),
    ("schedule list", ""),
    ("batches", "night"),
    ("graph", ""),
    ("events", "completed"),
    ("metrics", "queuectl_runs_total"),
    ("diff 1 head", "good"),
    ("explain good", "done"),
    ("head", ""),
    ("verify", "head"),
    ("audit", "head"),
    ("context show", "context"),
    ("doctor", ""),
)
"""Commands that only read, and a word of their answer."""

CHANGES = (
    ("enqueue --id waiting --delay 1h true", "enqueued"),
    ("edit waiting --priority 5", "amended"),
    ("copy waiting --id twin --delay 1h", "enqueued"),
    ("cancel twin", "cancelled"),
    ("enqueue --id after --after waiting true", "enqueued"),
    ("unblock after", "dependencies_met"),
    ("cancel waiting", "cancelled"),
    ("retry waiting", "requeued"),
    ("pause mail", "queue_paused"),
    ("resume mail", "queue_resumed"),
    ("schedule add nightly @daily true", "schedule_set"),
    ("schedule run nightly", "schedule_fired"),
    ("schedule pause nightly", "schedule_paused"),
    ("schedule resume nightly", "schedule_resumed"),
    ("schedule remove nightly", "schedule_removed"),
    ("config set lease 1m", "setting_changed"),
    ("config unset lease", "setting_changed"),
    ("dlq retry bad", "requeued"),
    ("run --drain --queue default", "worker_stopped"),
    ("dlq purge bad --yes", "purged"),
    ("purge good --yes", "purged"),
    ("worker start --count 1 --drain --queue default", "worker_stopped"),
    ("worker stop", ""),
)
"""Commands that change something, in this order, and the type of an event that each of them records."""

WHOLE = (
    ("rebuild", ()),
    ("export log.ndjson", ("log.ndjson",)),
    ("--db other/queue.db import log.ndjson", ("other/queue.db",)),
    ("backup copy.db", ("copy.db",)),
    ("--db copy.db migrate --yes --to moved/queue.db", ("moved/queue.db",)),
)
"""Commands about a whole log, in this order, and the files that they make."""


@pytest.fixture
def used(queuectl: Queuectl) -> Queuectl:
    """A queue with a done and a dead job."""
    queuectl.add("--id", "good", "--batch", "night", "echo hello")
    queuectl.add("--id", "bad", "--max-retries", "0", "exit 3")
    queuectl.drain()
    return queuectl


def test_every_reading_command_prints_its_answer(used: Queuectl) -> None:
    before = used.position()
    for command, word in SHOWN:
        assert word in used.ok(*command.split()), command
    assert used.position() == before


def test_every_changing_command_records_an_event(used: Queuectl) -> None:
    for command, event in CHANGES:
        before = used.position()
        used.ok(*command.split())
        assert event in ("", *_types_after(used, before)), command


def _types_after(queuectl: Queuectl, position: int) -> Iterator[str]:
    for (name,) in queuectl.query(f"SELECT type FROM events WHERE position > {position}"):
        yield name


def test_every_command_on_a_whole_log_leaves_it_unchanged(used: Queuectl) -> None:
    head = used.ok("head")
    for command, files in WHOLE:
        used.ok(*command.split())
        assert all((Path(used.folder) / file).exists() for file in files), command
        assert used.ok("head") == head, command


def test_recover_restores_a_deleted_database(used: Queuectl) -> None:
    head = used.ok("head")
    for path in used.db.parent.glob("queue.db*"):
        if path.is_file():
            path.unlink()
    used.ok("recover")
    assert used.ok("head") == head


def test_serve_prints_its_url(used: Queuectl) -> None:
    server = used.start("serve", "--listen", "127.0.0.1:0")
    assert eventually(server.stdout.read_text, "the URL").startswith("http://127.0.0.1:")


def test_every_command_is_tested_here() -> None:
    tried = {"recover", "serve"} | {word for command, _ in (*SHOWN, *CHANGES, *WHOLE) for word in command.split()}
    assert set(COMMANDS) <= tried
