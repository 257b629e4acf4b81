"""The examples that need a server, of docs/postgres.md and the tour. One host stands for both machines of the page."""

import re
import shlex
import socket

from tests.postgres.conftest import OnServer
from tests.test_docs import read, record
from tests.test_recorded_pages import alike

URL = "postgresql://jobs@db/jobs"
"""The URL of the pages."""

PREPARATIONS = ("pip install", "/.pgpass", "createuser")
"""Parts of the commands that are needed once on a machine. They are not run here."""

VARIES = [
    (rf"\b(alpha|beta|box|{re.escape(socket.gethostname())})\b", "HOST"),
    (r"supervisor \d+", "supervisor N"),
    (r"\S+(?=/\.workers/)", "OUTPUT"),
    (r"HOST-\d+", "WORKER"),
    (r" \d+ running (.*) \d+ A WHILE ago", r" N running \1 N A WHILE ago"),
]


def commands_of(text):
    """The commands of console blocks, also of those with a host in the prompt."""
    blocks = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
    commands = record.shown(re.sub(r"^(\w+)\$ ", r"$ export QUEUECTL_HOME=$HOME/\1; ", blocks, flags=re.MULTILINE))
    return [command for command in commands if not any(part in command.line for part in PREPARATIONS)]


def replayed(queuectl: OnServer, commands, *first):
    """The outputs that are printed now and those of the page, after some commands that the page does not show."""
    url = shlex.quote(queuectl.url)
    lines = [record.Command(command.line.replace(URL, url), command.output) for command in commands]
    text = record.script("page", [*map(record.Command, first), *lines], str(queuectl.folder))
    outputs = record.run(f"export HOME={shlex.quote(str(queuectl.folder))}\n{text}")
    return [varied(output) for output in outputs[len(first) :]], [varied(command.output) for command in commands]


def varied(output):
    output = alike(output)
    for pattern, name in VARIES:
        output = re.sub(pattern, name, output)
    return output


def test_two_machines_work_as_the_page_shows(queuectl: OnServer) -> None:
    commands = commands_of(read("docs/postgres.md"))
    found, shown = replayed(queuectl, commands)
    assert found == shown
    assert len(commands) == 8


def test_a_queue_moves_to_a_server_as_the_tour_shows(queuectl: OnServer) -> None:
    end = read("docs/tour.md").partition("<!-- skip to the end -->")[2]
    first = ("queuectl enqueue --id a 'echo a'", "queuectl run --drain", "queuectl head > ~/head")
    commands = commands_of(end)
    found, shown = replayed(queuectl, commands, *first)
    url = queuectl.url
    assert [text.replace(shlex.quote(url), URL).replace(url, URL) for text in found] == shown
    assert len(commands) == 4
