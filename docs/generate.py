"""The parts of these pages that are made from the program: moves, commands, events, settings, files.

    python docs/generate.py            writes them, and the manual page queuectl.1
    python docs/generate.py --check    changes nothing; prints what is wrong and exits with 1 when a page is stale

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. The last column of a table of fields is written by
hand: it stays when the field is still there, and a missing one is reported.
"""

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from msgspec import structs

from queuectl import __version__
from queuectl.cli.app import GROUPS, command
from queuectl.cli.options import MAX
from queuectl.config import SETTINGS
from queuectl.domain import events as e
from queuectl.domain.machine import MOVES, State

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "docs/settings.md",
    "docs/state-machine.md",
    "docs/commands.md",
    "docs/events.md",
    "docs/architecture.md",
)
MANUAL = "docs/queuectl.1"
EXIT_CODES = "Exit codes"
"""The heading of the codes that hold for all commands."""
FILES = {
    "data/queue.db": "The queue of this folder, unless --db or QUEUECTL_DB names another: the log and the tables.",
    "data/queue.db-wal, data/queue.db-shm": "Parts of that database. Copy a queue with queuectl backup, never with cp.",
    "data/queue.db.archive/": "The log once more. queuectl recover restores from it what the database has lost.",
    "data/queue.db.output/": "The output of jobs, and in .workers/ the logs of background workers.",
    ".env": "Settings for commands in this folder, one QUEUECTL_NAME=value a line.",
    "~/.local/state/queuectl/": "Output and archive of queues on PostgreSQL; QUEUECTL_HOME names another folder.",
}
EXIT_CODE = re.compile(r"^\| (\d+(?: \+ N)?|the command's own) \| (.+) \|$", re.MULTILINE)
PART = re.compile(r"(?<=<!-- generated: )(?P<name>[^>]+?) -->\n(?P<body>.*?)(?=<!-- end -->)", re.DOTALL)
DEFAULT = re.compile(r"\s*\[default: (.+?)\]")
TYPES: dict[Any, str] = {int: "integer", float: "number", str: "text", bool: "true or false", NoneType: "null"}
TYPES[e.Origin] = "an [origin](#origins)"
TYPES[e.StdinFile] = "a [file](#files)"
TYPES[e.Enqueued] = "an object with the fields of [`enqueued`](#enqueued)"
TYPES[e.Changes] = "[changes](#changes)"
TYPES[e.After] = "[dependency](#dependencies)"

Part = Callable[[dict[str, str]], str]


# ── the state machine ───────────────────────────────────────────────────────────────────────────────


