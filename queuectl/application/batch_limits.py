"""The limit of failures of a batch as people give it, and how many jobs such a batch may have."""

from queuectl.application.job_fields import shown
from queuectl.domain.machine import State
from queuectl.domain.reactions import MOST_WAITING
from queuectl.errors import RefusedError, UsageError
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter

__all__ = ["check_limit", "check_pending"]

MOST = 1_000_000


def check_limit(given: int, name: str = "--max-failures") -> int:
    """The limit, if it is one. Raises UsageError, with its name."""
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= MOST:
        raise UsageError(f"{name} takes a number from 1 to {MOST}, not {shown(given)}")
    return given


def check_pending(store: Store, batch: str, new: int, limit: int | None) -> None:
    """Raises RefusedError when too many would be pending with `new` jobs: all are cancelled in one transaction."""
    if limit is None:
        return
    wanted = JobFilter(batch=batch, states=(State.PENDING,), limit=MOST_WAITING)
    if new > MOST_WAITING or new + len(store.tables.ids(wanted)) > MOST_WAITING:
        raise RefusedError(f"a batch with --max-failures can have {MOST_WAITING} pending jobs at most: make several")
