"""The states of a job and the moves between them. Of the other files only the audit has such a table, its own.

`Move` rows are data. `target` asks a `transitions` machine built from them whether a trigger is legal from a state.
`evolve` reads a move's target from the row without asking, because an event has already happened.
"""

from enum import StrEnum
from functools import cache
from typing import Any

from msgspec import Struct

__all__ = ["ALIASES", "FINISHED", "LIVE", "MOVES", "Move", "State", "allowed", "moved_to", "target"]


class State(StrEnum):
    """The state of a job."""

    PENDING = "pending"
    PROCESSING = "processing"
    DONE = "done"
    DLQ = "dlq"
    CANCELLED = "cancelled"
    PURGED = "purged"


class Move(Struct, frozen=True):
    """One trigger: from which states, to which state, recorded as which event."""

    trigger: str
    sources: tuple[State, ...]
    target: State
    event: str


LIVE = (State.PENDING, State.PROCESSING)
FINISHED = (State.DLQ, State.DONE, State.CANCELLED)
ALIASES = {
    "completed": State.DONE,
    "success": State.DONE,
    "dead": State.DLQ,
    "running": State.PROCESSING,
    "queued": State.PENDING,
}
"""Other names of states, as people type them."""

MOVES = (
    Move("claim", (State.PENDING,), State.PROCESSING, "claimed"),
    Move("complete", (State.PROCESSING,), State.DONE, "completed"),
    Move("retry", (State.PROCESSING,), State.PENDING, "retry_scheduled"),
    Move("bury", (State.PROCESSING,), State.DLQ, "dead_lettered"),
    Move("release", (State.PROCESSING,), State.PENDING, "released"),
    Move("cancel", LIVE, State.CANCELLED, "cancelled"),
    Move("requeue", (*FINISHED, State.PURGED), State.PENDING, "requeued"),
    Move("purge", FINISHED, State.PURGED, "purged"),
)

_BY_EVENT = {move.event: move for move in MOVES}


@cache
def build() -> Any:
    """The `transitions` machine of the moves, without a model.

    `auto_transitions` is off: with the default, `to_done()` would take a pending job straight to done.
    """
    from transitions import Machine

    machine = Machine(
        model=None, states=[state.value for state in State], initial=State.PENDING.value, auto_transitions=False
    )
    for move in MOVES:
        machine.add_transition(move.trigger, [source.value for source in move.sources], move.target.value)
    return machine


class _Probe:
    """A model that carries one state through the machine."""

    state: str


@cache
def target(state: State, trigger: str) -> State | None:
    """The state that `trigger` leads to from `state`; None when the machine refuses."""
    from transitions import MachineError

    machine, probe = build(), _Probe()
    machine.add_model(probe, initial=state.value)
    try:
        probe.trigger(trigger)  # type: ignore[attr-defined]
    except MachineError:
        return None
    finally:
        machine.remove_model(probe)
    return State(probe.state)


@cache
def allowed(state: State) -> tuple[str, ...]:
    """The triggers that are legal from `state`, in the table's order."""
    return tuple(move.trigger for move in MOVES if target(state, move.trigger) is not None)


def moved_to(event_type: str) -> State:
    """The state that a job is in after a move event of this type."""
    return _BY_EVENT[event_type].target
