"""`run`: a worker in the foreground."""

import os
import resource
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, TypeVar

import typer

from queuectl import process
from queuectl.application import Queue
from queuectl.cli.log_output import log_to_stderr
from queuectl.cli.session import Session
from queuectl.errors import RefusedError, StoreBusyError, UsageError
from queuectl.intake import check_queue, check_worker
from queuectl.runner import Runner
from queuectl.runtime import pause, random_factor
from queuectl.store.base import EventStore, WorkerRow
from queuectl.wakeup import Wakeup
from queuectl.worker import Worker, WorkerOptions

__all__ = ["run"]

T = TypeVar("T")

SECOND = 1_000_000
DESCRIPTORS, SPARE = 3, 64
"""What a job takes of the files that its worker may open, and what the worker needs beside them."""
RETRY = 0.05
"""Seconds between two attempts on a busy store."""
WAIT_FOR_STORE = SECOND // 4
"""How long a worker lets itself be held up by a locked store before it looks after its jobs again."""


def run(
    ctx: typer.Context,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", "--workers", min=1, max=1000, help="Jobs at the same time.")
    ] = 1,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Only these queues [default: all].")
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Exit when nothing is pending or running.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Exit after at most one run.")] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The worker's name [default: host-pid].")] = None,
    lease: Annotated[str | None, typer.Option(metavar="30s", help="How long a claim stands without a beat.")] = None,
    grace: Annotated[str | None, typer.Option(metavar="10s", help="From SIGTERM to SIGKILL.")] = None,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="text or json.")] = None,
) -> None:
    """Run jobs until stopped. SIGTERM or Ctrl-C: finish what runs, then exit; a second one ends the jobs."""
    session: Session = ctx.obj
    flags = {"lease": lease, "grace": grace, "log-level": log_level, "log-format": log_format}
    queues = frozenset(map(check_queue, queue or ()))
    _check_descriptors(concurrency)
    process.keep_descriptors()
    with ExitStack() as opened:
        jobs = _patiently(lambda: opened.enter_context(session.queue(WAIT_FOR_STORE)), _sleep)
        name = check_worker(name or f"{os.uname().nodename}-{os.getpid()}")
        config = session.config(jobs.store, flags)
        log_to_stderr(config["log-level"], config["log-format"])
        options = WorkerOptions(concurrency, queues, config["grace"], config["lease"], drain, once)
        _work(session, jobs.store, config["max-output"], name, options)


def _check_descriptors(slots: int) -> None:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if slots * DESCRIPTORS + SPARE > allowed:
        raise UsageError(f"--concurrency {slots}: this process may open {allowed} files, too few: raise `ulimit -n`")


def _work(session: Session, store: EventStore, max_output: int, name: str, options: WorkerOptions) -> None:
    runner = Runner(store.output_folder, store.log_id, name, session.clock, max_output)
    row = _who(name, options, session.clock.now() // SECOND)
    worker = Worker(Queue(store, name), runner, session.clock, random_factor, row, options)
    wakeup = Wakeup(store.wake_file, worker.stop, _patiently(store.hints, _sleep))
    _check_name(store, name)
    _patiently(worker.start, wakeup.sleep)
    try:
        while (wait := worker.tick()) is not None:
            wakeup.sleep(wait)
    except BaseException:
        worker.kill()
        raise
    if worker.failure is not None:
        raise worker.failure
    _patiently(worker.finish, wakeup.sleep)


def _patiently(step: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """Do it as soon as the store is free: a worker never exits because the store was busy."""
    while True:
        try:
            return step()
        except StoreBusyError:
            sleep(RETRY)


def _sleep(seconds: float) -> None:
    pause(int(seconds * SECOND))


def _check_name(store: EventStore, name: str) -> None:
    for row in store.workers():
        if row.name == name and process.alive(row):
            raise RefusedError(f"a worker named {name} is running (pid {row.pid} on {row.host}): choose another --name")


def _who(name: str, options: WorkerOptions, started_at: int) -> WorkerRow:
    return WorkerRow(
        name=name,
        host=os.uname().nodename,
        boot_id=process.boot_id(),
        pid=os.getpid(),
        pid_namespace=process.pid_namespace(),
        pid_started_at=process.started_at(os.getpid()),
        slots=options.slots,
        queues=tuple(sorted(options.queues)),
        started_at=started_at,
        last_heartbeat=started_at,
        beat_at=0,
    )
