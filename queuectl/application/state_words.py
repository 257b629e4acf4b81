"""The words that select jobs by their state, such as `dead` and `retrying`, and the filter that they mean."""

from collections.abc import Mapping, Sequence

from queuectl.application.overview import SHOWN_STATES
from queuectl.domain.machine import ALIASES, State
from queuectl.errors import UsageError
from queuectl.store.rows import JobFilter
from queuectl.units import quoted

__all__ = ["STATE_WORDS", "state_filter"]

_FAILED, _RETRYING, _HELD = "failed", "retrying", "held"
"""More words to filter by: the last attempt failed; it failed and a retry follows; a dependency cannot be met.

`failed` includes dead jobs."""


def _meanings(among: Sequence[State]) -> Mapping[str, State | None]:
    """The words for jobs in these states -> the state, None for a part of the pending jobs."""
    dead = {_FAILED: State.DLQ if State.DLQ in among else None}
    pending = dict.fromkeys((_RETRYING, _HELD) if State.PENDING in among else ())
    others = {name: state for name, state in ALIASES.items() if state in among}
    return {**{state.value: state for state in among}, **dead, **pending, **others}


STATE_WORDS = tuple(_meanings(SHOWN_STATES))
"""Everything that `--state` takes."""


def state_filter(texts: Sequence[str], among: Sequence[State] = SHOWN_STATES, why: str = "") -> JobFilter:
    """The filter for jobs by words for states, all of which are `among` these. Raises UsageError.

    `why` begins its sentence on the states that are possible where others are not.
    """
    words, meanings = [text.lower() for text in texts], _meanings(among)
    for word in words:
        if word not in meanings:
            refusal = f"--state {word} is not possible here: {why}" if why else f"{quoted(word)} is not a state: use"
            hint = " (give --state once for each state)" if "," in word else ""
            raise UsageError(f"{refusal} {', '.join(meanings)}{hint}")
    states = [state for state in map(meanings.__getitem__, words) if state is not None]
    failed = State.PENDING in among and (_FAILED in words or _RETRYING in words)
    return JobFilter(states=tuple(states), failed=failed, held=_HELD in words)
