"""The session of docs/comparison.md: what people type in other programs, typed with our verbs."""

import re
import subprocess
from pathlib import Path

from tests.support.command_line import PROGRAM, Queuectl

PAGE = Path(__file__).parents[2] / "docs" / "comparison.md"
ROW = re.compile(r"^\|[^|]*\|[^|]*\| `(queuectl [^|`]+)` \|$", re.MULTILINE)
SAYS = {
    "logs -f build": "made",
    "logs build": "made",
    "show build": "done",
    "list": "build",
    "enqueue --wait --follow echo now": "now",
}
"""Commands of the session, and a word of what they print."""


def _session() -> list[str]:
    text = PAGE.read_text(encoding="utf-8").partition("## The same session")[2].partition("\n## ")[0]
    return ROW.findall(text)


def test_the_whole_session_works_as_typed(queuectl: Queuectl) -> None:
    printed = {}
    for line in _session():
        done = subprocess.run(
            line.replace("queuectl", PROGRAM, 1),
            shell=True,
            cwd=queuectl.folder,
            env=queuectl.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr)
        printed[line.removeprefix("queuectl ")] = done.stdout
    assert all(word in printed[command] for command, word in SAYS.items()), printed
    assert len(printed) >= 19
    assert queuectl.json("worker", "list") == []
    assert {queuectl.show(each)["state"] for each in ("later",)} == {"cancelled"}
