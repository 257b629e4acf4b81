"""Contexts: names that a user gave to queues, in a file of the user's own. `context use` stores which one is used.

context = "home"

[contexts.home]
db = "~/jobs/queue.db"
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from queuectl.errors import UsageError
from queuectl.replacement import replace_file

__all__ = ["Contexts", "read_contexts", "use_context"]

_USED = "context"
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_FORM = '[contexts.NAME], and under it db = "PATH|URL"'


class Contexts(Struct, frozen=True):
    """The contexts of the file `path`. `urls`: name -> path or URL. `used`: the name that `context use` stored.

    `foreign`: the file belongs to another user.
    """

    path: str
    used: str | None
    urls: Mapping[str, str]
    foreign: bool = False

    def place(self, name: str) -> str:
        """The path or URL of a context. Raises UsageError if there is none, or the file is another user's."""
        if self.foreign:  # it could name a queue with jobs for this user's worker to run
            raise UsageError(f"{self.path} belongs to another user and is ignored: name the queue with --db")
        if name in self.urls:
            return self.urls[name]
        known = ", ".join(self.urls)
        raise UsageError(
            f"there is no context {name}: the contexts in {self.path} are {known}"
            if known
            else f"there is no context {name}: write {_FORM} into {self.path}"
        )


def read_contexts(path: str) -> Contexts:
    """The contexts of a file; none if it does not exist. Raises UsageError, with the line, if it is damaged."""
    try:
        with open(path, "rb") as file:
            owner, raw = os.fstat(file.fileno()).st_uid, file.read()
    except (FileNotFoundError, NotADirectoryError):
        return Contexts(path, None, {})
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    used, urls = _parsed(_decoded(raw, path), path)
    return Contexts(path, used, urls, foreign=owner not in (0, os.geteuid()))


def _decoded(raw: bytes, path: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: it is not UTF-8 text") from None


def _parsed(text: str, path: str) -> tuple[str | None, dict[str, str]]:
    """The used context, and the path or URL of each context. Raises UsageError."""
    found = _toml(text, path)
    used, tables = found.pop(_USED, None), found.pop("contexts", {})
    for key in found:
        raise _wrong(text, path, key, f"there is no key {key}: write {_FORM}")
    if not isinstance(used, str | None):
        raise _wrong(text, path, _USED, f'write {_FORM}, and context = "NAME" before them for the one to use')
    if not isinstance(tables, dict):
        raise _wrong(text, path, "contexts", f"write {_FORM}")
    return used, {name: _url(text, path, name, table) for name, table in tables.items()}


def _toml(text: str, path: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _AT_LINE.search(str(error))
        line = place[1] if place and place[1] else max(1, len(text.splitlines()))
        raise UsageError(f"{path}, line {line}: {_AT_LINE.sub('', str(error)).lower()}") from None


def _url(text: str, path: str, name: str, table: Any) -> str:
    """A context's path or URL, with `~` replaced. A relative path would mean another queue in each folder."""
    if not isinstance(table, dict) or set(table) != {"db"} or not isinstance(table["db"], str):
        raise _wrong(text, path, name, f'context {name} has one key: db = "PATH|URL"')
    url = os.path.expanduser(table["db"])
    if "://" not in url and not os.path.isabs(url):
        raise _wrong(text, path, name, f"the path of context {name} must begin with / or ~")
    return url


def _wrong(text: str, path: str, key: str, what: str) -> UsageError:
    """An error that names the line of a key or of a table."""
    place = re.compile(rf"""\s*(\[\s*)?(contexts\s*\.\s*)?["']?{re.escape(key)}["']?\s*[].=]""")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if place.match(line)]
    return UsageError(f"{path}, line {lines[0] if lines else 1}: {what}")


def use_context(path: str, name: str | None) -> None:
    """Store the context to use, or that none is. The rest of the file stays as it is.

    Raises UsageError if there is no such context, OSError if the file cannot be written.
    """
    found = read_contexts(path)
    if name is not None:
        found.place(name)
    if found.used == name:
        return
    with open(path, encoding="utf-8-sig", newline="") as file:
        text = file.read()
    changed = _using(text, name)
    if _parsed(changed, path) != (name, found.urls):
        raise UsageError(
            f"{path} cannot be changed: write context = {json.dumps(name)} before its first table yourself"
        )
    replace_file(path, changed.encode(), os.stat(path).st_mode & 0o777)


def _using(text: str, name: str | None) -> str:
    """The file's text with another used context, which stands before the first table."""
    lines = text.splitlines(keepends=True)
    tables = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    old = [number for number, line in enumerate(lines[:tables]) if re.match(rf"\s*{_USED}\s*=", line)]
    new = [] if name is None else [f"{_USED} = {json.dumps(name, ensure_ascii=False)}\n"]
    start, end = (old[0], old[0] + 1) if old else (0, 0)
    return "".join([*lines[:start], *new, *lines[end:]])