def diagram(_: dict[str, str]) -> str:
    """The moves as a mermaid state diagram."""
    lines = [f"    {source} --> {move.target}: {move.trigger}" for move in MOVES for source in move.sources]
    first = next(iter(State))
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first}: enqueue", *lines, "```"])


def moves(meanings: dict[str, str]) -> str:
    """The moves as a table."""
    rows = [
        [f"`{move.trigger}`", ", ".join(move.sources), move.target, f"`{move.event}`", meanings.get(move.trigger, "")]
        for move in MOVES
    ]
    return table(["trigger", "from", "to", "event", "when"], rows)


# ── the commands ────────────────────────────────────────────────────────────────────────────────────


def tree(group: Any = None, path: str = "queuectl") -> Iterator[tuple[str, Any]]:
    """Every command by its whole name, `queuectl` itself first."""
    group = group or command()
    yield path, group
    for name in group.list_commands(None) if hasattr(group, "list_commands") else ():
        if not (found := group.get_command(None, name)).hidden:
            yield from tree(found, f"{path} {name}")


def reference(path: str, found: Any) -> str:
    """A command's help, arguments and options."""
    arguments = [each for each in found.params if each.param_type_name == "argument"]
    options = [each for each in found.params if each.param_type_name == "option" and not each.hidden]
    usage = [path, *(["[OPTIONS]"] if options else []), *map(argument, arguments)]
    usage += ["COMMAND"] if hasattr(found, "list_commands") else []
    text = f"{paragraphs(found.help)}\n\n```text\n{' '.join(usage)}\n```\n"
    if arguments:
        text += "\n" + table(["argument", "meaning"], [[f"`{each.metavar}`", prose(each.help)] for each in arguments])
    if options:
        rows = [[", ".join(f"`{name}`" for name in each.opts), value(each), *meaning(each)] for each in options]
        text += "\n" + table(["option", "value", "meaning", "default"], rows)
    return text.rstrip("\n")


SHARED = {
    **dict.fromkeys(("ids", "job_id", "--job"), "`ID`"),
    **{name: f"`{name}`" for name in ("--state", "--queue", "--tag", "--since", "--batch", "--sig", "--limit")},
    **{name: f"`{name}`" for name in ("--output", "--json", "--as-of", "--watch", "--reason", "--yes")},
}
"""An argument or option that several commands share -> its heading in the table of them."""
NOT_SHARED = ("enqueue", "run", "metrics")
"""Their options of these names mean something else."""
WITH_VALUES_FOR_JOBS = ("edit", "copy", "schedule add")
"""Their `--queue` and `--tag` select no jobs: a job gets these values."""


def shared(_: dict[str, str]) -> str:
    """The commands that take each of the shared options."""
    headings = list(dict.fromkeys(SHARED.values()))
    marks = {path.partition(" ")[2]: {SHARED.get(each.opts[0]) for each in found.params} for path, found in tree()}
    for path in WITH_VALUES_FOR_JOBS:
        marks[path] -= {"`--queue`", "`--tag`"}
    rows = [
        [f"`{path}`", *("✓" if heading in taken else "" for heading in headings)]
        for path, taken in marks.items()
        if taken - {None} and path not in ("", "config", *NOT_SHARED)
    ]
    return table(["command", *headings], rows)


def argument(found: Any) -> str:
    """An argument as it stands in a usage line."""
    optional = not found.required and not found.metavar.startswith("[")
    return f"[{found.metavar}]" if optional else str(found.metavar)


def value(option: Any) -> str:
    """The value of an option; nothing for a switch."""
    if option.is_flag:
        return ""
    kind = type(option.type).__name__.lower()
    placeholder = option.metavar or ("N" if "int" in kind else "NUMBER" if "float" in kind else "TEXT")
    repeated = ", may be repeated" if option.multiple else ""
    return f"`{placeholder}`{bounds(option)}{repeated}".replace("|", "\\|")


def bounds(option: Any) -> str:
    """The numbers that an option takes: those of its check by `between` (cli/options.py), unless its help says them."""
    limits = inspect.getclosurevars(inspect.unwrap(option.callback)).nonlocals if option.callback else {}
    if "low" not in limits or f"{limits['low']} to {limits['high']}" in (option.help or ""):
        return ""
    return f", at least {limits['low']}" if limits["high"] == MAX else f", {limits['low']} to {limits['high']}"


def meaning(option: Any) -> tuple[str, str]:
    """An option's help and its default, which some help texts give in brackets."""
    text = option.help or ""
    stated = DEFAULT.search(text)
    default = stated[1] if stated else option.default
    shown = "required" if option.required else "" if default in (None, "", False) else f"`{default}`"
    return prose(DEFAULT.sub("", text)), shown


def paragraphs(text: str | None) -> str:
    """Help as paragraphs, and an example in it as a block."""
    parts = (part.strip() for part in (text or "").split("\n\n"))
    return "\n\n".join(
        f"```text\n{part}\n```" if part.startswith(("queuectl ", "[")) else prose(part) for part in parts
    )


def prose(text: str | None) -> str:
    """Help as one paragraph."""
    return " ".join((text or "").split()).replace("|", "\\|")


# ── the manual page ─────────────────────────────────────────────────────────────────────────────────


def manual() -> str:
    """The manual page, in the man macros: every command under the headings of the help."""
    found = dict(tree())
    root = found["queuectl"]
    lines = [f'.TH QUEUECTL 1 "" "queuectl {__version__}" "User Commands"']
    lines += [".SH NAME", rf"queuectl \- {roff(root.help).rstrip('.')}"]
    lines += [".SH SYNOPSIS", r".B queuectl", r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]"]
    lines += [".SH OPTIONS", *entries(root)]
    for heading, names in GROUPS.items():
        lines.append(f'.SH "{heading.upper()}"')
        for path, each in found.items():
            if path.split()[1:2] and path.split()[1] in names:
                lines += [f'.SS "{roff(usage(path, each))}"', roff(each.help), *entries(each)]
    lines += [".SH ENVIRONMENT", roff("A flag wins over the environment, that over .env, config set and the default.")]
    for key, setting in SETTINGS.items():
        lines += [".TP", rf"\fB{roff(key)}\fR, \fB{roff(setting.variable)}\fR"]
        lines.append(roff(f"{setting.help} [default: {setting.default}]"))
    lines += [".SH EXIT STATUS", *exit_statuses((ROOT / "docs/commands.md").read_text(encoding="utf-8"))]
    lines += [".SH FILES", *stored_files()]
    return "\n".join(lines) + "\n"


def exit_statuses(page: str) -> Iterator[str]:
    """The exit codes of all commands, then those of each command that has its own."""
    for section in re.split(r"^##+ ", page, flags=re.MULTILINE):
        codes = EXIT_CODE.findall(section)
        title = section.partition("\n")[0]
        if codes and title != EXIT_CODES:
            yield f'.SS "{roff(title.removeprefix("queuectl "))}"'
        for code, meant in codes:
            yield from (".TP", rf"\fB{code}\fR", roff(meant.replace("`", "").replace("\\|", "|")))


