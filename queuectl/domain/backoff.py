"""The wait before a retry: `min(base ** attempts, cap)`, and jitter as a given random factor."""

from math import inf

from queuectl.domain.events import Enqueued

SECOND = 1_000_000


def wait(spec: Enqueued, attempts: int, jitter: float | None = None) -> int:
    """Microseconds to wait after `attempts` finished attempts; `jitter` in [0, 1) scales it (full jitter)."""
    full = round(min(_power(spec, attempts) * SECOND, spec.backoff_cap))
    return full if jitter is None else round(full * jitter)


def explain(spec: Enqueued, attempts: int, jitter: float | None = None) -> str:
    """The arithmetic as a person checks it: `2^2 = 4 s`, with the cap and the jitter where they bite."""
    text = f"{spec.backoff_base:g}^{attempts}"
    if _power(spec, attempts) * SECOND > spec.backoff_cap:
        text = f"min({text}, {_seconds(spec.backoff_cap)})"
    if jitter is not None:
        text = f"{jitter:.3f} × {text}"
    return f"{text} = {_seconds(wait(spec, attempts, jitter))} s"


def _power(spec: Enqueued, attempts: int) -> float:
    """`base ** attempts` in seconds; infinite where a float overflows, so that the cap decides."""
    try:
        return float(spec.backoff_base) ** attempts
    except OverflowError:
        return inf


def _seconds(microseconds: int) -> str:
    return f"{microseconds / SECOND:.6f}".rstrip("0").rstrip(".")
