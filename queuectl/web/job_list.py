"""The data of the list of jobs, with its filter in words."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application import candidates
from queuectl.application.ended_jobs import EndedRuns, Span, ended_runs, span_of
from queuectl.application.failures import check_signature
from queuectl.application.job_page import job_page
from queuectl.application.listing import Selection, job_filter, known_number
from queuectl.application.queue import Queue
from queuectl.application.runs import COMPLETED, DEAD, RETRIED
from queuectl.domain.machine import State
from queuectl.errors import UsageError, command_line
from queuectl.units import format_time, parse_time

__all__ = ["JobWords", "jobs_view"]

SHOWN = 50
MOST_EVENTS = 20_000
"""Events of a busy time that a page reads; the last ones."""
WORDS = ("state", "queue", "tag", "batch", "since", "ended", "sig")


class JobWords(Struct, frozen=True):
    """A filter in words. `wanted` is its filter of the tables, without the word `ended`; `span` is the time of that."""

    words: Mapping[str, Sequence[str]]
    wanted: Any
    span: Span | None = None

    @classmethod
    def of(cls, text: str, now: int) -> "JobWords":
        """The filter that is written as `state:dlq queue:gpu tag:team=ci since:-2h text`. Raises UsageError."""
        found: dict[str, list[str]] = {name: [] for name in (*WORDS, "text")}
        for word in _divided(text):
            name, separator, value = word.partition(":")
            if separator and name in WORDS:
                found[name].append(value)
            else:
                found["text"].append(word)
        span = span_of(found["ended"][-1], now) if found["ended"] else None
        return cls(found, _wanted(found, now), span)

    def ended(self, queue: Queue) -> EndedRuns | None:
        """The runs that a page shows of the time that the filter names; None when it names none."""
        return None if self.span is None else ended_runs(queue.store, self.span, MOST_EVENTS)

    def resolved(self, queue: Queue) -> Any:
        """The whole filter of the tables, with every job whose runs ended then."""
        return self.wanted if self.span is None else ended_runs(queue.store, self.span).narrowed(self.wanted)


def _divided(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _wanted(found: Mapping[str, Sequence[str]], now: int) -> Any:
    for tag in found["tag"]:
        if "=" not in tag:
            raise UsageError(f"tag:{tag}: write it as tag:NAME=VALUE")
    since = None
    for text in found["since"]:
        try:
            since = parse_time(text, now)
        except ValueError as error:
            raise UsageError(f"since: {error}") from None
    tags = dict(tag.split("=", 1) for tag in found["tag"])
    batch = found["batch"][-1] if found["batch"] else None
    wanted = job_filter(Selection(tuple(found["state"]), tuple(found["queue"]), tags, since, batch), "-created")
    if found["sig"]:
        wanted = replace(wanted, states=(State.DLQ,), signature=check_signature(found["sig"][-1]))
    return replace(wanted, text=" ".join(found["text"]))


def jobs_view(queue: Queue, text: str, before: int | None, past: int | None = None) -> dict[str, Any]:
    """The data of the list of jobs. Raises UsageError."""
    now = queue.store.log.wall()
    chosen = JobWords.of(text, now)
    ended = chosen.ended(queue)
    wanted = chosen.wanted if ended is None else ended.narrowed(chosen.wanted)
    found = job_page(queue, wanted, SHOWN, before)
    return {
        "rows": found.rows,
        "ended": None if ended is None or chosen.span is None else _time_of_ends(ended, chosen.span, now),
        "ends": {} if ended is None else ended.by_job,
        "before": found.before,
        "unfinished": found.unfinished,
        "q": text,
        "more_hints": _more_hints(queue) if past is None else [],
        "command": _list_command(chosen.words, past),
        "total": known_number(queue.store, wanted),
    }


def _more_hints(queue: Queue) -> list[str]:
    """Further words: tags of the newest jobs, batches, and times."""
    tags, names = candidates.tags(queue.store, ""), candidates.batches(queue.store, "")
    found = [*(f"tag:{each.value}" for each in tags), *(f"batch:{each.value}" for each in names)]
    return [*map(shlex.quote, found), "since:-2h", "ended:-10m.."]


def _time_of_ends(ended: EndedRuns, span: Span, now: int) -> dict[str, Any]:
    """The time that the filter names: its ends, the counts, and links to the jobs that still ran when it was over."""
    at = {"as_of": format_time(span[1])} if span[1] <= now else {}
    return {
        "span": span,
        "counts": [(each, ended.count(each)) for each in (COMPLETED, DEAD, RETRIED)],
        "is_whole": ended.is_whole,
        "still_ran": f"/jobs?{urlencode({'q': 'state:processing', **at})}",
        "queue_then": f"/?{urlencode(at)}",
    }


def _list_command(words: Mapping[str, Sequence[str]], past: int | None) -> str:
    """The command line that lists the same jobs. It has no search for a text."""
    options = [part for name in WORDS for value in words[name] for part in (f"--{name}", value)]
    return command_line("list", *options, *([] if past is None else ["--as-of", str(past)]))
