"""A job to be enqueued: its fields as JSON has them, and the command line that adds it."""

from typing import Any

from queuectl.application.job_json import may_be_json
from queuectl.domain.events import Enqueued
from queuectl.errors import command_line
from queuectl.units import SECOND, format_duration, format_time

__all__ = ["as_fields", "as_shell"]


def as_fields(spec: Enqueued, job_id: str | None = None) -> dict[str, Any]:
    """All fields of the job as JSON has them: durations are seconds, times ISO 8601."""
    return {
        "id": job_id,
        "command": spec.command,
        "argv": list(spec.argv),
        "queue": spec.queue,
        "priority": spec.priority,
        "max_retries": spec.max_retries,
        "backoff_base": spec.backoff_base,
        "backoff_cap": spec.backoff_cap / SECOND,
        "retry_wait": None if spec.retry_wait is None else spec.retry_wait / SECOND,
        "jitter": spec.jitter,
        "timeout": None if spec.timeout is None else spec.timeout / SECOND,
        "delay": spec.delay / SECOND if spec.at is None else None,
        "at": None if spec.at is None else format_time(spec.at),
        "cwd": spec.cwd,
        "env": spec.env,
        "secret_env": list(spec.secret_env),
        "tags": spec.tags,
        "unique": spec.unique,
        "umask": f"{spec.umask:03o}",
        "merge_output": spec.merge_output,
        "stdin": None if spec.stdin is None else spec.stdin.path,
        "batch": spec.batch,
        "seq": spec.seq or None,
        **_dependencies(spec),
    }


def _dependencies(spec: Enqueued) -> dict[str, Any]:
    if not spec.after:
        return {"after": [], "if_unmet": None}
    from queuectl.application.after_fields import as_json

    return {"after": as_json(spec.after), "if_unmet": spec.if_unmet}


def as_shell(spec: Enqueued, now: int) -> str:
    """The command line that adds the job again, quoted for a shell. A moment that has passed by `now` is left out."""
    at = spec.at if spec.at is not None and spec.at > now else None
    if spec.command.startswith("-") or may_be_json(spec.command):
        return _as_json(spec, at)
    words = ["enqueue", *_options(spec, at)]
    line = command_line(*words, "--", *spec.argv) if spec.argv else command_line(*words, spec.command)
    # a terminal would obey a control character, and quotes do not hide it
    return line if _visible(line) else _as_json(spec, at)


def _as_json(spec: Enqueued, at: int | None) -> str:
    """The line with the job in JSON, in ASCII if any character of it is not visible."""
    import json

    left_out = {"at", "batch", "seq", "command" if spec.argv else "argv", *(() if spec.delay else ("delay",))}
    fields = as_fields(spec).items()
    given = {name: value for name, value in fields if name not in left_out and value not in (None, {}, [])}
    given |= {} if at is None else {"at": format_time(at)}
    given.setdefault("timeout", "none")
    text = json.dumps(given, ensure_ascii=False, separators=(",", ":"))
    if not _visible(text):
        text = json.dumps(given, separators=(",", ":")).replace("\x7f", "\\u007f")
    return command_line("enqueue", *_batch(spec), text)


def _visible(text: str) -> bool:
    return text.replace("\n", "").replace("\t", "").isprintable()


def _options(spec: Enqueued, at: int | None) -> list[str]:
    options = [] if spec.queue == "default" else ["--queue", spec.queue]
    options += ["--priority", str(spec.priority)] if spec.priority else []
    options += ["--max-retries", str(spec.max_retries), *_waits(spec)]
    options += ["--cwd", spec.cwd, "--umask", f"{spec.umask:03o}"]
    options += ["--timeout", "none" if spec.timeout is None else format_duration(spec.timeout)]
    if spec.delay:
        options += ["--delay", format_duration(spec.delay)]
    if at is not None:
        options += ["--at", format_time(at)]
    for option, texts in (("--env", spec.env), ("--tag", spec.tags)):
        options += [word for name, value in texts.items() for word in (option, f"{name}={value}")]
    options += [word for name in spec.secret_env for word in ("--secret-env", name)]
    options += ["--merge-output"] if spec.merge_output else []
    options += [] if spec.stdin is None else ["--stdin", spec.stdin.path]
    if spec.after:
        from queuectl.application.after_fields import as_texts

        options += [word for each in as_texts(spec.after) for word in ("--after", each)] + ["--if-unmet", spec.if_unmet]
    options += [] if spec.unique is None else ["--unique", spec.unique]
    return options + _batch(spec)


def _batch(spec: Enqueued) -> list[str]:
    return [] if spec.batch is None else ["--batch", spec.batch]


def _waits(spec: Enqueued) -> list[str]:
    jitter = "--jitter" if spec.jitter else "--no-jitter"
    if spec.retry_wait is not None:
        return ["--retry-wait", format_duration(spec.retry_wait), jitter]
    base = repr(spec.backoff_base).removesuffix(".0")
    return ["--backoff-base", base, "--backoff-cap", format_duration(spec.backoff_cap), jitter]
