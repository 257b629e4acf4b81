"""queuectl: a background job queue for the command line whose event log is the source of truth."""

__version__ = "0.1.0"
