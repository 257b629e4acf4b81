"""Sweeps and batches: the jobs that a template and its sources make, and the names of batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application import job_fields as fields
from queuectl.application.batch_limits import check_limit
from queuectl.application.job_input import JobReader, check_size
from queuectl.application.job_json import JobInput
from queuectl.application.queue import NewJob
from queuectl.domain.events import BatchOpened
from queuectl.domain.sweep import Source, Template, Values, names_of, number_of_jobs, rows_of
from queuectl.errors import UsageError
from queuectl.runtime import new_id

__all__ = ["Batch", "Sweep", "batch_of", "file_batch", "sweep_batch"]

_TEXTS = ("id", "cwd", "unique", "stdin")
_TABLES = ("env", "tags")
_LISTS = ("after",)
"""The fields of a job other than its command that take placeholders."""


class Sweep:
    """A template over sources. `given` is the job as written: `command` or `argv`, and the fields with placeholders."""

    def __init__(self, given: JobInput, sources: Sequence[Source]) -> None:
        if not sources:
            raise UsageError("--each has no source: give ::: VALUE..., :::: FILE, --csv, --tsv, --ndjson or --range")
        self.sources, self._given = sources, given
        self._names = names_of(sources)
        self.number = number_of_jobs(sources)
        self._command = [self._parse(text, shell=given.argv is None) for text in given.argv or [given.command or ""]]
        self._others = {name: self._parse(getattr(given, name)) for name in _TEXTS if getattr(given, name) is not None}
        self._tables = {name: self._parse_all(getattr(given, name)) for name in _TABLES}
        self._lists = {name: [self._parse(str(each)) for each in getattr(given, name) or ()] for name in _LISTS}
        self._check_placeholders()

    def _parse(self, text: str, *, shell: bool = False) -> Template:
        return Template.parse(text, self._names, shell=shell)

    def _parse_all(self, table: Mapping[str, str] | None) -> dict[str, Template]:
        return {key: self._parse(text) for key, text in (table or {}).items()}

    def _check_placeholders(self) -> None:
        if not any(template.slots for template in (*self._command, *self._others.values(), *self._nested())):
            raise UsageError("no placeholder: add {} where the value goes")
        if self.number > 1 and "id" in self._others and not self._others["id"].slots:
            raise UsageError("--id names one job: add a placeholder to it, such as {#}")

    def _nested(self) -> Iterator[Template]:
        """The templates in tables and lists."""
        for table in self._tables.values():
            yield from table.values()
        for templates in self._lists.values():
            yield from templates

    def opening(self) -> BatchOpened:
        """The event that says how the batch was made."""
        import shlex

        template = self._given.command if self._given.argv is None else shlex.join(self._given.argv)
        return BatchOpened(jobs=self.number, template=template or "", sources=tuple(each.text for each in self.sources))

    def jobs(self, reader: JobReader, batch: str) -> list[NewJob]:
        """All jobs, in the order of the sources, each with its number in the batch. Raises UsageError."""
        return list(self._jobs(reader, batch))

    def _jobs(self, reader: JobReader, batch: str) -> Iterator[NewJob]:
        varies = any(template.slots for template in self._nested())
        varies = varies or any(self._others[name].slots for name in ("cwd", "unique", "stdin") if name in self._others)
        first: NewJob | None = None
        for number, values in enumerate(rows_of(self.sources), 1):
            try:
                if first is None or varies:
                    first = reader.from_input(self._input(values, number))
                    job = first
                else:
                    job = self._like(first, values, number)
                job_id = job.id or fields.job_id(f"{batch}.{number}")
            except UsageError as error:
                raise UsageError(f"job {number}: {error}") from None
            yield NewJob(replace(job.spec, batch=batch, seq=number), job_id)

    def _input(self, values: Values, number: int) -> JobInput:
        """The job as written for these values."""
        words = tuple(template.fill(values, number) for template in self._command)
        given: dict[str, object] = {name: each.fill(values, number) for name, each in self._others.items()}
        for name, table in self._tables.items():
            given[name] = {key: template.fill(values, number) for key, template in table.items()} or None
        for name, templates in self._lists.items():
            given[name] = tuple(template.fill(values, number) for template in templates) or None
        given.update({"argv": words} if self._given.argv is not None else {"command": words[0]})
        return JobInput(**given)  # type: ignore[arg-type]

    def _like(self, first: NewJob, values: Values, number: int) -> NewJob:
        """A job that differs from the first one in its command and id alone: nothing else is checked again."""
        words = tuple(template.fill(values, number) for template in self._command)
        own_id = fields.job_id(self._others["id"].fill(values, number)) if "id" in self._others else None
        if self._given.argv is None:
            spec = replace(first.spec, command=fields.command(words[0]))
        else:
            spec = replace(first.spec, command=_joined(words), argv=tuple(map(fields.argument, words)))
            check_size(spec)
        return NewJob(spec, own_id)


def _joined(words: Sequence[str]) -> str:
    import shlex

    return shlex.join(words)


class Batch(Struct, frozen=True):
    """A batch that jobs are added to. When `numbered`, each has its number there; else it is only a name for them."""

    name: str
    opening: BatchOpened
    numbered: bool
    sweep: Sweep | None = None

    def defaults(self, flags: JobInput) -> JobInput:
        """The flags that are the same for all its jobs: those without placeholders."""
        return flags if self.sweep is None else replace(flags, **dict.fromkeys((*_TEXTS, *_TABLES, *_LISTS)))

    def jobs(self, reader: JobReader, read: Callable[[], list[NewJob]]) -> list[NewJob]:
        """The jobs of the sweep, or those that `read` gives, as jobs of this batch. Raises UsageError."""
        if self.sweep is not None:
            return self.sweep.jobs(reader, self.name)
        if not self.numbered:
            return [replace(job, spec=replace(job.spec, batch=self.name)) for job in read()]
        return [self._numbered(job, number) for number, job in enumerate(read(), 1)]

    def _numbered(self, job: NewJob, number: int) -> NewJob:
        job_id = job.id or fields.job_id(f"{self.name}.{number}")
        return replace(job, spec=replace(job.spec, batch=self.name, seq=number), id=job_id)


def sweep_batch(name: str | None, sweep: Sweep, now: int) -> Batch:
    """The batch of a sweep; without a name it is `b-` and 6 random characters. Raises UsageError."""
    name = f"b-{new_id(now)[-6:]}" if name is None else fields.batch(name)
    return Batch(name, sweep.opening(), numbered=True, sweep=sweep)


def batch_of(name: str | None, max_failures: int | None, *, many: bool) -> Batch | None:
    """The batch that a Python program names for one job or for many, if it names one. Raises UsageError."""
    limit = None if max_failures is None else check_limit(max_failures, "max_failures")
    if name is None and limit is not None:
        raise UsageError("max_failures: it counts the failures of a batch, so give batch too")
    return None if name is None else Batch(fields.batch(name), BatchOpened(jobs=0, max_failures=limit), numbered=many)


def file_batch(name: str, file: str | None) -> Batch:
    """The batch that the jobs of a file go to, or one job without a file. Raises UsageError."""
    sources = () if file is None else (f"--file {file}",)
    return Batch(fields.batch(name), BatchOpened(jobs=0, sources=sources), numbered=file is not None)
