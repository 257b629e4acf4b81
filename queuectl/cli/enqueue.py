"""`enqueue`: one job, a file of them, or a sweep: one template for many values."""

import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from msgspec.structs import asdict, astuple, replace
from typer.core import TyperCommand

from queuectl.application.job_input import JobReader, origin_here
from queuectl.application.job_json import JobInput
from queuectl.application.queue import NewJob, Queue, Receipt
from queuectl.cli.job_options import JobOptions
from queuectl.cli.messages import note_unread_stdin, print_added, say, say_unserved
from queuectl.cli.option_records import with_records
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.runtime import caller_umask

if TYPE_CHECKING:
    from queuectl.application.sweeps import Batch

__all__ = ["enqueue"]

_ARGV, _SOURCES, _TYPED = "queuectl.argv", "queuectl.sources", "queuectl.typed"
_MARKERS = (":::", ":::+", "::::")
_SOURCE_OPTIONS = ("--csv", "--tsv", "--ndjson", "--range")
_SOURCE = "With --each: a job for each {} placeholders."


class EnqueueCommand(TyperCommand):
    """Separates what is no option from the options: a program after `--`, and with `--each` the values after `:::`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the arguments after the first `--`, and those of sources, away before the options are read."""
        if "--each" in args[: args.index("--") if "--" in args else None]:
            place = next((place for place, word in enumerate(args) if word in _MARKERS), len(args))
            args, words = args[:place], args[place:]
            self._refuse_options_among_values(words)
            ctx.meta[_SOURCES] = _source_options(args), words
        if "--" in args:
            place = args.index("--")
            ctx.meta[_ARGV] = args[place + 1 :]
            args = args[:place]
        ctx.meta[_TYPED] = [*args]
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if hasattr(error, "option_name"):
                from queuectl.cli.enqueue_words import refuse_options_of_a_program

                refuse_options_of_a_program(self, ctx.meta[_TYPED], _tail(ctx.meta), error)
            raise

    def _refuse_options_among_values(self, words: list[str]) -> None:
        """Raise UsageError for an option of `enqueue` after `:::`, where it would silently be a value."""
        ours = {name for each in self.params for name in (*each.opts, *each.secondary_opts) if name.startswith("--")}
        for word in words:
            if word.partition("=")[0] in ours:
                advice = "put options before it, and values that look like options in a file: `:::: FILE`"
                raise UsageError(f"{word} after {words[0]} would be a value: {advice}")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options under their headings."""
        from queuectl.cli.enqueue_help import write_options

        write_options(self, ctx, formatter)


def _tail(meta: dict[str, Any]) -> list[str]:
    """The words of a sweep's sources."""
    return list(meta[_SOURCES][1]) if _SOURCES in meta else []


def _source_options(args: list[str]) -> list[tuple[str, str]]:
    """The options that name sources, in the order in which they were written: it is that of the combinations."""
    found = []
    for word, following in zip(args, [*args[1:], ""], strict=True):
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if name in _SOURCE_OPTIONS:
            found.append((name, value if equals else following))
    return found


class StartOptions(msgspec.Struct, frozen=True):
    """When the job may start, under the names that the fields of a job have."""

    after: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID[:ok|end|failed]",
            help="Wait until that job is done, has ended, or has failed for good; batch:NAME means a batch.",
        ),
    ] = None
    if_unmet: Annotated[
        str | None,
        typer.Option(metavar="hold|cancel", help="What to do when that can no longer happen [default: hold]."),
    ] = None
    delay: Annotated[
        str | None, typer.Option(metavar="10s", help="Wait this long before the first attempt [default: 0s].")
    ] = None
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Run no earlier than this [default: now]. An HH:MM that has passed is tomorrow's."
        ),
    ] = None

    def fields(self) -> dict[str, Any]:
        """The fields of a JobInput."""
        return asdict(self) | {"after": tuple(self.after) if self.after else None}


