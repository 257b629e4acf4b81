"""Random command lines: every command and option, with values that are valid, nearly valid, or hostile."""

from functools import cache
from random import Random
from typing import Any

from msgspec import Struct

from tests.campaign.hostile import EDGES, TERMINAL, text

__all__ = ["command_line", "worker_line"]

NOT_HERE = frozenset(
    {
        *("--install-completion", "--show-completion", "--detach", "--follow", "--watch", "--log-file"),
        *("--db", "--archive-dir"),
    }
)
"""Options that would change the caller's shell, or stay; --db and --archive-dir have a place of their own."""
WORKERS = ("run", "worker start")
STAYING = (*WORKERS, "serve")
"""Commands that stay; requests to a server are fuzzed in tests/web/."""

FITTING: dict[str, tuple[str, ...]] = {
    "id": ("a", "b", "c", "d", "dead", "done-1", "$settings", "zz", "d"),
    "time": ("now", "-2h", "12:30", "2026-11-24T03:20:00Z", "yesterday", "0", "3", "head", "+1h", "1970-01-01"),
    "duration": ("0", "10s", "1h30m", "0.5", "5m", "none", "1ms"),
    "target": ("queue.db", "text", "folder", "foreign.db", "mysql://x/y", ""),
    "few": ("0", "1", "2", "-1", "x"),
    "number": ("0", "1", "3", "100", "-1"),
    "pair": ("a=b", "K=V", "A=", "PATH=/bin"),
    "state": ("pending", "done", "dlq", "failed", "completed", "cancelled", "purged", "processing"),
    "setting": ("max-retries", "backoff-base", "timeout", "lease", "max-output", "durability", "jitter", "log-level"),
    "value": ("3", "10s", "10MiB", "on", "safe", "none", "debug", "paranoid"),
    "file": ("-", "new", "new.gz", "jobs", "text", "log", "folder", "folder/x", "missing/x", "/dev/null", "/dev/full"),
    "queue": ("default", "q", "Q.1", "*"),
    "command": ("true", "echo hi", '{"command":"true"}', '{"command":"true","priority":5}', '{ "argv": ["a"] }', "{"),
    "word": ("a", "k", "why not", "auto", "always"),
    "type": ("enqueued", "claimed", "completed"),
    "sort": ("created", "priority", "updated", "-created", "id", "-duration", "finished"),
    "head": ("1 " + "00" * 32, "0 " + "00" * 32, "1"),
}
KINDS: dict[str, str] = {
    **dict.fromkeys(("id", "ids", "job", "job_id"), "id"),
    **dict.fromkeys(("at", "since", "as_of", "first", "second"), "time"),
    **dict.fromkeys(
        ("delay", "timeout", "older_than", "lease", "grace", "stop_timeout", "retry_wait", "backoff_cap"), "duration"
    ),
    **dict.fromkeys(("priority", "max_retries", "backoff_base", "limit", "last", "run", "concurrency"), "number"),
    **dict.fromkeys(("env", "tag"), "pair"),
    **{name: name for name in ("state", "value", "file", "queue", "command", "sort")},
    "count": "few",
    "to": "target",
    "key": "setting",
    "kind": "type",
    "cwd": "file",
    "expected": "head",
}
ALWAYS_FITTING = ("count", "to")
"""A hundred workers take too long to start, and a queue that has moved is of no more use here."""
DATABASES = (
    "queue.db",
    "queue.db",
    "none/queue.db",
    "text",
    "folder",
    "foreign.db",
    "empty.db",
    "half.db",
    "sqlite:///queue.db",
    "",
)
DATABASES += (":memory:", "mysql://x/y", "a\x1b[31m.db", "a\nb.db", "\udcff.db", "x\u202e.db", "n" * 300)


class Verb(Struct, frozen=True):
    """A command: the words that call it, and its parameters as (name, spelling or None for an argument, is a flag)."""

    words: tuple[str, ...]
    parameters: tuple[tuple[str, str | None, bool], ...]


def command_line(rng: Random) -> tuple[str, list[str]]:
    """The command's name, and a command line for this process: none that waits without end or starts a job."""
    verb = rng.choice([verb for verb in _verbs() if " ".join(verb.words) not in STAYING])
    arguments = [*_root(rng), *verb.words, *_parameters(rng, verb)]
    if rng.random() < 0.25:
        arguments = _spoilt(rng, arguments)
    return " ".join(verb.words), [each.replace("\0", "") for each in arguments]


def worker_line(rng: Random) -> tuple[str, list[str]]:
    """The same for a worker that serves an empty queue once."""
    verb = rng.choice([verb for verb in _verbs() if " ".join(verb.words) in WORKERS])
    arguments = ["--db", "idle.db", *verb.words, "--once", *_parameters(rng, verb)]
    return " ".join(verb.words), [each.replace("\0", "") for each in arguments]


def _root(rng: Random) -> list[str]:
    """The options before the command, usually with the right --db, so that most lines reach the queue."""
    if rng.random() < 0.85:
        return []
    if rng.random() < 0.2:
        return [
            rng.choice(("--color", "--version", "--help", "--archive-dir")),
            rng.choice(("always", "never", "x", "arch")),
        ]
    return ["--db", rng.choice(DATABASES)]


def _parameters(rng: Random, verb: Verb) -> list[str]:
    found: list[str] = []
    for name, spelling, is_flag in verb.parameters:
        if spelling is None:
            found += [_value(rng, name) for _ in range(rng.choice((0, 1, 1, 1, 1, 2)))]
        elif rng.random() < 0.25:
            found += [spelling] if is_flag else [spelling, _value(rng, name)]
    if verb.words == ("wait",) or verb.words == ("worker", "stop"):
        found.append("--timeout=0")
    return found


def _value(rng: Random, name: str) -> str:
    if name in ALWAYS_FITTING or rng.random() < 0.7:
        return rng.choice(FITTING[KINDS.get(name, "word")])
    if rng.random() < 0.3:
        return str(rng.choice(EDGES))
    return _relative(text(rng)) if rng.random() < 0.8 else "\udcff" + rng.choice(TERMINAL)


def _relative(value: str) -> str:
    """The value, changed so that it is not a path out of the folder."""
    return value.lstrip("/").replace("..", "")


def _spoilt(rng: Random, arguments: list[str]) -> list[str]:
    at = rng.randrange(len(arguments) + 1)
    what = rng.randrange(4)
    if what == 0:
        return arguments[:at] + arguments[at + 1 :]
    if what == 1:
        return arguments[:at] + arguments[at : at + 1] * 2 + arguments[at + 1 :]
    odd = rng.choice(("--", "-", "--nothing", "-x", "--json", "-h", "", _relative(text(rng))))
    return [*arguments[:at], odd, *arguments[at:]]


@cache
def _verbs() -> list[Verb]:
    from queuectl.cli.app import command

    return list(_found((), command()))


def _found(words: tuple[str, ...], node: Any) -> Any:
    if hasattr(node, "list_commands"):
        for name in node.list_commands(None):
            yield from _found((*words, name), node.get_command(None, name))
    if words and not getattr(node, "no_args_is_help", False):
        yield Verb(words, tuple(_described(each) for each in node.params if not NOT_HERE & {*each.opts}))


def _described(parameter: Any) -> tuple[str, str | None, bool]:
    option = parameter.param_type_name == "option"
    return parameter.name, parameter.opts[0] if option else None, bool(getattr(parameter, "is_flag", False))
