"""The wait before a retry: `min(base ** attempts, cap)`, or a fixed one, times a random factor (jitter) if any."""

from math import inf

from queuectl.domain.events import Enqueued
from queuectl.durations import SECOND, format_duration

__all__ = ["explain", "plain", "wait"]


def wait(spec: Enqueued, attempts: int, jitter: float | None = None) -> int:
    """Microseconds to wait after `attempts` finished attempts; `jitter` in [0, 1) scales the wait (full jitter)."""
    full = spec.retry_wait
    if full is None:
        full = round(min(_power(spec, attempts) * SECOND, spec.backoff_cap))
    return full if jitter is None else round(full * jitter)


def explain(spec: Enqueued, attempts: int, jitter: float | None = None) -> str:
    """The calculation as text, such as `2^2 s = 4s`, with the cap and the jitter where they apply."""
    if spec.retry_wait is not None:
        text = format_duration(spec.retry_wait)
    else:
        text = f"{plain(spec.backoff_base)}^{attempts} s"
        if _power(spec, attempts) * SECOND > spec.backoff_cap:
            text = f"min({text}, {format_duration(spec.backoff_cap)})"
    if jitter is not None:
        text = f"{jitter:.3f} × {text}"
    result = format_duration(wait(spec, attempts, jitter))
    return text if text == result else f"{text} = {result}"


def _power(spec: Enqueued, attempts: int) -> float:
    """`base ** attempts` in seconds; infinite where a float overflows, so that the cap decides."""
    try:
        return float(spec.backoff_base) ** attempts
    except OverflowError:
        return inf


def plain(number: float) -> str:
    """A number as people write it, with all its digits: `2`, not `2.0`; `1209600`, not `1.2096e+06`."""
    text = repr(number)
    return f"{number:.6f}".rstrip("0").rstrip(".") if "e" in text else text.removesuffix(".0")
