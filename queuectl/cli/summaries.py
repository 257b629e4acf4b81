"""A line about each command, for lists of all commands: the commands' modules need not be loaded for them.

A test holds them equal to the first sentences of the commands' own helps.
"""

__all__ = ["SUMMARIES"]

SUMMARIES = {
    "enqueue": "Add a job and print its id.",
    "status": "Show what is queued, what runs, what is next, and the workers.",
    "list": "List jobs: running, next, waiting and ended ones.",
    "batches": "List the batches, with the counts of their jobs.",
    "show": "Show jobs: all fields of each, and its output last.",
    "logs": "Print the output of jobs: stdout on stdout, stderr on stderr.",
    "wait": "Wait until the jobs have ended.",
    "edit": "Change pending jobs: all or none.",
    "copy": "Add a new job like another one, which may run, and print its id.",
    "cancel": "Cancel jobs.",
    "retry": "Run finished, cancelled or purged jobs again.",
    "purge": "Delete finished jobs from the tables, and their output files.",
    "unblock": "Start jobs that wait for other jobs, without waiting.",
    "dlq": "Show, retry or purge dead jobs: those with no retries left.",
    "failures": "Group the dead jobs by what went wrong, the most frequent first.",
    "run": "Run jobs until stopped.",
    "worker": "Start, stop and list workers.",
    "pause": "Start no more jobs from QUEUE (without QUEUE: from any queue).",
    "resume": "Start jobs again.",
    "schedule": "Recurring jobs: add schedules, look at them, change them.",
    "history": "Show every event of a job: when, who, what and why.",
    "explain": "Explain why a job is in its state, and what you can do.",
    "graph": "Draw which jobs wait for which.",
    "events": "Print the event log.",
    "diff": "Show what changed between two moments: jobs, pauses, settings.",
    "serve": "Show the queue in a browser, and serve its HTTP interface.",
    "metrics": "Print metrics for Prometheus.",
    "verify": "Check events, tables and archive, while workers run.",
    "audit": "Check that the queue followed its own rules.",
    "rebuild": "Recompute the job tables from the log and fix differences.",
    "recover": "Rebuild a damaged or deleted database from its archive.",
    "export": "Write the whole log to a file as NDJSON with digests.",
    "import": "Load an exported log into an empty queue.",
    "backup": "Copy the queue to a new file and verify the copy.",
    "head": "Print the position and digest of the last event on disk.",
    "migrate": "Copy the queue's log to another store.",
    "config": "Show and change the settings.",
    "context": "Names for queues, and the one to use.",
    "doctor": "Check this installation and queue.",
}
