"""`run`: a worker in the foreground."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Annotated

import typer
from msgspec import Struct
from msgspec.structs import asdict

from queuectl import __version__
from queuectl.application.job_fields import check_queue, check_worker
from queuectl.application.own_job import own_jobs
from queuectl.application.queue import Queue
from queuectl.cli.log_output import log_queue, log_to, log_to_stderr
from queuectl.cli.messages import say
from queuectl.cli.option_records import with_records
from queuectl.cli.options import LogFile, how_many
from queuectl.cli.session import Session
from queuectl.config import Config
from queuectl.errors import UsageError, command_line
from queuectl.process.procfs import keep_descriptors
from queuectl.units import counted
from queuectl.worker.foreground import WAIT_FOR_STORE, Foreground, check_open_files, patiently
from queuectl.worker.options import WorkerOptions

__all__ = ["RunOptions", "run"]


class SettingOptions(Struct, frozen=True):
    """Options that overrule the settings of the same names."""

    lease: Annotated[
        str | None, typer.Option(metavar="30s", help="A worker silent this long loses its jobs to another.")
    ] = None
    grace: Annotated[str | None, typer.Option(metavar="10s", help="Time a job gets to stop before it is killed.")] = (
        None
    )
    stop_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="8s", help="When asked to stop, put back what still runs after this long [default: none]."
        ),
    ] = None
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="What to log: debug, info, warning or error.")
    ] = None
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="How to log: text or json.")] = None

    def given(self) -> dict[str, str | None]:
        """The values, by the names of the settings; None: not given."""
        return {name.replace("_", "-"): value for name, value in asdict(self).items()}


class RunOptions(Struct, frozen=True):
    """The options of `run`, which `worker start` passes on to its workers."""

    concurrency: Annotated[
        int, how_many("--concurrency", "-c", "--workers", most=1000, what="Run up to N jobs at the same time")
    ] = 1
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Only these queues [default: all].")
    ] = None
    drain: Annotated[bool, typer.Option("--drain", help="Exit when no job is pending or running.")] = False
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --drain or --once: exit with 1 when a job that it ran is dead.")
    ] = False
    once: Annotated[bool, typer.Option("--once", help="Run at most one job, then exit.")] = False
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The worker's name [default: host-pid].")] = None
    overrules: SettingOptions = SettingOptions()
    log_file: LogFile = None

    def check(self, session: Session) -> Config:
        """Raise UsageError for what a worker would refuse, before a queue is made for it.

        Returns the settings, without those that are stored in the queue.
        """
        for queue in self.queue or ():
            check_queue(queue)
        if self.name is not None:
            check_worker(self.name)
        check_open_files(self.concurrency)
        if self.exit_code and not (self.drain or self.once):
            raise UsageError("--exit-code goes with --drain or --once")
        flags = self.overrules.given()
        config = session.config(None, flags)
        for name, value in flags.items():
            if value is not None:
                config[name]
        return config

    def of_worker(self, config: Config, inside: Iterable[str]) -> WorkerOptions:
        """The options of the worker itself; `inside` are the jobs that start it."""
        return WorkerOptions(
            slots=self.concurrency,
            queues=frozenset(self.queue or ()),
            grace=config["grace"],
            lease=config["lease"],
            drain=self.drain,
            once=self.once,
            inside=frozenset(inside),
            machine_losses=config["max-machine-losses"],
            stop_timeout=config["stop-timeout"],
            version=__version__,
            log_file=self.log_file or "",
        )


@with_records
def run(
    ctx: typer.Context,
    *,
    options: RunOptions,
    supervisor: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run jobs until stopped. Ctrl-C or SIGTERM: finish running jobs, then exit. Again: stop them and put them back."""
    session: Session = ctx.obj
    options.check(session)
    keep_descriptors()
    with ExitStack() as opened:
        queue = patiently(lambda: opened.enter_context(session.open(WAIT_FOR_STORE)))
        config = session.config(queue, options.overrules.given())
        _begin_log(options.log_file, config["log-level"], config["log-format"])
        if supervisor is None:  # else its supervisor has named the queue
            log_queue(session.url.name)
        mine = options.of_worker(config, own_jobs(queue, os.environ))
        args = (config["max-output"], options.name, supervisor)
        worker = Foreground(queue.store, session.clock, session.url, mine, *args)
        worker.run()
        if options.drain:
            _say_left_over(queue, mine)
        if options.exit_code and (dead := patiently(worker.still_dead)):
            say(f"{counted(len(dead), 'job')} dead: {command_line('dlq', 'list')}")
            raise typer.Exit(1)


def _say_left_over(queue: Queue, options: WorkerOptions) -> None:
    from queuectl.application.waiting import left_over

    for line in patiently(lambda: [*left_over(queue.store, options.queues)]):
        say(line)


def _begin_log(file: str | None, level: str, form: str) -> None:
    if file is None:
        log_to_stderr(level, form)
        return
    from queuectl.worker.log_file import SharedLogFile

    log_to(SharedLogFile(file, encoding="utf-8", errors="replace"), level, form)
