"""`run`: a worker in the foreground."""

import os
import resource
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace as replace_options
from typing import Annotated, Any, TypeAlias, TypeVar

import typer
from msgspec.structs import replace

from queuectl.application.job_fields import check_queue, check_worker
from queuectl.application.own_job import own_job
from queuectl.application.queue import Queue
from queuectl.cli.log_output import log_to_stderr
from queuectl.cli.options import between
from queuectl.cli.session import Session
from queuectl.errors import StoreBusyError, UsageError
from queuectl.process import procfs as process
from queuectl.process.runner import Runner, make_folder
from queuectl.runtime import pause, random_factor
from queuectl.store import file_of, is_postgres, name_of
from queuectl.store.postgres.url import has_password
from queuectl.store.protocol import Store, WorkerRow
from queuectl.units import SECOND
from queuectl.worker.loop import Worker, WorkerOptions
from queuectl.worker.registration import Name, default_name, this_process
from queuectl.worker.stop_signals import StopSignals
from queuectl.worker.wakeup import Wakeup

__all__ = ["check_options", "run"]

T = TypeVar("T")
Sleep: TypeAlias = Callable[[float], None]

DESCRIPTORS, SPARE = 3, 64
"""Open files that each running job needs in its worker, and those that the worker itself needs."""
RETRY = 0.05
"""Seconds between two attempts on a busy store."""
CHECK_NAME_EVERY = 0.5
"""Seconds between two attempts to take a name that another worker has."""
WAIT_FOR_STORE = SECOND // 4
"""How long a worker waits for a locked store before it attends to its running jobs again."""


def run(
    ctx: typer.Context,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency",
            "-c",
            "--workers",
            callback=between(1, 1000),
            metavar="N",
            help="Jobs at the same time (1 to 1000).",
        ),
    ] = 1,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", metavar="NAME", help="Only these queues [default: all].")
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Exit when nothing is pending or running.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Exit after at most one run.")] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The worker's name [default: host-pid].")] = None,
    lease: Annotated[
        str | None, typer.Option(metavar="30s", help="A worker silent this long loses its jobs to another.")
    ] = None,
    grace: Annotated[
        str | None, typer.Option(metavar="10s", help="Time a job gets to stop before it is killed.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="text or json.")] = None,
    supervisor: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run jobs until stopped. Ctrl-C or SIGTERM: finish running jobs, then exit. Again: stop them and put them back."""
    session: Session = ctx.obj
    check_options(session, ctx.params)
    flags = {"lease": lease, "grace": grace, "log-level": log_level, "log-format": log_format}
    import logging

    process.keep_descriptors()
    with ExitStack() as opened:
        jobs = _patiently(lambda: opened.enter_context(session.open(WAIT_FOR_STORE)), _sleep)
        config = session.config(jobs.store, flags)
        log_to_stderr(config["log-level"], config["log-format"])
        logging.getLogger("queuectl.worker").info("Queue %s", name_of(session.url))
        queues = frozenset(queue or ())
        inside = own_job(jobs, os.environ)
        options = WorkerOptions(concurrency, queues, config["grace"], config["lease"], drain, once, inside)
        options = replace_options(options, machine_losses=config["max-machine-losses"])
        _work(session, jobs.store, config["max-output"], name, options, supervisor)


def check_options(session: Session, params: Mapping[str, Any]) -> None:
    """Raise UsageError for options of `run` that a worker would refuse, before a queue is made for it."""
    for queue in params["queue"] or ():
        check_queue(queue)
    if params["name"] is not None:
        check_worker(params["name"])
    _check_descriptors(params["concurrency"])
    flags = {name.replace("_", "-"): params[name] for name in ("lease", "grace", "log_level", "log_format")}
    config = session.config(None, flags)
    for name, value in flags.items():
        if value is not None:
            config[name]


def _check_descriptors(slots: int) -> None:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if slots * DESCRIPTORS + SPARE > allowed:
        raise UsageError(f"--concurrency {slots}: this process may open {allowed} files, too few: raise `ulimit -n`")


def _work(
    session: Session,
    store: Store,
    max_output: int,
    name: str | None,
    options: WorkerOptions,
    supervisor: int | None,
) -> None:
    worker: Worker | None = None

    def stop() -> None:
        if worker is None:  # it has no name yet
            raise typer.Exit
        worker.stop()

    make_folder(store.location.output_folder)
    wakeup = Wakeup(store.location.wake_file, StopSignals(session.clock), stop, _patiently(store.workers.hints, _sleep))
    row = _named(session, store, name, options, wakeup.sleep)
    mine = (store.location.output_folder, store.log.log_id, row.name)
    runner = Runner(*mine, session.clock, max_output, _environ(session.url), store.location.spans_hosts)
    worker = Worker(Queue(store, row.name), runner, session.clock, random_factor, row, options)
    _patiently(worker.start, wakeup.sleep)
    _warn_root(row.name)
    for _ in range(_patiently(lambda: store.workers.asked(row.name)[0], wakeup.sleep)):  # since its predecessor died
        worker.stop()
    try:
        while (wait := worker.tick()) is not None:
            wakeup.sleep(wait)
            if supervisor is not None and os.getppid() != supervisor:
                worker.lose_supervisor(supervisor)
                supervisor = None
    except BaseException:
        worker.kill()
        raise
    if worker.failure is not None:
        raise worker.failure
    _patiently(worker.finish, wakeup.sleep)


def _environ(url: str) -> dict[str, str]:
    """The environment that jobs inherit: it names the queue, unless its URL has a password."""
    environ = {name: value for name, value in os.environ.items() if name != "QUEUECTL_DB"}
    if not is_postgres(url):
        environ["QUEUECTL_DB"] = file_of(url)
    elif not has_password(url):
        environ["QUEUECTL_DB"] = url
    return environ


def _warn_root(name: str) -> None:
    if os.geteuid() == 0:
        import logging

        what = "worker %s runs its jobs as root: whoever can write to the queue is root here (SECURITY.md)"
        logging.getLogger("queuectl.worker").warning(what, name)


def _patiently(step: Callable[[], T], sleep: Sleep) -> T:
    """Repeat a step until the store is free: a worker never exits because the store was busy."""
    while True:
        try:
            return step()
        except StoreBusyError:
            sleep(RETRY)


def _sleep(seconds: float) -> None:
    pause(int(seconds * SECOND))


def _named(session: Session, store: Store, given: str | None, options: WorkerOptions, sleep: Sleep) -> WorkerRow:
    """This worker, under a name that no other worker has."""
    row = this_process(given or "", session.clock, options.slots, tuple(sorted(options.queues)))
    while given is None:
        row = replace(
            row,
            name=check_worker(default_name({each.name for each in _patiently(store.workers.rows, sleep)}.__contains__)),
        )
        if _patiently(Name(store, session.clock, row, options.lease).take, sleep):
            return row
    _wait_for(Name(store, session.clock, row, options.lease, parent=os.getppid()), sleep)
    return row


def _wait_for(name: Name, sleep: Sleep) -> None:
    import logging

    said: set[str] = set()
    while not _patiently(name.take, sleep):
        if name.other and (what := _why_it_waits(name.other)) not in said:
            said.add(what)
            logging.getLogger("queuectl.worker").warning("Worker %s: waiting for %s", name.row.name, what)
        sleep(CHECK_NAME_EVERY)


def _why_it_waits(other: WorkerRow) -> str:
    if other.stop_requested:
        return f"the worker of that name (pid {other.pid} on {other.host}), which is stopping"
    return f"a sign that the worker of that name on {other.host} is still alive, or that it is gone"
