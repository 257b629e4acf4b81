"""Export and import of a log, and backups while workers run."""

import errno
import gzip
import json
import os
import resource
import time

import pytest

from queuectl.application.queue import Queue
from queuectl.errors import RefusedError, StoreError, UsageError
from queuectl.maintenance.backup import back_up
from queuectl.maintenance.chain import head_on_disk
from queuectl.maintenance.export import export_log, writing
from queuectl.maintenance.import_log import import_log, read_log, reading
from queuectl.process import output_files as output
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from queuectl.store.codec import digest_of
from queuectl.store.ndjson import event_line, header_line, read_event
from queuectl.store.options import StoreOptions
from queuectl.store.rows import Head
from tests.archive.logs import add_history, closed_queue, is_prefix, rows, segment_files, tables
from tests.support.builders import ACTOR, a_worker, add, claimant, new
from tests.support.peer import Peer


def nothing(position):
    """Report no progress."""


@pytest.fixture
def lived(store, clock):
    add_history(store, clock, 4)
    return store


@pytest.fixture
def lines(lived, tmp_path):
    """The lines of its export."""
    with writing(str(tmp_path / "log"), None) as file:
        export_log(lived, file, nothing)
    return (tmp_path / "log").read_bytes().splitlines(keepends=True)


@pytest.fixture
def other(tmp_path, clock):
    store = open_store(str(tmp_path / "other" / "queue.db"), clock)
    yield store
    store.close()


# ── export and import ───────────────────────────────────────────────────────────────────────────────


def test_an_imported_log_has_the_same_head_id_and_tables(lived, lines, other, path):
    head = import_log(other, lines, nothing)
    assert head == lived.log.head() == other.log.head()
    assert other.log.log_id == lived.log.log_id
    assert (rows(other.engine.path), tables(other.engine.path)) == (rows(path), tables(path))
    assert is_prefix(other.engine.path) == head.position
    add(other, new("next"))
    assert is_prefix(other.engine.path) == head.position + 1


def test_an_export_has_the_archives_lines(lines, path):
    assert lines[1:] == segment_files(path)[0].read_bytes().splitlines(keepends=True)[1:]
    header = json.loads(lines[0])
    assert (header["end_position"], header["end_digest"]) == (len(lines) - 1, json.loads(lines[-1])["digest"])


def test_a_segment_of_the_archive_can_be_imported(lived, other, path):
    with reading(str(segment_files(path)[0]), None) as segment:
        import_log(other, segment, nothing)
    assert rows(other.engine.path) == rows(path)


@pytest.mark.parametrize("name", ["log.ndjson", "log.ndjson.gz"])
def test_export_and_import_through_a_file(lived, other, tmp_path, name):
    file = str(tmp_path / name)
    with writing(file, None) as output:
        export_log(lived, output, nothing)
    with open(file, "rb") as written:
        assert (written.read(2) == b"\x1f\x8b") == name.endswith(".gz")
    assert os.stat(file).st_mode & 0o777 == 0o600
    with reading(file, None) as read:
        import_log(other, read, nothing)
    assert other.log.head() == lived.log.head()


def test_no_file_is_overwritten_and_no_partial_file_is_left(lived, tmp_path):
    (tmp_path / "log").write_text("mine")
    with (
        pytest.raises(UsageError, match="exists"),
        writing(str(tmp_path / "log"), None) as file,
    ):
        file.write(b"x")
    with pytest.raises(ZeroDivisionError), writing(str(tmp_path / "half"), None) as file:
        raise ZeroDivisionError
    assert sorted(os.listdir(tmp_path)) == ["log", "place"]
    assert (tmp_path / "log").read_text() == "mine"


