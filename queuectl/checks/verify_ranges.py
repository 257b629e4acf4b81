"""`verify` of a long log by several processes. Each takes ranges of positions and of streams, and reports on them.

Whether an event is sound depends only on its stream and on the stored digest before it, so ranges do not depend on each
other. Their reports are merged in the order of the log and equal the report of a single process.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

from msgspec import Struct

from queuectl.checks.archive_check import ArchiveCheck
from queuectl.checks.position_check import PositionRange, check_positions
from queuectl.checks.report import Report
from queuectl.checks.segment_check import SegmentCheck, starts
from queuectl.checks.stream_check import StreamCheck
from queuectl.parallel import Children
from queuectl.store import ranges
from queuectl.store.protocol import Derived, Store, StreamRange
from queuectl.store.ranges import PARTS, Place, Shares
from queuectl.store.rows import Differences, Head

__all__ = ["check_ranges", "opened"]

_ENTRY = "queuectl.checks.verify_ranges:opened"


class StreamPart(Struct, frozen=True):
    """Streams to fold and check up to a position. The rows of `unsound` tables are not read."""

    streams: StreamRange
    until: int
    unsound: tuple[str, ...]


class PartReport(Struct):
    """The report on one part. `is_archived`: its archive segments hold exactly its events."""

    report: Report
    is_archived: bool = True


Part: TypeAlias = PositionRange | StreamPart


# ── in a child process ──────────────────────────────────────────────────────────────────────────────


@contextmanager
def opened(place: Place) -> Iterator[Callable[[Part], Iterator[Any]]]:
    """Open the log. Yields a function that checks a part; it yields numbers of events, Derived, then a PartReport."""
    with ranges.opened(place) as store:
        yield partial(_checked, store, place.head)


def _checked(store: Store, head: Head, part: Part) -> Iterator[Any]:
    report = Report(head)
    if isinstance(part, PositionRange):
        return _check_positions(store, report, part)
    return _check_streams(store, report, part)


def _check_positions(store: Store, report: Report, part: PositionRange) -> Iterator[Any]:
    check = None
    if part.segments:
        check = SegmentCheck(store, part.segments, with_last=part.until == report.head.position)
    yield from check_positions(store, report, part, None if check is None else check.compare)
    yield PartReport(report, check is None or check.is_exact())


def _check_streams(store: Store, report: Report, part: StreamPart) -> Iterator[Any]:
    check = StreamCheck(report)
    for derived in store.upkeep.derived(part.streams, part.until, part.unsound, check.inspect):
        yield check.events
        if not derived.is_empty():
            yield derived
    report.events = check.events
    yield PartReport(report)


# ── in the first process ────────────────────────────────────────────────────────────────────────────


def check_ranges(store: Store, report: Report, shares: Shares, progress: Callable[[int], None]) -> Differences:
    """Check positions, streams, the archive and the tables, and add what is wrong to the report."""
    with Children(_ENTRY, shares.of(store, report.head), shares.processes) as children:
        checks = _RangeChecks(store, report.head, shares, children, progress)
        differences = store.upkeep.compare(checks.derived)
    is_archived = checks.merge_into(report)
    if store.location.archive is not None:
        archive = ArchiveCheck(store, store.location.archive, report)
        if not is_archived:
            for row in store.log.stored(until=report.head.position):
                archive.compare(row)
        archive.end()
    return differences


class _RangeChecks:
    """All parts. Those of positions start at once, those of streams when the tables are about to be compared."""

    def __init__(
        self, store: Store, head: Head, shares: Shares, children: Children, progress: Callable[[int], None]
    ) -> None:
        self._store, self._shares, self._children, self._progress = store, shares, children, progress
        self._done: dict[int, int] = defaultdict(int)
        self._reports: dict[int, PartReport] = {}
        archive = store.location.archive
        segments = {} if archive is None else starts(archive.folder, store.log.base.position, head.position)
        self._is_in_order = segments is not None
        children.give(_position_parts(store, head, shares.processes * PARTS, segments or {}))

    def derived(self, until: int, unsound: Collection[str]) -> Iterator[Derived]:
        """The `derive` of the store's `compare`. Ends when all parts are done."""
        streams = ranges.stream_ranges(self._store, until, self._shares.processes)
        self._children.give(StreamPart(each, until, tuple(unsound)) for each in streams)
        yield from ranges.in_order(self._batches())

    def _batches(self) -> Iterator[tuple[int, Derived]]:
        for number, result in self._children.results():
            if isinstance(result, Derived):
                yield number, result
            elif isinstance(result, PartReport):
                self._reports[number] = result
            else:
                self._done[number] = result
                self._progress(sum(self._done.values()))

    def merge_into(self, report: Report) -> bool:
        """Add the reports in the order of the parts. Returns whether the archive holds exactly the log's events."""
        for _, part in sorted(self._reports.items()):
            report.merge(part.report)
        return self._is_in_order and all(part.is_archived for part in self._reports.values())


def _position_parts(store: Store, head: Head, count: int, segments: Mapping[int, str]) -> list[PositionRange]:
    """About `count` ranges of positions, each with its archive segments. `segments` is by the position before each."""
    starts_at = list(segments) or ranges.positions(store, head.position, count)
    limits = [(store.log.base.position, 0)]
    for after in starts_at[1 :: -(-len(starts_at) // count)]:
        event = ranges.event_at(store, after)
        if event is not None:
            limits.append((after, event.recorded_at))
    ends = [*(after for after, _ in limits[1:]), head.position]
    return [
        PositionRange(after, until, recorded_at, tuple(path for at, path in segments.items() if after <= at < until))
        for (after, recorded_at), until in zip(limits, ends, strict=True)
    ]
