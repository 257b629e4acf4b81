"""`events`: the log itself, as a table or as NDJSON; with -f also what is yet to come.

A follower shows nothing that a power cut could take back: a claim is committed without waiting for the disk, so
claims at the log's end are held back until a later event, which did wait, is there. Should none come within a
second, the follower has them synced itself (a checkpoint syncs the -wal first); until that succeeds they stay
held back, because time alone proves nothing. Pages are read whole and no read transaction is open while they are
printed, so a slow reader keeps nobody from anything; that someone wrote is seen by polling `data_version`, and on a
server, where each look is a question, by LISTEN with a slow poll as the net.
"""

import select
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any

import typer

from queuectl.application.queue import Queue
from queuectl.cli.messages import say
from queuectl.cli.session import Session
from queuectl.domain import events as e
from queuectl.errors import StoreError, UsageError
from queuectl.render import json_shapes as presenting
from queuectl.render.narrative import tell
from queuectl.render.terminal import clean, to_ndjson
from queuectl.store.past import position_at
from queuectl.store.protocol import MAX_POSITION, DamagedEventError, Hints, Store
from queuectl.store.stream_fold import Found
from queuectl.units import local_time, parse_time

__all__ = ["events"]

POLL, SLOWEST = 10_000, 500_000
"""Microseconds between two looks for something new. A server is asked ever less often while nothing comes, until
then: what gives workers something to do is heard of at once."""
HELD_FOR = 100
"""So many looks later, claims at the log's end are brought to the disk."""

TYPES = [e.type_of(event) for event in e.EVENT_TYPES]
LINE = "{:>8}  {:19}  {:36}  {:16}  {}  ({})"


def events(
    ctx: typer.Context,
    first: Annotated[
        int | None, typer.Option("--from", min=1, max=MAX_POSITION, metavar="N", help="From this position on.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--to", min=0, max=MAX_POSITION, metavar="N", help="Up to this position.")
    ] = None,
    kind: Annotated[list[str] | None, typer.Option("--type", "-t", metavar="TYPE", help="Only these types.")] = None,
    job: Annotated[str | None, typer.Option(metavar="ID", help="Only this job's.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only those recorded since then.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is yet to come.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON on stdout: one event a line.")] = False,
) -> None:
    """Print the log: every event with its position, time, stream, type, and who made it."""
    session: Session = ctx.obj
    for each in kind or ():
        if each not in TYPES:
            raise UsageError(f"--type {each}: the types are {', '.join(TYPES)}")
    with session.there(changed=not session.foreign) if follow else session.reading() as queue:
        stream = queue.resolve([job])[0] if job is not None else None
        after = max((first or 1) - 1, _before(queue.store, since))
        reader = _Reader(queue.store, after, stream, kind or TYPES, _ndjson if as_json else _line)
        if follow:
            _follow(queue, reader, last, as_json)
        else:
            reader.advance(queue.store.log.head().position if last is None else last)


def _before(store: Store, since: str | None) -> int:
    """The position of the last event before a time."""
    if since is None:
        return 0
    try:
        return position_at(store, parse_time(since, store.log.now()) - 1)
    except ValueError as error:
        raise UsageError(f"--since: {error}") from None


class _Reader:
    """Prints what is asked for, each event once; `after` is how far it has come."""

    def __init__(
        self,
        store: Store,
        after: int,
        stream: str | None,
        types: list[str],
        show: Callable[[Found], str],
    ) -> None:
        self._store, self._stream, self._types, self._show = store, stream, types, show
        self.after = after

    def advance(self, until: int) -> None:
        """Print what stands between the last event seen and `until`."""
        for record in self._read(until):
            if isinstance(record, DamagedEventError) or record.type in self._types:
                print(self._show(record))
        self.after = max(self.after, until)
        sys.stdout.flush()

    def _read(self, until: int) -> Iterator[Found]:
        """The events, with what is wrong in the place of each damaged one."""
        after = self.after
        while True:
            try:
                for record in self._records(after, until):
                    yield record
                    after = record.position
            except DamagedEventError as error:
                yield from self._records(after, error.position - 1)
                yield error
                after = error.position
            else:
                return

    def _records(self, after: int, until: int) -> Iterator[e.RecordedEvent]:
        return self._store.log.records(after=after, until=until, stream_id=self._stream)


def _follow(queue: Queue, reader: _Reader, last: int | None, as_json: bool) -> None:
    """The backlog, one line that says that it is all, then events as they come; ends after position `last`."""
    positions = _on_disk(queue.store)
    position = next(positions)
    reader.advance(_at_most(last, position))
    if as_json:
        print(to_ndjson({"caught_up": position}), flush=True)
    else:
        say(f"caught up at position {position}, going on live")
    while last is None or position < last:
        position = next(positions)
        reader.advance(_at_most(last, position))


def _at_most(last: int | None, position: int) -> int:
    return position if last is None else min(last, position)


def _on_disk(store: Store) -> Iterator[int]:
    """How far the log is known to be on disk: at once, then whenever it has grown. Waits between two answers."""
    known, held, rest, hints = store.writer.on_disk(), 0, POLL, _hints(store)
    claims_wait = store.log.head().position > known
    while True:
        yield known
        before, rest = known, POLL
        while known == before:
            if _rest(rest, hints):
                rest = POLL
            elif store.location.spans_hosts:
                rest = min(2 * rest, SLOWEST)
            held = held + 1 if claims_wait else 0
            if held == HELD_FOR or store.workers.changed():
                reached = store.writer.bring_to_disk() if held == HELD_FOR else store.writer.on_disk()
                known, held = max(known, reached), held % HELD_FOR
                claims_wait = store.log.head().position > known


def _hints(store: Store) -> Hints | None:
    with suppress(StoreError):  # a standby takes no LISTEN
        return store.workers.hints()
    return None


def _rest(microseconds: int, hints: Hints | None) -> bool:
    """Whether there was a hint meanwhile. Notices that whoever read our output is gone, and raises BrokenPipeError."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if hints is not None and (descriptor := hints.descriptor()) is not None:
        poll.register(descriptor, select.POLLIN)
    if any(number == sys.stdout.fileno() for number, _ in poll.poll(microseconds / 1000)):
        raise BrokenPipeError
    return hints is not None and hints.heard()


# ── one event a line ────────────────────────────────────────────────────────────────────────────────────


def _ndjson(record: Found) -> str:
    if isinstance(record, DamagedEventError):
        return to_ndjson({"position": record.position, "stream_id": record.stream_id, "damaged": record.why})
    return to_ndjson(presenting.event(record))


def _line(record: Found) -> str:
    if isinstance(record, DamagedEventError):
        fields: tuple[Any, ...] = (record.position, "", record.stream_id, "damaged", record.why, "queuectl verify")
    else:
        when = local_time(record.recorded_at)
        fields = (record.position, when, record.stream_id, record.type, _summary(record), record.actor)
    return clean(LINE.format(*fields), newlines=False)


def _summary(record: e.RecordedEvent) -> str:
    """What happened, in a few words."""
    match record.event:
        case e.Enqueued(command=command):
            return f"$ {command}"
        case e.SettingChanged(key=key, value=value):
            return f"{key} is unset" if value is None else f"{key} is {value}"
    return tell(record, None)[0]
