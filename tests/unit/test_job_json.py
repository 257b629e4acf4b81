"""A job as `show --json`, `list --json` and `dlq list --json` print it can be enqueued again."""

import json
from typing import Any

from queuectl.application.job_json import JobInput, decode_job
from queuectl.domain.events import After, StdinFile
from queuectl.domain.job import Job
from queuectl.render import json_shapes
from queuectl.store.projections import DLQ, JOBS, job_row
from queuectl.units import SECOND
from tests.support.events import a_spec, claimed

SPEC = a_spec(
    "cat",
    at=SECOND,
    tags={"k": "v"},
    env={"A": "1"},
    secret_env=("B",),
    unique="key",
    batch="grid",
    seq=3,
    after=(After("b"),),
    if_unmet="hold",
    retry_wait=SECOND,
    merge_output=True,
    stdin=StdinFile("/f", "0" * 64),
)
PROMISED = {
    "command": "cat",
    "tags": {"k": "v"},
    "env": {"A": "1"},
    "secret_env": ("B",),
    "unique": "key",
    "if_unmet": "hold",
    "retry_wait": 1.0,
    "merge_output": True,
    "stdin": "/f",
    "cwd": "/",
}


def _printed() -> list[dict[str, Any]]:
    job = Job("a", SPEC, 1, 0, 0, 1, claim=claimed(), locked_at=0)
    row = dict(zip(JOBS, job_row(job), strict=True))
    dead = {name: row.get(name, 0) for name in DLQ} | {"moved_at": 0, "original_created_at": 0}
    return [
        {**json_shapes.whole_job(row, job), "damaged": "event 3 is damaged"},
        json_shapes.job(row, job),
        json_shapes.dead_letter(dead),
        json_shapes.dead_letter({**dead, **row}),
    ]


def test_every_printed_field_is_taken_or_left_out() -> None:
    for shown in _printed():
        given, ignored = decode_job(json.dumps(shown))
        assert given.command == "cat"
        assert {"state", "attempts", "created_at", "damaged", "moved_at"} & set(shown) <= set(ignored)
        assert set(shown) - set(ignored) <= {*JobInput.__struct_fields__, "unique_key"}


def test_a_job_shown_in_full_is_the_same_job_again() -> None:
    given, _ = decode_job(json.dumps(_printed()[0]))
    assert {name: getattr(given, name) for name in PROMISED} == PROMISED
    assert [(each.job, each.on) for each in given.after or () if not isinstance(each, str)] == [("b", "ok")]
