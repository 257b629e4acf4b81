"""`worker start|stop|list`: workers in the background, and every worker from any terminal."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from queuectl.application.job_fields import check_worker
from queuectl.application.own_job import own_worker
from queuectl.application.queue import Queue
from queuectl.application.workers import Stop, is_called, is_seen, workers
from queuectl.cli.app import new_app
from queuectl.cli.log_output import log_to_stderr
from queuectl.cli.messages import say
from queuectl.cli.options import Json, between
from queuectl.cli.session import Session
from queuectl.domain.events import WorkerStarted
from queuectl.domain.names import worker_stream
from queuectl.errors import QueuectlError, RefusedError, StoreError
from queuectl.render import json_shapes
from queuectl.render.terminal import table, to_json
from queuectl.runtime import pause
from queuectl.store import name_of
from queuectl.store.meta import check_place
from queuectl.units import SECOND, ago, counted, local_time
from queuectl.worker.registration import default_name, keep, this_process
from queuectl.worker.supervisor import Supervisor, detach, worker_names

__all__ = ["app"]

app = new_app(help="Workers: start several, stop any, list all.", no_args_is_help=True)

POLL = 50_000
WAIT_FOR_STORE = SECOND // 4
"""How long a supervisor waits for a locked store before it attends to its workers again."""
COLUMNS = ["name", "host", "pid", "state", "since", "slots", "running", "runs", "heartbeat"]


@app.command("start", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def start(
    ctx: typer.Context,
    count: Annotated[
        int, typer.Option("--count", "-n", callback=between(1, 256), metavar="N", help="How many workers (1 to 256).")
    ] = 1,
    in_background: Annotated[bool, typer.Option("--detach", "-d", help="In the background, with a log file.")] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Their name [default: host-pid].")] = None,
) -> None:
    """Start workers, and replace one that dies. Also takes the options of `queuectl run` (-c, -q, …)."""
    session: Session = ctx.obj
    if name is not None:
        check_worker(name)
    _check_options(ctx, session)
    with session.open() as queue:  # here, so that it is made once and an error is reported once
        check_place(queue.store.location.moved_to, name_of(session.url))
        if name is None:
            rows = queue.store.workers.rows()
            name = check_worker(default_name(lambda wanted: any(is_called(row, wanted) for row in rows)))
        _check_free(queue, name)
        config = session.config(queue.store)
        level, form = config["log-level"], config["log-format"]
        if in_background:
            _detach(session, queue, name, count, ctx.args)
            return
    log_to_stderr(level, form)
    arguments = [*session.place_for_others(), "run", *ctx.args]
    raise typer.Exit(Supervisor(name, count, arguments, session.clock, _Names(session)).run())


def _check_options(ctx: typer.Context, session: Session) -> None:
    """Refuse what every worker would refuse, before anything is started or made."""
    from queuectl.cli.run import check_options

    root: Any = ctx.find_root()
    command = root.command.get_command(root, "run")
    with command.make_context("run", [*ctx.args], parent=root) as parsed:
        check_options(session, parsed.params)


@dataclass(frozen=True, slots=True)
class _Names:
    """See supervisor.Names. The queue is opened for each call: there are few."""

    session: Session

    def keep(self, name: str, died: int) -> bool:
        with self.session.open(WAIT_FOR_STORE) as queue:
            return keep(queue.store, this_process(name, self.session.clock), died)

    def give_up(self, name: str) -> None:
        with self.session.open(WAIT_FOR_STORE) as queue:
            queue.store.workers.forget(this_process(name, self.session.clock))

    def moved(self) -> bool:
        """A store that cannot be asked may come back."""
        with suppress(StoreError), self.session.open_read_only() as queue:
            return queue.store.location.moved_to is not None
        return False


def _check_free(queue: Queue, name: str) -> None:
    for row in queue.store.workers.rows():
        if not (is_called(row, name) and is_seen(queue, row)):
            continue
        where = f"{row.name} (pid {row.pid} on {row.host})"
        if not row.stop_requested:
            raise RefusedError(f"{where} is already running: choose another --name")
        say(f"{where} is stopping: the new worker starts when it has ended")


def _detach(session: Session, queue: Queue, name: str, count: int, options: list[str]) -> None:
    folder = os.path.join(queue.store.location.output_folder, ".workers")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    log_file = os.path.join(folder, f"{name}.log")
    arguments = [*session.place_for_others(), "worker", "start", "--count", str(count), "--name", name, *options]
    starts = _Starts(queue, worker_names(name, count), queue.store.log.head().position)
    pid, code = detach(arguments, log_file, starts.are_complete)
    if code:
        raise QueuectlError(f"the worker did not start: see {log_file}")
    print(name)
    pids = ", ".join(str(starts.pids[each]) for each in starts.names if each in starts.pids)
    which = f"pid{'' if count == 1 else 's'} {pids}; supervisor {pid}" if pids else f"supervisor {pid}"
    say(f"started {counted(count, 'worker')} ({which}), log in {log_file}")


@dataclass(slots=True)
class _Starts:
    """The starts of these workers that the log has after a position: some workers may have ended by now."""

    queue: Queue
    names: Sequence[str]
    after: int
    pids: dict[str, int] = field(default_factory=dict)

    def are_complete(self) -> bool:
        """Whether each of them has started."""
        pause(POLL)
        for name in self.names:
            for record in self.queue.store.log.records(after=self.after, stream_id=worker_stream(name)):
                if isinstance(record.event, WorkerStarted):
                    self.pids[name] = record.event.pid
        return len(self.pids) == len(self.names)


@app.command("stop")
def stop(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names, as in `worker list` [default: all].")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Stop running jobs and put them back; costs no attempt.")] = False,
    timeout: Annotated[str | None, typer.Option(metavar="1m", help="Give up after this long (exit code 124).")] = None,
) -> None:
    """Stop workers on any host and wait until they have ended. They finish their running jobs first."""
    session: Session = ctx.obj
    until = session.deadline(timeout)
    with session.open_existing() as queue:
        asked = Stop(queue, names, own_worker(queue, os.environ), now=now)
        asked.ask()
        for row in asked.lost:
            say(f"{row.name} is lost: its jobs are freed when a worker next runs")
        if asked.own:
            say(f"{asked.own} runs this command, so it stops when this job has ended: not waiting for it")
        asked.wait(session.clock, until)
    say(f"stopped {counted(len(asked.waited_for - {row.name for row in asked.lost}), 'worker')}")


@app.command("list")
def list_workers(ctx: typer.Context, as_json: Json = False) -> None:
    """List the workers. Shows where they run, since when, how busy they are, and their last heartbeat."""
    session: Session = ctx.obj
    with session.open_read_only() as queue:
        rows = workers(queue)
        now = queue.store.log.wall()
    if as_json:
        print(to_json([json_shapes.worker(row) for row in rows]))
    elif rows:
        print(table([_shown(row, now) for row in rows], COLUMNS))
    else:
        say("no workers")


def _shown(row: dict[str, Any], now: int) -> dict[str, Any]:
    heartbeat = f"{ago(now - row['last_heartbeat'] * SECOND)} ago"
    return {**row, "runs": row["jobs_done"], "since": local_time(row["started_at"] * SECOND), "heartbeat": heartbeat}
