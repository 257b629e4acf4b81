"""`worker start|stop|list`: starts several workers, and stops or lists workers from any terminal."""

import os
from typing import Annotated, Any

import typer

from queuectl.application.access import check_not_moved
from queuectl.application.job_fields import check_worker
from queuectl.application.own_job import own_workers
from queuectl.application.queue import Queue
from queuectl.application.workers import Stop, ending_workers, is_taken, workers
from queuectl.cli.app import new_app
from queuectl.cli.log_output import log_to_stderr
from queuectl.cli.messages import say
from queuectl.cli.options import Json, Output, between
from queuectl.cli.output import Answer, form_of, print_answer
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.render import json_shapes
from queuectl.render.tables import Column, table
from queuectl.units import SECOND, ago, counted, local_time
from queuectl.worker.background import start_in_background
from queuectl.worker.foreground import WAIT_FOR_STORE, check_writable
from queuectl.worker.registration import ReservedNames, default_name
from queuectl.worker.supervisor import Supervisor

__all__ = ["app"]

app = new_app(help="Start, stop and list workers.", no_args_is_help=True)

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
)


@app.command("start", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def start(
    ctx: typer.Context,
    count: Annotated[
        int, typer.Option("--count", "-n", callback=between(1, 256), metavar="N", help="How many workers (1 to 256).")
    ] = 1,
    in_background: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background, with a log file.")
    ] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The workers' name [default: host-pid].")] = None,
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
        for row in ending_workers(queue, name):
            say(f"{row.name} (pid {row.pid} on {row.host}) is stopping: the new worker starts when it has ended")
        config = session.config(queue)
        level, form = config["log-level"], config["log-format"]
        if in_background:
            _start_in_background(session, queue, name, count, ctx.args)
            return
    log_to_stderr(level, form)
    arguments = [*session.place_for_others(), "run", *ctx.args]
    names = ReservedNames(session.clock, lambda: session.open(WAIT_FOR_STORE), session.open_read_only)
    raise typer.Exit(Supervisor(name, count, arguments, session.clock, names).run())


def _check_options(ctx: typer.Context, session: Session) -> None:
    """Refuse what every worker would refuse, before anything is started or made."""
    from queuectl.cli.run import check_options

    root: Any = ctx.find_root()
    command = root.command.get_command(root, "run")
    with command.make_context("run", [*ctx.args], parent=root) as parsed:
        if parsed.params["exit_code"]:
            raise UsageError("--exit-code is an option of `queuectl run`: a worker that exits with 1 would be replaced")
        check_options(session, parsed.params)


def _start_in_background(session: Session, queue: Queue, name: str, count: int, options: list[str]) -> None:
    arguments = [*session.place_for_others(), "worker", "start", "--count", str(count), "--name", name, *options]
    started = start_in_background(queue, name, count, arguments)
    print(name)
    pids = ", ".join(map(str, started.pids))
    which = f"pid{'' if count == 1 else 's'} {pids}; supervisor" if pids else "supervisor"
    say(f"started {counted(count, 'worker')} ({which} {started.supervisor}), log in {started.log_file}")


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
        asked = Stop(queue, names, own_workers(queue, os.environ), now=now)
        asked.ask()
        for row in asked.lost:
            say(f"{row.name} is lost: its jobs are freed when a worker next runs")
        for name in asked.own:
            say(f"{name} runs this command, so it stops when this job has ended: not waiting for it")
        asked.wait(session.clock, until)
    stopped = len(asked.waited_for - {row.name for row in asked.lost})
    say(f"stopped {counted(stopped, 'worker')}" if stopped else "no worker to stop")


@app.command("list")
def list_workers(ctx: typer.Context, output: Output = None, as_json: Json = False) -> None:
    """List the workers: where they run and how busy they are."""
    session: Session = ctx.obj
    form = form_of(session, output, as_json)
    with session.open_read_only() as queue:
        rows = workers(queue)
        now = queue.store.log.wall()
    shown = [json_shapes.worker(row) for row in rows]
    answer = Answer(
        document=shown,
        rows=shown,
        name="name",
        text=lambda look: (
            table([_shown(row, now, look.width) for row in rows], COLUMNS, width=look.width) if rows else ""
        ),
        note="" if rows else "no workers",
    )
    print_answer(session, form, answer)


def _shown(row: dict[str, Any], now: int, width: int | None) -> dict[str, Any]:
    heartbeat = f"{ago(now - row['last_heartbeat'] * SECOND)} ago"
    started = row["started_at"] * SECOND
    since = local_time(started) if width is None else f"{ago(now - started)} ago"
    return {**row, "runs": row["jobs_done"], "since": since, "heartbeat": heartbeat}
