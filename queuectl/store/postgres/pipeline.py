"""Runs several statements in one round trip: all are sent together, each once for every row of its parameters.

psycopg's own pipeline sends each statement by itself and ends with a Flush, which disables the server's
`idle_in_transaction_session_timeout`: a frozen client would never release the log's lock. Statements are prepared here
only, because psycopg discards all prepared statements of a connection from time to time.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

__all__ = ["Step", "exchange", "rows_of"]

Step = tuple[str, Sequence[Sequence[Any]]]
"""A statement and the rows of its parameters."""

_FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED)


def exchange(db: "psycopg.Connection[Any]", known: dict[str, bytes], steps: Sequence[Step]) -> list[PGresult]:
    """Returns one answer for each row, in order. Raises psycopg.Error for the first that fails; later ones do not run.

    `known` are the statements that the server has prepared for this connection, by name; new ones are added.
    """
    new = {sql: b"exchange_%d" % number for number, sql in enumerate(_unknown(known, steps), len(known))}
    # All are converted first: on an error nothing is sent.
    sent = [(sql, _formats(row), [*map(_sent, row)]) for sql, rows in steps for row in rows]
    db.pgconn.enter_pipeline_mode()
    try:
        for sql, name in new.items():
            db.pgconn.send_prepare(name, sql.encode())
        for sql, formats, row in sent:
            db.pgconn.send_query_prepared(known.get(sql) or new[sql], row, formats)
        answers = [*_answers(db)]
    finally:
        _leave(db)
    known.update(pair for pair, answer in zip(new.items(), answers, strict=False) if answer.status not in _FAILED)
    for answer in answers:
        if answer.status in _FAILED:
            raise psycopg.errors.error_from_result(answer)
    return answers[len(new) :]


def _leave(db: "psycopg.Connection[Any]") -> None:
    """Close a connection that has answers outstanding because we were interrupted: it cannot be used any more."""
    if not db.closed:
        try:
            db.pgconn.exit_pipeline_mode()
        except psycopg.OperationalError:
            db.close()


def _unknown(known: dict[str, bytes], steps: Sequence[Step]) -> dict[str, None]:
    return dict.fromkeys(sql for sql, _ in steps if sql not in known)


def _formats(row: Sequence[Any]) -> list[Format]:
    return [Format.BINARY if isinstance(value, bytes) else Format.TEXT for value in row]


def _sent(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    text = str(value)
    if "\0" in text:
        raise psycopg.DataError("PostgreSQL takes no text with a NUL")  # libpq would send only the part before the NUL
    return text.encode()


def _answers(db: "psycopg.Connection[Any]") -> Iterator[PGresult]:
    """All answers up to that of the Sync. Data that does not fit into the socket is sent while answers are read."""
    db.pgconn.pipeline_sync()
    db.wait(send(db.pgconn))
    while True:
        for answer in db.wait(fetch_many(db.pgconn)):
            if answer.status == ExecStatus.PIPELINE_SYNC:
                return
            yield answer


def rows_of(db: "psycopg.Connection[Any]", answer: PGresult) -> list[tuple[Any, ...]]:
    """The rows of an answer; none when its statement returns none."""
    if answer.status != ExecStatus.TUPLES_OK:
        return []
    read = Transformer(db)
    read.set_pgresult(answer)
    return read.load_rows(0, answer.ntuples, tuple)
