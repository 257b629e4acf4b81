"""`verify` names each fault, and nothing else."""

import json
from glob import glob
from pathlib import Path
from random import Random

import pytest

from queuectl.checks.report import COMPARE, Report
from queuectl.checks.verify import expect, verify, verify_job
from queuectl.domain import events as e
from queuectl.store.archive import archive
from queuectl.store.rows import Change
from tests.archive.damage import disarrange
from tests.campaign import damaged_queue as queue
from tests.support.builders import SECOND, SettableClock, add, claimed, completed, more, new, retried
from tests.support.queues import corrupt, opened, random_history


def checked(path: Path, job_id: str | None = None, **options) -> Report:
    with opened(path, **options) as store:
        return verify(store) if job_id is None else verify_job(store, job_id)


def damage(report: Report) -> list[tuple[int | None, str]]:
    """Position and kind of every fault of the log; faults of the tables are left out."""
    return [(problem.position, problem.kind) for problem in report.first if problem.kind != "table"]


@pytest.mark.parametrize("seed", range(3))
def test_a_random_history_is_clean(tmp_path, seed):
    clock = SettableClock()
    with opened(tmp_path / "queue.db", clock, archived=True) as store:
        random_history(store, clock, seed)
        report = verify(store)
        assert (report.first, dict(report.counts)) == ([], {})
        assert report.events == report.head.position > 100
    for job_id in ("job-0", "job-5"):
        assert checked(tmp_path / "queue.db", job_id).counts == {}


HITS = {
    "version": "version + 1000",
    "type": "CASE type WHEN 'claimed' THEN 'completed' ELSE 'claimed' END",
    "schema": "schema + 1",
    "recorded_at": "recorded_at + 3600000000",
    "recorded_at, earlier": "recorded_at - 3600000000",
    "actor": "'someone@else'",
    "stream_id": "'elsewhere'",
    "data": "replace(data, 'e', 'a')",
    "data, cut": "substr(data, 1, length(data) - 1)",
    "data, no UTF-8": "CAST(x'7b2274797065223aff7d' AS TEXT)",
    "stream_id, no UTF-8": "CAST(x'ff' AS TEXT)",
    "data, gone": "NULL",
    "salt": "zeroblob(16)",
    "data_digest": "zeroblob(32)",
    "digest": "zeroblob(32)",
}


@pytest.mark.parametrize("position", [1, 2, 3, 4, 10, 11])
@pytest.mark.parametrize("name", HITS)
def test_one_bad_column_is_one_bad_position(small, name, position):
    corrupt(small, f"UPDATE events SET {name.partition(',')[0]} = {HITS[name]} WHERE position = {position}")
    assert damage(checked(small)) == [(position, "unreadable")]


@pytest.mark.parametrize("position", [1, 4, 10])
def test_a_missing_event_is_named(small, position):
    corrupt(small, f"DELETE FROM events WHERE position = {position}")
    assert damage(checked(small)) == [(position, "missing"), (position + 1, "unreadable")]


def test_an_event_at_another_position_is_named(small):
    corrupt(small, "UPDATE events SET position = 1000 WHERE position = 4")
    found = damage(checked(small))
    assert found == [(4, "missing"), (5, "unreadable"), (12, "missing"), (1000, "unreadable")]


def test_two_swapped_events_are_named(small):
    corrupt(
        small,
        "UPDATE events SET position = -1 WHERE position = 4",
        "UPDATE events SET position = 4 WHERE position = 5",
        "UPDATE events SET position = 5 WHERE position = -1",
    )
    assert [position for position, _ in damage(checked(small))] == [4, 5, 6]


def appended(path: Path, *changes: Change) -> list[tuple[int | None, str]]:
    """The faults of a log after appending these events with correct digests."""
    with opened(path) as store:
        add(store, *changes)
        return damage(verify(store))


def test_illegal_moves_are_named(small):
    with opened(small) as store:
        two, three = store.log.load("two"), store.log.load("three")
    assert appended(small, more(three, completed())) == [(12, "move")]
    assert appended(small, more(two, claimed(2)))[1:] == [(13, "move")]


def test_results_of_stale_runs_are_named(small):
    with opened(small) as store:
        three = store.log.load("three")
    assert appended(small, more(three, claimed(2), retried(7))) == [(12, "move"), (13, "move")]


def test_events_in_the_wrong_stream_are_named(small):
    assert appended(small, Change("ghost", 0, [claimed()])) == [(12, "move")]
    assert appended(small, Change("$settings", 1, [e.QueuePaused()]))[1:] == [(13, "move")]


def test_a_skipped_version_is_named(small):
    corrupt(small)
    with opened(small) as store:
        three = store.log.load("three")
    assert appended(small, Change("three", 4, [claimed()], three)) == [(12, "version")]


def test_time_that_goes_back_is_named(small):
    with opened(small, SettableClock()) as store:
        store.log.clock.both = lambda last: (last - SECOND, last - SECOND)
        add(store, new("four"))
        assert damage(verify(store)) == [(12, "time")]


def test_moves_after_a_damaged_event_of_a_job_are_not_checked(small):
    corrupt(small, "UPDATE events SET actor = 'x' WHERE position = 3")
    assert damage(checked(small)) == [(3, "unreadable")]


def test_verify_can_check_one_job(small):
    corrupt(
        small, "UPDATE events SET actor = 'x' WHERE position = 9", "UPDATE jobs SET command = 'x' WHERE id = 'three'"
    )
    assert dict(checked(small, "one").counts) == {}
    assert dict(checked(small, "two").counts) == {"unreadable": 1, "table": 1}
    assert dict(checked(small, "three").counts) == {"table": 1}


