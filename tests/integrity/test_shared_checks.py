"""`verify` by several processes says what one says, of sound queues and of damaged ones."""

import io
from contextlib import closing, redirect_stderr
from glob import glob
from pathlib import Path
from random import Random
from typing import Any

import pytest

from queuectl.checks import verify_ranges
from queuectl.checks.report import REMEMBERED, Report
from queuectl.checks.verify import verify
from queuectl.errors import StoreError
from queuectl.store import open_store, ranges
from queuectl.store.archive import archive
from queuectl.store.ranges import Shares
from queuectl.store.rows import Head
from tests.archive.damage import disarrange
from tests.campaign import corruption
from tests.campaign import damaged_queue as queue
from tests.integrity.test_verify import HITS
from tests.support.builders import HOUR, START, SettableClock, add, claimed, more, new, retried
from tests.support.in_process import InProcess
from tests.support.queues import corrupt, opened, random_history

MANY = [2, 3]


def said(path: str, processes: int) -> Any:
    """Everything that `verify` says, or the message of its error."""
    shares = Shares(path, 10_000_000, processes, small=0)
    try:
        with redirect_stderr(io.StringIO()), closing(open_store(path, SettableClock(START + HOUR))) as store:
            report = verify(store, shares=shares)
            return report.events, report.missing_events, dict(report.counts), report.first
    except StoreError as error:
        return str(error)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many answers soon: no process is started, but the ranges are divided and merged as for several."""
    monkeypatch.setattr(verify_ranges, "Children", InProcess)


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A queue whose archive has several segments."""
    monkeypatch.setattr(archive, "SEAL_AT", 4000)
    clock = SettableClock()
    with opened(tmp_path / "queue.db", clock, archived=True) as store:
        random_history(store, clock, seed=1, steps=100)
    assert len(glob(f"{tmp_path}/queue.db.archive/*.ndjson")) > 3
    return str(tmp_path / "queue.db")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("in_process")
def test_a_sound_queue_is_clean(tmp_path, seed):
    clock = SettableClock()
    with opened(tmp_path / "queue.db", clock, archived=True) as store:
        random_history(store, clock, seed)
        events = store.log.head().position
    for processes in (1, *MANY):
        assert said(str(tmp_path / "queue.db"), processes) == (events, 0, {}, [])


@pytest.mark.parametrize("position", [1, 4, 8, 11])
@pytest.mark.parametrize("name", HITS)
@pytest.mark.usefixtures("in_process")
def test_one_bad_column(small, name, position):
    corrupt(small, f"UPDATE events SET {name.partition(',')[0]} = {HITS[name]} WHERE position = {position}")
    assert [said(str(small), processes) for processes in MANY] == [said(str(small), 1)] * 2


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("in_process")
def test_many_bad_and_missing_events(large, seed):
    """So many that not all of them are shown."""
    rng = Random(seed)
    with opened(large) as store:
        last = store.log.head().position
    for _ in range(seed * 4):
        column, first = rng.choice(list(HITS)), rng.randrange(1, last)
        until = first + rng.choice((0, 0, 5))
        if rng.random() < 0.3:
            corrupt(large, f"DELETE FROM events WHERE position BETWEEN {first} AND {until}")
        else:
            bad = f"{column.partition(',')[0]} = {HITS[column]}"
            corrupt(large, f"UPDATE OR IGNORE events SET {bad} WHERE position BETWEEN {first} AND {until}")
    corrupt(large, f"UPDATE jobs SET command = 'x' WHERE position % 7 = {seed}", "DELETE FROM jobs WHERE version = 2")
    one = said(str(large), 1)
    assert [said(str(large), processes) for processes in MANY] == [one, one]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.usefixtures("in_process")
def test_an_archive_in_any_disorder(sealed, seed):
    rng, segments = Random(seed), sorted(glob(f"{sealed}.archive/*.ndjson"))
    assert "archive" not in said(sealed, 2)[2]
    for _ in range(1 + seed % 3):
        disarrange(rng.choice(segments), rng.choice(segments), rng)
    one = said(sealed, 1)
    assert [said(sealed, processes) for processes in MANY] == [one, one]


