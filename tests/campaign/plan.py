"""A campaign: the work of one seed, the number of tries, and the controls."""

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from msgspec import Struct

__all__ = ["NAMES", "Attempt", "Campaign", "Control", "campaign", "fault"]

NAMES = (
    "power-loss",
    "corruption",
    "full-disk",
    "kill",
    "kill-append",
    "exclusivity",
    "simulation",
    "schedules",
    "dependencies",
    "stateful",
    "mutation",
    "fuzz-frames",
    "fuzz-inputs",
    "fuzz-terminal",
    "fuzz-cli",
)


class Attempt(Struct):
    """The result of one seed: the number of tries, the faults, and what else was counted and met.

    A fault begins with its kind and a colon, and is worded the same for every seed, so that they can be counted.
    """

    tries: int
    faults: Sequence[str] = ()
    counted: Mapping[str, int] = {}
    met: Mapping[str, int] = {}


def fault(kind: str, what: object) -> str:
    """A fault of this kind, with `N` for every number."""
    return f"{kind}: {re.sub('[0-9]+', 'N', str(what))}"


class Control(Struct, frozen=True):
    """A build, or a setting, with a defect that the campaign has to notice within `seeds` seeds."""

    what: str
    attempt: Callable[[int], Attempt]
    seeds: int = 20


class Campaign(Struct, frozen=True):
    """One kind of fault. `attempt` takes a seed and does the same each time for it.

    `unit` is what is tried (in the plural), `short` how many tries CI makes, `full` how many a release is to have had;
    `all_seeds` how many seeds there are when they can be exhausted: then 0 to that number are all there is to try.
    A run of `met_within` tries that has not met everything that is `to_meet` has a fault. `brief` is a smaller attempt,
    of which the default tier makes one; None: that is a whole one.
    """

    name: str
    unit: str
    short: int
    full: int
    attempt: Callable[[int], Attempt]
    controls: Sequence[Control] = ()
    all_seeds: Callable[[], int] | None = None
    to_meet: Sequence[str] = ()
    met_within: int = 0
    brief: Callable[[int], Attempt] | None = None


def campaign(name: str) -> Campaign:
    """The campaign of that name: `CAMPAIGN` in the module that is called so."""
    found: Campaign = import_module(f"tests.campaign.{name.replace('-', '_')}").CAMPAIGN
    return found
