"""Turns a job as written into the job that is stored: checks every field, and fills in those that were not given.

A shell command, a job in JSON and the flags all become a `JobInput`; flags are the defaults of the others.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from queuectl.application import job_fields as fields
from queuectl.application.job_json import JobInput, NotJsonError, decode_job, is_json, may_be_json, refuse_no_command
from queuectl.application.queue import NewJob, Queue
from queuectl.config import SETTINGS, Config
from queuectl.domain.events import Enqueued, Origin, StdinFile
from queuectl.errors import UsageError
from queuectl.units import coming_moment

__all__ = ["DEFAULT_QUEUE", "JobReader", "check_size", "origin_here"]

DEFAULT_QUEUE = "default"
MAX_PRIORITY = 1_000_000
MAX_SPEC = 4 << 20
"""Bytes in a job as it is stored, with all its variables and tags."""
_SETTING_OF = {
    name: name.replace("_", "-")
    for name in ("umask", "max_retries", "backoff_base", "backoff_cap", "jitter", "timeout")
}
"""The fields that settings fill in when they are not given, and these settings."""
_QUOTING = """put single quotes around the job, as in '{"id": "job1", "command": "sleep 2"}'"""


class JobReader:
    """Reads jobs. `defaults` are the flags, `now` is microseconds since the epoch, `umask` and `environ` are those
    of the caller, and `origin` is the cause of the jobs, if there is one.

    `notes` are messages for the user: fields that were ignored, and a start time that differs from the written one.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (all that the fields of a job depend on)
        self,
        config: Config,
        now: int,
        defaults: JobInput = JobInput(),  # noqa: B008 (immutable)
        umask: int = 0o022,
        environ: Mapping[str, str] = {},
        origin: Origin | None = None,
    ) -> None:
        self._config, self._now, self._defaults, self._umask = config, now, defaults, umask
        self._environ, self._origin = environ, origin
        self._plain: Enqueued | None = None
        self._has_dependencies = False
        self._settings: dict[str, Any] = {}
        self._ignored: dict[str, None] = {}
        self._notes: dict[str, None] = {}
        self._files: dict[str, StdinFile | None] = {}

    @property
    def notes(self) -> list[str]:
        """The messages, each once."""
        ignored = [f"ignored, because only queuectl sets it: {', '.join(self._ignored)}"] if self._ignored else []
        return [*ignored, *self._notes]

    def taken_notes(self) -> list[str]:
        """The messages since the last call, so that each of several jobs can be answered with its own."""
        notes = self.notes
        self._ignored.clear()
        self._notes.clear()
        return notes

    def note(self, message: str) -> None:
        """Add a message."""
        self._notes[message] = None

    def from_text(self, text: str, hint: str = _QUOTING) -> NewJob:
        """The job in one text: JSON if it looks like JSON, else a shell command. Raises UsageError.

        `hint` says what to do about a text that looks like JSON but is not.
        """
        if not may_be_json(text):
            return self._from_command(text)
        try:
            if is_json(text):
                return self.from_json(text)
            refuse_no_command(text)
        except NotJsonError as error:
            raise UsageError(f"{error}: {hint}") from None
        return self._from_command(text)

    def from_input(self, given: JobInput) -> NewJob:
        """The job that an input asks for. Raises UsageError, naming the field."""
        wanted = _merge(given, self._defaults)
        self._look_up_settings(wanted)
        spec = Enqueued(
            command=_command_of(wanted),
            argv=tuple(map(fields.argument, wanted.argv or ())),
            queue=DEFAULT_QUEUE if wanted.queue is None else fields.check_queue(wanted.queue),
            priority=fields.within("priority", wanted.priority or 0, -MAX_PRIORITY, MAX_PRIORITY),
            cwd=fields.folder(wanted.cwd),
            env=self._variables(wanted),
            secret_env=tuple(fields.variable("secret_env", name) for name in wanted.secret_env or ()),
            tags={fields.name("tags", key): fields.text("tags", value) for key, value in (wanted.tags or {}).items()},
            unique=None if wanted.unique is None else fields.name("unique", wanted.unique),
            umask=self._umask_of(wanted),
            merge_output=bool(wanted.merge_output),
            stdin=None if wanted.stdin is None else self._stdin(wanted.stdin),
            origin=self._origin,
            **self._dependencies(wanted),
            **self._policy(wanted),
            **self._due(wanted),
        )
        job_id = None if wanted.id is None else fields.job_id(wanted.id)
        check_size(spec)
        self._hint_at_folder(wanted.cwd, spec.cwd)
        if not spec.argv:
            self._hint_at_background(spec.command)
            self._hint_at_variables(spec)
        return NewJob(spec, job_id)

    def resolved(self, queue: Queue | None, jobs: list[NewJob]) -> list[NewJob]:
        """Jobs that this reader has read, with their dependencies resolved: see `dependencies.resolved`."""
        if not self._has_dependencies:
            return jobs
        from queuectl.application.dependencies import resolved

        return resolved(queue, jobs)

    def _from_command(self, text: str) -> NewJob:
        if self._plain is None or self._defaults.id is not None:
            job = self.from_input(JobInput(command=text))
            self._plain = job.spec
            return job
        self._hint_at_background(text)
        return NewJob(replace(self._plain, command=fields.command(text)))

    def _hint_at_folder(self, given: str | None, folder: str) -> None:
        if given is not None and not os.path.isdir(folder):
            self.note(f"{folder} is not a folder on this machine: the job can start only where it is one")

    def _hint_at_background(self, command: str) -> None:
        if "&" in command and (hint := fields.background_hint(command)):
            self.note(hint)

    def _hint_at_variables(self, spec: Enqueued) -> None:
        for name in (*spec.env, *spec.secret_env):
            if "." in name:
                self.note(f"many shells do not pass {name} on, as its name has a dot: put the program after --")

    def from_json(self, text: str) -> NewJob:
        """The job in JSON. Raises UsageError."""
        given, ignored = decode_job(text)
        self._ignored.update(dict.fromkeys(ignored))
        return self.from_input(given)

    def _dependencies(self, wanted: JobInput) -> dict[str, Any]:
        if not wanted.after:
            if wanted.if_unmet is not None:
                raise UsageError("if_unmet goes with after: say what the job waits for")
            return {}
        from queuectl.application.after_fields import edges

        self._has_dependencies = True
        given = self._settings["if-unmet"] if wanted.if_unmet is None else wanted.if_unmet
        return {"after": edges(wanted.after), "if_unmet": fields.parsed("if_unmet", SETTINGS["if-unmet"].parse, given)}

    def _policy(self, wanted: JobInput) -> dict[str, Any]:
        settings = self._settings
        timeout = None if wanted.timeout is None else fields.timeout(wanted.timeout)
        cap, wait = wanted.backoff_cap, wanted.retry_wait
        return {
            "max_retries": self._limited("max_retries", wanted.max_retries),
            "backoff_base": self._limited("backoff_base", wanted.backoff_base),
            "backoff_cap": settings["backoff-cap"] if cap is None else fields.duration("backoff_cap", cap),
            "retry_wait": None if wait is None else fields.duration("retry_wait", wait),
            "jitter": settings["jitter"] if wanted.jitter is None else wanted.jitter,
            "timeout": settings["timeout"] if wanted.timeout is None else timeout,
        }

    def _look_up_settings(self, wanted: JobInput) -> None:
        """Look up the settings that the job needs: together, and each once for all jobs."""
        known = self._settings
        missing = [key for name, key in _SETTING_OF.items() if key not in known and getattr(wanted, name) is None]
        if self._environ and "carry-env" not in known:
            missing.append("carry-env")
        if wanted.after and wanted.if_unmet is None and "if-unmet" not in known:
            missing.append("if-unmet")
        if missing:
            known.update(self._config.typed(missing))

    def _limited(self, field: str, given: float | None) -> Any:
        """The given value, within the setting's limits, or else the setting."""
        key = _SETTING_OF[field]
        return self._settings[key] if given is None else fields.parsed(field, SETTINGS[key].parse, f"{given!r}")

    def _variables(self, wanted: JobInput) -> dict[str, str]:
        """Those of the caller's variables that the setting `carry-env` names, and the given ones."""
        names = self._settings["carry-env"] if self._environ else ()
        left_out = wanted.secret_env or ()
        carried = {name: self._environ[name] for name in names if name in self._environ and name not in left_out}
        return fields.variables({**carried, **(wanted.env or {})}) if carried or wanted.env else {}

    def _stdin(self, path: str) -> StdinFile | None:
        """The file that a job reads. Each is read once for all the jobs that name it."""
        if path not in self._files:
            from queuectl.application.stdin_field import file_to_read

            self._files[path] = file_to_read(path)
        return self._files[path]

    def _umask_of(self, wanted: JobInput) -> int:
        """The given umask, or the setting's, or the caller's."""
        given = self._settings["umask"] if wanted.umask is None else fields.umask(wanted.umask)
        return self._umask if given is None else int(given)

    def _due(self, wanted: JobInput) -> dict[str, Any]:
        if wanted.delay is not None and wanted.at is not None:
            raise UsageError("a job has either a delay or a time (at), not both")
        if wanted.at is None:
            return {"delay": 0 if wanted.delay is None else fields.duration("delay", wanted.delay)}
        at, note = fields.parsed("at", lambda text: coming_moment(text, self._now), wanted.at)
        if note:
            self.note(f"at {wanted.at.strip()}: {note}")
        # `+1h` is stored as a delay, not as a moment: then the same job given again later is the same job.
        return {"delay": at - self._now} if wanted.at.strip().startswith("+") else {"at": at}


