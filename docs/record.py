"""Runs the console blocks of the pages and replaces their outputs by the real ones.

    python docs/record.py                             every page
    python docs/record.py docs/tour.md README.md      these pages

The commands of a page run one after the other in one bash, in a new folder `/tmp/demo`. Comments change that:

    <!-- run: COMMAND -->      run COMMAND too, which readers do not see: it prepares the next example
    <!-- folder: NAME -->      start a new bash in a new, empty folder `/tmp/NAME`
    <!-- file: NAME -->        write the next block, which is not one of commands, to the file NAME
    <!-- keep -->              run the next block, and keep its output: other parts of the page repeat it
    <!-- not run -->           keep the next block as it is
    <!-- skip to the end -->   keep all further blocks as they are

A line `…` in an output stands for lines that are left out: as many lines as stand before and after it are kept.
As root the pages are recorded as user `ada` on host `box`, in namespaces of their own: /tmp is empty, and /tmp/small is
a disk of 1 MiB.
"""

import os
import re
import shlex
import subprocess  # noqa: TID253
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
STEP = re.compile(
    r"^```console\n(?P<block>.*?)^```$|^<!-- (?P<what>run|folder): (?P<text>.*?) -->$"
    r"|^<!-- file: (?P<file>\S+) -->\n+```\w+\n(?P<content>.*?)^```$"
    r"|^<!-- (?P<mark>keep|not run|skip to the end) -->$",
    re.DOTALL | re.MULTILINE,
)
SEPARATOR = "\x1e"

AS_ADA = """
cp /etc/passwd {scratch}/passwd && chmod 644 {scratch}/passwd
grep -q '^ada:' {scratch}/passwd || echo 'ada:x:4242:4242::/home/ada:/bin/bash' >> {scratch}/passwd
hostname box
case {python} in ~root/*)
    mkdir -p {scratch}/python && mount --bind {python} {scratch}/python
    mount -t tmpfs tmpfs ~root && chmod 755 ~root && mkdir -p {python} && mount --bind {scratch}/python {python}
esac
mount --bind {scratch}/passwd /etc/passwd
mount -t tmpfs tmpfs /tmp && chmod 1777 /tmp
mkdir /tmp/small && mount -t tmpfs -o size=1m tmpfs /tmp/small && chmod 1777 /tmp/small
mount -t tmpfs tmpfs /home && mkdir /home/ada && chown 4242:4242 /home/ada
exec setpriv --reuid 4242 --regid 4242 --clear-groups env HOME=/home/ada USER=ada LOGNAME=ada "$@"
"""
"""Run in namespaces of its own, so nothing of the machine changes."""


class Command(NamedTuple):
    """A command of a page, and the output that stands there; None when readers see neither."""

    line: str
    output: str | None = None


def sessions(text: str) -> Iterator[tuple[str, list[Command]]]:
    """(folder, commands) of every bash that a page needs."""
    folder, commands, mark = "demo", [], None
    for step in STEP.finditer(text):
        if step["mark"] == "skip to the end":
            break
        if step["what"] == "folder":
            if commands:
                yield folder, commands
            folder, commands = step["text"], []
        elif step["what"] == "run":
            commands.append(Command(step["text"]))
        elif step["file"]:
            commands.append(Command(f"printf %s {shlex.quote(step['content'])} > {step['file']}"))
        elif step["block"] and mark != "not run":
            commands += shown(step["block"])
        mark = step["mark"]
    if commands:
        yield folder, commands


def shown(block: str) -> list[Command]:
    """The commands of a block with their outputs."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return [Command(line, output) for line, output in zip(parts[::2], parts[1::2], strict=True)]


def script(folder: str, commands: list[Command], base: str = "/tmp") -> str:
    """The bash script of one session: the outputs with a separator behind each."""
    path = shlex.quote(f"{base}/{folder}")
    lines = [f"eval {shlex.quote(command.line)} < /dev/null; printf '\\036'" for command in commands]
    return "\n".join(
        [f"rm -rf {path} 2> /dev/null; mkdir -p {path} && cd {path}", *lines, "queuectl worker stop --now > /dev/null"]
    )


def run(text: str, base: str = "/tmp", prefix: tuple[str, ...] = ()) -> list[str]:
    """The output of every command of a session; stdout and stderr in the order in which they were written."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_")}
    environment |= {
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "TZ": "UTC",
    }
    with tempfile.TemporaryFile() as out:
        command = [*prefix, "bash", "-c", text]
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
        out.seek(0)
        return out.read().decode("utf-8", "replace").split(SEPARATOR)[:-1]


def as_ada(scratch: str) -> tuple[str, ...]:
    """The words before a command that make it run as `ada` on `box`; none unless we are root."""
    if os.getuid() != 0:
        return ()
    return (
        "unshare",
        "--uts",
        "--mount",
        "--",
        "bash",
        "-ec",
        AS_ADA.format(scratch=scratch, python=sys.base_prefix),
        "bash",
    )


def shortened(output: str, before: str) -> str:
    """The output with the same lines left out as before."""
    if "…\n" not in before.splitlines(keepends=True):
        return output
    head, tail = (part.count("\n") for part in re.split(r"^…\n", before, maxsplit=1, flags=re.MULTILINE))
    lines = output.splitlines(keepends=True)
    return "".join([*lines[:head], "…\n", *lines[len(lines) - tail :]])


def rewritten(text: str, outputs: Iterator[str]) -> str:
    """A page with these outputs."""
    body, end, rest = text.partition("<!-- skip to the end -->")
    mark = None

    def fill(step: re.Match[str]) -> str:
        nonlocal mark
        before, mark = mark, step["mark"]
        if step["block"] and before is None:
            return block(step["block"], outputs)
        if step["what"] == "run" or step["file"]:
            next(outputs)
        elif step["block"] and before == "keep":
            block(step["block"], outputs)
        return step[0]

    return STEP.sub(fill, body) + end + rest


def block(before: str, outputs: Iterator[str]) -> str:
    """A console block with its outputs."""
    made = ""
    for command in shown(before):
        output = shortened(next(outputs), command.output or "")
        made += f"$ {command.line}\n{output}" + ("\n" if output and not output.endswith("\n") else "")
    return f"```console\n{made}```"


def main(pages: list[str]) -> int:
    """Record these pages, or all."""
    for path in [Path(page) for page in pages] or PAGES:
        text = path.read_text(encoding="utf-8")
        outputs = [output for folder, commands in sessions(text) for output in recorded(folder, commands)]
        path.write_text(rewritten(text, iter(outputs)), encoding="utf-8")
    return 0


def recorded(folder: str, commands: list[Command]) -> list[str]:
    """The outputs of one session."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        Path(scratch).chmod(0o755)
        outputs = run(script(folder, commands), prefix=as_ada(scratch))
    if len(outputs) != len(commands):
        raise SystemExit(f"{len(outputs)} of {len(commands)} commands were run: {outputs[-1:]}")
    return outputs


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