class ManyOptions(msgspec.Struct, frozen=True):
    """The options for many jobs: a template with its values, and a batch."""

    each: Annotated[bool, typer.Option("--each", help="A job for each value: `--each 'gzip {}' ::: a b`.")] = False
    csv: Annotated[list[str] | None, typer.Option(metavar="FILE", help=_SOURCE.format("row; the header names"))] = None
    tsv: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help=_SOURCE.format("row, with tabs; the header names"))
    ] = None
    ndjson: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help=_SOURCE.format("JSON object; its keys name"))
    ] = None
    number_range: Annotated[
        list[str] | None, typer.Option("--range", metavar="A-B[:STEP]", help="With --each: a job for each number.")
    ] = None
    batch: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Put it into this batch; of many jobs the ids are NAME.1, NAME.2."),
    ] = None
    max_failures: Annotated[
        int | None,
        typer.Option(metavar="N", help="Cancel the batch's pending jobs once more than N have failed for good."),
    ] = None


@with_records
def enqueue(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND | [--] PROGRAM ARG...",
            help="A shell command, a job in JSON, or a program and its arguments (no shell).",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="Add the jobs in FILE, one a line (-: stdin). All are added, or none."
        ),
    ] = None,
    id: Annotated[  # noqa: A002 (the option's name)
        str | None, typer.Option("--id", metavar="ID", help="The job's id [default: a UUIDv7].")
    ] = None,
    *,
    start: StartOptions,
    options: JobOptions,
    stdin: Annotated[
        str | None, typer.Option(metavar="FILE", help="The file that the job reads [default: /dev/null].")
    ] = None,
    many: ManyOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be added, and add nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print a JSON array.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it has ended, print its output, exit with its code.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="With --wait: print the output as it comes.")] = False,
) -> None:
    """Add a job and print its id. It will run in this folder, with its worker's environment, not yours."""
    session: Session = ctx.obj
    flags = options.input(os.environ, id=id, stdin=stdin, **start.fields())
    source = _source(ctx, command or [], file)
    _check_one_source(source, flags)
    _check_together(ctx.params)
    in_batch = many.each or many.batch is not None
    batch = _batch(session, many.batch, source, flags, ctx.meta.get(_SOURCES)) if in_batch else None
    jobs = _NewJobs(session, source, flags, batch)
    if dry_run:
        _print_jobs(jobs, as_json=as_json)
        return
    with _no_collection():
        first = jobs.read(None) if session.missing else None  # an error in them makes no queue
    with session.open() as opened:
        with _no_collection():
            opening = replace(batch.opening, max_failures=many.max_failures) if batch else None
            receipts, new = opened.add(jobs.read(opened) if first is None else first, opening)
        unserved = opened.unserved({job.spec.queue for job in new.values()})
        if wait:
            from queuectl.cli.wait import wait_and_print

            raise typer.Exit(wait_and_print(session, opened, [receipt.id for receipt in receipts], follow=follow))
    print_added([receipt.id for receipt in receipts])
    if batch is not None:
        _say_added(batch, receipts)
    say_unserved(unserved)


enqueue.command_class = EnqueueCommand  # type: ignore[attr-defined]


