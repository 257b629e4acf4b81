"""`enqueue`: one job, or a file of them."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from queuectl.application.job_input import JobReader
from queuectl.application.job_json import JobInput
from queuectl.application.queue import NewJob, Receipt
from queuectl.cli.messages import say, say_unserved
from queuectl.cli.session import Session
from queuectl.config import Config
from queuectl.errors import OutputError, UsageError
from queuectl.runtime import caller_umask

__all__ = ["enqueue"]

_ARGV = "queuectl.argv"
SHOWN = 10
"""How many ids an error names one by one."""


class EnqueueCommand(TyperCommand):
    """Separates the words after `--`, which are a program and its arguments, from the options and the command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the arguments after the first `--` away before the options are read."""
        if "--" in args:
            place = args.index("--")
            ctx.meta[_ARGV] = args[place + 1 :]
            args = args[:place]
        return super().parse_args(ctx, args)


def enqueue(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND | -- PROGRAM [ARG]...",
            help="One shell command, a job in JSON, or after -- a program that runs without a shell.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="One job a line; - is stdin. All or none.")
    ] = None,
    id: Annotated[  # noqa: A002 (the option's name)
        str | None, typer.Option("--id", metavar="ID", help="The job's id [default: a UUIDv7].")
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", metavar="NAME", help="The queue [default: default].")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", "-p", metavar="N", help="Higher ones are claimed first [default: 0].")
    ] = None,
    max_retries: Annotated[int | None, typer.Option(metavar="N", help="Retries after the first attempt.")] = None,
    backoff_base: Annotated[
        float | None, typer.Option(metavar="BASE", help="The wait is BASE ** attempts seconds.")
    ] = None,
    delay: Annotated[str | None, typer.Option(metavar="10s", help="Not before this much time has passed.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not before this moment; HH:MM that has passed is tomorrow's.")
    ] = None,
    timeout: Annotated[str | None, typer.Option(metavar="5m", help="End an attempt that runs longer.")] = None,
    cwd: Annotated[str | None, typer.Option(metavar="DIR", help="Where it runs [default: here].")] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A variable for it.")] = None,
    secret_env: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A variable of the worker's that it needs; not stored.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A tag to find it by.")] = None,
    unique: Annotated[
        str | None, typer.Option(metavar="KEY", help="At most one pending or running job has this key.")
    ] = None,
    umask: Annotated[
        str | None, typer.Option(metavar="022", help="Its umask, which files it makes depend on [default: yours].")
    ] = None,
) -> None:
    """Add a job and print its id."""
    session: Session = ctx.obj
    flags = JobInput(
        id=id,
        queue=queue,
        priority=priority,
        max_retries=max_retries,
        backoff_base=backoff_base,
        delay=delay,
        at=at,
        timeout=timeout,
        cwd=cwd,
        env=_pairs("--env", env),
        secret_env=tuple(secret_env) if secret_env else None,
        tags=_pairs("--tag", tag),
        unique=unique,
        umask=umask,
    )
    argv: list[str] | None = ctx.meta.get(_ARGV)
    _check_one_source(command or [], argv, file, flags)

    def jobs(config: Config) -> list[NewJob]:
        reader = JobReader(config, session.clock.now(), flags, caller_umask())
        found = list(_jobs(reader, command or [], argv, file))
        for note in reader.notes:
            say(f"queuectl: {note}")
        return found

    # report an error in a job before a queue is made for it
    first = jobs(session.config(None)) if session.missing else None
    with session.open() as opened:
        wanted = jobs(session.config(opened)) if first is None else first
        receipts = opened.enqueue(wanted)
        queues = {job.spec.queue for job, receipt in zip(wanted, receipts, strict=True) if receipt.created}
        unserved = opened.unserved(queues)
    _print_ids(receipts)
    say_unserved(unserved)


enqueue.command_class = EnqueueCommand  # type: ignore[attr-defined]


def _check_one_source(words: list[str], argv: list[str] | None, file: str | None, flags: JobInput) -> None:
    if (file is not None) + (argv is not None) + bool(words) != 1:
        raise UsageError("give one of: a COMMAND, -- PROGRAM [ARG]..., or --file FILE")
    if len(words) > 1:
        raise UsageError(
            f"{len(words)} words: quote them as one shell command, or put -- before a program to run as it is"
        )
    if file is not None and flags.id is not None:
        raise UsageError("--id names one job: in a file, give each job its own as JSON")


def _jobs(reader: JobReader, words: list[str], argv: list[str] | None, file: str | None) -> list[NewJob]:
    if file is not None:
        return _from_file(reader, file)
    return [reader.from_input(JobInput(argv=tuple(argv))) if argv is not None else reader.from_text(words[0])]


def _from_file(reader: JobReader, file: str) -> list[NewJob]:
    from queuectl.application.job_file import read_jobs

    if file == "-":
        return read_jobs(sys.stdin.buffer, reader)
    try:
        with open(file, "rb") as lines:
            return read_jobs(lines, reader)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None


def _print_ids(receipts: Sequence[Receipt]) -> None:
    """The ids on stdout. When it cannot be written to, the error names them, because the jobs have been added."""
    if not receipts:
        return
    try:
        print("\n".join(receipt.id for receipt in receipts), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"added {_named(receipts)}, but cannot write to stdout: {error.strerror}") from None


def _named(receipts: Sequence[Receipt]) -> str:
    ids = [receipt.id for receipt in receipts]
    if len(ids) == 1:
        return f"job {ids[0]}"
    shown = ", ".join(ids) if len(ids) <= SHOWN else f"{ids[0]} to {ids[-1]}"
    return f"{len(ids)} jobs ({shown})"


def _pairs(option: str, texts: list[str] | None) -> dict[str, str] | None:
    if not texts:
        return None
    for text in texts:
        if "=" not in text:
            raise UsageError(f"{option} {text}: write it as NAME=VALUE")
    return dict(text.split("=", 1) for text in texts)
