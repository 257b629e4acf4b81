"""One run of a job, as the worker that started it sees it."""

from msgspec import Struct

from queuectl.process.output_files import Capture

__all__ = ["Run"]


class Run(Struct, eq=False):
    """A running command, or processes that it left behind; `lock` is taken again for those. Moments are monotonic.

    `slot` is its place in the worker, from 0 on.
    """

    job_id: str
    number: int
    position: int
    token: bytes
    capture: Capture
    slot: int
    pid: int = 0
    started: int = 0
    ended: int = 0
    lock: int | None = None
