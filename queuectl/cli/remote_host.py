"""`--db ssh://[USER@]HOST/PATH`: runs the command on that host, with `ssh`. Loaded only for such a queue."""

import os
import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from typing import NoReturn

from msgspec import Struct

from queuectl import __version__
from queuectl.errors import UsageError
from queuectl.runtime import caller_umask
from queuectl.units import quoted

__all__ = ["RemoteQueue", "run_there"]

SHAPE = "ssh://[USER@]HOST[:PORT]/PATH (/~/PATH: in the home folder)"
_URL = re.compile(r"ssh://(?:([^\s:@/]+)@)?([^\s:@/\[\]]+|\[[\w:.%]+\])(?::(\d+))?(/.*[^/])", re.DOTALL)
# Its arguments are the host, our version, the queue, the options by which it was named here, and those of queuectl.
# PATH: a shell without a terminal often lacks the folder of pip and pipx. QUEUECTL_DB: with --db, queuectl would advise
# commands with a path of that host.
_SCRIPT = """\
PATH="$PATH:$HOME/.local/bin"
if ! command -v queuectl >/dev/null; then
    echo "queuectl: there is no queuectl in PATH on $0: install it there" >&2
    exit 127
fi
there=$(queuectl --version </dev/null)
[ "$there" = "queuectl $1" ] || echo "queuectl: $0 has another version: ${there:-unknown}, here it is queuectl $1" >&2
export QUEUECTL_DB="$2" _QUEUECTL_ADVISED="$3"
shift 3
exec queuectl "$@"
"""


class RemoteQueue(Struct, frozen=True):
    """A queue on a host that is reached with ssh. `destination` is `[USER@]HOST`, `path` is the queue there."""

    destination: str
    port: str | None
    path: str

    @classmethod
    def parse(cls, url: str) -> "RemoteQueue":
        """The queue of a URL. Raises UsageError."""
        found = _URL.fullmatch(url)
        if found is None:
            raise UsageError(f"{quoted(url)} names no queue: write {SHAPE}")
        user, host, port, path = found.groups()
        if (user or host).startswith("-") or host.startswith("-"):
            raise UsageError(f"{quoted(url)}: a host and a user cannot begin with -, which ssh would take as an option")
        host = host.strip("[]")
        path = f"./{path[3:]}" if path.startswith("/~/") else path
        return cls(host if user is None else f"{user}@{host}", port, path)

    def command(self, arguments: Sequence[str], named_by: Sequence[str]) -> str:
        """The line for the shell there that runs queuectl with these arguments on this queue.

        The commands that it advises have the options `named_by`, for they are typed here.
        """
        words = ["sh", "-c", _SCRIPT, self.destination, __version__, self.path, shlex.join(named_by), *arguments]
        return shlex.join(words)


def run_there(url: str, arguments: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Become the ssh that runs the command; `arguments` are all that were given here. Raises UsageError."""
    queue = RemoteQueue.parse(url)
    program = environ.get("QUEUECTL_SSH") or "ssh"
    terminal = "-t" if all(map(os.isatty, range(3))) else "-T"
    port = [] if queue.port is None else ["-p", queue.port]
    there = _without_db(arguments, url)
    line = queue.command(there, [] if there == [*arguments] else ["--db", url])
    os.umask(caller_umask())
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and ssh would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(program, [program, terminal, *port, "--", queue.destination, line])
    except OSError as error:
        os.umask(0o077)
        raise UsageError(f"cannot run {program}: {error.strerror} (QUEUECTL_SSH names the program)") from None


def _without_db(arguments: Sequence[str], url: str) -> list[str]:
    """The arguments without the `--db` that names this queue. After `--` they belong to a job."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept: list[str] = []
    for word in arguments[:end]:
        if word == url and kept[-1:] == ["--db"]:
            kept.pop()
        elif word != f"--db={url}":
            kept.append(word)
    return [*kept, *arguments[end:]]