@contextmanager
def _no_collection() -> Iterator[None]:
    """All jobs of a file live until they are added: to look for garbage among them took 7 % of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Source(msgspec.Struct, frozen=True):
    """Where the command comes from: one of the three."""

    words: list[str]
    argv: list[str] | None
    file: str | None


def _source(ctx: typer.Context, words: list[str], file: str | None) -> _Source:
    """The words are a shell command or a job in JSON. A program follows `--`, or is written as several words.

    Raises UsageError when one of several words begins with a dash, with the line to type.
    """
    argv: list[str] | None = ctx.meta.get(_ARGV)
    if argv is not None or len(words) + (file is not None) < 2 or any(word in _MARKERS for word in words):
        return _Source(words, argv, file)
    from queuectl.cli.enqueue_words import as_program

    argv = as_program(ctx.command, ctx.meta[_TYPED], words, _tail(ctx.meta))
    return _Source([], argv, None) if file is None else _Source(words, None, file)


def _check_one_source(source: _Source, flags: JobInput) -> None:
    if (source.file is not None) + (source.argv is not None) + bool(source.words) != 1:
        raise UsageError("give one of: a COMMAND, -- PROGRAM [ARG]..., or --file FILE")
    if any(word in _MARKERS for word in source.words):
        raise UsageError("::: goes with --each: write --each before the command")
    if source.file is not None and flags.id is not None:
        raise UsageError("--id names one job: in a file, give each job its own as JSON")


def _check_together(given: Mapping[str, Any]) -> None:
    """Refuse options that exclude each other, or that need another one."""
    if given["as_json"] and not given["dry_run"]:
        raise UsageError("--json goes with --dry-run: `enqueue` prints ids")
    if given["follow"] and not given["wait"]:
        raise UsageError("--follow goes with --wait")
    if given["wait"] and given["dry_run"]:
        raise UsageError("--dry-run adds nothing to wait for: leave out --wait")
    if given["max_failures"] is not None:
        _check_max_failures(given)
    if not given["each"] and any(given[name] for name in ("csv", "tsv", "ndjson", "number_range")):
        raise UsageError("--csv, --tsv, --ndjson and --range go with --each")


def _check_max_failures(given: Mapping[str, Any]) -> None:
    from queuectl.application.batch_limits import check_limit

    check_limit(given["max_failures"])
    if given["batch"] is None and not given["each"]:
        raise UsageError("--max-failures counts the failures of a batch: add --batch NAME")


class _NewJobs(msgspec.Struct, frozen=True):
    """The jobs as written: their source, the options, and the batch that they go to."""

    session: Session
    source: _Source
    flags: JobInput
    batch: "Batch | None"

    def read(self, queue: Queue | None) -> list[NewJob]:
        """The jobs to add, by the settings of a queue, if there is one yet. Says notes. Raises UsageError."""
        defaults = self.batch.defaults(self.flags) if self.batch else self.flags
        config, now, origin = self.session.config(queue), self.session.clock.now(), origin_here(queue)
        reader = JobReader(config, now, defaults, caller_umask(), os.environ, origin)
        found = self.batch.jobs(reader, lambda: self._written(reader)) if self.batch else self._written(reader)
        for note in reader.notes:
            say(f"queuectl: {note}")
        note_unread_stdin(is_used=self.flags.stdin is not None or self.source.file == "-")
        return reader.resolved(queue, found)

    def _written(self, reader: JobReader) -> list[NewJob]:
        words, argv, file = astuple(self.source)
        if file is not None:
            return _from_file(reader, file)
        return [reader.from_text(words[0]) if argv is None else reader.from_input(JobInput(argv=tuple(argv)))]


def _from_file(reader: JobReader, file: str) -> list[NewJob]:
    from queuectl.application.job_file import read_jobs

    if file == "-":
        return read_jobs(sys.stdin.buffer, reader)
    try:
        with open(file, "rb") as lines:
            return read_jobs(lines, reader)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None


def _batch(
    session: Session,
    name: str | None,
    source: _Source,
    flags: JobInput,
    sources: tuple[list[tuple[str, str]], list[str]] | None,
) -> "Batch":
    """The batch that the jobs go to; with `sources` (options and words) it is a sweep, whose sources are read here."""
    from queuectl.application.sweep_sources import read_sources
    from queuectl.application.sweeps import Sweep, file_batch, sweep_batch

    if sources is None:
        return file_batch(name or "", source.file)
    if source.file is not None:
        raise UsageError("--each takes one COMMAND, or -- PROGRAM [ARG]...: leave --file out")
    argv = None if source.argv is None else tuple(source.argv)
    sweep = Sweep(replace(flags, command=source.words[0] if source.words else None, argv=argv), read_sources(*sources))
    return sweep_batch(name, sweep, session.clock.now())


def _print_jobs(jobs: _NewJobs, *, as_json: bool) -> None:
    from queuectl.cli.sweep import print_jobs

    with jobs.session.open_read_only(missing="accept") as queue:
        print_jobs(jobs.read(queue), as_json=as_json)


def _say_added(batch: "Batch", receipts: Sequence[Receipt]) -> None:
    from queuectl.cli.sweep import say_added

    if batch.numbered:
        say_added(batch.name, receipts)