def stored_files() -> Iterator[str]:
    """The files of a queue."""
    for name, meaning in FILES.items():
        yield from (".TP", rf"\fI{roff(name)}\fR", roff(meaning))


def usage(path: str, found: Any) -> str:
    """A command's usage line, without `queuectl`."""
    arguments = [argument(each) for each in found.params if each.param_type_name == "argument"]
    return " ".join([*path.split()[1:], *arguments, *(["COMMAND"] if hasattr(found, "list_commands") else [])])


def entries(found: Any) -> Iterator[str]:
    """A command's arguments and options, each with its meaning."""
    for each in found.params:
        if each.param_type_name == "argument":
            yield from (".TP", rf"\fI{roff(each.metavar)}\fR", roff(each.help))
        elif not each.hidden:
            names = ", ".join(rf"\fB{roff(name)}\fR" for name in each.opts)
            taken = value(each).replace("`", "").replace("\\|", "|")
            text, default = meaning(each)
            stated = (
                "" if not default else " Required." if default == "required" else f" [default: {default.strip('`')}]"
            )
            yield from (".TP", rf"{names} \fI{roff(taken)}\fR" if taken else names, roff(text + stated))


def roff(text: str | None) -> str:
    """Text as roff takes it: one line, with what has a meaning of its own escaped."""
    line = (
        " ".join((text or "").replace("…", "...").split())
        .replace("\\", r"\e")
        .replace("-", r"\-")
        .replace('"', r"\(dq")
    )
    line = "".join(each if each.isascii() else rf"\[u{ord(each):04X}]" for each in line)
    return rf"\&{line}" if line.startswith((".", "'")) else line


# ── the events ──────────────────────────────────────────────────────────────────────────────────────


def fields(kind: type, meanings: dict[str, str]) -> str:
    """The docstring of an event or cause, and its fields."""
    rows = [
        [f"`{each.name}`", kind_of(each.type), default_of(each), meanings.get(each.name, "")]
        for each in structs.fields(kind)
    ]
    text = f"{inspect.cleandoc(kind.__doc__ or '')}\n\n"
    return text + (table(["field", "type", "default", "unit and meaning"], rows) if rows else "It has no fields.")


def kind_of(found: Any) -> str:
    """A field's type in words."""
    if found in TYPES:
        return TYPES[found]
    origin, inner = get_origin(found), get_args(found)
    if set(inner) == set(causes().values()):
        return "a [cause](#causes)"
    if origin in (Union, UnionType):
        return " or ".join(map(kind_of, inner))
    if origin is tuple:
        return f"list of {kind_of(inner[0])}"
    if origin is dict:
        return f"object of {kind_of(inner[1])}"
    raise TypeError(f"say in TYPES how to name {found}")


def default_of(field: Any) -> str:
    """A field's default as JSON has it, empty when it has to be given."""
    if field.required:
        return ""
    default = field.default_factory() if callable(field.default_factory) else field.default
    return "`{}`" if default == {} else f"`{json.dumps(default)}`"


def causes() -> dict[str, type]:
    """Causes by the kind that the log stores."""
    return {str(kind.__struct_config__.tag): kind for kind in get_args(e.AnyCause)}


