"""Answers a shell that asks how a command line may continue. Nothing is written: no file, no queue, no message."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from typing import Any

from queuectl.application import candidates
from queuectl.application.candidates import Candidate
from queuectl.cli.app import ALIASES, command
from queuectl.cli.completion_words import Words, words_before
from queuectl.cli.session import Session
from queuectl.domain.machine import FINISHED, LIVE, State
from queuectl.errors import QueuectlError
from queuectl.render.terminal import clean, cut

__all__ = ["FILES", "print_candidates"]

FILES = ":files"
"""The answer that lets the shell complete the names of files."""
PATIENCE = 50_000
"""Microseconds to wait for a queue that is locked."""
HINT = 60
"""The greatest width of a hint, in columns of the terminal."""

JOBS_FOR: dict[str, tuple[State, ...]] = {
    **dict.fromkeys(("cancel", "wait"), LIVE),
    **dict.fromkeys(("retry", "purge"), FINISHED),
    **dict.fromkeys(("edit", "unblock"), (State.PENDING,)),
}
"""The states of jobs that a command takes, where it does not take all."""
_A_FILE = ("FILE", "DIR", "FOLDER", "PATH|URL", "COMMAND | -- PROGRAM [ARG]...")


def print_candidates(shell: str, words: Sequence[str]) -> None:
    """Print a line for each word that may stand in the place of the last one: the word, a tab, and its hint.

    For `bash` the one word is the line up to the cursor. An error prints nothing: the shell would show it.
    """
    in_bash = shell == "bash"
    with suppress(QueuectlError, OSError, ValueError):
        place = _Place(words_before("".join(words)) if in_bash else words)
        for value, hint in place.candidates():
            word = _for_bash(value, place.text) if in_bash else value
            print(f"{clean(word, newlines=False)}\t{cut(clean(hint, newlines=False), HINT)}")
    sys.stdout.flush()


def _for_bash(value: str, text: str) -> str:
    """The part of a word that bash inserts: from the last `=` on, and quoted, because bash inserts it as it is."""
    from shlex import quote

    return quote(value[text.rfind("=") + 1 :])


class _Place:
    """The place in a command line where the cursor is: the command, its option or argument, and what came before."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = Words(command(), ALIASES, words)
        self.path, self.text = self._words.path, self._words.text

    def candidates(self) -> Iterable[Candidate]:
        """The words that may stand here."""
        param = self._words.param
        if param is None:
            return self._names()
        if param.metavar in _A_FILE:
            return [Candidate(FILES)]
        found = _VALUES.get(param.name)
        return [] if found is None else found(self)

    def _names(self) -> Iterable[Candidate]:
        """The commands or options that begin with the text."""
        wanted = self._words.options if self.text.startswith("-") else self._words.commands
        return [Candidate(name, hint) for name, hint in wanted(self.text)]

    def read(self, question: Callable[..., list[Candidate]], *arguments: Any, **options: Any) -> list[Candidate]:
        """The answer of the queue that the line means; nothing when there is none."""
        given = self._words.given
        session = Session(
            given.get("db"),
            os.environ,
            sys.stdout,
            given.get("archive_dir"),
            context=given.get("context"),
        )
        if session.missing:
            return []
        with closing(session.access.peek(PATIENCE)) as store:
            return question(store, self.text, *arguments, **options)

    def chosen(self, words: Iterable[str] | Iterable[tuple[str, str]]) -> Iterable[Candidate]:
        """Those of these words that begin with the text."""
        pairs = (Candidate(each) if isinstance(each, str) else Candidate(*each) for each in words)
        return [each for each in pairs if each.value.startswith(self.text)]


def _jobs(place: _Place) -> Iterable[Candidate]:
    verb = place.path[-1] if place.path else ""
    states = (State.DLQ,) if place.path[:1] == ["dlq"] else JOBS_FOR.get(verb, ())
    return place.read(candidates.jobs, states, begun=verb == "logs")


def _states(place: _Place) -> Iterable[Candidate]:
    from queuectl.application.state_words import STATE_WORDS

    return place.chosen(STATE_WORDS)


def _settings(place: _Place) -> Iterable[Candidate]:
    from queuectl.config import SETTINGS

    return place.chosen((key, setting.help) for key, setting in SETTINGS.items())


def _formats(place: _Place) -> Iterable[Candidate]:
    from queuectl.render.formats import FORMATS

    return place.chosen(FORMATS)


def _sort_keys(place: _Place) -> Iterable[Candidate]:
    from queuectl.application.listing import SORT_KEYS

    return place.chosen([*SORT_KEYS, *(f"-{key}" for key in SORT_KEYS)])


def _pictures(place: _Place) -> Iterable[Candidate]:
    from queuectl.cli.graph import FORMS

    return place.chosen(FORMS)


def _event_types(place: _Place) -> Iterable[Candidate]:
    from queuectl.cli.events import TYPES

    return place.chosen(TYPES)


def _contexts(place: _Place) -> Iterable[Candidate]:
    from queuectl.application.contexts import read_contexts
    from queuectl.application.queue_url import QueueUrl, contexts_file

    found = read_contexts(contexts_file(os.environ))
    return place.chosen((name, QueueUrl(url).name) for name, url in found.urls.items())


_VALUES: dict[str, Callable[[_Place], Iterable[Candidate]]] = {
    **dict.fromkeys(("ids", "job_id", "job"), _jobs),
    "state": _states,
    "queue": lambda place: place.read(candidates.queues),
    "tag": lambda place: place.read(candidates.tags),
    "batch": lambda place: place.read(candidates.batches),
    "names": lambda place: place.read(candidates.workers),
    **dict.fromkeys(("schedule", "schedules"), lambda place: place.read(candidates.schedules)),
    "key": _settings,
    "output": _formats,
    "sort": _sort_keys,
    "kind": _event_types,
    **dict.fromkeys(("context", "context_name"), _contexts),
    "after": lambda place: place.read(candidates.jobs),
    "if_unmet": lambda place: place.chosen(("hold", "cancel")),
    "picture": _pictures,
    "db": lambda place: [Candidate(FILES)],
    "color": lambda place: place.chosen(("auto", "always", "never")),
    "log_level": lambda place: place.chosen(("debug", "info", "warning", "error")),
    "log_format": lambda place: place.chosen(("text", "json")),
}
"""The name of a parameter -> the candidates for its value."""
