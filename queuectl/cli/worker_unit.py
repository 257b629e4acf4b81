"""`worker unit`: a systemd unit for a worker of this queue, with the paths and options that it needs."""

import getpass
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from queuectl.application.access import owner_of
from queuectl.cli.messages import say
from queuectl.cli.session import Session
from queuectl.errors import command_line
from queuectl.units import SECOND

__all__ = ["print_unit"]

MARGIN = 10
"""Seconds that systemd waits longer than the worker's own time to stop, so that the worker can record its end."""


def print_unit(session: Session, arguments: Sequence[str], stop_timeout: int | None, *, user: bool) -> None:
    """Print the unit on stdout, and on stderr the commands that install it."""
    print("\n".join(_unit(session, arguments, stop_timeout, user=user)))
    sys.stdout.flush()
    command = command_line("worker", "unit", *(["--user"] if user else []), *arguments)
    for line in _user_steps(command) if user else _system_steps(command):
        say(line)
    if not user:
        _explain_user(_service_user(session))
    if session.url.has_password:
        say(f"put QUEUECTL_DB with the password into {_environment_file()}, which only you can read (chmod 600)")


def _unit(session: Session, arguments: Sequence[str], stop_timeout: int | None, *, user: bool) -> Iterator[str]:
    yield "[Unit]"
    yield f"Description=queuectl worker of {_escaped(session.url.name)}"
    yield "StartLimitIntervalSec=0"
    if not session.url.is_on_server:
        yield f"RequiresMountsFor={_quoted(os.path.dirname(session.url.file))}"
    yield ""
    yield "[Service]"
    if not user:
        yield f"User={_service_user(session)}"
    yield f"WorkingDirectory={_escaped(os.getcwd())}"
    yield from _environment(session)
    yield f"ExecStart={' '.join(map(_word, [*_program(), 'run', *arguments]))}"
    yield "Restart=on-failure"
    yield "RestartSec=5"
    yield "KillMode=mixed"
    yield "OOMPolicy=continue"
    yield f"TimeoutStopSec={'infinity' if stop_timeout is None else -(-stop_timeout // SECOND) + MARGIN}"
    yield ""
    yield "[Install]"
    yield f"WantedBy={'default.target' if user else 'multi-user.target'}"


def _service_user(session: Session) -> str:
    """The owner of the queue, because other users can only read it."""
    return getpass.getuser() if session.url.is_on_server else owner_of(session.url.file)


def _explain_user(name: str) -> None:
    if name != getpass.getuser():
        say(f"User={name}: the queue is that user's")
    elif os.geteuid() == 0:
        say("User=root: its jobs run as root (make the queue as another user to avoid that: sudo -u USER queuectl ...)")


def _environment(session: Session) -> Iterator[str]:
    """The queue, and a file with further variables for the worker and its jobs, which need not be there."""
    place = session.url.text if session.url.is_on_server else session.url.file
    if not session.url.has_password:
        yield f"Environment={_quoted(f'QUEUECTL_DB={place}')}"
    yield f"EnvironmentFile=-{_escaped(_environment_file())}"


def _environment_file() -> str:
    return os.path.join(os.getcwd(), "queuectl.env")


def _program() -> list[str]:
    program = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "queuectl")
    return [program] if os.access(program, os.X_OK) else [os.path.abspath(sys.executable), "-m", "queuectl"]


def _system_steps(command: str) -> list[str]:
    return [
        "as root, three commands install it (they overwrite a unit of that name):",
        f"  {command} > /etc/systemd/system/queuectl.service",
        "  systemctl daemon-reload",
        "  systemctl enable --now queuectl",
    ]


def _user_steps(command: str) -> list[str]:
    return [
        "four commands install it (they overwrite a unit of that name); `loginctl enable-linger` keeps it at log-out:",
        "  mkdir -p ~/.config/systemd/user",
        f"  {command} > ~/.config/systemd/user/queuectl.service",
        "  systemctl --user daemon-reload",
        "  systemctl --user enable --now queuectl",
    ]


def _escaped(text: str) -> str:
    """The text without systemd's specifiers."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """The text as one word of a unit's line."""
    plain = _escaped(text)
    if re.fullmatch(r"[^\s\"'\\;#]+", plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _word(text: Any) -> str:
    """A word of a command line, in which systemd would also replace variables."""
    return _quoted(str(text).replace("$", "$$")) or '""'
