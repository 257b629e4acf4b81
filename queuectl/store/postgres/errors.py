"""Translates a server's errors: each becomes one line, and an error type that says whether waiting may help."""

import re

import psycopg

from queuectl.errors import DISK_FULL, StoreBusyError, StoreError, UsageError, command_line

__all__ = ["first_line", "meaning", "not_understood", "unreachable"]

_LOST = re.compile(r"57P0.|25P03|08...")
"""The connection was cut: the server is shutting down, or someone ended the connection."""
_BUSY = re.compile(r"40...|53300|57014")
"""Another transaction was in the way, or the server has no free connection."""
_MEANINGS = {
    "53100": f"on the server {DISK_FULL}",
    "25006": "it is read-only: write to the primary server, or end the setting default_transaction_read_only",
    "3D000": "there is no such database",
    "3F000": "there is no such schema",
    "XX001": "it is damaged: restore a backup",
    "XX002": "an index is damaged: REINDEX it",
}
_PASSES = re.compile(
    r"too many (?:clients|connections)|connection slots|starting up|shutting down|recovery mode|timeout expired"
)
_AT_SERVER = re.compile(
    r"^(?:connection (?:failed|is bad): )?(?:connection to server (?:at|on) .*? failed: (?!No such file))?"
    r"(?:FATAL: +|fe_sendauth: )?"
)
"""The beginning of libpq's messages: it repeats the URL. The path of a socket that is missing is not in the URL."""
_STEPS = (
    (r"password authentication failed|no password supplied", "set PGPASSWORD, or write the password to ~/.pgpass"),
    (r'database "[^"]*" does not exist', "create it with createdb, or correct the URL"),
    (r'role "[^"]*" (?:does not exist|is not permitted)', "correct the user in the URL, or see docs/postgres.md"),
    (r"refused|No such file or directory", "start the server, or correct the host and the port in the URL"),
    (r"resolve host|translate host", "correct the host in the URL"),
    (r"no pg_hba.conf entry", "let this host and user in with a line in the server's pg_hba.conf"),
    (r"too many|connection slots", "try again, or raise the limit of connections on the server"),
    (r"starting up|shutting down|recovery mode", "try again"),
    (r"timeout expired", "check the host and the port in the URL, and the firewall between"),
)
"""A part of the server's or libpq's reason, and the next step."""
_UNKNOWN = re.compile(r'invalid URI query parameter: "(\w+)"')
_OF_THE_LOG = ("events", "meta")


def meaning(error: psycopg.Error, shown: str, closed: bool) -> StoreError:
    """Our error for one of psycopg's. `closed`: the connection is closed too."""
    state, what = error.sqlstate or "", first_line(error)
    if state == "55P03":
        return StoreBusyError(f"{shown} is locked by another process: try again")
    if _LOST.fullmatch(state) or closed:
        return StoreBusyError(f"the connection to {shown} was lost ({what}): try again")
    if _BUSY.fullmatch(state):
        return StoreBusyError(f"{shown} is busy ({what}): try again")
    if state == "42501":
        return StoreError(f'cannot use the queue {shown}: {what}: see "Roles and grants" in docs/postgres.md')
    return StoreError(f"cannot use the queue {shown}: {_MEANINGS.get(state) or _of_tables(state, what)}")


def not_understood(error: psycopg.Error, shown: str) -> UsageError:
    """The error for a URL that libpq does not understand. libpq's message may hold a password, `shown` does not."""
    unknown = _UNKNOWN.search(str(error))
    if unknown and f"{unknown[1]}=" in shown:
        return UsageError(f"{shown} has a parameter that is not known: {unknown[1]} (the schema is schema=NAME)")
    return UsageError(f"libpq does not understand {shown}: write postgresql://USER@HOST/DATABASE")


def unreachable(error: psycopg.Error, shown: str) -> StoreError:
    """The error for a connection that was refused, with the next step. Busy if it may succeed later."""
    reason = _AT_SERVER.sub("", first_line(error))
    step = next((f": {step}" for pattern, step in _STEPS if re.search(pattern, reason)), "")
    kind = StoreBusyError if _PASSES.search(str(error)) else StoreError
    return kind(f"cannot reach {shown}: {reason}{step}")


def first_line(error: psycopg.Error) -> str:
    """The first line of an error, without its details."""
    lines = (error.diag.message_primary or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _of_tables(state: str, what: str) -> str:
    """A table that can be derived again is for `rebuild`."""
    table = re.search(r'relation "(?:\w+\.)?(\w+)"', what)
    if state != "42P01" or table is None or table[1] in _OF_THE_LOG:
        return what
    return f"{what}: run `{command_line('rebuild')}`"
