"""Recognises commands that a shell would only start: the name of a program and its arguments, without other syntax."""

import re
from collections.abc import Container

__all__ = ["without_shell"]

_PART = r"""(?:[\w./,:@%+=-]|'[^']*'|"[^"$`\\]*")"""
_SIMPLE = re.compile(rf"[ \t]*{_PART}+(?:[ \t]+{_PART}+)*[ \t]*", re.ASCII)
_WORD = re.compile(rf"{_PART}+", re.ASCII)
_QUOTED = re.compile("""'([^']*)'|"([^"]*)\"""")

_POSIX = """
if then elif else fi for while until do done case esac in
. : break continue eval exec exit export readonly return set shift times trap unset
[ alias bg cd command echo false fc fg getopts hash jobs kill newgrp printf pwd read test true type ulimit umask
unalias wait
"""
"""Reserved words, special built-in utilities, and those that shells usually have built in (Shell Command Language)."""
_OTHERS = """
function namespace select time coproc
array bind bindkey builtin caller chdir compgen complete compopt compound declare dirs disown enable enum float global
help hist history integer let local logout mapfile nameref popd print pushd readarray rename shopt source suspend
typeset whence
"""
"""Further names in dash, bash, ksh, mksh, yash and busybox."""
_OWN_NAMES = frozenset((_POSIX + _OTHERS).split())
"""Names that a shell may treat itself, where the program of the same name could do something else."""


def without_shell(command: str, environ: Container[bytes]) -> list[str] | None:
    """The program and the arguments of a command for which a shell would do nothing but start it; None for others.

    The command consists of plain or quoted words, and a shell has nothing of its own by the name of the first. In
    `environ`, the job's environment, bash passes functions on, which it prefers to programs; without PATH a shell has
    its own idea of where programs are.
    """
    if not _SIMPLE.fullmatch(command):
        return None
    words = [_QUOTED.sub(r"\1\2", word) for word in _WORD.findall(command)]
    name = words[0]
    if not name or "=" in name or name in _OWN_NAMES:
        return None
    return None if b"PATH" not in environ or f"BASH_FUNC_{name}%%".encode() in environ else words