BAD = {
    "cut in a line": (lambda lines: [*lines[:9], lines[9][:50]], "line 10: the line was cut"),
    "cut after a line": (lambda lines: lines[:9], "line 10: the log was cut: it ends at event 8 of"),
    "the header alone": (lambda lines: lines[:1], "line 2: the log was cut"),
    "empty": (lambda lines: [], "line 1: this is not a queuectl log"),
    "of another program": (lambda lines: [b'{"id": 1}\n'], "line 1: this is not a queuectl log"),
    "without its header": (lambda lines: lines[1:], "line 1: this is not a queuectl log"),
    "a line is missing": (lambda lines: [*lines[:9], *lines[10:]], "line 10: event 10 of .* does not follow"),
    "a line twice": (lambda lines: [*lines[:9], lines[8], *lines[9:]], "line 10: event 8 of"),
    "two lines swapped": (lambda lines: [*lines[:8], lines[9], lines[8], *lines[10:]], "line 9: event 9 of"),
    "a byte changed": (lambda lines: [*lines[:5], lines[5].replace(b"echo", b"ecHo"), *lines[6:]], "line"),
    "an actor changed": (lambda lines: [*lines[:5], lines[5].replace(b"ann", b"bob"), *lines[6:]], "line 6: event 5"),
    "another log behind it": (lambda lines: [*lines, lines[1]], "line"),
    "no JSON": (lambda lines: [*lines[:5], b"hello\n", *lines[5:]], "line 6: this is not an event"),
}


@pytest.mark.parametrize("bad", BAD)
def test_an_incomplete_file_is_refused_with_its_line_and_not_imported(lines, other, bad):
    change, why = BAD[bad]
    before = other.log.log_id
    if bad == "a byte changed":
        number = next(index for index, line in enumerate(lines) if b"echo" in line)
        wrong = [*lines[:number], lines[number].replace(b"echo", b"ecHo"), *lines[number + 1 :]]
    else:
        wrong = change(lines)
    with pytest.raises(UsageError, match=why):
        import_log(other, wrong, nothing)
    assert (other.log.head().position, rows(other.engine.path), other.log.log_id) == (0, [], before)
    assert import_log(other, lines, nothing).position == len(lines) - 1


def rechained(lines, change):
    """An export with changed events and digests computed for them."""
    header, *events = [json.loads(line) for line in lines]
    digest = bytes(32)
    for number, event in enumerate(events):
        change(event)
        row = read_event(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        digest = digest_of(row, digest)
        events[number] = event_line(row._replace(digest=digest))
    end = Head(len(events), digest, 0)
    return [header_line(header["log_id"], Head(0, bytes(32), 0), end), *events]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda event: event.update(stream_id="../../etc"), r"line 2: '../../etc' is not a job id"),
        (lambda event: event.update(stream_id="a\nb"), "line 2: .* is not a job id"),
        (lambda event: event.update(actor="a\tb"), "line 2: .* is not a valid actor"),
        (lambda event: event.update(version=1), "not a valid log"),
    ],
)
def test_a_valid_chain_with_impossible_events_is_refused(lines, other, change, why):
    with pytest.raises(UsageError, match=why):
        import_log(other, rechained(lines, change), nothing)
    assert rows(other.engine.path) == []
    import_log(other, rechained(lines, lambda event: None), nothing)


@pytest.mark.parametrize("log_id", ["../outside", "", "a\0b"])
def test_a_log_id_that_is_a_path_is_refused(lines, other, log_id):
    wrong = [json.dumps({**json.loads(lines[0]), "log_id": log_id}).encode() + b"\n", *lines[1:]]
    with pytest.raises(UsageError, match=r"line 1: .* is not a log id"):
        import_log(other, wrong, nothing)


def test_an_export_that_ends_before_its_header_says_is_refused(lines, other):
    wrong = [json.dumps({**json.loads(lines[0]), "end_digest": "f" * 64}).encode() + b"\n", *lines[1:]]
    with pytest.raises(UsageError, match="was changed"):
        import_log(other, wrong, nothing)
    with pytest.raises(StoreError, match="was changed"):
        list(read_log(wrong)[1])


def test_no_job_id_leads_out_of_the_output_folder(tmp_path):
    (tmp_path / "output").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    output.remove(str(tmp_path / "output"), "../mine")
    assert (tmp_path / "mine" / "file").exists()


def test_a_compressed_file_that_was_cut_is_refused(lines, other, tmp_path):
    whole = gzip.compress(b"".join(lines))
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cannot read"), reading(str(tmp_path / "cut.gz"), None) as file:
        import_log(other, file, nothing)
    assert rows(other.engine.path) == []


def test_importing_into_a_queue_with_events_is_refused(lines, other):
    add(other, new("mine"))
    with pytest.raises(RefusedError, match="not empty"):
        import_log(other, lines, nothing)
    assert len(rows(other.engine.path)) == 1


