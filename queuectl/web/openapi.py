"""The OpenAPI description of the HTTP interface, made from the endpoints themselves."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from queuectl import __version__
from queuectl.application.explain import Explanation
from queuectl.application.job_json import JobInput
from queuectl.web.changing import Done
from queuectl.web.reading import ABOUT, READINGS, Reading
from queuectl.web.verbs import VERBS, Nothing

__all__ = ["description"]

Document = dict[str, Any]

_REF = "#/components/schemas/{name}"
_ERROR: Document = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "exit_code": {"type": "integer"}},
    "required": ["error", "exit_code"],
}
_OBJECT: Document = {"type": "object"}
_EVENT: Document = {
    "type": "object",
    "properties": {"position": {"type": "integer"}, "stream_id": {"type": "string"}},
    "required": ["position", "stream_id"],
}
_JOB: Document = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "number": {"type": "integer"},
        "command": {"type": "string"},
        "state": {"type": "string"},
        "queue": {"type": "string"},
        "attempts": {"type": "integer"},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["id", "number", "command", "state", "queue", "attempts", "tags"],
}
_ADDED: Document = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "created": {"type": "boolean"},
        "notes": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["id", "created", "notes"],
}
_SHAPES = {
    "/api/jobs": "Job",
    "/api/jobs/{job_id}": "Job",
    "/api/jobs/{job_id}/history": "Event",
    "/api/jobs/{job_id}/explain": "Explanation",
}
_TEXT = {"schema": {"type": "string"}}


@cache
def description() -> Document:
    """The whole description."""
    bodies = dict.fromkeys(verb.body for verb in VERBS if verb.body is not Nothing)
    _, schemas = msgspec.json.schema_components([JobInput, Done, Explanation, *bodies], ref_template=_REF)
    paths: dict[str, Document] = {}
    for reading in READINGS:
        paths.setdefault(reading.path, {})["get"] = _reading(reading)
    for path, operation in _others():
        paths.setdefault(path, {})["get"] = operation
    for path, operation in _changes():
        paths.setdefault(path, {})["post"] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "queuectl", "version": __version__},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {**schemas, "Error": _ERROR, "Job": _JOB, "Event": _EVENT, "Added": _ADDED},
        },
    }


def _reading(reading: Reading) -> Document:
    name = _SHAPES.get(reading.path)
    shape = _ref(name) if name else _OBJECT
    return _operation(
        reading.path, reading.about, reading.known, _json({"type": "array", "items": shape} if reading.many else shape)
    )


def _others() -> Iterable[tuple[str, Document]]:
    output = {"text/plain": _TEXT, "text/event-stream": _TEXT}
    yield (
        "/api/jobs/{job_id}/logs",
        _operation("/api/jobs/{job_id}/logs", "The output of a run.", ("run", "stream", "tail"), output),
    )
    stream = {"text/event-stream": _TEXT, "application/x-ndjson": _TEXT}
    yield (
        "/api/events",
        _operation("/api/events", "The log as it grows; it does not end.", ("from", "type", "job"), stream),
    )
    yield "/metrics", _operation("/metrics", "Metrics for Prometheus.", (), {"text/plain": _TEXT})


def _changes() -> Iterable[tuple[str, Document]]:
    job = {"oneOf": [_ref("JobInput"), {"type": "array", "items": _ref("JobInput")}]}
    added = {"oneOf": [_ref("Added"), {"type": "array", "items": _ref("Added")}]}
    yield "/api/jobs", _change("/api/jobs", "Add a job, or an array of jobs: all or none.", job, added, "201")
    for verb in VERBS:
        body = _OBJECT if verb.body is Nothing else _ref(verb.body.__name__)
        yield verb.path, _change(verb.path, verb.about, body, _ref("Done"))


def _change(path: str, about: str, body: Document, found: Document, status: str = "200") -> Document:
    content = {"required": False, "content": _json(body)}
    return {**_operation(path, about, (), _json(found), status, ("413", "415")), "requestBody": content}


def _operation(  # noqa: PLR0913, PLR0917 (all that a description depends on)
    path: str, about: str, names: Iterable[str], content: Document, status: str = "200", more: Iterable[str] = ()
) -> Document:
    """One operation; `more` are statuses of errors that other operations do not have."""
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": ABOUT[name], "schema": {"type": "string"}} for name in names
    ]
    errors = {
        code: {"description": "An error.", "content": _json(_ref("Error"))}
        for code in ("400", "401", "403", "404", "409", "503", *more)
    }
    return {
        "summary": about,
        "parameters": parameters,
        "responses": {status: {"description": "Found.", "content": content}, **errors},
    }


def _json(schema: Document) -> Document:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Document:
    return {"$ref": _REF.format(name=name)}
