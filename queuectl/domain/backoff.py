"""The wait before a retry: `min(base ** attempts, cap)`, or a fixed one, times a random factor (jitter) if any."""

from math import inf

from queuectl.domain.events import Enqueued

__all__ = ["explain", "plain", "wait"]

SECOND = 1_000_000  # not from `units`, which reads time zones: the domain is pure


def wait(spec: Enqueued, attempts: int, jitter: float | None = None) -> int:
    """Microseconds to wait after `attempts` finished attempts; `jitter` in [0, 1) scales the wait (full jitter)."""
    full = spec.retry_wait
    if full is None:
        full = round(min(_power(spec, attempts) * SECOND, spec.backoff_cap))
    return full if jitter is None else round(full * jitter)


def explain(spec: Enqueued, attempts: int, jitter: float | None = None) -> str:
    """The calculation as text, such as `2^2 = 4 s`, with the cap and the jitter where they apply."""
    if spec.retry_wait is not None:
        return _explain_fixed(spec.retry_wait, jitter)
    text = f"{plain(spec.backoff_base)}^{attempts}"
    if _power(spec, attempts) * SECOND > spec.backoff_cap:
        text = f"min({text}, {plain(spec.backoff_cap / SECOND)})"
    if jitter is not None:
        text = f"{jitter:.3f} × {text}"
    return f"{text} = {plain(wait(spec, attempts, jitter) / SECOND)} s"


def _explain_fixed(full: int, jitter: float | None) -> str:
    text = plain(full / SECOND)
    return f"{text} s" if jitter is None else f"{jitter:.3f} × {text} = {plain(round(full * jitter) / SECOND)} s"


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
