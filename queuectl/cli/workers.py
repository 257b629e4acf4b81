"""`worker start|stop|list`: workers in the background, and every worker from any terminal."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from queuectl.application.job_fields import check_worker
from queuectl.application.liveness import is_alive
from queuectl.application.queue import Queue
from queuectl.cli.app import new_app
from queuectl.cli.log_output import log_to_stderr
from queuectl.cli.messages import say
from queuectl.cli.options import Json
from queuectl.cli.queries import with_state
from queuectl.cli.session import Session
from queuectl.domain.events import WorkerStarted
from queuectl.errors import QueuectlError, RefusedError, StoreError, UsageError, WaitTimedOutError
from queuectl.render import json_shapes as presenting
from queuectl.render.terminal import table, to_json
from queuectl.runtime import pause
from queuectl.store import name_of
from queuectl.store.meta import check_place
from queuectl.store.protocol import WorkerRow, worker_stream
from queuectl.units import SECOND, ago, counted, local_time
from queuectl.worker.registration import default_name, keep, this_process
from queuectl.worker.supervisor import Supervisor, detach, places

__all__ = ["app"]

app = new_app(help="Workers: start several, stop any, list all.", no_args_is_help=True)

POLL = 50_000
WAIT_FOR_STORE = SECOND // 4
"""How long a supervisor lets itself be held up by a locked store before it looks after its workers again."""
COLUMNS = ["name", "host", "pid", "state", "since", "slots", "running", "jobs_done", "heartbeat"]


@app.command("start", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def start(
    ctx: typer.Context,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=256, help="So many workers.")] = 1,
    in_background: Annotated[bool, typer.Option("--detach", "-d", help="In the background, with a log file.")] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Their name [default: host-pid].")] = None,
) -> None:
    """Start workers and replace one that dies. Every option of `run` may follow: they are N times `run`."""
    session: Session = ctx.obj
    if name is not None:
        check_worker(name)
    with session.queue() as queue:  # made here, once, and what is wrong with it is said here
        check_place(queue.store.location.moved_to, name_of(session.url))
        if name is None:
            rows = queue.store.workers.rows()
            name = check_worker(default_name(lambda wanted: any(_is_of(row, wanted) for row in rows)))
        _check_free(queue, name)
        config = session.config(queue.store)
        level, form = config["log-level"], config["log-format"]
        if in_background:
            _detach(session, queue, name, count, ctx.args)
            return
    log_to_stderr(level, form)
    arguments = [*session.place_for_others(), "run", *ctx.args]
    raise typer.Exit(Supervisor(name, count, arguments, session.clock, _Names(session)).run())


@dataclass(frozen=True, slots=True)
class _Names:
    """See supervisor.Names. The queue is opened each time: as a rule, nothing is asked of it."""

    session: Session

    def keep(self, name: str, died: int) -> bool:
        with self.session.queue(WAIT_FOR_STORE) as queue:
            return keep(queue.store, this_process(name, self.session.clock), died)

    def give_up(self, name: str) -> None:
        with self.session.queue(WAIT_FOR_STORE) as queue:
            queue.store.workers.forget(this_process(name, self.session.clock))

    def moved(self) -> bool:
        """One that cannot be asked may come back."""
        with suppress(StoreError), self.session.reading() as queue:
            return queue.store.location.moved_to is not None
        return False


def _check_free(queue: Queue, name: str) -> None:
    for row in queue.store.workers.rows():
        if _is_of(row, name) and _is_seen(queue, row):
            raise RefusedError(f"{row.name} is running already (pid {row.pid} on {row.host}): choose another --name")


def _detach(session: Session, queue: Queue, name: str, count: int, options: list[str]) -> None:
    folder = os.path.join(queue.store.location.output_folder, ".workers")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    log_file = os.path.join(folder, f"{name}.log")
    arguments = [*session.place_for_others(), "worker", "start", "--count", str(count), "--name", name, *options]
    pid, code = detach(arguments, log_file, _started(queue, places(name, count)))
    if code:
        raise QueuectlError(f"the worker did not start: see {log_file}")
    print(name)
    say(f"started {counted(count, 'worker')} (pid {pid}), log in {log_file}")


def _started(queue: Queue, names: Sequence[str]) -> Callable[[], bool]:
    """Whether each has said in the log that it has started: some may have done what they were to do by then."""
    missing, before = set(names), queue.store.log.head().position

    def started() -> bool:
        pause(POLL)
        for name in [*missing]:
            said = queue.store.log.records(after=before, stream_id=worker_stream(name))
            if any(isinstance(record.event, WorkerStarted) for record in said):
                missing.remove(name)
        return not missing

    return started


def _is_of(row: WorkerRow, name: str) -> bool:
    """Whether a worker is called so, or is one of those that were started together under that name."""
    return row.name == name or (row.name.startswith(f"{name}.") and row.name[len(name) + 1 :].isdigit())


@app.command("stop")
def stop(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Workers, as `worker list` calls them; none: all.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="End their jobs too; those are released.")] = False,
    timeout: Annotated[str | None, typer.Option(metavar="1m", help="Wait no longer (exit code 124).")] = None,
) -> None:
    """Stop workers, wherever they were started, and wait until they have ended. They finish what they run."""
    session: Session = ctx.obj
    until = session.deadline(timeout)
    with session.existing() as queue:
        rows, times = _chosen(queue, names), 2 if now else 1
        lost = [row for row in rows if not _lives(queue, row)]  # before they are asked: who heeds it is not lost
        _ask(queue, rows, times)
        for row in lost:
            say(f"{row.name} is lost: the next worker that runs frees its jobs")
        _wait(session, queue, {row.name for row in rows}, times, until)
    say(f"stopped {counted(len(rows) - len(lost), 'worker')}")


def _chosen(queue: Queue, names: list[str] | None) -> list[WorkerRow]:
    rows = queue.store.workers.rows()
    if not names:
        return rows
    for name in names:
        if not any(_is_of(row, name) for row in rows):
            raise UsageError(f"no worker is called {name} (`queuectl worker list` shows those there are)")
    return [row for row in rows if any(_is_of(row, name) for name in names)]


def _ask(queue: Queue, rows: list[WorkerRow], times: int) -> None:
    """A lost one too: its supervisor, if it has one, has yet to see that it died."""
    for row in rows:
        for _ in range(row.stop_requested, times):
            queue.store.workers.ask_to_stop(row.name)


def _wait(session: Session, queue: Queue, names: set[str], times: int, until: int | None) -> None:
    while left := [row for row in queue.store.workers.rows() if row.name in names and _is_left(queue, row)]:
        _ask(queue, left, times)
        if until is not None and session.clock.monotonic() >= until:
            raise WaitTimedOutError(f"timed out: {', '.join(row.name for row in left)} still running jobs")
        pause(POLL)


def _is_left(queue: Queue, row: WorkerRow) -> bool:
    """Whether it is still to end: not a later worker that has the name by now, but one that was to take its place."""
    return bool(row.stop_requested or not row.slots) and _lives(queue, row)


@app.command("list")
def list_workers(ctx: typer.Context, as_json: Json = False) -> None:
    """List the workers: where they are, since when, what they do, and their last sign of life."""
    session: Session = ctx.obj
    with session.reading() as queue:
        rows = [with_state(row, queue.store) for row in queue.store.workers.rows()]
        now = queue.store.log.wall()
    if as_json:
        print(to_json([presenting.worker(row) for row in rows]))
    elif rows:
        print(table([_shown(row, now) for row in rows], COLUMNS))
    else:
        print("no workers")


def _is_seen(queue: Queue, row: WorkerRow) -> bool:
    """Whether a worker is there beyond doubt."""
    return bool(is_alive(queue.store, row))


def _lives(queue: Queue, row: WorkerRow) -> bool:
    """Whether a worker may still be there: only one seen dead is not."""
    return is_alive(queue.store, row) is not False


def _shown(row: dict[str, Any], now: int) -> dict[str, Any]:
    heartbeat = f"{ago(now - row['last_heartbeat'] * SECOND)} ago"
    return {**row, "since": local_time(row["started_at"] * SECOND), "heartbeat": heartbeat}
