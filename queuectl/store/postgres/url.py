"""Reads postgresql:// URLs: how to connect, as libpq reads them, and the schema, a parameter of our own.

Text that is shown of a URL never contains its password.
"""

import re

from msgspec import Struct

from queuectl.errors import UsageError
from queuectl.store.options import is_postgres

__all__ = ["SCHEMA", "Place", "has_password", "place_of", "without_password"]

SCHEMA = "queuectl"
"""The schema of a queue unless its URL has `?schema=NAME`."""

_KEYWORD = (
    r"(?i)(?:user|pass|host|port|dbname|app|fallback_app|options|connect_|client_|keepalives|tcp_|repl|gss|krb|ssl|require|"
    r"channel|target|load_|service|m(?:in|ax)_|scram_|oauth_|schema)[a-z_]*="
)
"""The beginnings of libpq's parameter names, and ours. Other text in a parameter's place is the rest of a password."""
_SECRET = r"(?i)[a-z_]*(?:password|secret)[a-z_]*="
_NO_PORT = r"(?s)(\[[^\]]*\])|:(?![0-9]*(?:[,/]|$)).*"
_UNCODED = r"[@/?]"
_NAME = r"[a-z_][a-z0-9_]{0,47}"


class Place(Struct, frozen=True):
    """The schema of a queue, and `conninfo`, which is for libpq."""

    conninfo: str
    schema: str


def place_of(url: str) -> Place:
    """The place that a URL names. Raises UsageError for an impossible schema, and if libpq would cut a password."""
    user, password, _, more = _without(_parts(url)[1])
    if more or re.search(_UNCODED, user + password):
        raise UsageError("write postgresql://USER:PASSWORD@HOST/DATABASE, @ / ? in a password as %40 %2F %3F")
    base, _, query = url.partition("?")
    parameters = query.split("&") if query else []
    schemas = [each.partition("=")[2] for each in parameters if each.startswith("schema=")]
    schema = schemas[-1] if schemas else SCHEMA
    if not re.fullmatch(_NAME, schema) or schema.startswith("pg_"):
        raise UsageError("schema= in the URL: a name of up to 48 small letters, digits and _, not beginning with pg_")
    rest = "&".join(each for each in parameters if not each.startswith("schema="))
    return Place(f"{base}?{rest}" if rest else base, schema)


def without_password(url: str) -> str:
    """The URL for messages: without the password, and without anything that may be a part of it."""
    if not is_postgres(url):
        return url
    scheme, start, parameters = _parts(url)
    user, _, hosts, _ = _without(start)
    query = "&".join(each for each in parameters if not _is_secret(each))
    return (f"{scheme}{user}{hosts}" + (f"?{query}" if query else "")).rstrip("?&")


def has_password(url: str) -> bool:
    """Whether a URL contains a password."""
    if not is_postgres(url):
        return False
    _, start, parameters = _parts(url)
    _, password, _, more = _without(start)
    return bool(password or more or any(map(_is_secret, parameters)))


def _without(start: str) -> tuple[str, str, str, str]:
    """User, password, the part from the last @ on (hosts and database), and the text in a port's place.

    libpq ends a password at the first @ or /, people at the last @; and `user:password` looks like a host and a port.
    """
    colon, at = start.find(":"), start.rfind("@")
    user, password, hosts = (start[:colon], start[colon + 1 : at], start[at:]) if 0 <= colon < at else ("", "", start)
    shown = re.sub(_NO_PORT, lambda found: found[1] or "", hosts)
    return user, password, shown, hosts[len(shown) :]


def _parts(url: str) -> tuple[str, str, list[str]]:
    """The scheme, the text before the first parameter, and the parameters. A value ends where the next one begins."""
    scheme, _, rest = url.partition("://")
    start, query = _split(rest)
    found: list[str] = []
    for each in query.split("&"):
        if found and not _begins_query(each):
            found[-1] += f"&{each}"
        else:
            found.append(each)
    return f"{scheme}://", start, found


def _split(rest: str) -> tuple[str, str]:
    """Split at the ? before the first parameter; any other ? belongs to a password."""
    marks = [found.start() for found in re.finditer(r"\?", rest)]
    for begins in (_begins_query, _has_parameter):
        for mark in marks:
            if begins(rest[mark + 1 :]):
                return rest[:mark], rest[mark + 1 :]
    return rest, ""


def _begins_query(text: str) -> bool:
    return re.match(_KEYWORD, _named(text)) is not None


def _has_parameter(text: str) -> bool:
    return any(map(_begins_query, text.split("&")))


def _is_secret(parameter: str) -> bool:
    return re.match(_SECRET, _named(parameter)) is not None


def _named(parameter: str) -> str:
    """With its name decoded, as libpq does."""
    name, equals, value = parameter.partition("=")
    if "%" in name:
        from urllib.parse import unquote

        name = unquote(name)
    return name + equals + value
