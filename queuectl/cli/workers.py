"""`worker start|unit|stop|restart|logs|list`: starts workers, and stops or lists workers from any terminal."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Annotated, Any

import msgspec
import typer

from queuectl import __version__
from queuectl.application.access import check_not_moved
from queuectl.application.job_fields import check_worker
from queuectl.application.own_job import own_workers
from queuectl.application.queue import Queue
from queuectl.application.queue_url import QueueUrl
from queuectl.application.workers import Stop, ending_workers, is_taken, latest_start, workers
from queuectl.cli.app import new_app
from queuectl.cli.log_output import log_queue, log_to, log_to_stderr
from queuectl.cli.messages import print_made, say
from queuectl.cli.option_records import record_of, with_records
from queuectl.cli.options import LogFile, between, how_many
from queuectl.cli.output import Answer, OutputOptions, PastOptions
from queuectl.cli.session import Session
from queuectl.cli.watching import Watch, WatchCommand, WatchOptions, answer_or_watch
from queuectl.config import Config
from queuectl.errors import RefusedError, StoreError, UsageError, command_line
from queuectl.render import json_shapes
from queuectl.render.job_rows import when
from queuectl.render.tables import Column, table
from queuectl.units import SECOND, ago, counted
from queuectl.worker.background import Background, in_background, start_in_background
from queuectl.worker.foreground import WAIT_FOR_STORE, check_writable
from queuectl.worker.log_file import Start
from queuectl.worker.registration import ReservedNames, default_name
from queuectl.worker.supervisor import Supervisor, worker_names

__all__ = ["app"]

app = new_app(help="Start, stop and list workers.", no_args_is_help=True)

MOST = 5
"""Running jobs that `worker stop` names one by one."""
COLUMNS = (
    Column("name", limit=1000, least=16, middle=True),
    Column("host", limit=40, least=8, spare=1, middle=True, usual=os.uname().nodename),
    Column("pid", spare=4),
    "state",
    Column("since", spare=3),
    Column("slots"),
    Column("running", short="busy"),
    Column("runs", spare=2),
    Column("heartbeat", short="beat"),
    Column("version", spare=5, usual=__version__),
    Column("log_file", limit=1000, spare=6, middle=True, short="log"),
)


class StopOptions(msgspec.Struct, frozen=True):
    """How `worker stop` and `worker restart` stop workers."""

    now: Annotated[bool, typer.Option("--now", help="Stop running jobs and put them back; costs no attempt.")] = False
    timeout: Annotated[str | None, typer.Option(metavar="1m", help="Give up after this long (exit code 124).")] = None


@app.command("start", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def start(
    ctx: typer.Context,
    count: Annotated[int, how_many("--count", "-n", most=256, what="How many workers")] = 1,
    in_background: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background, with a log file.")
    ] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The workers' name [default: host-pid].")] = None,
    log_file: LogFile = None,
) -> None:
    """Start workers, and replace one that dies. Also takes the options of `queuectl run` (-c, -q, …)."""
    session: Session = ctx.obj
    if name is not None:
        check_worker(name)
    _check_options(ctx, session)
    with session.open() as queue:  # here, so that it is made once and an error is reported once
        check_not_moved(queue.store, session.url.name)
        check_writable(queue.store)
        name = name or check_worker(default_name(lambda wanted: is_taken(queue, wanted)))
        for row in ending_workers(queue, name, own_workers(queue, os.environ)):
            say(f"{row.name} (pid {row.pid} on {row.host}) is stopping: the new worker starts when it has ended")
        config = session.config(queue)
        level, form = config["log-level"], config["log-format"]
        if in_background:
            _start_in_background(session, queue, name, count, ctx.args)
            return
    upkeep = _begin_log(log_file, level, form)
    log_queue(session.url.name)
    arguments = [*session.place_for_others(), "run", *ctx.args, *(["--log-file", log_file] if log_file else [])]
    names = ReservedNames(session.clock, lambda: session.open(WAIT_FOR_STORE), session.open_read_only)
    raise typer.Exit(Supervisor(name, count, arguments, session.clock, names, upkeep).run())


def _begin_log(file: str | None, level: str, form: str) -> Callable[[], None]:
    """Begin to log to the file, or to stderr. Returns what keeps the file short."""
    if file is None:
        log_to_stderr(level, form)
        return lambda: None
    from queuectl.worker.log_file import RotatedLogFile

    log_to(handler := RotatedLogFile(file), level, form)
    return handler.rotate_if_long


@app.command("unit", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def unit(
    ctx: typer.Context,
    user: Annotated[bool, typer.Option("--user", help="For your own systemd, without root.")] = False,
) -> None:
    """Print a systemd unit for a worker of this queue.

    Also takes the options of `queuectl run` (-c, -q, …).
    """
    from queuectl.cli.worker_unit import print_unit

    session: Session = ctx.obj
    stop_timeout = _check_options(ctx, session)["stop-timeout"]
    print_unit(session, ctx.args, stop_timeout, user=user)


def _check_options(ctx: typer.Context, session: Session) -> Config:
    """Refuse what every worker would refuse, before anything is started or made. Returns the settings of a worker."""
    from queuectl.cli.run import RunOptions

    root: Any = ctx.find_root()
    command = root.command.get_command(root, "run")
    with command.make_context("run", [*ctx.args], parent=root) as parsed:
        if parsed.params["exit_code"]:
            raise UsageError("--exit-code is an option of `queuectl run`: a worker that exits with 1 would be replaced")
        return record_of(RunOptions, parsed.params).check(session)


def _start_in_background(session: Session, queue: Queue, name: str, count: int, options: list[str]) -> None:
    arguments = [*session.place_for_others(), "worker", "start", "--count", str(count), "--name", name, *options]
    _say_started(start_in_background(queue, Start(name, count, arguments, os.getcwd())), name, count)


def _say_started(started: Background, name: str, count: int) -> None:
    print_made(name, f"started {counted(count, 'worker')} {name}")
    pids = ", ".join(map(str, started.pids))
    which = f"pid{'' if count == 1 else 's'} {pids}; supervisor" if pids else "supervisor"
    say(f"started {counted(count, 'worker')} ({which} {started.supervisor}), log in {started.log_file}")


@app.command("stop")
@with_records
def stop(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names, as in `worker list` [default: all].")
    ] = None,
    *,
    options: StopOptions,
) -> None:
    """Stop workers on any host and wait until they have ended. They finish their running jobs first."""
    session: Session = ctx.obj
    until = session.deadline(options.timeout)
    with ExitStack() as stack:
        try:
            queue = stack.enter_context(session.open_existing())
            asked = _stopped(session, queue, names, until, now=options.now)
        except StoreError:
            _say_how_to_kill(session)
            raise
    stopped = len(asked.waited_for - {row.name for row in asked.lost})
    if stopped or not asked.own:
        say(f"stopped {counted(stopped, 'worker')}" if stopped else "no worker to stop")


def _say_how_to_kill(session: Session) -> None:
    """Workers are asked through the queue. When it cannot be used, a signal stops those of this machine."""
    if session.url.is_on_server:
        _say_how_to_kill_without_server(session)
        return
    from queuectl.maintenance.old_files import users

    if found := users(session.url.file):
        say(f"the queue is open in {', '.join(found.values())}: `kill {' '.join(found)}` stops workers as well")


def _say_how_to_kill_without_server(session: Session) -> None:
    from queuectl.process.local_workers import local_workers

    pids = local_workers(session.access.output_folders(), lambda url: QueueUrl(url).name == session.url.name)
    if pids:
        how = f"`kill {' '.join(map(str, pids))}` stops the workers of this machine when their jobs have ended"
        say(f"{how}; the same again, a second later or more, ends those that only wait for the server")
    else:
        say("no worker of this queue was found on this machine")


def _stopped(session: Session, queue: Queue, names: list[str] | None, until: int | None, *, now: bool) -> Stop:
    """Stop workers and wait for them; say on stderr for which jobs."""
    asked = Stop(queue, names, own_workers(queue, os.environ), now=now)
    asked.ask()
    for row in asked.lost:
        say(f"{row.name} is lost: its jobs are freed when a worker next runs")
    for name in asked.own:
        say(f"{name} runs this command, so it stops when this job has ended: not waiting for it")
    asked.wait(session.clock, until, lambda jobs: _say_waits(queue, jobs, now))
    return asked


def _say_waits(queue: Queue, jobs: Sequence[dict[str, Any]], now: bool) -> None:
    if not jobs:
        say("waiting for the workers to end")
        return
    wall = queue.store.log.wall()
    for job in jobs[:MOST]:
        running = ago(wall - (job["locked_at"] or 0) * SECOND)
        say(f"waiting for {job['locked_by']}: job #{job['position']} has run for {running}: {job['command']}")
    if len(jobs) > MOST:
        say(f"and {len(jobs) - MOST} more")
    if not now:
        say(f"(`{command_line('worker', 'stop', '--now')}` stops them and puts them back)")


@app.command("restart")
@with_records
def restart(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names that `worker start` got [default: all here].")
    ] = None,
    *,
    options: StopOptions,
) -> None:
    """Stop background workers of this machine, and start them again."""
    session: Session = ctx.obj
    until = session.deadline(options.timeout)
    with session.open_existing() as queue:
        session.place_for_others()
        starts = in_background(queue, names or ())
        _refuse_own(queue, starts)
        for start in starts:
            _stopped(session, queue, [start.name], until, now=options.now)
            _say_started(start_in_background(queue, start), start.name, start.count)


def _refuse_own(queue: Queue, starts: Sequence[Start]) -> None:
    """Refuse to restart the worker whose job we are: it ends after us, and what a job starts is ended with the job."""
    for name in own_workers(queue, os.environ):
        if any(name in worker_names(start.name, start.count) for start in starts):
            raise RefusedError(f"worker {name} runs this command and ends after it: restart it from outside the job")


@app.command("logs")
def logs(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A name, as in `worker list` [default: the one that logged last]."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the worker has ended.")] = False,
    at_most: Annotated[
        int | None, typer.Option("--lines", "-n", callback=between(0), metavar="N", help="Only the last N lines.")
    ] = None,
) -> None:
    """Print the log of background workers of this machine.

    It is printed too when the queue cannot be used; the exit code is then 5.
    """
    from queuectl.cli.worker_logs import print_log, print_log_alone

    session: Session = ctx.obj
    with ExitStack() as stack:
        try:
            queue = stack.enter_context(session.open_read_only(missing="refuse"))
        except StoreError:
            print_log_alone(session.access.output_folders(), name, at_most)
            raise
        print_log(queue, name, follow=follow, at_most=at_most)


@app.command("list", cls=WatchCommand)
@with_records
def list_workers(ctx: typer.Context, watch: Watch = None, *, shape: OutputOptions) -> None:
    """List the workers: where they run and how busy they are."""
    answer_or_watch(ctx.obj, _listed, WatchOptions(watch, PastOptions(shape)))


def _listed(queue: Queue) -> Answer:
    rows = [{**row, **_as_started(queue, row["name"])} for row in workers(queue)]
    now = queue.store.log.wall()
    shown = [json_shapes.worker(row) for row in rows]
    return Answer(
        document=shown,
        rows=shown,
        name="name",
        text=lambda look: (
            table([_shown(row, now, look.width) for row in rows], COLUMNS, width=look.width) if rows else ""
        ),
        note="" if rows else "no workers",
    )


def _as_started(queue: Queue, name: str) -> dict[str, str | None]:
    start = latest_start(queue, name)
    return {"version": (start and start.version) or None, "log_file": (start and start.log_file) or None}


def _shown(row: dict[str, Any], now: int, width: int | None) -> dict[str, Any]:
    heartbeat = f"{ago(now - row['last_heartbeat'] * SECOND)} ago"
    started = row["started_at"] * SECOND
    since = when(started, now, width)
    return {**row, "runs": row["jobs_done"], "since": since, "heartbeat": heartbeat}
