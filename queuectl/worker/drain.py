"""When a worker that drains its queues is done, and what it waits for meanwhile."""

from msgspec import Struct

from queuectl.application.queue import Queue
from queuectl.errors import command_line
from queuectl.worker.log import log
from queuectl.worker.options import WorkerOptions

__all__ = ["Drain"]


class Drain(Struct):
    """The end of one worker with `--drain`. Ask it when the worker has found no job that is due."""

    queue: Queue
    options: WorkerOptions
    _said: bool = False

    def is_over(self) -> bool:
        """Whether nothing is left that can run. If something is, the log says once what another worker has to run."""
        if not self.queue.unfinished(self.options.queues, self.options.inside):
            return True
        if not self._said:
            self._said = True
            self._say()
        return False

    def _say(self) -> None:
        if not self.options.queues:
            return
        from queuectl.application.waiting import waits_elsewhere

        if (found := waits_elsewhere(self.queue.store, self.options.queues)) is None:
            return
        job, cause, queue = found
        if self.queue.unserved([queue]):
            remedy = command_line("run", "--queue", queue)
            log.warning("job %s waits for %s in queue %s, which no worker serves: %s", job, cause, queue, remedy)
        else:
            log.info("job %s waits for %s in queue %s, which other workers serve", job, cause, queue)
