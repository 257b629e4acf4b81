"""Hints that several commands print: a fact, and the command to type."""

from queuectl.errors import command_line

__all__ = ["unserved_line"]


def unserved_line() -> str:
    """Some queues have jobs and no worker: the command that starts one."""
    return f"no worker serves these queues: {command_line('run')}"
