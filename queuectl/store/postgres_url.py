"""What a postgresql:// URL says: how to connect, as libpq reads it, and the schema, which is our own parameter.

Whatever is shown of a URL is shown without its password.
"""

import re
from typing import NamedTuple

from queuectl.errors import UsageError

__all__ = ["SCHEMA", "Place", "has_password", "is_postgres", "place_of", "without_password"]

SCHEMA = "queuectl"
"""Where a queue is unless its URL says `?schema=NAME`."""

_SCHEMES = ("postgresql://", "postgres://")
_USER_AND_PASSWORD = re.compile(r"(://[^/?#]*?):[^/?#]*@|(://[^/?#@:]*):.*@")
_PARAMETER = re.compile(r"(?<=[?&])(ssl)?password=[^&]*&?")
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")


class Place(NamedTuple):
    """`conninfo` is for libpq."""

    conninfo: str
    schema: str


def is_postgres(url: str) -> bool:
    """Whether a path or URL is one of ours."""
    return url.startswith(_SCHEMES)


def place_of(url: str) -> Place:
    """Raises UsageError for a schema that cannot be."""
    base, _, query = url.partition("?")
    parameters = query.split("&") if query else []
    schemas = [each.partition("=")[2] for each in parameters if each.startswith("schema=")]
    schema = schemas[-1] if schemas else SCHEMA
    if not _NAME.fullmatch(schema) or schema.startswith("pg_"):
        raise UsageError("schema= in the URL: a name of up to 48 small letters, digits and _, not beginning with pg_")
    rest = "&".join(each for each in parameters if not each.startswith("schema="))
    return Place(f"{base}?{rest}" if rest else base, schema)


def without_password(url: str) -> str:
    """For messages."""
    if not is_postgres(url):
        return url
    shown = _PARAMETER.sub("", _USER_AND_PASSWORD.sub(lambda found: f"{found[1] or found[2]}@", url))
    return shown.rstrip("?&")


def has_password(url: str) -> bool:
    """Whether a URL tells a password."""
    return is_postgres(url) and without_password(url) != url.rstrip("?&")
