"""Charts as SVG, drawn here and not in the browser: bars by minute, the attempts of a job, and workers over time.

No chart depends on colour alone: failures are below the line, retries are hatched, and each mark has a text. The page
has a table with the same numbers for each chart.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from queuectl.application.activity import Minute, Span
from queuectl.application.runs import COMPLETED, RETRIED
from queuectl.domain.machine import State
from queuectl.render.terminal import clean
from queuectl.units import HOUR, SECOND, local_time, rounded_duration

__all__ = ["HOUR", "RUNNING", "Attempt", "Dot", "attempts_chart", "gantt", "minutes_chart", "sparkline", "strip"]

WIDTH, NARROW = 960, 600
"""The width, in units of the drawing, of the charts of a page and of the one in a job's panel."""
RUNNING = "running"
PATTERN = (
    '<defs><pattern id="hatch" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="4" height="4" class="bar-retried-back"/><rect width="2" height="4" class="bar-retried"/>'
    "</pattern></defs>"
)


class Attempt(NamedTuple):
    """One run of a job: when the job was due, when it was claimed, when it ended (microseconds; None: it runs)."""

    run: int
    due_at: int
    began_at: int
    ended_at: int | None
    outcome: str
    worker: str


def minutes_chart(minutes: Sequence[Minute], link: Callable[[Minute], str]) -> Markup:
    """Done upwards, retried on top of it, failed downwards, a bar a minute, or another equal part of the time.

    `link`: the URL to which a bar leads.
    """
    part = minutes[1].start - minutes[0].start
    digits = slice(11, 16 if part >= 60 * SECOND else 19)
    totals = [_totals(minute) for minute in minutes]
    up = max([done + retried for done, _, retried in totals] + [1])
    down = max([failed for _, failed, _ in totals] + [0])
    top, bottom = 84, 24 if down else 2
    width = WIDTH / len(minutes)
    parts = [PATTERN]
    for place, (minute, (done, failed, retried)) in enumerate(zip(minutes, totals, strict=True)):
        x = place * width
        said = f"{local_time(minute.start)[digits]}: {done} done, {failed} failed, {retried} retried"
        height, more = done / up * (top - 8), retried / up * (top - 8)
        bars = _bar(Box(x, top - height, width, height), "bar-done") + _bar(
            Box(x, top - height - more, width, more), "hatch"
        )
        bars += _bar(Box(x, top + 1, width, failed / max(down, 1) * (bottom - 2)), "bar-failed")
        hit = f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="{top + bottom}" class="hit"/>'
        parts.append(
            f'<a href="{escape(link(minute))}" aria-label="{escape(said)}"><title>{escape(said)}</title>{hit}{bars}</a>'
        )
    parts.append(f'<line x1="0" x2="{WIDTH}" y1="{top}" y2="{top}" class="axis"/>')
    ticks = [local_time(minutes[place].start)[digits] for place in (*range(0, len(minutes), 10), -1)]
    below = "".join(f"<span>{escape(tick)}</span>" for tick in ticks)
    above = f'<p class="most">most: {up} {"a minute" if part == 60 * SECOND else "a bar"}</p>'
    drawing = _svg(top + bottom, "Ended runs by time", parts, stretched=True)
    return Markup(above) + drawing + Markup(f'<p class="ticks" aria-hidden="true">{below}</p>')


def _totals(minute: Minute) -> tuple[int, int, int]:
    queues = list(minute.queues.values())
    return sum(q.done for q in queues), sum(q.failed for q in queues), sum(q.retried for q in queues)


def attempts_chart(attempts: Sequence[Attempt], now: int) -> Markup:
    """A line for each attempt: its wait (thin), then its run (thick)."""
    first = min(attempt.due_at for attempt in attempts)
    last = max([attempt.ended_at or now for attempt in attempts] + [first + SECOND])
    scale = (NARROW - 60) / (last - first)
    parts = [PATTERN]
    for row, attempt in enumerate(attempts):
        y, ended = 6 + row * 22, attempt.ended_at or now
        begin, end = 50 + (attempt.began_at - first) * scale, 50 + (ended - first) * scale
        due = 50 + (attempt.due_at - first) * scale
        kind = _kind(attempt.outcome)
        said = f"run {attempt.run}: {attempt.outcome}, by {clean(attempt.worker, newlines=False)}"
        bars = _bar(Box(due, y + 6, max(begin - due, 0), 2), "bar-waited", gap=0)
        bars += _bar(Box(begin, y, max(end - begin, 2), 14), kind, gap=0)
        parts.append(f"<g><title>{escape(said)}</title>{_label(0, y + 11, f'run {attempt.run}')}{bars}</g>")
    return _svg(len(attempts) * 22 + 8, "The attempts: waited, then ran", parts, NARROW)


