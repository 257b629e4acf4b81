"""Changes to what jobs were promised: edits of pending jobs, retries with changes, and copies with other fields.

An edit is read like a new job whose defaults are the job's own fields, so all fields are checked as in `enqueue`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from queuectl.application import job_fields as fields
from queuectl.application.after_fields import edges
from queuectl.application.dependencies import named, resolved
from queuectl.application.dependency_cycles import refuse_cycle
from queuectl.application.job_input import JobReader
from queuectl.application.job_json import JobInput
from queuectl.application.job_spec import as_fields
from queuectl.application.queue import NewJob, Queue
from queuectl.config import SETTINGS, Config
from queuectl.domain import commands as c
from queuectl.domain import events as e
from queuectl.domain.amendment import between
from queuectl.domain.job import Job
from queuectl.errors import NoSuchJobError, QueuectlError, UsageError
from queuectl.runtime import new_id
from queuectl.units import quoted

__all__ = ["Edit", "Editor", "parse_settings"]

_KEPT = ("unique", "batch", "seq", "origin", "after", "if_unmet")
"""Fields that are not read like those of a new job: no edit changes them, but for those about dependencies."""
_MERGED = {"env": "env", "tag": "tags"}


class Edit(Struct, frozen=True):
    """Fields as written over those of a job. `unset_env` are variables to remove; `now`: due at once.

    `whole`: env and tags replace those of the job, and are not added to them.
    """

    wanted: JobInput = JobInput()
    unset_env: tuple[str, ...] = ()
    now: bool = False
    whole: bool = False

    def __bool__(self) -> bool:
        return self.wanted != JobInput() or bool(self.unset_env) or self.now


def parse_settings(texts: Sequence[str]) -> Edit:
    """The edit that `--set FIELD=VALUE` asks for, with `env.NAME=VALUE` and `tag.NAME=VALUE`. Raises UsageError."""
    found: dict[str, Any] = {}
    for text in texts:
        field, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {quoted(text)}: write it as FIELD=VALUE")
        group, dot, name = field.partition(".")
        field = field.replace("-", "_")
        if dot and group in _MERGED:
            found.setdefault(_MERGED[group], {})[name] = value
        elif field in _SETTABLE:
            found[field] = _typed(text, field, value)
        else:
            names = ", ".join([*(name.replace("_", "-") for name in _SETTABLE), "env.NAME", "tag.NAME"])
            raise UsageError(f"--set {quoted(text)}: the fields are {names}")
    return Edit(JobInput(**found))


def _typed(text: str, field: str, value: str) -> Any:
    """A value as the field's type. Raises UsageError."""
    try:
        return getattr(msgspec.convert({field: value}, JobInput, strict=False), field)
    except msgspec.ValidationError:
        kinds = {"jitter": "true or false", "merge_output": "true or false"}
        raise UsageError(f"--set {quoted(text)}: it must be {kinds.get(field, 'a number')}") from None


_SETTABLE = (
    *("command", "queue", "priority", "max_retries", "backoff_base", "backoff_cap", "retry_wait", "jitter"),
    *("timeout", "cwd", "umask", "merge_output", "stdin"),
)


