"""The scripts by which bash, zsh and fish ask queuectl for candidates, and where each shell looks for its script.

A candidate is data: no script evaluates it, because a hint holds the command of a job.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from queuectl.errors import UsageError

__all__ = ["SCRIPTS", "install", "shell_of"]

_BASH = r"""# queuectl completion for bash
_queuectl_completion() {
    local lines line value width=0
    mapfile -t lines < <(_QUEUECTL_COMPLETE=bash "$1" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    COMPREPLY=()
    if [[ ${lines[0]-} == $':files\t' ]]; then
        compopt -o default
        return
    fi
    if ((${#lines[@]} == 1)); then
        COMPREPLY=("${lines[0]%%$'\t'*}")
        return
    fi
    for line in "${lines[@]}"; do
        value=${line%%$'\t'*}
        ((${#value} > width)) && width=${#value}
    done
    for line in "${lines[@]}"; do
        printf -v value "%-${width}s  %s" "${line%%$'\t'*}" "${line#*$'\t'}"
        COMPREPLY+=("${value%"${value##*[![:space:]]}"}")
    done
}
complete -o nosort -F _queuectl_completion queuectl
"""
_ZSH = r"""#compdef queuectl
# queuectl completion for zsh
_queuectl() {
    local -a lines values shown
    local line width=0
    lines=("${(@f)$(_QUEUECTL_COMPLETE=zsh "${(Q)words[1]}" "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    [[ -n ${lines[1]} ]] || return 1
    if [[ ${lines[1]} == $':files\t' ]]; then
        _files
        return
    fi
    [[ $PREFIX == --*=* ]] && compset -P '*='
    for line in "${lines[@]}"; do
        values+=("${line%%$'\t'*}")
        ((${#values[-1]} > width)) && width=${#values[-1]}
    done
    for line in "${lines[@]}"; do
        shown+=("${(r:width:)${line%%$'\t'*}}  ${line#*$'\t'}")
    done
    compadd -V queuectl -l -d shown -- "${values[@]}"
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _queuectl "$@"
else
    compdef _queuectl queuectl
fi
"""
_FISH = r"""# queuectl completion for fish
function __queuectl_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (env _QUEUECTL_COMPLETE=fish $words[1] $words[2..-1] 2>/dev/null)
    set -l part (commandline -ct)
    if test "$found[1]" = ':files'\t
        __fish_complete_path (string replace -r -- '^--[^=]*=' '' $part)
        return
    end
    set -l option (string match -r -- '^--[^=]*=' $part)
    for each in $found
        printf '%s%s\n' "$option" $each
    end
end
complete --command queuectl --no-files --keep-order --arguments '(__queuectl_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""The script of each shell."""


class _Place(NamedTuple):
    """The file in which a shell looks for its script, and the lines that its start-up file needs for that."""

    script: str
    startup: str | None
    lines: str


def shell_of(environ: Mapping[str, str]) -> str:
    """The shell to complete in: the one that runs this command, else that of SHELL. Raises UsageError."""
    names = [_parent(), os.path.basename(environ.get("SHELL", ""))]
    found = next((name for name in names if name in SCRIPTS), None)
    if found is None:
        raise UsageError(f"completion is for {', '.join(SCRIPTS)}: run this in one of them")
    return found


def _parent() -> str:
    """The name by which the parent process was started; empty when it cannot be read."""
    try:
        with open(f"/proc/{os.getppid()}/cmdline", "rb") as file:
            return os.path.basename(os.fsdecode(file.read().split(b"\0")[0])).removeprefix("-")
    except OSError:
        return ""


def install(shell: str, environ: Mapping[str, str]) -> str:
    """Write the script to where the shell looks for it, and the lines it needs into its start-up file.

    Returns the script's path. Raises OSError.
    """
    place = _place(shell, environ)
    os.makedirs(os.path.dirname(place.script), exist_ok=True)
    with open(place.script, "w", encoding="utf-8") as file:
        file.write(SCRIPTS[shell])
    if place.startup is not None:
        _append(place.startup, place.lines)
    return place.script


def _place(shell: str, environ: Mapping[str, str]) -> _Place:
    home = os.path.expanduser("~")
    data = environ.get("XDG_DATA_HOME") or f"{home}/.local/share"
    config = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    if shell == "fish":
        return _Place(f"{config}/fish/completions/queuectl.fish", None, "")
    if shell == "zsh":
        place = f"{data}/queuectl/zsh/_queuectl"
        lines = f"fpath=('{os.path.dirname(place)}' $fpath); autoload -Uz compinit; compinit\n"
        return _Place(place, f"{environ.get('ZDOTDIR') or home}/.zshrc", lines)
    place = f"{data}/bash-completion/completions/queuectl"
    return _Place(place, f"{home}/.bashrc", f"source '{place}'\n")


def _append(path: str, line: str) -> None:
    """Add a line to a file that may not be there, unless it has the line already."""
    old = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            old = file.read()
    if line in old:
        return
    with open(path, "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(("" if old.endswith("\n") or not old else "\n") + line)
