"""`audit`: its verdict on a queue, an export and an archive, with each of its exit codes."""

import gzip
import json
import re
from contextlib import closing

import pytest

from queuectl.runtime import SystemClock
from queuectl.store import open_store
from tests.support.builders import HOUR, add, claimed, more, new
from tests.support.command_line import Queuectl, assert_error


@pytest.fixture
def worked(queuectl: Queuectl) -> Queuectl:
    """A queue with a completed, a retried, a dead and a cancelled job."""
    queuectl.add("true")
    queuectl.add("--max-retries", "1", "--backoff-base", "0", "false")
    queuectl.ok("cancel", queuectl.add("true"))
    queuectl.drain()
    queuectl.ok("export", "log.ndjson")
    return queuectl


@pytest.fixture
def broken(queuectl: Queuectl) -> Queuectl:
    """A queue whose log is intact, but in which a job was claimed before it was due."""
    queuectl.env["QUEUECTL_DB"] = path = str(queuectl.folder / "broken.db")
    queuectl.add("true")
    with closing(open_store(path, SystemClock())) as store:
        [job] = add(store, new("early", at=HOUR * 24 * 365 * 100))
        add(store, more(job, claimed()))
    return queuectl


def test_a_queue_that_followed_its_rules_is_ok(worked: Queuectl) -> None:
    verdict = worked.ok("audit")
    position, digest = worked.ok("head").split()
    assert f"head     {position} {digest}" in verdict.splitlines()
    assert f"audited  {position} events" in verdict
    assert verdict.endswith("ok: no violations")


def test_the_queue_its_export_and_its_archive_have_one_verdict(worked: Queuectl) -> None:
    verdict = worked.ok("audit")
    export = (worked.folder / "log.ndjson").read_bytes()
    (worked.folder / "log.ndjson.gz").write_bytes(gzip.compress(export))
    (segment,) = worked.db.with_name("queue.db.archive").glob("*.ndjson")
    assert worked.ok("audit", "log.ndjson") == verdict
    assert worked.ok("audit", "log.ndjson.gz") == verdict
    assert worked.ok("audit", "-", stdin=export) == verdict
    assert worked.ok("audit", str(segment)) == verdict


def test_consecutive_segments_are_audited_as_one_log(worked: Queuectl) -> None:
    header, *events = (worked.folder / "log.ndjson").read_bytes().splitlines(keepends=True)
    whole, cut = json.loads(header), json.loads(events[4])
    first = {name: value for name, value in whole.items() if not name.startswith("end")}
    second = {**first, "base_position": cut["position"], "base_digest": cut["digest"]}
    first_half, second_half = (json.dumps(each).encode() + b"\n" for each in (first, second))
    segments = [first_half, *events[:5], second_half, *events[5:]]
    assert worked.ok("audit", "-", stdin=b"".join(segments)) == worked.ok("audit")
    assert_error(worked("audit", "-", stdin=b"".join([first_half, *events[:4], second_half])), 5)
    assert_error(worked("audit", "-", stdin=b"".join(segments[6:])), 5, "from its beginning")


def test_a_broken_rule_is_named_with_its_event(broken: Queuectl) -> None:
    done = broken("audit")
    assert done.code == 1
    assert re.search(r"^due: event 3 of early: claimed \d+ us before it was due$", done.out, re.MULTILINE)
    assert "open: run 1 of early by w1 since " in done.out
    assert done.out.endswith("broken: 1 finding\n")
    assert broken("verify").code == 0, "the log itself is unaltered"


def test_json_has_findings_rules_and_open_runs(broken: Queuectl) -> None:
    done = broken("audit", "--json")
    verdict = json.loads(done.out)
    assert done.code == 1
    assert (verdict["clean"], verdict["events"], verdict["head"]["position"]) == (False, 3, 3)
    [finding] = verdict["findings"]
    assert (finding["position"], finding["stream_id"], finding["rule"]) == (3, "early", "due")
    assert "before it was due" in finding["what"]
    assert {rule["rule"]: (rule["checked"], rule["findings"]) for rule in verdict["rules"]}["due"] == (1, 1)
    assert [(claim["stream_id"], claim["run"], claim["worker"]) for claim in verdict["open"]] == [("early", 1, "w1")]


def test_from_and_until_limit_the_events(broken: Queuectl) -> None:
    assert "audited  2 events" in broken.ok("audit", "--to", "2")
    done = broken("audit", "--from", "3")
    assert (done.code, "audited  1 event, from position 3 on" in done.out) == (1, True)


@pytest.mark.parametrize("source", [[], ["log.ndjson"]])
def test_positions_after_the_end_are_refused(worked: Queuectl, source: list[str]) -> None:
    end = worked.position()
    for option in ("--from", "--to"):
        wrong = worked("audit", *source, option, str(end + 1))
        assert_error(wrong, 2, f"there is no position {end + 1}: the log ends at {end}")
        assert worked("audit", *source, option, str(end)).code == 0
    assert_error(worked("audit", *source, "--from", "3", "--to", "2"), 2, "--from 3 is after --to 2")


def test_a_damaged_or_truncated_file_is_refused(worked: Queuectl) -> None:
    lines = (worked.folder / "log.ndjson").read_bytes().splitlines(keepends=True)
    changed = [*lines[:2], lines[2].replace(b'"version":1', b'"version":2'), *lines[3:]]
    assert_error(worked("audit", "-", stdin=b"".join(changed)), 5, "damaged at line 3")
    assert_error(worked("audit", "-", stdin=b"".join(lines[:3] + lines[4:])), 5, "damaged at line 4")
    assert_error(worked("audit", "-", stdin=b"".join(lines[:-1])), 5, "the log was cut")
    assert_error(worked("audit", "-", stdin=b"".join(lines)[:-9]), 5, "the line was cut")
    assert_error(worked("audit", "-", stdin="hello\n"), 5, "not a queuectl log")
    assert_error(worked("audit", "-", stdin=""), 5, "not a queuectl log")


def test_an_unreadable_source_is_refused(queuectl: Queuectl) -> None:
    assert_error(queuectl("audit"), 5, "there is no queue")
    assert_error(queuectl("audit", "nowhere"), 2, "cannot read nowhere")
    assert not queuectl.db.exists()