@pytest.mark.parametrize("change", ["header", "renamed", "removed", "torn", "folder gone"])
@pytest.mark.usefixtures("in_process")
def test_segments_that_are_not_as_they_should_be(sealed, change):
    segments = sorted(Path(f"{sealed}.archive").glob("*.ndjson"))
    match change:
        case "header":
            segments[1].write_bytes(segments[1].read_bytes().replace(b'"base_digest":"', b'"base_digest":"ab', 1))
        case "renamed":
            segments[1].rename(segments[1].with_name("000000000003.ndjson"))
        case "removed":
            segments[2].unlink()
        case "torn":
            segments[1].write_bytes(segments[1].read_bytes()[:-20])
        case "folder gone":
            for segment in segments:
                segment.unlink()
    one = said(sealed, 1)
    assert [said(sealed, processes) for processes in MANY] == [one, one]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("in_process")
def test_the_queues_of_the_corruption_campaign(tmp_path, seed):
    chosen, place = corruption.plan()[seed * 31], str(tmp_path / "try")
    damaged = corruption._flipped(chosen) if isinstance(chosen, corruption.Chunk) else corruption._others(chosen, place)
    for files, _ in list(damaged)[:20]:
        one = said(queue.put(files, place), 1)
        assert [said(queue.put(files, place), processes) for processes in MANY] == [one, one]


def test_damage_is_the_same_to_real_processes(large):
    corrupt(large, "UPDATE events SET salt = zeroblob(16) WHERE position IN (5, 77, 300)", "DELETE FROM jobs")
    one = said(str(large), 1)
    assert one[2]["unreadable"] == 3
    assert [said(str(large), processes) for processes in MANY] == [one, one]


def test_a_huge_stream_is_one_range(tmp_path):
    clock = SettableClock()
    with opened(tmp_path / "queue.db", clock) as store:
        add(store, new("a"), new("huge"), new("z"))
        for run in range(1, 200):
            add(store, more(store.log.load("huge"), claimed(run), retried(run)))
        found = ranges.stream_ranges(store, store.log.head().position, 2)
    assert [(each.first, each.end) for each in found] == [("", "huge"), ("huge", "z"), ("z", None)]
    assert said(str(tmp_path / "queue.db"), 2) == said(str(tmp_path / "queue.db"), 1) == (401, 0, {}, [])


def test_a_small_log_starts_no_process(large, monkeypatch):
    monkeypatch.setattr(verify_ranges, "Children", None)
    with opened(large) as store:
        for shares in (Shares(str(large), 0, 8), Shares(str(large), 0, 1, small=0), Shares(":memory:", 0, 8, small=0)):
            assert not verify(store, shares=shares).counts


def test_another_log_in_its_place_is_refused(large, tmp_path):
    with opened(tmp_path / "other.db") as other:
        add(other, new("job"))
    with opened(large) as store:
        place = Shares(str(tmp_path / "other.db"), 0, 2).of(store, store.log.head())
    with pytest.raises(StoreError, match="was moved, removed or replaced"), verify_ranges.opened(place):
        pass


def test_the_store_of_a_child_cannot_write(large):
    with opened(large) as store:
        place = Shares(str(large), 0, 2).of(store, store.log.head())
    with ranges.opened(place) as store, pytest.raises(StoreError, match="read-only"):
        add(store, new("job"))


@pytest.mark.parametrize("count", [3, 2 * REMEMBERED])
def test_reports_of_parts_make_the_report_of_the_whole(count):
    """Also when not every damaged event can be remembered, nor every doubt."""
    rng, head = Random(count), Head(10 * count, b"", 0)
    whole, merged = Report(head), Report(head)
    for _ in range(3):
        part = Report(head)
        for _ in range(count):
            place = rng.randrange(10 * count)
            for report in (whole, part):
                if place % 3:
                    report.damaged("unreadable", place, "it is", "stream", "remedy")
                else:
                    report.doubt("version", place - 2, place, "it is")
        merged.merge(part)
    whole.settle()
    merged.settle()
    assert (whole.counts, whole.first) == (merged.counts, merged.first)
