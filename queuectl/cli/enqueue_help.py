"""The help of `enqueue`: its options under headings, and examples. Loaded only when the help is asked for."""

from typing import Any

__all__ = ["write_options"]

GROUPS = {
    "The job": ("--file", "--id", "--queue", "--batch", "--tag", "--unique"),
    "When it runs": ("--after", "--if-unmet", "--priority", "--delay", "--at", "--timeout"),
    "Retries (the defaults are settings: queuectl config)": (
        *("--max-retries", "--backoff-base", "--backoff-cap", "--retry-wait", "--jitter"),
    ),
    "The process": ("--cwd", "--env", "--secret-env", "--umask", "--merge-output", "--stdin"),
    "Many jobs from one template": ("--each", "--csv", "--tsv", "--ndjson", "--range", "--max-failures"),
    "Afterwards": ("--wait", "--follow", "--dry-run", "--json", "--help"),
}
"""The first name of each option under its heading. Others come in the first group."""
EXAMPLES = (
    ("queuectl enqueue './backup.sh | gzip > db.gz'", "a shell command"),
    ("queuectl enqueue ./backup.sh db1", "a program, no shell"),
    ("queuectl enqueue --retry-wait 10m -- curl -f URL", "options of both"),
)


def write_options(command: Any, ctx: Any, formatter: Any) -> None:
    """Write the arguments, the options of each group, and the examples."""
    params = [each for each in command.get_params(ctx) if each.get_help_record(ctx)]
    arguments = [each for each in params if each.param_type_name == "argument"]
    _write(formatter, "Arguments", arguments, ctx)
    options = [each for each in params if each.param_type_name == "option"]
    named = {name for names in GROUPS.values() for name in names}
    more = [each for each in options if named.isdisjoint(each.opts)]
    for heading, names in GROUPS.items():
        found = [each for name in names for each in options if name in each.opts]
        _write(formatter, heading, [*found, *more], ctx)
        more = []
    with formatter.section("Examples"):
        for line, meaning in EXAMPLES:
            formatter.write(f"  {line:<50} {meaning}\n")


def _write(formatter: Any, heading: str, params: list[Any], ctx: Any) -> None:
    with formatter.section(heading):
        formatter.write_dl([each.get_help_record(ctx) for each in params])