def test_an_event_missing_from_the_stream_index_is_named(small):
    """Reading by stream does not find it."""
    with opened(small) as store:
        real = store.log.examined_streams
        store.log.examined_streams = lambda *which: (found for found in real(*which) if found.position != 8)
        assert "index" in verify(store).counts


def test_a_job_whose_last_event_is_damaged_is_checked_once(small):
    corrupt(small, "UPDATE events SET actor = 'x' WHERE stream_id = 'one' AND version = 4")
    assert [kind for _, kind in damage(checked(small, "one"))] == ["unreadable"]


def test_a_saved_head_is_compared(small):
    with opened(small) as store:
        head = store.log.head()
        report = Report(head)
        expect(store, report, [f"{head.position}:{head.digest.hex()}", f"{head.position} {head.digest.hex()}"])
        expect(store, report, [f'{{"position": {head.position}, "digest": "{head.digest.hex()}"}}\n'])
        expect(store, report, [f"0:{store.log.base.digest.hex()}"])
        assert report.counts == {}
        expect(store, report, [f"10:{head.digest.hex()}", f"12:{head.digest.hex()}"])
        assert damage(report) == [(10, "expected"), (12, "expected")]
        assert {problem.remedy for problem in report.first} == {COMPARE}
        assert "the log was cut or changed" in COMPARE


# ── the archive ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def archived(tmp_path):
    clock = SettableClock()
    with opened(tmp_path / "queue.db", clock, archived=True) as store:
        random_history(store, clock, seed=3, steps=60)
    [segment] = (tmp_path / "queue.db.archive").glob("*.ndjson")
    return tmp_path / "queue.db", segment


def change_line(segment, number, old, new):
    lines = segment.read_bytes().splitlines(keepends=True)
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new, 1)
    segment.write_bytes(b"".join(lines))


@pytest.mark.parametrize(("old", "new"), [(b'"actor":"', b'"actor":"x'), (b"{", b"("), (b'"salt":"', b'"salt":"00')])
def test_a_changed_line_of_the_archive_is_named(archived, old, new):
    path, segment = archived
    change_line(segment, 5, old, new)
    assert damage(checked(path, archived=True)) == [(5, "archive")]


WRONG_LINES = {
    "joined to the next": lambda lines: [*lines[:5], lines[5].replace(b"\n", b"\x0b"), *lines[6:]],
    "of another position": lambda lines: [*lines[:5], lines[5].replace(b":5,", b":9,", 1), *lines[6:]],
    "missing": lambda lines: [*lines[:5], *lines[6:]],
    "twice": lambda lines: [*lines[:6], *lines[5:]],
    "three times": lambda lines: [*lines[:6], *lines[5:6], *lines[5:]],
    "of no event": lambda lines: [*lines[:5], b"hello\n", *lines[5:]],
    "many are missing": lambda lines: [*lines[:5], *lines[30:]],
}


@pytest.mark.parametrize("wrong", WRONG_LINES)
def test_one_wrong_line_is_the_only_fault(archived, wrong):
    path, segment = archived
    segment.write_bytes(b"".join(WRONG_LINES[wrong](segment.read_bytes().splitlines(keepends=True))))
    assert damage(checked(path, archived=True)) == [(5, "archive")]


@pytest.mark.parametrize("seed", range(40))
def test_lines_in_any_order_are_reported_without_an_error(tmp_path, seed):
    path, rng = queue.put(queue.whole().files, str(tmp_path / "queue")), Random(seed)
    segments = sorted(glob(f"{path}.archive/*.ndjson"))
    before = [Path(each).read_bytes() for each in segments]
    for _ in range(rng.randrange(1, 4)):
        disarrange(rng.choice(segments), rng.choice(segments), rng)
    if [Path(each).read_bytes() for each in segments] != before:
        assert queue.noticed(path)


def test_an_event_missing_from_the_log_is_reported_but_not_its_line(archived):
    path, _ = archived
    corrupt(path, "DELETE FROM events WHERE position = 5")
    assert damage(checked(path, archived=True)) == [(5, "missing"), (6, "unreadable")]


@pytest.fixture
def sealed(tmp_path, monkeypatch):
    """A queue whose archive has several segments."""
    monkeypatch.setattr(archive, "SEAL_AT", 4000)
    clock = SettableClock()
    with opened(tmp_path / "queue.db", clock, archived=True) as store:
        random_history(store, clock, seed=3, steps=60)
    return tmp_path / "queue.db", sorted((tmp_path / "queue.db.archive").glob("*.ndjson"))


CHANGED = {
    "no header": {"queuectl": "log2"},
    "another log": {"log_id": "0" * 32},
    "another place": {"base_position": 1},
    "another event": {"base_digest": "0" * 64},
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_changed_header_is_named(sealed, change):
    path, paths = sealed
    header, newline, rest = paths[1].read_bytes().partition(b"\n")
    paths[1].write_bytes(json.dumps({**json.loads(header), **CHANGED[change]}).encode() + newline + rest)
    assert damage(checked(path, archived=True)) == [(int(paths[1].stem), "archive")]


def test_a_missing_segment_is_named(sealed):
    path, paths = sealed
    paths[1].unlink()
    [problem] = checked(path, archived=True).first
    assert problem.position == int(paths[1].stem)
    assert f"all up to {int(paths[2].stem) - 1} are missing from the archive" in problem.what


def test_a_torn_last_line_of_the_archive_is_no_fault(archived):
    path, segment = archived
    segment.write_bytes(segment.read_bytes()[:-7])
    assert checked(path, archived=True).counts == {}


def test_damage_in_the_database_is_no_fault_of_the_archive(archived):
    path, _ = archived
    corrupt(path, "UPDATE events SET actor = 'x' WHERE position = 5")
    assert damage(checked(path, archived=True)) == [(5, "unreadable")]
