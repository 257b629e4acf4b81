"""Options of similar tools, and what they are called here. Loaded only for an option that a command does not have."""

from difflib import get_close_matches
from typing import Any

__all__ = ["meant"]

LEAST_ALIKE = 0.6
"""How alike two names are at least, without their dashes, from 0 to 1."""

OTHER_NAMES = {
    "--listen": ("--port", "--host", "--bind", "--address"),
    "--concurrency": ("-j", "-P", "-S", "--jobs", "--parallel", "--slots", "--processes", "--threads"),
    "--cwd": ("--dir", "--directory", "--chdir", "--workdir", "--working-directory", "--folder"),
    "--max-retries": ("--retries", "--tries", "--attempts", "--max-attempts", "--max-tries"),
    "--output": ("--columns", "--format", "--fields"),
    "--after": ("--depends", "--depends-on", "--dependency", "--needs", "--link"),
    "--batch": ("--group", "--array", "--sweep"),
    "--id": ("--name", "--job-id", "--task-id"),
    "--tag": ("--label", "--labels", "--tags"),
    "--delay": ("--countdown", "--sleep"),
    "--at": ("--eta", "--start", "--begin"),
    "--timeout": ("--time-limit", "--soft-time-limit", "--time", "--runtime"),
    "--follow": ("--tail",),
    "--state": ("--status",),
    "--limit": ("--head", "--lines", "--max"),
    "--yes": ("--force", "--assume-yes"),
    "--stop-timeout": ("--shutdown-timeout",),
    "--drain": ("--burst", "--exit-when-empty"),
    "--color": ("--colour",),
}


def meant(given: str, command: Any) -> list[str]:
    """The command's options that the `given` one may mean: those of that meaning, else those of nearly that name."""
    options = [name for each in command.params for name in (*each.opts, *each.secondary_opts)]
    named = [ours for ours, others in OTHER_NAMES.items() if given in others and ours in options]
    names = {name.strip("-"): name for name in options if name.startswith("--")}
    return named or [names[each] for each in get_close_matches(given.strip("-"), names, cutoff=LEAST_ALIKE)]
