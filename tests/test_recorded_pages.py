"""The examples of recorded pages, run again: they print what the page shows, but for what differs from run to run."""

import re
import shlex
import shutil

import pytest

from tests.test_docs import compared, read, record

PAGES = (
    *("docs/dependencies.md", "docs/event-log.md", "docs/events.md", "docs/failures.md", "docs/jobs.md"),
    *("docs/schedules.md", "docs/settings.md", "docs/state-machine.md", "docs/sweeps.md"),
)
"""Pages whose examples use no path outside their folder, and always print the same."""

OTHER_PROGRAMS = ("jq", "ps", "xxd")
"""Programs of some pages that not every machine has."""

VARIES = [
    (r".*runs jobs as root.*\n", ""),
    (r"/home/\w+|/root\b", "HOME"),
    (r"\bb-[0-9a-f]{6}\b", "BATCH"),
    (r"\bWorker [\w.]+-\d+\b", "WORKER"),
    (r"\bby [\w.]+-\d+\b", "by WORKER"),
    (r"\b[\d.]+ ?(s|ms)\b", "A WHILE"),
    (r"\bm\d{8}T\d{6}Z\b", "mMOMENT"),
    (r"customer-\d+", "customer-N"),
    (r"[·▁▂▃▄▅▆▇█]{4,}", "GRAPH"),
    (r'"actor": "[\w.-]+-\d+"', '"actor": "WORKER"'),
    (r'"duration": \d+', '"duration": N'),
    (r"RUN_TOKEN=\S+", "RUN_TOKEN=TOKEN"),
    (r"^ *\d+ \?", "SID ?"),
    (r"^\d+(?=\tdata/)", "SIZE"),
    (r"\(\d+\) - No such process", "(N) - No such process"),
    (r"background: (sh|sleep) ", "background: PROGRAM "),
    (r" +", " "),
]
"""Further patterns that differ, and the text that is compared in their place."""


def alike(output, line=""):
    """The output without what differs from run to run. Jobs that run side by side end in any order."""
    output = compared(output.rstrip("\n"))
    for pattern, name in VARIES:
        output = re.sub(pattern, name, output, flags=re.MULTILINE)
    return sorted(output.splitlines()) if "--concurrency" in line else output


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_its_commands_print(page, tmp_path):
    for program in OTHER_PROGRAMS:
        if f"{program} -" in read(page) and shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    for folder, commands in record.sessions(read(page)):
        outputs = record.run(
            f"export HOME={shlex.quote(str(tmp_path))}\n{record.script(folder, commands, str(tmp_path))}"
        )
        printed = [output.replace(f"{tmp_path}/{folder}", f"/tmp/{folder}") for output in outputs]
        shown = [
            (command.line, alike(command.output, command.line)) for command in commands if command.output is not None
        ]
        found = [
            (
                command.line,
                alike(record.shortened(output, command.output).replace(str(tmp_path), "HOME"), command.line),
            )
            for command, output in zip(commands, printed, strict=True)
            if command.output is not None
        ]
        assert found == shown


def test_only_what_varies_is_left_out():
    text = "2026-11-29 17:00:00 info Worker box-12 ended after 3 runs: 3 done\n"
    assert alike(text) == "TIME info WORKER ended after 3 runs: 3 done"
    assert alike("build is pending again\n") != alike("1 job pending again\n")
