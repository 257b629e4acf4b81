"""`run`: a worker in the foreground."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from queuectl import __version__
from queuectl.application.job_fields import check_queue, check_worker
from queuectl.application.own_job import own_jobs
from queuectl.cli.log_output import log_queue, log_to, log_to_stderr
from queuectl.cli.messages import say
from queuectl.cli.options import LogFile, how_many
from queuectl.cli.session import Session
from queuectl.config import Config
from queuectl.errors import UsageError, command_line
from queuectl.process.procfs import keep_descriptors
from queuectl.units import counted
from queuectl.worker.foreground import WAIT_FOR_STORE, Foreground, check_open_files, patiently
from queuectl.worker.options import WorkerOptions

__all__ = ["check_options", "run"]


FLAGS = ("lease", "grace", "stop_timeout", "log_level", "log_format")
"""Options that overrule a setting of the same name."""


def run(
    ctx: typer.Context,
    concurrency: Annotated[
        int, how_many("--concurrency", "-c", "--workers", most=1000, what="Run up to N jobs at the same time")
    ] = 1,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Only these queues [default: all].")
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Exit when no job is pending or running.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --drain or --once: exit with 1 when a job that it ran is dead.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Run at most one job, then exit.")] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The worker's name [default: host-pid].")] = None,
    lease: Annotated[
        str | None, typer.Option(metavar="30s", help="A worker silent this long loses its jobs to another.")
    ] = None,
    grace: Annotated[
        str | None, typer.Option(metavar="10s", help="Time a job gets to stop before it is killed.")
    ] = None,
    stop_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="8s", help="When asked to stop, put back what still runs after this long [default: none]."
        ),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="What to log: debug, info, warning or error.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="How to log: text or json.")] = None,
    log_file: LogFile = None,
    supervisor: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run jobs until stopped. Ctrl-C or SIGTERM: finish running jobs, then exit. Again: stop them and put them back."""
    session: Session = ctx.obj
    check_options(session, ctx.params)
    flags = {name.replace("_", "-"): ctx.params[name] for name in FLAGS}
    keep_descriptors()
    with ExitStack() as opened:
        jobs = patiently(lambda: opened.enter_context(session.open(WAIT_FOR_STORE)))
        config = session.config(jobs, flags)
        _begin_log(log_file, config["log-level"], config["log-format"])
        if supervisor is None:  # else its supervisor has named the queue
            log_queue(session.url.name)
        options = WorkerOptions(
            slots=concurrency,
            queues=frozenset(queue or ()),
            grace=config["grace"],
            lease=config["lease"],
            drain=drain,
            once=once,
            inside=frozenset(own_jobs(jobs, os.environ)),
            machine_losses=config["max-machine-losses"],
            stop_timeout=config["stop-timeout"],
            version=__version__,
            log_file=log_file or "",
        )
        worker = Foreground(jobs.store, session.clock, session.url, options, config["max-output"], name, supervisor)
        worker.run()
        if drain:
            from queuectl.application.waiting import left_over

            for line in patiently(lambda: [*left_over(jobs.store, options.queues)]):
                say(line)
        if exit_code and (dead := patiently(worker.still_dead)):
            say(f"{counted(len(dead), 'job')} dead: {command_line('dlq', 'list')}")
            raise typer.Exit(1)


def _begin_log(file: str | None, level: str, form: str) -> None:
    if file is None:
        log_to_stderr(level, form)
        return
    from queuectl.worker.log_file import SharedLogFile

    log_to(SharedLogFile(file, encoding="utf-8", errors="replace"), level, form)


def check_options(session: Session, params: Mapping[str, Any]) -> Config:
    """Raise UsageError for options of `run` that a worker would refuse, before a queue is made for it.

    Returns the settings, without those that are stored in the queue.
    """
    for queue in params["queue"] or ():
        check_queue(queue)
    if params["name"] is not None:
        check_worker(params["name"])
    check_open_files(params["concurrency"])
    if params["exit_code"] and not (params["drain"] or params["once"]):
        raise UsageError("--exit-code goes with --drain or --once")
    flags = {name.replace("_", "-"): params[name] for name in FLAGS}
    config = session.config(None, flags)
    for name, value in flags.items():
        if value is not None:
            config[name]
    return config
