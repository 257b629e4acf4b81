"""Checks that the log is complete and unaltered and that the tables match it. Reads everything, changes nothing.

It reads the log twice, in pages: by position to find gaps and to compare the archive, and by stream to check each event
and its effect on the job. The tables are compared in one transaction. A long log can be shared among several processes.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import msgspec

from queuectl.checks.archive_check import ArchiveCheck
from queuectl.checks.position_check import PositionRange, check_positions
from queuectl.checks.report import COMPARE, REBUILD, Report
from queuectl.checks.stream_check import StreamCheck
from queuectl.checks.verify_ranges import check_ranges
from queuectl.errors import UsageError, command_line
from queuectl.store.projections import TABLES
from queuectl.store.protocol import Store
from queuectl.store.ranges import Shares
from queuectl.store.rows import ALL_STREAMS, MAX_POSITION, Differences
from queuectl.store.stream_fold import Stream, streams

__all__ = ["expect", "verify", "verify_job"]


ALONE = Shares()
Progress = Callable[[int], None]
"""Called with the number of events done; each counts twice, once in each pass."""

_JOB_TABLES = tuple(TABLES)[:2]
"""The table of jobs and that of dead jobs: the rows that one stream decides."""


def verify(store: Store, progress: Progress = lambda done: None, shares: Shares = ALONE) -> Report:
    """Check the whole log, the archive and the tables, while workers keep running.

    `shares` says how many processes do it. Their number does not change the report.
    """
    report = Report(store.log.head())
    if shares.pay(store):
        _conclude(store, report, check_ranges(store, report, shares, progress))
        if not report.counts["index"]:
            return report
        report = Report(report.head)  # start again: with a damaged index, each range may see different events
    _conclude(store, report, _check_alone(store, report, progress))
    return report


def _check_alone(store: Store, report: Report, progress: Progress) -> Differences:
    _check_positions(store, report, progress)
    check = StreamCheck(report, lambda done: progress(report.head.position + done))
    differences = store.upkeep.compare(
        lambda until, unsound: store.upkeep.derived(ALL_STREAMS, until, unsound, check.inspect)
    )
    report.events = check.events
    return differences


def _conclude(store: Store, report: Report, differences: Differences) -> None:
    """Add what follows from the whole log: whether its index and the tables match it."""
    _check_index(report, store.log.base.position)
    for difference in differences.first:
        report.add("table", None, str(difference), REBUILD)
    report.counts["table"] += differences.total - len(differences.first)
    report.settle()


def verify_job(store: Store, job_id: str) -> Report:
    """Check one stream, and its rows in the tables."""
    while True:
        version, report = store.log.version(job_id), Report(store.log.head())
        check = StreamCheck(report)
        stream = next(streams(store.log.examined(stream_id=job_id), check.inspect), Stream(job_id))
        report.events = check.events
        differing = list(_differing_rows(store, stream))
        if store.log.version(job_id) == version:
            break  # no event was added while the rows were read
    for what in differing:
        report.add("table", None, what, REBUILD, job_id)
    report.settle()
    return report


def _differing_rows(store: Store, stream: Stream) -> Iterator[str]:
    expected = stream.rows()
    live = (store.tables.job(stream.id), next(iter(store.tables.dlq(stream.id)), None))
    for table, row in zip(_JOB_TABLES, live, strict=True):
        found = tuple(row[name] for name in TABLES[table]) if row else None
        if found != expected.get(table):
            yield f"{table} {stream.id}: the row does not match the log"


def _check_index(report: Report, base: int) -> None:
    """Check that reading by stream found as many events as reading by position."""
    there = report.head.position - base - report.missing_events
    if report.events != there:
        report.add("index", None, f"the index of streams has {report.events} events, the log has {there}")


# ── heads that were noted elsewhere ──────────────────────────────────────────────────────────────────────


def expect(store: Store, report: Report, texts: Iterable[str]) -> None:
    """Check that the log still has the events of noted heads. Raises UsageError for text that is not a head."""
    for text in texts:
        position, digest = _head(text)
        found = store.log.digest_at(position)
        if found is None:
            why = f"it is expected, but the log ends at {report.head.position}"
            report.add("expected", position, why, COMPARE)
        elif found != digest:
            what = "its digest is not the expected one: the log before it was changed"
            report.add("expected", position, what, COMPARE)


class _PrintedHead(msgspec.Struct):
    """The output of `head --json`."""

    position: int
    digest: str


def _head(text: str) -> tuple[int, bytes]:
    position, _, digest = text.strip().replace(":", " ").partition(" ")
    with suppress(msgspec.MsgspecError):
        printed = msgspec.json.decode(text.encode(errors="replace"), type=_PrintedHead)
        position, digest = str(printed.position), printed.digest
    with suppress(ValueError):
        if len(bytes.fromhex(digest)) == 32 and 0 <= int(position) <= MAX_POSITION:
            return int(position), bytes.fromhex(digest)
    raise UsageError(
        f"--expect {text}: write it as POSITION:DIGEST, or as `{command_line('head')}` prints it, also with --json"
    )


# ── positions, times and the archive ─────────────────────────────────────────────────────────


def _check_positions(store: Store, report: Report, progress: Progress) -> None:
    """Check that positions have no gaps, times never go back, and the archive has the same events."""
    part = PositionRange(store.log.base.position, report.head.position)
    archive = None
    if store.location.archive is not None:
        archive = ArchiveCheck(store, store.location.archive, report)
    for done in check_positions(store, report, part, None if archive is None else archive.compare):
        progress(done)
    if archive is not None:
        archive.end()