class Editor:
    """Edits jobs of a queue, with the queue's settings. `notes` are messages for the user."""

    def __init__(self, queue: Queue, config: Config) -> None:
        self._queue, self._config = queue, config
        self.notes: dict[str, None] = {}

    def edit(self, ids: Sequence[str], edit: Edit, reason: str = "") -> list[tuple[Job, Job]]:
        """Change all these pending jobs or none. Returns each job before and after; an unchanged one is the same.

        Raises RefusedError for a job that is not pending, NoSuchJobError, and UsageError, also when a job would wait
        for itself through others.
        """
        with self._queue.store.writer.transaction():
            after = self._dependencies(ids, edit)
            return self._execute(ids, lambda job: c.Amend(job.id, self._amendment(job, edit, after), reason))

    def _amendment(self, job: Job, edit: Edit, after: tuple[e.After, ...] | None) -> e.Changes:
        waits_for = job.spec.after if after is None else after
        if edit.wanted.if_unmet is not None and not waits_for:
            raise UsageError(f"if_unmet goes with after: job {job.id} waits for no other job")
        return replace(self._changes(job, edit), after=after)

    def _dependencies(self, ids: Sequence[str], edit: Edit) -> tuple[e.After, ...] | None:
        """The new dependencies of the jobs, with whole names; None if the edit does not change them."""
        if not edit.wanted.after:
            return None if edit.wanted.after is None else ()
        jobs = [self._queue.load(job_id) for job_id in dict.fromkeys(ids)]
        wanted = edges(edit.wanted.after)
        found = named(self._queue, [NewJob(replace(job.spec, after=wanted)) for job in jobs])
        after = found[0].spec.after
        refuse_cycle(self._queue.store, jobs, after)
        return after

    def retry(self, ids: Sequence[str], edit: Edit, reason: str = "") -> list[tuple[Job, Job]]:
        """Run all these ended jobs again, with changes, or none."""
        return self._execute(ids, lambda job: self._requeue(job, edit, reason))

    def retry_those_that_can(
        self, ids: Sequence[str], edit: Edit, reason: str, delays: Mapping[str, int]
    ) -> dict[str, QueuectlError]:
        """Run again, with changes and after `delays` (microseconds, by id), every job that can be.

        Returns the jobs that were left, and why.
        """
        left: dict[str, QueuectlError] = {}
        commands = []
        with self._queue.store.writer.transaction():
            for job_id, found in self._queue.store.log.load_all(ids).items():
                if isinstance(found, Job):
                    commands.append(self._requeue(found, edit, reason, delays.get(job_id, 0)))
                else:
                    left[job_id] = found or NoSuchJobError.of(job_id)
            return left | self._queue.each_that_can(commands)

    def _requeue(self, job: Job, edit: Edit, reason: str, delay: int = 0) -> c.Requeue:
        return c.Requeue(job.id, reason, delay, self._changes(job, edit) if edit else None)

    def copy(self, job_id: str, edit: Edit) -> NewJob:
        """A new job with the fields of an existing one, in any state. It is due at once unless the edit says otherwise.

        It does not copy the unique key and the batch. Its file for stdin is taken as it is now.
        It waits for the jobs that the edit names, and not for those of the other. Raises NoSuchJobError, UsageError.
        """
        job = self._queue.load(job_id)
        stdin = job.spec.stdin.path if job.spec.stdin and edit.wanted.stdin is None else edit.wanted.stdin
        new = self._read(job.spec, replace(edit, wanted=replace(edit.wanted, id=None, stdin=stdin)))
        wanted, origin = edit.wanted, e.Origin("copy", job.id, job.position)
        unique = None if wanted.unique is None else fields.name("unique", wanted.unique)
        spec = replace(new, batch=None, seq=0, unique=unique, origin=origin, **self._waits(wanted))
        copied = new_id(self._queue.store.log.now()) if wanted.id is None else fields.job_id(wanted.id)
        found = NewJob(spec, copied)
        return resolved(self._queue, [found])[0] if spec.after else found

    def _waits(self, wanted: JobInput) -> dict[str, Any]:
        """The fields of a new job for its dependencies. Raises UsageError."""
        if not wanted.after:
            if wanted.if_unmet is not None:
                raise UsageError("if_unmet goes with after: say what the job waits for")
            return {"after": (), "if_unmet": "hold"}
        return {"after": edges(wanted.after), "if_unmet": self._if_unmet(wanted.if_unmet or self._config["if-unmet"])}

    @staticmethod
    def _if_unmet(text: str) -> str:
        return str(fields.parsed("if_unmet", SETTINGS["if-unmet"].parse, text))

    def _execute(self, ids: Sequence[str], command: Callable[[Job], c.Command]) -> list[tuple[Job, Job]]:
        """Load the jobs and change them under the log's lock, so that nobody claims or changes them meanwhile."""
        with self._queue.store.writer.transaction():
            before = {job_id: self._queue.load(job_id) for job_id in dict.fromkeys(ids)}
            after = self._queue.execute([command(job) for job in before.values()], before)
        return [(old, new or old) for old, new in zip(before.values(), after, strict=True)]

    def _changes(self, job: Job, edit: Edit) -> e.Changes:
        new = self._read(job.spec, edit)
        changes = between(job.spec, new)
        if edit.now or edit.wanted.delay is not None or edit.wanted.at is not None:
            return replace(changes, delay=new.delay, at=new.at)
        return changes

    def _read(self, spec: e.Enqueued, edit: Edit) -> e.Enqueued:
        """The spec with the edit applied. Its delay and time come only from the edit."""
        defaults = _as_written(spec, edit)
        reader = JobReader(self._config, self._queue.store.log.wall(), defaults, spec.umask)
        wanted = edit.wanted
        new = reader.from_input(replace(wanted, id=None, unique=None, after=None, if_unmet=None)).spec
        self.notes.update(dict.fromkeys(reader.notes))
        unset = [fields.variable("unset_env", name) for name in edit.unset_env]
        env = {name: value for name, value in new.env.items() if name not in unset}
        kept = _KEPT if wanted.stdin is not None else (*_KEPT, "stdin")
        values = {name: getattr(spec, name) for name in kept}
        if wanted.if_unmet is not None:
            values["if_unmet"] = self._if_unmet(wanted.if_unmet)
        return replace(new, env=env, **values)


def _as_written(spec: e.Enqueued, edit: Edit) -> JobInput:
    """The job's own fields as defaults, except those that the edit replaces as a whole."""
    found = {name: value for name, value in as_fields(spec).items() if name in JobInput.__struct_fields__}
    found |= dict.fromkeys(("id", "unique", "delay", "at", "after", "if_unmet", "stdin"))
    found["timeout"] = "none" if spec.timeout is None else spec.timeout / 1_000_000
    found["command" if spec.argv else "argv"] = None
    if edit.wanted.command is not None or edit.wanted.argv is not None:
        found["command"] = found["argv"] = None
    for name in ("env", "tags", "secret_env"):
        found[name] = None if edit.whole and getattr(edit.wanted, name) is not None else found[name]
    if found["argv"] is not None:
        found["argv"] = tuple(found["argv"])
    found["secret_env"] = tuple(found["secret_env"] or ()) or None
    return JobInput(**found)
