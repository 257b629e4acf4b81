"""The archive, restoring on open, recovery, and the log in and out of a queue."""