def check_size(spec: Enqueued) -> None:
    """Raises UsageError when a job is too large to be started, or to be stored."""
    if any(len(f"{key}={value}".encode()) > fields.MAX_ARGUMENT for key, value in spec.env.items()):
        raise UsageError(f"env: a variable is longer than the system takes ({fields.MAX_ARGUMENT} bytes)")
    size = sum(len(each.encode()) + 9 for each in (*spec.argv, spec.command, *spec.env, *spec.env.values()))
    if size > os.sysconf("SC_ARG_MAX") // 2:
        raise UsageError("the arguments and variables together are longer than the system takes")
    if len(msgspec.json.encode(spec)) > MAX_SPEC:
        raise UsageError(f"the job is longer than {MAX_SPEC} bytes: give it a file to read instead")


def origin_here(queue: Queue | None) -> Origin | None:
    """The origin of jobs that this process adds: the job that it runs in, if any."""
    job_id = os.environ.get("QUEUECTL_JOB_ID")
    if job_id is None:
        return None
    from queuectl.application.own_job import origin_of

    return origin_of(queue, job_id, os.environ)


def _merge(given: JobInput, defaults: JobInput) -> JobInput:
    """The given fields over the defaults. Variables and tags are merged; a given time replaces a default one.

    A given backoff likewise replaces a fixed wait.
    """
    base = asdict(defaults)
    if given.backoff_base is not None or given.backoff_cap is not None:
        base["retry_wait"] = None
    if given.delay is not None or given.at is not None:
        base["delay"] = base["at"] = None
    over = {name: value for name, value in asdict(given).items() if value is not None}
    for name in ("env", "tags"):
        if base[name] and name in over:
            over[name] = {**base[name], **over[name]}
    return _without_repetition(JobInput(**{**base, **over}))


def _without_repetition(wanted: JobInput) -> JobInput:
    """A printed job has both a command and an argv: drop the one that is empty or repeats the other."""
    if wanted.command is None or wanted.argv is None:
        return wanted
    if not wanted.argv:
        return replace(wanted, argv=None)
    return replace(wanted, command=None) if wanted.command == _joined(wanted.argv) else wanted


def _command_of(wanted: JobInput) -> str:
    if (wanted.command is None) == (wanted.argv is None):
        raise UsageError("a job has either a command or an argv: give exactly one")
    if wanted.argv is not None:
        if not wanted.argv or not wanted.argv[0]:
            raise UsageError("argv is empty: give the program and its arguments")
        return _joined(wanted.argv)
    return fields.command(wanted.command or "")


def _joined(argv: Iterable[str]) -> str:
    import shlex

    return shlex.join(argv)
