"""The rules that the audit checks, and its own table of moves and of notes."""

from queuectl.domain import events as e

__all__ = ["LIVE", "MOVES", "NOTES", "RULES"]

RULES = {
    "order": "positions and versions have no gaps, times never go back",
    "stream": "each event is in the right stream",
    "move": "each move was legal for the state that the job was in",
    "claim": "no job was claimed while another run of it was open",
    "run": "runs count 1, 2, 3 …, and a result is that of the open run",
    "due": "no job was claimed before its delay, its time or its wait was over",
    "after": "no job was claimed before its dependencies were met, and each was met when the log says so",
    "pause": "no job was claimed from a paused queue",
    "served": "each worker claimed only from the queues that it was started for",
    "attempts": "each job ran at most as often as allowed, and moved to the DLQ only after its last attempt",
    "backoff": "each wait was as the job's settings say: base, cap, jitter in [0, 1), none after a lost worker",
    "timeout": "each run that timed out had a timeout, and lasted that long",
    "loss": "each lost run names the worker that had claimed it",
    "left": "background processes were counted only at the end of a run that its own worker saw",
    "cancel": "a running job was cancelled only when asked, and then got no further attempt",
    "edit": "a job was changed only while it was pending, or when it was requeued with that",
    "place": "a job that was given back before it started kept its place in line",
    "unique": "no two live jobs had the same unique key",
    "limit": "a batch with more failures than allowed had its pending jobs cancelled at once",
    "slot": "each slot of a schedule made one job or was skipped with a reason, in order and without a gap",
}
"""Each rule, as a sentence that is true when there is no finding."""

LIVE = ("pending", "processing")
ENDED = ("done", "dlq", "cancelled")
MOVES: dict[type[e.Event], tuple[tuple[str, ...], str]] = {
    e.Enqueued: (("",), "pending"),
    e.Claimed: (("pending",), "processing"),
    e.Completed: (("processing",), "done"),
    e.RetryScheduled: (("processing",), "pending"),
    e.DeadLettered: (("processing",), "dlq"),
    e.Released: (("processing",), "pending"),
    e.Cancelled: (LIVE, "cancelled"),
    e.Requeued: ((*ENDED, "purged"), "pending"),
    e.Purged: (ENDED, "purged"),
}
"""Each event that moves a job: the states that it may leave, and the one that it leads to."""
NOTES = {
    "$settings": (e.SettingChanged,),
    "$queue": (e.QueuePaused, e.QueueResumed),
    "$worker": (e.WorkerStarted, e.WorkerStopped, e.WorkerLost),
    "$batch": (e.BatchOpened,),
    "$schedule": (
        *(e.ScheduleSet, e.SchedulePaused, e.ScheduleResumed, e.ScheduleRemoved),
        *(e.ScheduleFired, e.ScheduleSkipped),
    ),
}
"""The notes of each family of streams."""