# ── backups and the head ────────────────────────────────────────────────────────────────────────────


def unarchived(path):
    return open_store(path, SystemClock(), StoreOptions(archived=False))


def test_a_backup_has_the_same_log_and_tables(lived, path, tmp_path, clock):
    copy = str(tmp_path / "copy.db")
    assert back_up(lived, copy, unarchived, nothing) == lived.log.head()
    assert (rows(copy), tables(copy)) == (rows(path), tables(path))
    again = open_store(copy, clock)
    assert again.engine.db.pragma("journal_mode") == "wal"
    add(again, new("next"))
    again.close()
    assert {name for name in os.listdir(tmp_path) if name.startswith("copy.db.part")} == set()


def test_a_backup_has_no_worker_of_the_original(lived, tmp_path, clock):
    lived.workers.beat(a_worker())
    back_up(lived, str(tmp_path / "copy.db"), unarchived, nothing)
    copy = open_store(str(tmp_path / "copy.db"), clock)
    assert (copy.workers.rows(), [row.name for row in lived.workers.rows()]) == ([], ["w1"])
    copy.close()


def test_a_backup_overwrites_nothing(lived, tmp_path):
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        back_up(lived, str(tmp_path / "copy.db"), unarchived, nothing)
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_a_backup_has_one_name_before_anything_waits_for_the_disk(lived, tmp_path, monkeypatch):
    """A queue with two names is refused, so the temporary name is removed at once."""
    copy, seen, sync = tmp_path / "copy.db", [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: seen.append(copy.exists() and copy.stat().st_nlink) or sync(file))
    back_up(lived, str(copy), unarchived, nothing)
    assert seen[-1] == 1
    assert 2 not in seen


def test_a_backup_without_room_does_not_blame_the_queue(lived, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(UsageError, match=f"cannot write {tmp_path}/copy.db: "):
            back_up(lived, str(tmp_path / "copy.db"), unarchived, nothing)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [name for name in os.listdir(tmp_path) if name.startswith("copy")] == []
    assert not os.path.exists(f"{lived.engine.path}.unsynced")


def test_a_damaged_queue_gives_no_backup(lived, path, tmp_path):
    import apsw

    db = apsw.Connection(path)
    db.execute("DROP TRIGGER events_refuse_update")
    db.execute("UPDATE events SET actor = 'eve' WHERE position = 9")
    db.close()
    with pytest.raises(Exception, match="event 9 of"):
        back_up(lived, str(tmp_path / "copy.db"), unarchived, nothing)
    assert [name for name in os.listdir(tmp_path) if name.startswith("copy")] == []


def test_a_backup_while_others_write_is_a_prefix_of_the_log(path, clock, tmp_path, peers):
    closed_queue(path, 2)
    peers.append(Peer())
    peers[0].call("open", path)
    peers[0].ask("enqueue many", "p", 100_000)
    store = open_store(path, clock)
    deadline, taken = time.monotonic() + 30, []
    while len(taken) < 4 and time.monotonic() < deadline:
        copy = str(tmp_path / f"copy-{len(taken)}.db")
        if not taken or store.log.head().position > taken[-1].position:
            taken.append(back_up(store, copy, unarchived, nothing))
            assert rows(copy)[-1][-1] == taken[-1].digest
    store.close()
    peers[0].end()
    assert len(taken) == 4
    assert [row[-1] for row in rows(path)][: taken[-1].position] == [
        row[-1] for row in rows(str(tmp_path / "copy-3.db"))
    ]


def test_the_head_is_the_last_event_on_disk(store, clock):
    assert head_on_disk(store) == store.log.base
    add(store, new("a"))
    assert head_on_disk(store) == store.log.head()
    Queue(store, ACTOR).claim(claimant(), (), 1, lambda job: True)
    assert head_on_disk(store).position in (1, 2)


def export_to(store, path):
    with writing(path, None) as file:
        export_log(store, file, nothing)


WRITTEN = {"export": export_to, "backup": lambda store, path: back_up(store, path, unarchived, nothing)}


@pytest.mark.parametrize("to", WRITTEN)
def test_a_disk_that_is_read_only_is_named_as_the_reason(lived, tmp_path, monkeypatch, to):
    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UsageError, match=r"cannot write .*: Read-only file system"):
        WRITTEN[to](lived, str(tmp_path / "new"))