# ── the settings ────────────────────────────────────────────────────────────────────────────────────


def settings(_: dict[str, str]) -> str:
    """Every setting."""
    rows = [[f"`{each.key}`", f"`{each.default}`", f"`{each.variable}`", each.help] for each in SETTINGS.values()]
    return table(["setting", "default", "variable", "meaning"], rows)


# ── the files ───────────────────────────────────────────────────────────────────────────────────────


def folders() -> dict[str, list[Path]]:
    """The files of the program by folder; an `__init__.py` counts when it holds more than a docstring."""
    found: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "queuectl").rglob("*.py")):
        if path.name != "__init__.py" or len(ast.parse(path.read_text(encoding="utf-8")).body) > 1:
            found.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path)
    return found


def files(paths: list[Path], meanings: dict[str, str]) -> str:
    """The files of a folder; a new one is described by the first sentence of its docstring."""
    return table(
        ["file", "holds"], [[f"`{path.name}`", meanings.get(path.name) or first_sentence(path)] for path in paths]
    )


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, without its full stop."""
    text = prose(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))
    return re.split(r"[.!?](?:\s|$)", text)[0]


# ── the pages ───────────────────────────────────────────────────────────────────────────────────────


@cache
def parts() -> dict[str, tuple[str, Part]]:
    """Every part by name: the page that has to have it, and what makes it."""
    machine, commands, events, architecture = PAGES[1:]
    return {
        "settings": (PAGES[0], settings),
        "shared options": (commands, shared),
        "diagram": (machine, diagram),
        "moves": (machine, moves),
        **{path: (commands, lambda _, p=path, f=found: reference(p, f)) for path, found in tree()},
        **{f"event {e.type_of(kind)}": (events, lambda m, k=kind: fields(k, m)) for kind in e.EVENT_TYPES},
        **{f"files {name}": (architecture, lambda m, f=found: files(f, m)) for name, found in folders().items()},
        "after": (events, lambda m: fields(e.After, m)),
        "origin": (events, lambda m: fields(e.Origin, m)),
        "file": (events, lambda m: fields(e.StdinFile, m)),
        "changes": (events, lambda m: fields(e.Changes, m)),
        **{f"cause {name}": (events, lambda m, k=kind: fields(k, m)) for name, kind in causes().items()},
    }


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def meanings(body: str) -> dict[str, str]:
    """The last column of the table in a part, by the first column."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in body.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): row[-1].strip() for row in rows}


def refreshed(page: str, text: str) -> str:
    """A page with its parts made again."""
    known = parts()

    def make(match: re.Match[str]) -> str:
        where, part = known.get(match["name"], ("", None))
        if part is None or where != page:
            return match[0]
        made = part(meanings(match["body"])).rstrip("\n")
        return f"{match['name']} -->\n\n{made}\n\n"

    return PART.sub(make, text)


def problems(page: str, text: str) -> Iterator[str]:
    """The problems of a page."""
    wanted = {name for name, (where, _) in parts().items() if where == page}
    found = [match["name"] for match in PART.finditer(text)]
    yield from (f"{page}: the part {name!r} is missing" for name in sorted(wanted - set(found)))
    yield from (f"{page}: nothing makes the part {name!r}" for name in found if name not in wanted)
    yield from (f"{page}: the part {name!r} is there twice" for name in sorted(set(found)) if found.count(name) > 1)
    if text != refreshed(page, text):
        yield f"{page} is stale: python docs/generate.py"
    yield from (
        f"{page}: {match['name']}: {name} has no meaning"
        for match in PART.finditer(text)
        for name, meant in meanings(match["body"]).items()
        if not meant and match["name"].split()[0] in ("event", "cause", "moves")
    )


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    wrong: list[str] = []
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        if arguments != ["--check"]:
            text = refreshed(page, text)
            path.write_text(text, encoding="utf-8")
        wrong += problems(page, text)
    if arguments != ["--check"]:
        (ROOT / MANUAL).write_text(manual(), encoding="utf-8")
    elif not (ROOT / MANUAL).exists() or (ROOT / MANUAL).read_text(encoding="utf-8") != manual():
        wrong.append(f"{MANUAL} is stale: python docs/generate.py")
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
