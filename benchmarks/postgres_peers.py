"""The queues on PostgreSQL that Python programs use, and queuectl used in the same way, all with the same methods.

Each is used as its documentation says, with its default durability. The others run Python functions, so queuectl is
measured in the same way: claims and results through `application.Queue` and `claiming.Claiming`, without starting
processes.
"""

import asyncio
from types import TracebackType
from typing import Any, Protocol, Self

NOTHING, TELL = "nothing", "tell"


class Peer(Protocol):
    """A connection to one queue. All is async because theirs is."""

    def __init__(self, url: str) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None: ...
    async def install(self) -> None:
        """Make the schema."""

    async def add(self) -> None:
        """Add one job that does nothing; it is on disk on return."""

    async def add_all(self, count: int) -> None:
        """Add many at once."""

    async def add_telling(self, pipe: str) -> None:
        """Add a job that writes a byte into a named pipe."""

    async def work(self, at_once: int) -> None:
        """Take and finish jobs, up to so many at a time, until none is left."""

    async def work_for_ever(self) -> None:
        """Run what comes."""


class Queuectl:
    """Ours, without processes. `work_for_ever` is not here: an idle `queuectl run` is a command."""

    def __init__(self, url: str) -> None:
        from benchmarks import queue

        self._opening = queue.opened(url)

    async def __aenter__(self) -> Self:
        self.queue = self._opening.__enter__()
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._opening.__exit__(None, None, None)

    async def install(self) -> None:
        """Opening it has made it."""

    async def add(self) -> None:
        """See Peer."""
        await self.add_all(1)

    async def add_all(self, count: int) -> None:
        """See Peer."""
        from benchmarks import queue

        self.queue.enqueue([queue.job() for _ in range(count)])

    async def add_telling(self, pipe: str) -> None:
        """See Peer."""
        from benchmarks import queue

        self.queue.enqueue([queue.job(f"echo > {pipe}")])

    async def work(self, at_once: int) -> None:
        """See Peer. Waiting, as a worker with nothing to do does, is not part of it."""
        from queuectl.domain.commands import Exit, Report

        claims = _claims(self.queue)
        with claims.reserving() as reserve, self.queue.store.writer.transaction(durable=False):
            jobs = [claimed.job for claimed in claims.take(at_once, reserve)]
        while jobs:
            with (
                claims.reserving() as reserve,
                self.queue.store.writer.transaction(),
            ):  # one for both
                known = {job.id: job for job in jobs}
                self.queue.execute([Report(job.id, job.run, Exit()) for job in jobs], known)
                jobs = [claimed.job for claimed in claims.take(at_once, reserve)]

    async def work_for_ever(self) -> None:
        """See Peer."""
        raise NotImplementedError("start `queuectl run`")


def _claims(queue: Any) -> Any:
    """A worker's way to jobs, with locks that are always free."""
    from benchmarks.queue import claimant
    from queuectl.runtime import SystemClock
    from queuectl.worker.claims import Claims

    return Claims(queue, _NoLocks(), SystemClock(), claimant(), ())


class _NoLocks:
    def reserve(self, job: object) -> bool:
        return True

    def unreserve(self, job_id: str) -> None:
        """Nothing was taken."""


class Procrastinate:
    """Workers as `procrastinate worker` starts them: one job at a time, LISTEN and a poll."""

    def __init__(self, url: str) -> None:
        from procrastinate import App, PsycopgConnector

        self.app = App(connector=PsycopgConnector(conninfo=url, min_size=1))
        self._nothing = self.app.task(name=NOTHING)(_nothing)
        self._tell = self.app.task(name=TELL)(_tell)

    async def __aenter__(self) -> Self:
        await self.app.open_async()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.app.close_async()

    async def install(self) -> None:
        """See Peer."""
        await self.app.schema_manager.apply_schema_async()

    async def add(self) -> None:
        """See Peer."""
        await self._nothing.defer_async()

    async def add_all(self, count: int) -> None:
        """See Peer."""
        await self._nothing.batch_defer_async(*[{}] * count)

    async def add_telling(self, pipe: str) -> None:
        """See Peer."""
        await self._tell.defer_async(pipe=pipe)

    async def work(self, at_once: int) -> None:
        """See Peer. It takes one at a time, `at_once` runs them side by side."""
        await self.app.run_worker_async(concurrency=at_once, wait=False, install_signal_handlers=False)

    async def work_for_ever(self) -> None:
        """See Peer."""
        await self.app.run_worker_async()


class Pgqueuer:
    """On asyncpg, its first choice; it takes `batch_size` jobs at once, ten by default."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        import asyncpg
        from pgqueuer import PgQueuer, Queries

        self._connection = await asyncpg.connect(self._url)
        self.queries = Queries.from_asyncpg_connection(self._connection)
        self.worker = PgQueuer.from_asyncpg_connection(self._connection)
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._connection.close()

    async def install(self) -> None:
        """See Peer."""
        await self.queries.install()

    async def add(self) -> None:
        """See Peer."""
        await self.queries.enqueue(NOTHING, None)

    async def add_all(self, count: int) -> None:
        """See Peer."""
        await self.queries.enqueue([NOTHING] * count, [None] * count, [0] * count)

    async def add_telling(self, pipe: str) -> None:
        """See Peer."""
        await self.queries.enqueue(TELL, pipe.encode())

    def _register(self) -> None:
        self.worker.entrypoint(NOTHING)(_nothing)
        self.worker.entrypoint(TELL)(_tell_of)

    async def work(self, at_once: int) -> None:
        """See Peer."""
        from pgqueuer.types import QueueExecutionMode

        self._register()
        await self.worker.run(batch_size=at_once, mode=QueueExecutionMode.drain)

    async def work_for_ever(self) -> None:
        """See Peer."""
        self._register()
        await self.worker.run()


async def _nothing(*_: Any) -> None:
    """The job."""


async def _tell(pipe: str) -> None:
    await asyncio.to_thread(_write, pipe)


async def _tell_of(job: Any) -> None:
    await _tell(job.payload.decode())


def _write(pipe: str) -> None:
    with open(pipe, "wb", buffering=0) as file:
        file.write(b"\n")


PEERS: dict[str, type[Peer]] = {"queuectl": Queuectl, "procrastinate": Procrastinate, "pgqueuer": Pgqueuer}