def gantt(spans: Iterable[Span], workers: Sequence[str], start: int, end: int) -> Markup:
    """A line for each worker, with the runs between two moments."""
    scale = (WIDTH - 150) / (end - start)
    parts = [PATTERN]
    for span in spans:
        if span.worker in workers and span.end > start:
            x, y = 140 + max(0, span.start - start) * scale, 4 + workers.index(span.worker) * 22
            length = max(1.5, (span.end - max(start, span.start)) * scale)
            said = f"{span.job_id}: {span.type}, {rounded_duration(span.end - span.start)}"
            bar = _bar(Box(x, y, length, 14), _kind(span.type), gap=0)
            parts.append(f'<a href="/jobs/{escape(span.job_id)}"><title>{escape(said)}</title>{bar}</a>')
    for row, worker in enumerate(workers):
        parts.append(_label(0, 15 + row * 22, clean(worker, newlines=False)[:18]))
    height = len(workers) * 22 + 4
    for step in range(5):
        moment = start + (end - start) * step // 4
        anchor = "end" if step == 4 else "middle" if step else "start"
        parts.append(_label(140 + (moment - start) * scale, height + 12, local_time(moment)[11:16], anchor))
    return _svg(height + 18, "Runs by worker", parts)


class Dot(NamedTuple):
    """A slot of a schedule: when (microseconds), the kind of its shape, its text, and its job."""

    at: int
    kind: str
    said: str
    job_id: str = ""


SHAPES: dict[str, str] = {
    State.DONE: '<circle cx="{x:.1f}" cy="12" r="5" class="bar-done"/>',
    "failed": '<path d="M{x:.1f} 6l6 6l-6 6l-6 -6z" class="bar-failed"/>',
    "skipped": '<circle cx="{x:.1f}" cy="12" r="4.5" class="hollow"/>',
    "next": '<rect x="{x:.1f}" y="6" width="2" height="12" class="bar-waited"/>',
    "other": '<circle cx="{x:.1f}" cy="12" r="5" class="bar-running"/>',
}


def strip(dots: Iterable[Dot], start: int, end: int, now: int) -> Markup:
    """The slots of a schedule around now, each with its own shape."""
    scale = WIDTH / (end - start)
    parts = [f'<line x1="0" x2="{WIDTH}" y1="12" y2="12" class="axis"/>']
    parts.append(f'<rect x="{(now - start) * scale:.1f}" y="0" width="1.5" height="24" class="now"/>')
    for dot in dots:
        if start <= dot.at <= end:
            shape = SHAPES[dot.kind].format(x=(dot.at - start) * scale)
            said = f"{local_time(dot.at)[11:16]} {clean(dot.said, newlines=False)}"
            inner = f"<title>{escape(said)}</title>{shape}"
            parts.append(f'<a href="/jobs/{escape(dot.job_id)}">{inner}</a>' if dot.job_id else f"<g>{inner}</g>")
    for step in range(5):
        moment, anchor = start + (end - start) * step // 4, "end" if step == 4 else "middle" if step else "start"
        parts.append(_label((moment - start) * scale, 36, local_time(moment)[11:16], anchor))
    return _svg(40, "Slots of 18 hours back and 6 hours ahead", parts)


def sparkline(counts: Sequence[int]) -> Markup:
    """Small bars, one an hour."""
    most = max([*counts, 1])
    parts = [
        _bar(Box(place * 10, 24 - 22 * count / most, 10, 22 * count / most), "bar-failed")
        for place, count in enumerate(counts)
    ]
    parts.append('<line x1="0" x2="120" y1="24" y2="24" class="axis"/>')
    said = f"by hour, the last one last: {', '.join(map(str, counts))}"
    begin = f'<svg viewBox="0 0 120 26" class="spark" role="img" aria-label="{said}">'
    return Markup("".join(_joined(begin, parts)))


def _kind(outcome: str) -> str:
    if outcome == COMPLETED:
        return "bar-done"
    if outcome == RUNNING:
        return "bar-running"
    return "hatch" if outcome == RETRIED else "bar-failed"


class Box(NamedTuple):
    """A rectangle, in units of the drawing."""

    x: float
    y: float
    width: float
    height: float


def _bar(box: Box, kind: str, gap: float = 1.5) -> str:
    x, y, width, height = box
    if height <= 0 or width <= 0:
        return ""
    style = 'fill="url(#hatch)"' if kind == "hatch" else f'class="{kind}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.5, width - gap):.1f}" height="{max(height, 1):.1f}" {style}/>'


def _label(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, title: str, parts: Iterable[str], width: int = WIDTH, *, stretched: bool = False) -> Markup:
    shape = 'class="chart stretched" preserveAspectRatio="none"' if stretched else 'class="chart"'
    begin = f'<svg viewBox="0 0 {width} {height:.0f}" role="group" aria-label="{escape(title)}" {shape}>'
    return Markup("".join(_joined(begin, parts)))  # every text in it is escaped above


def _joined(begin: str, parts: Iterable[str]) -> Iterator[str]:
    yield begin
    yield from parts
    yield "</svg>"
